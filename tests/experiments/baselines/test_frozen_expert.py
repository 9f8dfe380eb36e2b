"""What stands beside the frozen expert adds up to its formula, and to nothing at all before it has learned."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from auxlib.frozen import Expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.storyland import Storyland
from experiments.baselines.decoding import DecodingContext, System, sequence_nll, write
from experiments.baselines.frozen_expert import (
    K2T,
    DExperts,
    ExactPosterior,
    FrozenExpertSystem,
    Fudge,
    LexicallyConstrained,
)
from experiments.baselines.prefix import from_scratch
from experiments.claim.setup import load_world
from tests.experiments.baselines import (
    STOP,
    asked,
    bench_beside,
    build,
    farthest,
    logits_of,
    stirred,
    trained_a_little,
    what_is_read,
)
from tests.grammars import TEXTS, Listed, Words, grammar_of


@pytest.fixture(scope="module")
def expert() -> Expert:
    return bench_beside().expert


@pytest.fixture(scope="module")
def lm_logits(expert: Expert) -> Tensor:
    return logits_of(FrozenExpertSystem(expert), what_is_read())


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Listed:
    return Listed(grammar_of(TEXTS["ambiguous"], tmp_path_factory.mktemp("ambiguous")))


def dialled(system: System, weight: float) -> System:
    system.weight = weight
    return system


def questions_of(small: Listed) -> list[tuple[Words, list[str]]]:
    """Every unfinished prefix, with the keywords with which it may go on."""
    unfinished = [prefix for prefix in small.prefixes if prefix not in small.p]
    return [(x, [word for word in small.grammar.content if small.mass(x, word) > 1e-6]) for x in unfinished]


def after(small: Listed, prefix: Words, words: list[str]) -> DecodingContext:
    """What is known after a prefix, once for each of the keywords."""
    read = F.pad(small.encode([prefix] * len(words)), (0, 1))
    return DecodingContext.before(read, small.world.keyword_ids(words))


# ---------------------------------------------------------------- the expert itself


def test_the_expert_alone_is_the_expert(expert: Expert, lm_logits: Tensor) -> None:
    assert farthest(lm_logits, expert.model(what_is_read().token_ids).logits) < 1e-5


@pytest.mark.parametrize("name", ["auxiliary", "untold", "logit_space", "no_boost", "no_flag", "own_trunk"])
def test_i06_a_newborn_auxiliary_is_the_expert_to_the_last_bit(name: str, lm_logits: Tensor) -> None:
    assert torch.equal(logits_of(build(name), what_is_read()), lm_logits)
    assert farthest(logits_of(stirred(build(name)), what_is_read()), lm_logits) > 1e-2


@pytest.mark.parametrize("name", ["auxiliary", "logit_space", "pair", "similar"])
def test_i08_weight_zero_is_the_expert_to_the_last_bit(name: str, lm_logits: Tensor) -> None:
    assert torch.equal(logits_of(dialled(stirred(build(name)), 0.0), what_is_read()), lm_logits)


@pytest.mark.parametrize("name", ["auxiliary", "logit_space", "pair", "similar"])
def test_the_weight_multiplies_what_is_added(name: str, lm_logits: Tensor) -> None:
    once, thrice = (logits_of(dialled(stirred(build(name)), by), what_is_read()) - lm_logits for by in (1.0, 3.0))
    assert farthest(thrice, 3 * once) < 1e-3


@pytest.mark.parametrize("name", ["auxiliary", "own_trunk", "scratch_aided"])
def test_being_told_makes_a_difference_and_not_being_told_none(name: str) -> None:
    reading = what_is_read()
    foreign = DecodingContext(reading.token_ids, reading.keyword_ids.roll(1), reading.seen)
    told, untold = trained_a_little(name), trained_a_little("untold")
    assert farthest(logits_of(told, reading), logits_of(told, foreign)) > 1e-2
    assert torch.equal(logits_of(untold, reading), logits_of(untold, foreign))


def test_an_own_trunk_adds_its_own_logits(lm_logits: Tensor) -> None:
    system = trained_a_little("own_trunk")
    assert farthest(logits_of(system, what_is_read()) - lm_logits, logits_of(system.auxiliary, what_is_read())) < 1e-5


def test_together_all_weights_learn_and_both_halves_share_one_output_matrix() -> None:
    system = stirred(build("scratch_aided"))
    assert system.auxiliary.unembed.weight is system.lm.lm_head.weight is system.lm.model.embed_tokens.weight
    system.loss(what_is_read(), asked()[0]).backward()
    assert all(weight.requires_grad and bool(weight.grad.any()) for weight in system.parameters())


# ---------------------------------------------------------------- a pair (DExperts)


def test_i10_a_pair_of_the_same_model_is_the_expert(expert: Expert, lm_logits: Tensor) -> None:
    one = from_scratch(load_world(), 32, 1, seed=0)
    assert torch.equal(logits_of(DExperts(expert, one, one, weight=2.0), what_is_read()), lm_logits)


def test_i10_a_pair_whose_untold_half_is_the_expert_is_its_told_half(expert: Expert) -> None:
    told = from_scratch(load_world(), 32, 1, seed=0)
    pair = DExperts(expert, told, FrozenExpertSystem(expert))
    assert farthest(logits_of(pair, what_is_read()), logits_of(told, what_is_read())) < 1e-4


def test_each_of_a_pair_learns_by_itself() -> None:
    pair = stirred(build("pair"))
    token_ids, reading = asked()[0], what_is_read()
    pair.loss(reading, token_ids).backward()
    for half in (pair.conditional, pair.unconditional):
        together = [weight.grad.clone() for weight in half.parameters()]
        half.zero_grad()
        half.loss(reading, token_ids).backward()
        assert all(torch.equal(*both) for both in zip(together, (w.grad for w in half.parameters()), strict=True))


# ---------------------------------------------------------------- force and similarity


def test_force_moves_exactly_the_full_stops_mass_until_the_keyword_is_said(expert: Expert, lm_logits: Tensor) -> None:
    reading = what_is_read()
    forced, free = logits_of(LexicallyConstrained(expert), reading).softmax(-1), lm_logits.softmax(-1)
    assert torch.equal(forced[reading.seen], free[reading.seen])
    moved = free.clone()
    for row, t in (~reading.seen).nonzero().tolist():
        moved[row, t, reading.keyword_ids[row]] += moved[row, t, STOP]
        moved[row, t, STOP] = 0.0
    assert farthest(forced, moved) < 1e-6
    assert farthest(forced.sum(-1), torch.ones(forced.shape[:2])) < 1e-5


def test_whoever_is_forced_always_says_the_word(expert: Expert) -> None:
    keyword_ids = asked()[1].repeat(10)
    written, _ = write(LexicallyConstrained(expert), keyword_ids, STOP, torch.Generator().manual_seed(0))
    assert bool((written == keyword_ids[:, None]).any(1).all())


def test_similarity_pushes_the_keyword_hardest_nobody_down_and_then_is_silent(
    expert: Expert, lm_logits: Tensor
) -> None:
    reading = what_is_read()
    push = logits_of(K2T(expert, 3.0), reading) - lm_logits
    assert bool((push[reading.seen] == 0).all())
    wanted = reading.keyword_ids[:, None].expand_as(reading.seen)
    assert torch.equal(push.argmax(-1)[~reading.seen], wanted[~reading.seen])
    assert push[~reading.seen].max(-1).values.tolist() == pytest.approx([3.0] * int((~reading.seen).sum()), abs=1e-4)
    assert float(push.min()) >= 0


def test_similarity_is_the_cosine_of_word_vectors(expert: Expert) -> None:
    rows = expert.unembedding.double()
    for i, j in [(5, 5), (5, 9), (17, 200), (300, 31)]:
        cosine = float(rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm()))
        assert float(K2T(expert).similarity[i, j]) == pytest.approx(max(0.0, cosine), abs=1e-5)


# ---------------------------------------------------------------- a prefix classifier (FUDGE)


class Known(nn.Module):
    """A small world in a language model's clothes: its hidden state is the automaton's, and its logits are exact."""

    def __init__(self, world: Storyland) -> None:
        super().__init__()
        self.world, self.config = world, SimpleNamespace(eos_token_id=world.ids["."])
        self.words = nn.Linear(2, len(world.vocabulary))

    def model(
        self,
        new: Tensor,
        past_key_values: DynamicCache | None = None,
        attention_mask: Tensor | None = None,
        **_: object,
    ) -> SimpleNamespace:
        kept = new[:, None, :, None].double()
        read = kept if past_key_values is None else past_key_values.update(kept, kept, 0)[0]
        read, places = read[:, 0, :, 0].long(), range(read.shape[2] - new.shape[1], read.shape[2])
        may_see = torch.ones(read.shape[1], read.shape[1], dtype=torch.bool).tril()[places]
        may_see = may_see if attention_mask is None else attention_mask[:, 0]
        seen = read[:, None].where(may_see, BLANK).flatten(0, 1)  # a blank moves no automaton
        states = self.world.automaton.walk(seen)[:, -1]
        return SimpleNamespace(last_hidden_state=states.reshape(*new.shape, 1))

    def lm_head(self, states: Tensor) -> Tensor:
        return self.world.automaton.log_probs[states[..., 0]]

    def get_output_embeddings(self) -> nn.Linear:
        return self.words


def test_i01_a_prefix_classifier_with_exact_odds_is_the_exact_posterior(
    listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, V = listed.world, len(listed.world.vocabulary)
    rates = torch.linspace(0.1, 0.9, V, dtype=torch.float64)
    system = Fudge(Expert(Known(world), None, "", ""), rates, width=4, candidates=V)

    def exact(states: Tensor, keyword_ids: Tensor, seen: Tensor) -> Tensor:
        h = world.future_keyword_prob[states[..., 0].clamp(min=0), keyword_ids[:, None]]
        return h.logit() - rates[keyword_ids].logit()[:, None]

    monkeypatch.setattr(system, "odds", exact)
    for prefix, words in questions_of(listed):
        found = logits_of(system, after(listed, prefix, words))[:, -1].softmax(-1)
        for row, word in zip(found, words, strict=True):
            assert farthest(row, listed.next_probs(prefix, word)) < 1e-6, (prefix, word)


@torch.no_grad()
def log_h_by_hand(system: Fudge, read: Tensor, keyword: int, word: int) -> float:
    """log p(keyword in sentence | these words and one more), all read again from the beginning."""
    read = torch.cat([read, torch.tensor([word])])
    if keyword in read.tolist():
        return -math.log1p(math.exp(-20))
    if word == STOP:
        return -20 - math.log1p(math.exp(-20))
    state = system.expert.model(read[None]).last_hidden_state[:, -1:]
    odds = float(system.odds(state, torch.tensor([keyword]), torch.zeros(1, 1, dtype=torch.bool)))
    rate = float(system.base_rates[keyword])
    return -math.log1p(math.exp(-odds - math.log(rate / (1 - rate))))


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_i16_a_classifier_that_carries_its_state_is_one_that_reads_all_again(weight: float, lm_logits: Tensor) -> None:
    system, memory, t = dialled(stirred(build("classifier")), weight), {}, 8
    for end in range(1, t + 1):
        with torch.no_grad():
            found = system(DecodingContext.before(asked()[0][:, :end], asked()[1]), memory)[:, 0]
    reading, log_probs = what_is_read(), lm_logits[:, t - 1].log_softmax(-1)
    said = reading.seen[:, t - 1].tolist()
    for i in (said.index(True), said.index(False), len(said) - 1 - said[::-1].index(False)):
        best = log_probs[i].topk(system.candidates).indices.tolist()
        by_hand, keyword = torch.full_like(log_probs[i], -math.inf), int(reading.keyword_ids[i])
        for word in best:
            log_h = log_h_by_hand(system, reading.token_ids[i, :t], keyword, word)
            by_hand[word] = log_probs[i, word] + weight * log_h
        assert farthest(found[i], by_hand) < 1e-4
        assert int(found[i].isfinite().sum()) == system.candidates


def test_a_classifier_asks_about_many_rows_as_about_one() -> None:
    system, (token_ids, keyword_ids) = trained_a_little("classifier"), asked()
    found = logits_of(system, DecodingContext.before(token_ids[:, :6].repeat(4, 1), keyword_ids.repeat(4)))
    assert len(found) > 64
    assert farthest(found[60:], found[:20]) < 1e-4


@pytest.mark.parametrize("certain", [200.0, -200.0])
def test_however_sure_the_classifier_is_nothing_overflows(
    certain: float, lm_logits: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, reading = build("classifier"), DecodingContext.before(asked()[0][:, :1], asked()[1])
    monkeypatch.setattr(system, "odds", lambda hidden, keyword_ids, seen: torch.full(seen.shape, certain))
    log_h = logits_of(system, reading)[:, 0] - lm_logits[:, 0].log_softmax(-1)
    candidates = log_h.isfinite()
    assert (candidates.sum(1) == system.candidates).all()
    assert -210 < float(log_h[candidates].min()) <= float(log_h[candidates].max()) < 1e-4
    assert (float(log_h[candidates].median()) < -190) == (certain < 0)
    odds = torch.tensor(certain)
    assert bool((odds - (1 + odds.exp()).log()).isinf()) == (certain > 0), "the published form vetoes its favourite"


def test_the_classifier_learns_from_every_prefix_with_an_own_and_a_foreign_word() -> None:
    system, (token_ids, keyword_ids) = stirred(build("classifier")), asked()
    token_ids, keyword_ids = token_ids[:8], keyword_ids[:8].clone()
    keyword_ids[2], keyword_ids[3] = token_ids[3, 4], token_ids[3, 4]  # a neighbour's word that is no foreign one
    reading, yes, no = DecodingContext.before(token_ids, keyword_ids), [], []
    hidden = system.states(reading)

    def p(i: int, t: int, keyword: int, seen: bool) -> float:
        odds = system.odds(hidden[i : i + 1, t : t + 1], torch.tensor([keyword]), torch.tensor([[seen]]))
        return float(odds.detach().double().sigmoid())

    for i, row in enumerate(token_ids.tolist()):
        own, foreign = int(keyword_ids[i]), int(keyword_ids[i - 1])
        for t in [t for t, word in enumerate(row) if word]:
            yes.append(-math.log(p(i, t, own, own in row[:t])))
            no += [] if foreign in row else [-math.log(1 - p(i, t, foreign, False))]
    by_hand = (math.fsum(yes) / len(yes) + math.fsum(no) / len(no)) / 2
    assert system.loss(reading, token_ids).item() == pytest.approx(by_hand, abs=1e-5)


# ---------------------------------------------------------------- the truth


def test_i01_the_truth_is_bayes_rule_over_the_listed_sentences(listed: Listed) -> None:
    truth = ExactPosterior(listed.world)
    for prefix, words in questions_of(listed):
        found = logits_of(truth, after(listed, prefix, words))[:, -1].softmax(-1)
        for row, word in zip(found, words, strict=True):
            assert farthest(row, listed.next_probs(prefix, word)) < 1e-10, (prefix, word)


def test_i02_the_truth_scores_a_sentence_by_the_posterior() -> None:
    world, (token_ids, keyword_ids) = load_world(), asked()
    base = world.posterior(token_ids, keyword_ids)[:, 0]
    assert (
        farthest(-sequence_nll(ExactPosterior(world), token_ids, keyword_ids), world.log_prob(token_ids) - base.log())
        < 1e-9
    )


def test_i18_what_the_truth_writes_is_grammatical_holds_the_word_and_costs_what_it_must() -> None:
    world, keyword_ids = load_world(), asked()[1].repeat(10)
    written, log_q = write(ExactPosterior(world), keyword_ids, STOP, torch.Generator().manual_seed(0))
    assert bool(world.is_grammatical(written).all())
    assert bool((written == keyword_ids[:, None]).any(1).all())
    exact = world.log_prob(written) - world.future_keyword_prob[0, keyword_ids].log()
    assert farthest(log_q.double(), exact) < 1e-4


def test_the_truth_writes_as_often_as_the_posterior_says(listed: Listed) -> None:
    n, word = 4000, "garden"
    keyword_ids = listed.world.keyword_ids([word]).expand(n)
    written, _ = write(
        ExactPosterior(listed.world), keyword_ids, listed.world.ids["."], torch.Generator().manual_seed(0)
    )
    texts = [tuple(text.lower().replace(".", " .").split()) for text in listed.world.decode(written)]
    for x, p in listed.p.items():
        share = p * (word in x) / listed.mass((), word)
        assert abs(texts.count(x) / n - share) <= 4 * math.sqrt(share * (1 - share) / n) + 1 / n, x
