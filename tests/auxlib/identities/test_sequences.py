"""Whole texts: their probability, what adding conditions costs, what control costs, and what a text is worth."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auxlib.frozen import Expert
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.product import combine, kl_bernoulli
from experiments.metrics import Slor
from tests.auxlib.identities.by_hand import (
    EXACT,
    ByHand,
    Condition,
    centred,
    drawn,
    gap,
    holds,
    normal,
    same,
    soft,
    tensor,
)

HANDS = [ByHand("abc", 4, 0), ByHand("abc", 4, 1), ByHand("abcd", 3, 7)]
every_hand = pytest.mark.parametrize("hand", HANDS)


def opinions(hand: ByHand, seed: int) -> dict[str, Tensor]:
    """Any auxiliary at all: a random row of logits for each prefix."""
    rows = normal(len(hand.prefixes), len(hand.letters), seed=seed)
    return dict(zip(hand.prefixes, rows, strict=True))


def along(hand: ByHand, text: str, rows: dict[str, Tensor]) -> float:
    """Sum over t of the row after x_<t at letter x_t."""
    return math.fsum(float(rows[text[:t]][hand.letters.index(letter)]) for t, letter in enumerate(text))


def joint(hand: ByHand, aux_logits: dict[str, Tensor], weight: float = 1.0) -> dict[str, Tensor]:
    """Unnormalised joint logits after each prefix, by the library."""
    return {x: combine(tensor(hand.rows[x]).log(), [(weight, aux_logits[x])]) for x in hand.prefixes}


def text_probs(hand: ByHand, logits: dict[str, Tensor]) -> dict[str, float]:
    log_probs = {prefix: row.log_softmax(-1) for prefix, row in logits.items()}
    return {text: math.exp(along(hand, text, log_probs)) for text in hand.texts}


# ---------------------------------------------------------------- scoring a text


@every_hand
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_i20_the_probabilities_of_all_texts_sum_to_one_for_each_condition(hand: ByHand, weight: float) -> None:
    for condition in range(3):  # nothing is assumed of the auxiliary: here is one for each condition
        logits = joint(hand, opinions(hand, seed=10 + condition), weight)
        probs = text_probs(hand, logits)
        assert sum(probs.values()) == pytest.approx(1.0, abs=EXACT)
        without = {text: math.exp(along(hand, text, logits)) for text in hand.texts}
        assert abs(sum(without.values()) - 1) > 0.1, "a sum of logits is not a log-probability"
        log_z = {prefix: row.logsumexp(-1) for prefix, row in logits.items()}
        for text in hand.texts[::7]:
            dropped = sum(float(log_z[text[:t]]) for t in range(hand.length))
            assert math.log(probs[text]) == pytest.approx(along(hand, text, logits) - dropped, abs=EXACT)
        assert same(hand.world.distribution_of(logits.__getitem__), tensor(list(probs.values())))


@pytest.mark.parametrize("beams", [1, 3])
def test_i16_i20_what_is_written_step_by_step_has_the_score_of_the_whole_text_read_afresh(
    tuned: AuxiliaryTunedLM, beams: int
) -> None:
    """Over two caches, padding on the left, and (for beams) rows that change places at every step."""
    inputs = tuned.inputs_for(["lantern", "dog"], ["The narrow", ""])
    weights = torch.tensor([1.0, 2.0])
    ids, steps = inputs["input_ids"], 6
    out = tuned.generate(
        **inputs,
        weight=weights,
        do_sample=False,
        num_beams=beams,
        min_new_tokens=steps,
        max_new_tokens=steps,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
        eos_token_id=-1,
    )
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, steps), value=1)
    with torch.no_grad():
        whole = tuned(
            input_ids=out.sequences, attention_mask=mask, keyword_ids=inputs["keyword_ids"], weight=weights
        ).logits
    log_probs = whole.double().log_softmax(-1)[:, -steps - 1 : -1]
    new = out.sequences[:, ids.shape[1] :]
    by_hand = [
        sum(float(row[t, token]) for t, token in enumerate(text)) for row, text in zip(log_probs, new, strict=True)
    ]
    written = tuned.compute_transition_scores(
        out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=beams == 1
    )
    assert written.sum(-1).tolist() == pytest.approx(by_hand, abs=1e-4)


# ---------------------------------------------------------------- local and global products


@every_hand
def test_i04_a07_local_over_global_is_z_over_the_product_of_the_steps_normalisers(hand: ByHand) -> None:
    phi = opinions(hand, seed=30)
    weights = {text: p * math.exp(along(hand, text, phi)) for text, p in hand.p.items()}
    Z = math.fsum(weights.values())
    logits = joint(hand, phi)
    local = text_probs(hand, logits)
    for text in hand.texts:
        Z_t = [float(logits[text[:t]].exp().sum()) for t in range(hand.length)]
        assert local[text] / (weights[text] / Z) == pytest.approx(Z / math.prod(Z_t), abs=EXACT, rel=EXACT)
    assert sum(abs(local[x] - weights[x] / Z) for x in hand.texts) / 2 > 1e-2


@every_hand
def test_i04b_a07_weights_that_look_ahead_need_no_normaliser_and_give_the_global_product(hand: ByHand) -> None:
    phi = opinions(hand, seed=30)
    energy = {text: math.exp(along(hand, text, phi)) for text in hand.texts}
    ahead = {x: hand.mass(x, energy.__getitem__) / hand.mass(x) for x in hand.prefixes + hand.texts}
    ratios = {x: tensor([ahead[x + v] / ahead[x] for v in hand.letters]).log() for x in hand.prefixes}
    logits = joint(hand, ratios)
    assert all(same(row.logsumexp(-1), 0.0) for row in logits.values())
    probs = text_probs(hand, logits)
    for text, p in hand.p.items():
        assert probs[text] == pytest.approx(p * energy[text] / ahead[""], abs=EXACT)


# ---------------------------------------------------------------- adding conditions


def log_h(hand: ByHand, prefix: str, condition: Condition) -> Tensor:
    """log p(c | prefix·v), ``[V]``: the exact auxiliary by hand."""
    return tensor([hand.h(prefix + v, condition) for v in hand.letters]).log()


def both(first: Condition, second: Condition) -> Condition:
    return lambda text: first(text) * second(text)


@every_hand
def test_i11_a06_the_error_of_a_sum_is_the_two_conditions_pmi_given_the_prefix(hand: ByHand) -> None:
    first, second = soft(hand, 5), soft(hand, 6)
    spreads = []
    for prefix in hand.prefixes:
        pmi = tensor(
            [
                math.log(hand.h(x, both(first, second)) / (hand.h(x, first) * hand.h(x, second)))
                for x in (prefix + v for v in hand.letters)
            ]
        )
        h1, h2 = (hand.world.exact_aux_logits(prefix, c) for c in (first, second))
        exact = hand.world.exact_aux_logits(prefix, both(first, second))
        assert same(exact - h1 - h2, pmi)
        lm_logits = tensor(hand.rows[prefix]).log()
        summed = combine(lm_logits, [(1.0, h1), (1.0, h2)]).log_softmax(-1)
        right = hand.next_given(prefix, both(first, second)).log()
        assert same(centred(right - summed), centred(pmi))
        spread = float(pmi.max() - pmi.min())
        assert gap(summed, right) <= spread + EXACT, "no log-probability is off by more than max - min"
        spreads.append(spread)
    assert max(spreads) > 1e-2
    # a witness of the whole text is independent of every other given the text, and yet the sums are wrong
    assert spreads[-1] < EXACT, "right before the end the text is known"


def test_i11_a06_there_is_no_error_where_the_conditions_are_independent_after_every_prefix() -> None:
    row = [0.2, 0.5, 0.3]
    hand = ByHand("abc", 4, rows={prefix: list(row) for prefix in HANDS[0].prefixes})
    first, second = (lambda x: 0.2 + 0.6 * (x[0] == x[1])), (lambda x: 0.1 + 0.7 * (x[2] == x[3]))
    for prefix in hand.prefixes:
        assert same(log_h(hand, prefix, both(first, second)), log_h(hand, prefix, first) + log_h(hand, prefix, second))


def test_i11_the_same_auxiliary_twice_is_the_dial_at_two() -> None:
    lm_logits, aux_logits = normal(4, 6, seed=1), normal(4, 6, seed=2)
    twice = combine(lm_logits, [(1.0, aux_logits), (1.0, aux_logits)])
    assert same(twice, lm_logits + aux_logits + aux_logits)
    assert same(twice, combine(lm_logits, [(2.0, aux_logits)]))


# ---------------------------------------------------------------- what control costs


def divergence(q: dict[str, float], p: dict[str, float]) -> float:
    return math.fsum(mass * math.log(mass / p[x]) for x, mass in q.items() if mass > 0)


def given(q: dict[str, float], event: Callable[[str], bool]) -> tuple[float, dict[str, float]]:
    """P(event) and the distribution given it."""
    kept = {x: mass for x, mass in q.items() if event(x)}
    total = math.fsum(kept.values())
    return total, {x: mass / total for x, mass in kept.items()} if total > 0 else kept


@every_hand
@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_i21_a08_drift_is_the_tax_plus_what_is_wasted_inside_and_outside_the_event(hand: ByHand, weight: float) -> None:
    q, p = text_probs(hand, joint(hand, opinions(hand, seed=40), weight)), hand.p
    alpha, q_in = given(q, lambda x: "c" in x)
    _, q_out = given(q, lambda x: "c" not in x)
    base, p_in = given(p, lambda x: "c" in x)
    _, p_out = given(p, lambda x: "c" not in x)
    wasted = alpha * divergence(q_in, p_in) + (1 - alpha) * divergence(q_out, p_out)
    assert divergence(q, p) == pytest.approx(kl_bernoulli(alpha, base) + wasted, abs=EXACT)
    assert wasted > 1e-3


@pytest.mark.parametrize("alpha", [0.1, 0.6, 0.9, 1.0])
def test_i21_a08_the_cheapest_way_to_a_success_rate_mixes_the_two_conditionals(alpha: float) -> None:
    p = HANDS[0].p
    base, p_in = given(p, lambda x: "c" in x)
    _, p_out = given(p, lambda x: "c" not in x)
    projection = {x: alpha * p_in.get(x, 0.0) + (1 - alpha) * p_out.get(x, 0.0) for x in p}
    assert divergence(projection, p) == pytest.approx(kl_bernoulli(alpha, base), abs=EXACT)
    assert kl_bernoulli(1.0, base) == pytest.approx(-math.log(base), abs=EXACT)


def test_i21_along_the_dial_of_the_exact_auxiliary_only_one_wastes_nothing() -> None:
    hand, efficiency = HANDS[0], {}
    base, _ = given(hand.p, lambda x: "c" in x)
    for weight in (0.25, 0.5, 0.75, 1.0, 1.5):
        exact = {x: log_h(hand, x, holds("c")) for x in hand.prefixes}
        alive = {x: row for x, row in joint(hand, exact, weight).items() if not row.isneginf().all()}
        log_probs = {x: row.log_softmax(-1) for x, row in alive.items()}
        reached = [x for x in hand.texts if all(x[:t] in alive for t in range(hand.length))]
        q = {x: math.exp(along(hand, x, log_probs)) for x in reached}
        alpha, _ = given(q, lambda x: "c" in x)
        efficiency[weight] = kl_bernoulli(min(alpha, 1.0), base) / divergence(q, hand.p)
    assert efficiency[1.0] == pytest.approx(1.0, abs=EXACT)
    assert all(value < 1 - 1e-3 for weight, value in efficiency.items() if weight != 1.0)


# ---------------------------------------------------------------- what a text is worth


@every_hand
def test_i19_the_mean_slor_of_a_models_own_texts_is_its_distance_from_its_letters(hand: ByHand) -> None:
    unigram = {v: hand.mass("", drawn(v)) for v in hand.letters}
    slor = {x: (math.log(p) - sum(math.log(unigram[v]) for v in x)) / hand.length for x, p in hand.p.items()}
    bag = {x: math.prod(unigram[v] for v in x) for x in hand.texts}
    average = math.fsum(p * slor[x] for x, p in hand.p.items())
    assert average == pytest.approx(divergence(hand.p, bag) / hand.length, abs=EXACT)
    assert average > 1e-2
    as_terms = [
        math.fsum(math.log(hand.rows[x[:t]][hand.letters.index(v)] / unigram[v]) for t, v in enumerate(x)) for x in slor
    ]
    assert same(tensor(as_terms) / hand.length, tensor(list(slor.values())))
    flat = ByHand(hand.letters, hand.length, rows={prefix: list(unigram.values()) for prefix in hand.prefixes})
    assert all(math.log(p / bag[x]) == pytest.approx(0.0, abs=EXACT) for x, p in flat.p.items())


@pytest.fixture(scope="module")
def lifting(make_expert: Callable[..., Expert]) -> tuple[Slor, Tensor]:
    """A judge whose log-probability of a token is its unigram's plus a lift, less a constant: solved with a pencil."""
    judge = make_expert(tie_word_embeddings=False)
    slor = Slor(judge, ["the dog", "a z", "e e e e e e e"])
    lift = 0.3 * (torch.arange(len(slor.log_unigram)) % 5)
    model = judge.model
    with torch.no_grad():  # blocks that add nothing, one state for every token
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.model.norm.weight.zero_()[0] = 1.0
        model.lm_head.weight.zero_()[:, 0] = slor.log_unigram + lift
    return slor, lift - (slor.log_unigram + lift).logsumexp(-1)


def test_i19_the_librarys_slor_is_the_mean_lift_whatever_a_token_is_worth_alone(lifting: tuple[Slor, Tensor]) -> None:
    slor, lift = lifting
    texts = ["z", "e", "zz", "ez", "q e z", "The dog xqzj"]
    ids = [slor.judge.tokenizer(text)["input_ids"] for text in texts]
    assert slor(texts) == pytest.approx([float(lift[row].mean()) for row in ids], abs=1e-5)
    alone = {v: slor.judge.tokenizer(v)["input_ids"] for v in "bcdefghijklmnopqrstuvwxyz"}
    e = alone["e"][0]
    twins = [v for v, row in alone.items() if v != "e" and row[0] % 5 == e % 5]
    swapped = slor(["xqe", f"xq{twins[0]}"])
    assert abs(float(slor.log_unigram[e] - slor.log_unigram[alone[twins[0]][0]])) > 1, "one is rare, the other common"
    assert swapped[0] == pytest.approx(swapped[1], abs=1e-5)
    assert slor(["xq"] * 2)[0] == pytest.approx(slor(["xqxq"])[0], abs=1e-5), "length does not count"
