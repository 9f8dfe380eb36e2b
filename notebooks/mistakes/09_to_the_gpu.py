# %% setup
import copy
import random
from math import ceil


def weights_of(config):
    """All weights of a Llama with a tied table."""
    width = config.hidden_size
    kv = width // config.num_attention_heads * config.num_key_value_heads
    layer = 2 * width * width + 2 * width * kv + 3 * width * config.intermediate_size
    return config.num_hidden_layers * layer + config.vocab_size * width


def flops_of(config, rows, context):
    """Products with all weights, and with what is kept."""
    return 2 * rows * weights_of(config) + 4 * rows * config.num_hidden_layers * config.hidden_size * context


def kept_by(config, context):
    """Keys and values of one row."""
    kv = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    return 2 * config.num_hidden_layers * kv * context


def both_times(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    """How long operations take, and how long bytes."""
    return rows * flops_a_row / peak.flops, (shared_bytes + rows * bytes_a_row) / peak.bandwidth


def first_bound(flops_a_row, bytes_a_row, shared_bytes, peak):
    """Rows at which both times are equal, or None."""
    gain = flops_a_row / peak.flops - bytes_a_row / peak.bandwidth
    return shared_bytes / peak.bandwidth / gain if gain > 0 else None


def turn_of(flops_a_row, bytes_a_row, shared_bytes, peak):
    """The right number of rows."""
    exact = first_bound(flops_a_row, bytes_a_row, shared_bytes, peak)
    return None if exact is None else ceil(exact)


def speeds_of(work, rows):
    """The right speeds."""
    return [count / max(both_times(*work, count)) for count in rows]


def parents(events):
    """Each event with the smallest one that encloses it, or None; in the order of their beginning."""
    stack = []
    for event in sorted(events, key=lambda event: (event["start"], -event["end"])):
        while stack and stack[-1]["end"] <= event["start"]:
            stack.pop()
        yield event, (stack[-1] if stack else None)
        stack.append(event)


def lasting(event):
    return event["end"] - event["start"]


def most(spent, names):
    name = max((name for name in spent if name in names), key=spent.get)
    return name, spent[name]


# %% 9.1 · moves all weights once for each row
# says: they are moved once, and used for every row
def token_work(config, rows, context, bytes_each):
    moved = rows * (weights_of(config) + kept_by(config, context))
    return flops_of(config, rows, context), bytes_each * moved


# %% 9.1 · counts embedding and unembedding as two tables to be moved
# says: the table is moved twice
def token_work(config, rows, context, bytes_each):
    table = config.vocab_size * config.hidden_size
    moved = weights_of(config) + table + rows * kept_by(config, context)
    return flops_of(config, rows, context), bytes_each * moved


# %% 9.1 · multiplies with the embedding, too
# says: looking up multiplies nothing
def token_work(config, rows, context, bytes_each):
    flops = flops_of(config, rows, context) + 2 * rows * config.vocab_size * config.hidden_size
    return flops, bytes_each * (weights_of(config) + rows * kept_by(config, context))


# %% 9.1 · keeps keys and values of as many heads as there are queries
# says: the cache is as wide as the queries
def token_work(config, rows, context, bytes_each):
    kept = 2 * config.num_hidden_layers * config.hidden_size * context
    return flops_of(config, rows, context), bytes_each * (weights_of(config) + rows * kept)


# %% 9.1 · makes the projections of keys and values as wide as the queries'
# says: projections of keys and values are too wide
def token_work(config, rows, context, bytes_each):
    width = config.hidden_size
    layer = 4 * width * width + 3 * width * config.intermediate_size
    weights = config.num_hidden_layers * layer + config.vocab_size * width
    flops = 2 * rows * weights + 4 * rows * config.num_hidden_layers * width * context
    return flops, bytes_each * (weights + rows * kept_by(config, context))


# %% 9.1 · takes 6 N, the price of training
# says: operations of training
def token_work(config, rows, context, bytes_each):
    flops = flops_of(config, rows, context) + 4 * rows * weights_of(config)
    return flops, bytes_each * (weights_of(config) + rows * kept_by(config, context))


# %% 9.1 · counts a multiplication with its addition as one
# says: half of the operations
def token_work(config, rows, context, bytes_each):
    return flops_of(config, rows, context) // 2, bytes_each * (weights_of(config) + rows * kept_by(config, context))


# %% 9.1 · says 2 N, and forgets that attention multiplies as well
# says: the operations do not grow with the cache
def token_work(config, rows, context, bytes_each):
    return 2 * rows * weights_of(config), bytes_each * (weights_of(config) + rows * kept_by(config, context))


# %% 9.1 · thinks that shared keys are also multiplied once
# says: several queries share a key
def token_work(config, rows, context, bytes_each):
    flops = 2 * rows * (weights_of(config) + kept_by(config, context))
    return flops, bytes_each * (weights_of(config) + rows * kept_by(config, context))


# %% 9.1 · moves the weights and forgets the cache
# says: only weights are moved
def token_work(config, rows, context, bytes_each):
    return flops_of(config, rows, context), bytes_each * weights_of(config)


# %% 9.1 · keeps keys without values
# says: keys *and* values are kept
def token_work(config, rows, context, bytes_each):
    moved = weights_of(config) + rows * kept_by(config, context) // 2
    return flops_of(config, rows, context), bytes_each * moved


# %% 9.1 · has one cache for the whole batch
# says: one cache for all rows
def token_work(config, rows, context, bytes_each):
    return flops_of(config, rows, context), bytes_each * (weights_of(config) + kept_by(config, context))


# %% 9.1 · counts numbers and calls them bytes
# says: `bytes_each` plays no part
def token_work(config, rows, context, bytes_each):
    return flops_of(config, rows, context), weights_of(config) + rows * kept_by(config, context)


# %% 9.2 · adds the two times
# says: the two times were added
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    return turn_of(*work), [count / sum(both_times(*work, count)) for count in rows]


# %% 9.2 · takes the smaller of the two, as a floor sounds low
# says: the faster of the two was taken
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    return turn_of(*work), [count / min(both_times(*work, count)) for count in rows]


# %% 9.2 · moves the weights for each row
# says: then a batch would gain nothing
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    one = max(flops_a_row / peak.flops, (shared_bytes + bytes_a_row) / peak.bandwidth)
    return turn_of(*work), [count / (count * one) for count in rows]


# %% 9.2 · gives steps a second
# says: out of each step come as many tokens as rows
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    return turn_of(*work), [1 / max(both_times(*work, count)) for count in rows]


# %% 9.2 · multiplies the speed of one row
# says: that gain ends where operations bind
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    return turn_of(*work), [count / max(both_times(*work, 1)) for count in rows]


# %% 9.2 · forgets that each row reads a cache of its own
# says: the rows' own bytes are missing
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, 0, shared_bytes, peak
    return turn_of(*work), speeds_of(work, rows)


# %% 9.2 · forgets the rows' caches where the turn is sought
# says: the turn leaves out the rows' own bytes
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    return turn_of(flops_a_row, 0, shared_bytes, peak), speeds_of(work, rows)


# %% 9.2 · rounds the turn down
# says: the turn was rounded down
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    exact = first_bound(*work)
    return exact and int(exact), speeds_of(work, rows)


# %% 9.2 · rounds the turn
# says: the turn was rounded to the nearest
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    exact = first_bound(*work)
    return exact and round(exact), speeds_of(work, rows)


# %% 9.2 · solves the equation and does not look at the sign
# says: then bytes bind for ever
def batching(flops_a_row, bytes_a_row, shared_bytes, peak, rows):
    work = flops_a_row, bytes_a_row, shared_bytes, peak
    gain = flops_a_row / peak.flops - bytes_a_row / peak.bandwidth
    return ceil(shared_bytes / peak.bandwidth / gain), speeds_of(work, rows)


# %% 9.3 · takes the total time
# says: what an operation calls was counted for it
def costliest_copy(events, moves):
    spent = {}
    for event in events:
        spent[event["name"]] = spent.get(event["name"], 0) + lasting(event)
    return most(spent, moves)


# %% 9.3 · takes the one that is called most
# says: the operation with the most calls
def costliest_copy(events, moves):
    spent, calls = {}, {}
    for event, parent in parents(events):
        calls[event["name"]] = calls.get(event["name"], 0) + 1
        spent[event["name"]] = spent.get(event["name"], 0) + lasting(event)
        if parent:
            spent[parent["name"]] -= lasting(event)
    name = max(sorted(name for name in calls if name in moves), key=calls.get)
    return name, spent[name]


# %% 9.3 · takes whatever is slowest, a product too
# says: an operation that computes
def costliest_copy(events, moves):
    spent = {}
    for event, parent in parents(events):
        spent[event["name"]] = spent.get(event["name"], 0) + lasting(event)
        if parent:
            spent[parent["name"]] -= lasting(event)
    return most(spent, spent)


# %% 9.3 · takes off everything within, at any depth
# says: grandchildren were taken off twice
def costliest_copy(events, moves):
    spent = {}
    for event in events:
        within = [e for e in events if event["start"] <= e["start"] and e["end"] <= event["end"]]
        own = lasting(event) - sum(lasting(e) for e in within if e is not event)
        spent[event["name"]] = spent.get(event["name"], 0) + own
    return most(spent, moves)


# %% 9.3 · looks at the longest single event
# says: many short ones may cost more
def costliest_copy(events, moves):
    own = {id(event): lasting(event) for event in events}
    for event, parent in parents(events):
        if parent:
            own[id(parent)] -= lasting(event)
    longest = max((event for event in events if event["name"] in moves), key=lambda event: own[id(event)])
    return longest["name"], own[id(longest)]


# %% 9.3 · ignores what is nested
# says: copies hide within others
def costliest_copy(events, moves):
    spent = dict.fromkeys([event["name"] for event in events], 0)
    own, top = {}, []
    for event, parent in parents(events):
        own[id(event)] = lasting(event)
        if parent:
            own[id(parent)] -= lasting(event)
        else:
            top.append(event)
    for event in top:
        spent[event["name"]] += own[id(event)]
    return most(spent, moves)


# %% 9.3 · counts only the innermost events
# says: a parent works as well
def costliest_copy(events, moves):
    busy = {id(parent) for _, parent in parents(events) if parent}
    spent = dict.fromkeys([event["name"] for event in events], 0)
    for event in events:
        if id(event) not in busy:
            spent[event["name"]] += lasting(event)
    return most(spent, moves)


# %% 9.3 · trusts the order in which the events are listed
# says: the order in the list plays a part
def costliest_copy(events, moves):
    spent, stack = dict.fromkeys([event["name"] for event in events], 0), []
    for event in events:
        while stack and stack[-1]["end"] <= event["start"]:
            stack.pop()
        spent[event["name"]] += lasting(event)
        if stack:
            spent[stack[-1]["name"]] -= lasting(event)
        stack.append(event)
    return most(spent, moves)


# %% 9.4 · keeps the weights, as one does to publish a model
# says: only the weights: everything else would begin anew
def pack(model, optimiser, schedule, draw):
    return {"model": copy.deepcopy(model.state_dict())}


# %% 9.4 · forgets the optimiser
# says: 'optimiser' is missing
def pack(model, optimiser, schedule, draw):
    return copy.deepcopy({"model": model.state_dict(), "schedule": schedule.state_dict(), "draw": draw.getstate()})


# %% 9.4 · forgets the schedule
# says: 'schedule' is missing
def pack(model, optimiser, schedule, draw):
    return copy.deepcopy({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "draw": draw.getstate()})


# %% 9.4 · forgets the dice
# says: 'draw' is missing
def pack(model, optimiser, schedule, draw):
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    return copy.deepcopy({name: part.state_dict() for name, part in parts.items()})


# %% 9.4 · keeps what state_dict returns
# says: 'model' went on learning after it was packed
def pack(model, optimiser, schedule, draw):
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    return {name: part.state_dict() for name, part in parts.items()} | {"draw": draw.getstate()}


# %% 9.4 · clones the weights, and copies the optimiser's dict on the outside
# says: 'optimiser' went on learning after it was packed
def pack(model, optimiser, schedule, draw):
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    states = {"optimiser": copy.copy(optimiser.state_dict()), "schedule": copy.copy(schedule.state_dict())}
    return {"model": weights, **states, "draw": draw.getstate()}


# %% 9.4 · keeps the optimiser's settings for its state
# says: 'optimiser' is not what it was
def pack(model, optimiser, schedule, draw):
    settings = {"state": {}, "param_groups": optimiser.state_dict()["param_groups"]}
    states = {"model": model.state_dict(), "optimiser": settings, "schedule": schedule.state_dict()}
    return copy.deepcopy(states | {"draw": draw.getstate()})


# %% 9.4 · keeps the dice themselves
# says: keep their state
def pack(model, optimiser, schedule, draw):
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    return copy.deepcopy({name: part.state_dict() for name, part in parts.items()}) | {"draw": draw}


# %% 9.4 · seeds the dice, so that both runs begin alike
# says: packing has changed the training
def pack(model, optimiser, schedule, draw):
    draw.seed(0)
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    return copy.deepcopy({name: part.state_dict() for name, part in parts.items()}) | {"draw": draw.getstate()}


# %% 9.4 · takes any dice for the same
# says: 'draw' is not what it was
def pack(model, optimiser, schedule, draw):
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    states = copy.deepcopy({name: part.state_dict() for name, part in parts.items()})
    return states | {"draw": random.Random(0).getstate()}
