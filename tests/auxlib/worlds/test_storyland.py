"""Storyland's answers against sums over every sentence of small grammars, then the course's own language."""

from __future__ import annotations

import math
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from auxlib.data.assets import data_dir
from auxlib.errors import WorldError
from auxlib.product import kl, kl_bernoulli
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import read_grammar
from auxlib.worlds.storyland import Storyland
from tests.grammars import (
    EXACT,
    LOOP,
    TEXTS,
    Listed,
    Words,
    arcs_of,
    believe,
    close,
    entropy_of,
    grammar_of,
    look_ahead,
)

SMALL, EVEN = list(TEXTS), ["plain", "ambiguous"]


@pytest.fixture(scope="module")
def texts(world: Storyland) -> Tensor:
    return world.sample(2_000, torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_for(small: Listed, prefix: Words) -> tuple[Tensor, Tensor, list[str]]:
    """The prefix once for each word of the language."""
    words = list(small.world.vocabulary[1:])
    return small.encode([prefix] * len(words)), small.world.keyword_ids(words), words


# ---------------------------------------------------------------- against enumeration


@pytest.mark.parametrize("name", SMALL)
def test_sentences_prefixes_and_their_steps_have_the_listed_probabilities(
    listed: Callable[[str], Listed], name: str
) -> None:
    small = listed(name)
    for prefix in small.prefixes:
        ids = small.encode([prefix])
        assert close(small.world.log_prob(ids), torch.tensor([math.log(small.mass(prefix))], dtype=torch.float64))
        assert bool(small.world.is_grammatical(ids)) == (prefix in small.p)
        steps = small.world.next_log_probs(ids)
        assert steps.shape == (1, len(prefix) + 1, len(small.world.vocabulary))
        assert close(steps[0, -1].exp(), small.next_probs(prefix))


@pytest.mark.parametrize("name", SMALL)
def test_i18_the_posterior_is_the_share_of_the_sentences_that_hold_the_keyword(
    listed: Callable[[str], Listed], name: str
) -> None:
    small = listed(name)
    for prefix in small.prefixes:
        ids, keyword_ids, words = rows_for(small, prefix)
        by_hand = [small.mass(prefix, word) / small.mass(prefix) for word in words]
        h = small.world.posterior(ids, keyword_ids)
        assert h.shape == (len(words), len(prefix) + 1)
        assert close(h[:, -1], torch.tensor(by_hand, dtype=torch.float64)), prefix
        log_odds = small.world.keyword_log_odds(ids, keyword_ids)[:, -1]
        for p, odds in zip(by_hand, log_odds.tolist(), strict=True):
            if p in (0.0, 1.0):
                assert odds == (math.inf if p else -math.inf)
            elif p < 1 - 1e-12:
                assert odds == pytest.approx(math.log(p / (1 - p)), abs=1e-8)


@pytest.mark.parametrize("name", SMALL)
def test_i01_i03_i18_the_exact_auxiliary_conditions_each_step_and_its_log_z_is_what_is_known(
    listed: Callable[[str], Listed], name: str
) -> None:
    small = listed(name)
    for prefix in [prefix for prefix in small.prefixes if prefix not in small.p]:
        ids, keyword_ids, words = rows_for(small, prefix)
        joint_logits = small.world.next_log_probs(ids) + small.world.exact_aux_logits(ids, keyword_ids)
        h = small.world.posterior(ids, keyword_ids)
        assert close(joint_logits.logsumexp(-1), h.log())
        for word, row in zip(words, joint_logits[:, -1], strict=True):
            if small.mass(prefix, word) > 1e-8:
                assert close(row.softmax(-1), small.next_probs(prefix, word)), (prefix, word)


@pytest.mark.parametrize("name", SMALL)
def test_i02_the_conditional_steps_multiply_to_the_posterior_over_sentences(
    listed: Callable[[str], Listed], name: str
) -> None:
    small = listed(name)
    pairs = [(x, word) for x, word, p in small.pairs() if p > 1e-8]
    ids, keyword_ids = small.encode([x for x, _ in pairs]), small.world.keyword_ids([word for _, word in pairs])
    joint_logits = small.world.next_log_probs(ids) + small.world.exact_aux_logits(ids, keyword_ids)
    steps = joint_logits.log_softmax(-1)[:, :-1].gather(-1, ids[..., None])[..., 0]
    telescoped = steps.masked_fill(ids == BLANK, 0.0).sum(-1).exp()
    by_hand = [small.p[x] / small.mass((), word) for x, word in pairs]
    assert close(telescoped, torch.tensor(by_hand, dtype=torch.float64))


@pytest.mark.parametrize("text", [*(TEXTS[name] for name in SMALL), LOOP.replace("0.01", "0.6").replace("0.99", "0.4")])
def test_i18_what_is_still_to_come_solves_the_linear_system(text: str, tmp_path: Path) -> None:
    world = Storyland(grammar_of(text, tmp_path))
    source, word, target, probs = world.automaton.arcs
    S = len(world.automaton.step)
    for token in range(1, len(world.vocabulary)):
        says, without = torch.zeros(S, dtype=torch.float64), torch.zeros(S, S, dtype=torch.float64)
        for s, w, t, p in zip(source.tolist(), word.tolist(), target.tolist(), probs.tolist(), strict=True):
            if w == token:
                says[s] += p
            else:
                without[s, t] += p
        by_solving = torch.linalg.solve(torch.eye(S, dtype=torch.float64) - without, says)
        assert close(world.future_keyword_prob[:, token], by_solving), world.vocabulary[token]
    A = torch.zeros(S, S, dtype=torch.float64).index_put((source, target), probs, accumulate=True)
    start = torch.eye(S, dtype=torch.float64)[0]
    assert close(world.automaton.visits, torch.linalg.solve(torch.eye(S, dtype=torch.float64) - A.T, start))
    assert close(world.future_keyword_prob[:, BLANK], torch.zeros(S))
    assert float(world.future_keyword_prob.max()) == 1.0


@pytest.mark.parametrize("name", SMALL)
def test_entropy_and_length_are_sums_over_sentences(listed: Callable[[str], Listed], name: str) -> None:
    small = listed(name)
    mean_length = math.fsum(p * len(x) for x, p in small.p.items())
    assert close(small.world.entropy, entropy_of(list(small.p.values())))
    assert close(small.world.mean_length, mean_length)
    assert close(small.world.entropy_rate, entropy_of(list(small.p.values())) / mean_length)
    assert close(small.world.automaton.visits[small.world.automaton.end], 1.0)
    assert close(small.world.automaton.visits.sum(), mean_length + 1)


@pytest.mark.parametrize("name", SMALL)
def test_the_best_bigram_model_counts_pairs_of_words(listed: Callable[[str], Listed], name: str) -> None:
    small = listed(name)
    V = len(small.world.vocabulary)
    pairs = torch.zeros(V, V, dtype=torch.float64)
    for x, p in small.p.items():
        ids = [BLANK, *(small.world.ids[word] for word in x)]
        for last, following in pairwise(ids):
            pairs[last, following] += p
    bigram = small.world.bigram_log_probs().exp()
    assert close(bigram * pairs.sum(-1, keepdim=True), pairs)
    ends = torch.zeros(V).index_fill(0, torch.tensor(small.world.ids["."]), 1.0)
    assert close(bigram.sum(-1), 1 - ends)


@pytest.mark.parametrize("name", EVEN)
def test_i07_knowing_the_keyword_saves_the_mutual_information(listed: Callable[[str], Listed], name: str) -> None:
    small = listed(name)
    assert small.world.words_per_sentence == 2
    base = {word: small.mass((), word) for word in small.grammar.content}
    p_c: Counter[str] = Counter()
    for _, word, p in small.pairs():
        p_c[word] += p
    for word in small.grammar.content:
        assert close(small.world.keyword_probs[small.world.ids[word]], p_c[word])
    by_hand = math.fsum(p * math.log(p / (small.p[x] * p_c[word])) for x, word, p in small.pairs())
    saved = small.world.entropy - math.fsum(
        p_c[word] * entropy_of([p / base[word] for x, p in small.p.items() if word in x]) for word in base
    )
    assert close(small.world.mutual_information, by_hand)
    assert close(small.world.mutual_information, saved)
    assert 0.1 < by_hand < entropy_of(list(p_c.values()))


def test_i21_the_conditional_pays_the_least_that_control_can_cost(listed: Callable[[str], Listed]) -> None:
    small = listed("ambiguous")
    ids = small.encode(list(small.p))

    def tax(aux_logits: Tensor) -> tuple[float, float]:
        """Accuracy and drift of adding these logits at every step, by a sum over all sentences."""
        steps = (small.world.next_log_probs(ids) + aux_logits).log_softmax(-1)[:, :-1].gather(-1, ids[..., None])
        steps = steps[..., 0].nan_to_num(nan=-math.inf, neginf=-math.inf)  # where the keyword has become impossible
        log_q = steps.masked_fill(ids == BLANK, 0.0).sum(-1)
        assert close(log_q.exp().sum(), 1.0)
        return float(log_q.exp()[holds].sum()), float(kl(log_q, small.world.log_prob(ids)))

    for word in small.grammar.content:
        keyword_ids = small.world.keyword_ids([word]).expand(len(ids))
        holds, h = torch.tensor([word in x for x in small.p]), small.mass((), word)
        accuracy, drift = tax(small.world.exact_aux_logits(ids, keyword_ids))
        assert close(accuracy, 1.0)
        assert close(drift, kl_bernoulli(1.0, h))
        myopic = torch.nn.functional.one_hot(keyword_ids, len(small.world.vocabulary))[:, None]
        for shift in (1.0, 3.0):
            accuracy, drift = tax(shift * myopic)
            assert drift > kl_bernoulli(accuracy, h) + 1e-4


@pytest.mark.parametrize(
    ("name", "word"), [("ambiguous", "garden"), ("ambiguous", "hen"), ("loop", "old"), ("uneven", "cat")]
)
def test_conditional_samples_come_as_often_as_the_conditional_says(
    listed: Callable[[str], Listed], name: str, word: str
) -> None:
    small, n = listed(name), 20_000
    drawn = small.world.sample(n, seeded(), small.world.keyword_ids([word]).expand(n))
    counts = Counter(tuple(text.lower().replace(".", " .").split()) for text in small.world.decode(drawn))
    assert all(word in x for x in counts)
    assert set(counts) <= set(small.p)
    for x in small.p:
        share = small.p[x] * (word in x) / small.mass((), word)
        assert abs(counts[x] / n - share) <= 4 * math.sqrt(share * (1 - share) / n) + 1 / n, x


@pytest.mark.parametrize("name", SMALL)
def test_samples_follow_the_probabilities_and_the_seed(listed: Callable[[str], Listed], name: str) -> None:
    small, n = listed(name), 20_000
    drawn = small.world.sample(n, seeded(1))
    assert torch.equal(drawn, small.world.sample(n, seeded(1)))
    assert bool(small.world.is_grammatical(drawn).all())
    counts = Counter(tuple(text.lower().replace(".", " .").split()) for text in small.world.decode(drawn))
    for x, p in small.p.items():
        assert abs(counts[x] / n - p) <= 4 * math.sqrt(p * (1 - p) / n) + 1 / n, x


# ---------------------------------------------------------------- keywords that are drawn


@pytest.mark.parametrize("name", SMALL)
def test_keywords_are_drawn_evenly_from_the_content_words(listed: Callable[[str], Listed], name: str) -> None:
    small, n = listed(name), 5_000
    for x in sorted(small.p, key=small.p.__getitem__)[-3:]:
        drawn = small.world.draw_keywords(small.encode([x]).expand(n, -1), seeded())
        counts = Counter(small.world.vocabulary[token] for token in drawn.tolist())
        wanted = Counter(small.content(x))
        assert set(counts) == set(wanted)
        for word, count in wanted.items():
            share = count / wanted.total()
            assert abs(counts[word] / n - share) <= 4 * math.sqrt(share * (1 - share) / n)


def drawn_given(small: Listed, word: str) -> dict[Words, float]:
    """p(sentence | this keyword was drawn from it)."""
    joint = {x: p for x, c, p in pooled(small) if c == word}
    return {x: p / math.fsum(joint.values()) for x, p in joint.items()}


def pooled(small: Listed) -> list[tuple[Words, str, float]]:
    """Sentence, keyword and joint probability, each pair once, regardless of repetitions."""
    total: Counter[tuple[Words, str]] = Counter()
    for x, word, p in small.pairs():
        total[x, word] += p
    return [(x, word, p) for (x, word), p in total.items()]


@pytest.mark.parametrize("name", SMALL)
def test_i18b_drawing_is_containing_exactly_when_sentences_have_equally_many_different_words(
    listed: Callable[[str], Listed], name: str
) -> None:
    small, gap, p_c = listed(name), 0.0, Counter()
    mixed: Counter[Words] = Counter()  # what conditioning on containment makes of keywords that were drawn
    for _, word, p in pooled(small):
        p_c[word] += p
    for word in small.grammar.content:
        drawn, base = drawn_given(small, word), small.mass((), word)
        for x in drawn:
            gap = max(gap, abs(drawn[x] - small.p[x] / base))
            mixed[x] += p_c[word] * small.p[x] / base
    adaptation = max(abs(mixed[x] - p) for x, p in small.p.items())
    if name in EVEN:
        assert gap < EXACT
        assert adaptation < EXACT
        assert close(small.world.keyword_probs.sum(), 1.0)
    else:
        assert gap > 1e-3
        assert adaptation > 1e-5
        assert small.world.words_per_sentence is None
        for ask in (lambda: small.world.keyword_probs, lambda: small.world.mutual_information):
            with pytest.raises(WorldError, match="differ in their number of different content words"):
                ask()


def test_i18b_a_drawn_keyword_is_size_biased(listed: Callable[[str], Listed]) -> None:
    small = listed("twice")
    for word in small.grammar.content:
        drawn = math.fsum(p * x.count(word) for x, p in drawn_given(small, word).items())
        holding = math.fsum(p * x.count(word) for x, p in small.p.items()) / small.mass((), word)
        squares, counts = (math.fsum(p * x.count(word) ** k for x, p in small.p.items()) for k in (2, 1))
        assert close(drawn, squares / counts)
        assert drawn > holding + 1e-2


def test_a_content_word_in_some_sentences_only_counts_against_them(tmp_path: Path) -> None:
    plain = TEXTS["plain"]
    same = Storyland(grammar_of(plain, tmp_path))
    loops = Storyland(grammar_of(plain.replace("very <trait> indeed -> end", "very very -> more"), tmp_path))
    fewer = Storyland(grammar_of(plain.replace("very <trait> indeed", "very quiet indeed"), tmp_path))
    assert (same.words_per_sentence, loops.words_per_sentence, fewer.words_per_sentence) == (2, 2, None)
    assert close(loops.keyword_probs.sum(), 1.0)


# ---------------------------------------------------------------- the course's own language


GRAMMAR = tomllib.loads((data_dir() / "storyland" / "grammar.toml").read_text(encoding="utf-8"))


def words_of(table: str, pattern: str = "") -> set[str]:
    classes = {key: text for key, text in GRAMMAR[table].items() if re.search(pattern, key)}
    return {word for text in classes.values() for word in re.findall("[a-z]+", text)}


def test_sentences_have_eight_to_sixteen_words_of_a_vocabulary_of_300_to_500(world: Storyland) -> None:
    assert 300 <= len(world.vocabulary) - 2 <= 500
    source, _, target, probs = world.automaton.arcs
    at, lengths = torch.eye(len(world.automaton.step), dtype=torch.float64)[0], []
    while float(at.sum()) > 0:
        at = torch.zeros_like(at).index_add(0, target, at[source] * probs)
        lengths.append(float(at[world.automaton.end]))
    said = [tokens for tokens, p in enumerate(lengths) if p > 0]  # the full stop is not counted
    assert close(sum(lengths), 1.0)
    assert 8 <= min(said) <= max(said) <= 16
    assert close(world.mean_length, sum((tokens + 1) * p for tokens, p in enumerate(lengths)))


def test_every_sentence_has_six_different_content_words(world: Storyland, texts: Tensor) -> None:
    assert world.words_per_sentence == 6
    assert close(world.keyword_probs.sum(), 1.0)
    content = [row[mask].tolist() for row, mask in zip(texts, world.is_content(texts), strict=True)]
    assert {(len(words), len(set(words))) for words in content} == {(6, 6)}
    assert bool(world.is_grammatical(texts).all())


def test_no_word_is_both_and_every_content_word_can_come(world: Storyland) -> None:
    content = words_of("content")
    rules = " ".join(line for lines in GRAMMAR["states"].values() for line in lines)
    spoken = {
        word for phrase in re.findall(r":(.*?)->", rules) for word in re.sub(r"<.*?>|[{].*?[}]", "", phrase).split()
    }
    spoken |= words_of("function") | set(GRAMMAR["remember"]["who"])
    assert not content & spoken
    assert content | spoken == set(world.vocabulary) - {"<s>", "."}
    assert {world.vocabulary[token] for token in world.content_ids.tolist()} == content
    assert float(world.future_keyword_prob[0, world.content_ids].min()) > 1e-3


def test_verbs_agree_with_whoever_acts(world: Storyland, texts: Tensor) -> None:
    """After "his … and", as after "he", only a singular verb may follow; after "their … and" only a plural one."""
    singular, plural = words_of("content", r"she\|he$"), words_of("content", "^(tend|mend|carry|idle).*they$")
    number = dict.fromkeys(("his", "her", "he", "she"), singular) | dict.fromkeys(("their", "they", "others"), plural)
    assert not singular & plural
    allowed, checked = world.next_log_probs(texts).isfinite(), 0
    for row, may_follow in zip(texts.tolist(), allowed, strict=True):
        agreeing = None
        for t, word in enumerate(world.vocabulary[token] for token in row):
            agreeing = number.get(word, agreeing)
            if agreeing and word in ("and", "he", "she", "they", "others"):
                follows = {world.vocabulary[token] for token in may_follow[t + 1].nonzero()[:, 0].tolist()}
                assert follows & (singular | plural) <= agreeing
                checked += bool(follows & agreeing)
    assert checked > 1000


def test_i07_i21_what_conditioning_saves_is_what_it_costs(world: Storyland) -> None:
    p_c, h = world.keyword_probs[world.content_ids], world.future_keyword_prob[0, world.content_ids]
    assert close(h, 6 * p_c)
    assert close(world.mutual_information, -(p_c * h.log()).sum())
    assert world.mutual_information / world.mean_length < 0.3  # perplexity hardly shows it


def test_a_bigram_model_is_visibly_worse_than_the_truth(world: Storyland, texts: Tensor) -> None:
    bigram, said = world.bigram_log_probs(), texts != BLANK
    last = torch.nn.functional.pad(texts, (1, 0), value=BLANK)[:, :-1]
    nll, truth = -float(bigram[last, texts][said].mean()), -float(world.log_prob(texts).sum() / said.sum())
    assert truth == pytest.approx(world.entropy_rate, abs=0.02)
    assert nll > world.entropy_rate + 0.5


def test_i18_posteriors_agree_with_a_recursion_over_the_grammars_own_places(world: Storyland, texts: Tensor) -> None:
    arcs = arcs_of(read_grammar(data_dir() / "storyland" / "grammar.toml"))
    for row in texts[:6]:
        said = [world.vocabulary[token] for token in row.tolist() if token != BLANK]
        beliefs = [believe(arcs, tuple(said[:t])) for t in range(len(said) + 1)]
        for word in (said[3], "farmer", "moat", "goats", "the"):
            ahead = look_ahead(arcs, word)
            by_hand = [math.fsum(p * ahead(place) for place, p in belief.items()) for belief in beliefs]
            by_hand = [1.0 if word in said[:t] else h for t, h in enumerate(by_hand)]
            h = world.posterior(row[None], world.keyword_ids([word]))[0, : len(by_hand)]
            assert close(h, torch.tensor(by_hand, dtype=torch.float64)), word


def test_i02_i18b_drawing_a_keyword_and_conditioning_gives_the_grammar_back(world: Storyland, texts: Tensor) -> None:
    texts = texts[:40]
    rows = texts.repeat_interleave(6, 0)
    keyword_ids = texts[world.is_content(texts)]
    joint_logits = world.next_log_probs(rows) + world.exact_aux_logits(rows, keyword_ids)
    steps = joint_logits.log_softmax(-1)[:, :-1].gather(-1, rows[..., None])[..., 0]
    given = steps.masked_fill(rows == BLANK, 0.0).sum(-1)  # log p(x | keyword), step by step
    base = world.posterior(rows, keyword_ids)[:, 0]
    assert close(given, world.log_prob(rows) - base.log())
    both = world.keyword_probs[keyword_ids].log() + given
    assert close(both.unflatten(0, (-1, 6)).logsumexp(-1), world.log_prob(texts))
    assert close(both - world.log_prob(rows), torch.full_like(both, -math.log(6)))


def test_conditional_samples_hold_their_keyword_and_no_keyword_favours_a_length(world: Storyland) -> None:
    keyword_ids = world.draw_keywords(world.sample(4_000, seeded(2)), seeded(3))
    drawn = world.sample(4_000, seeded(4), keyword_ids)
    assert bool((drawn == keyword_ids[:, None]).any(1).all())
    assert bool(world.is_grammatical(drawn).all())
    nll = -world.log_prob(drawn)
    assert abs(float(nll.mean()) - world.entropy) < 4 * float(nll.std()) / math.sqrt(len(nll))
    lengths = (drawn != BLANK).sum(1).double()
    assert abs(float(lengths.mean()) - world.mean_length) < 4 * float(lengths.std()) / math.sqrt(len(lengths))


# ---------------------------------------------------------------- words and tokens


def test_words_and_tokens_are_one_to_one(world: Storyland, texts: Tensor) -> None:
    readable = world.decode(texts[:50])
    assert torch.equal(world.encode(readable)[:, : texts.shape[1]], texts[:50, : world.encode(readable).shape[1]])
    assert all(re.fullmatch(r"[A-Z][a-z ]+\.", text) for text in readable)
    assert world.vocabulary[:2] == ("<s>", ".")
    assert world.encode(["", "The King"]).tolist() == [[0, 0], world.keyword_ids(["the", "king"]).tolist()]
    assert world.decode(torch.zeros(1, 0, dtype=torch.long)) == [""]


def test_a_batch_may_have_no_rows_and_a_row_no_words(world: Storyland) -> None:
    empty, no_keywords = world.encode([]), world.keyword_ids([])
    assert empty.shape == world.sample(0).shape == world.sample(0, keyword_ids=no_keywords).shape == (0, 0)
    assert world.posterior(empty, no_keywords).shape == (0, 1)
    assert world.exact_aux_logits(empty, no_keywords).shape == (0, 1, len(world.vocabulary))
    assert world.log_prob(empty).shape == world.is_grammatical(empty).shape == (0,)
    assert world.decode(empty) == []
    start = world.encode([""])
    assert world.next_log_probs(start).shape == (1, 1, len(world.vocabulary))
    assert world.log_prob(start).tolist() == [0.0]
    assert world.is_grammatical(start).tolist() == [False]


def test_a_blank_says_nothing_wherever_it_stands(world: Storyland, texts: Tensor) -> None:
    rows, keyword_ids = texts[:20], world.draw_keywords(texts[:20], seeded())
    blank = torch.zeros(len(rows), 1, dtype=torch.long)
    with_blanks = torch.cat([blank, rows[:, :5], blank, rows[:, 5:], blank], 1)
    keep = [0, *range(2, 7), *range(8, with_blanks.shape[1])]  # 0 … T, without the positions after a blank
    assert close(world.log_prob(with_blanks), world.log_prob(rows))
    assert bool(world.is_grammatical(with_blanks).all())
    assert world.decode(with_blanks) == world.decode(rows)
    assert torch.equal(world.next_log_probs(with_blanks)[:, keep], world.next_log_probs(rows))
    assert torch.equal(world.posterior(with_blanks, keyword_ids)[:, keep], world.posterior(rows, keyword_ids))
    assert bool((world.next_log_probs(rows)[..., BLANK] == -math.inf).all())  # nor is it ever said


def test_what_the_grammar_cannot_say_has_no_probability(world: Storyland) -> None:
    good = "It is the old farmer who feeds the hens while the others dance near the barn."
    texts = [good, good[:-1], good + " It", good.replace("hens", "goats"), good.replace("is the", "the is"), "."]
    ids = world.encode(texts)
    log_probs = world.log_prob(ids)
    assert log_probs.isneginf().tolist() == [False, False, True, True, True, True]
    assert world.is_grammatical(ids).tolist() == [True, False, False, False, False, False]
    assert float(log_probs[0]) == pytest.approx(float(log_probs[1]))  # the full stop was certain


def test_a_wrong_question_gets_a_sentence(world: Storyland) -> None:
    row, word = world.encode(["The farmer"]), world.keyword_ids(["hens"])
    beyond = len(world.vocabulary)
    for ask, words in [
        (lambda: world.keyword_ids(["dragon"]), "'dragon' is not one of the 363 words"),
        (lambda: world.keyword_ids(["<s>"]), "'<s>' is not one of the 363 words"),
        (lambda: world.keyword_ids("hens"), "expected a list of texts, found the text 'hens'"),
        (lambda: world.encode("The farmer"), "expected a list of texts"),
        (lambda: world.encode(["The farmer, who"]), "'farmer,' is not one of"),
        (
            lambda: world.states(world.encode(["The", "The farmer is"])),
            "row 1 has probability zero: 'is' cannot follow 'The farmer'",
        ),
        (lambda: world.next_log_probs(world.encode(["Hens"])), "'hens' cannot follow ''"),
        (lambda: world.posterior(world.encode(["The is"]), word), "probability zero"),
        (lambda: world.exact_aux_logits(world.encode(["The is"]), word), "probability zero"),
        (lambda: world.posterior(row, torch.tensor([beyond])), f"must lie in 1 … {beyond - 1}, found {beyond}"),
        (lambda: world.posterior(row, torch.tensor([BLANK])), "keyword_ids [B] must lie in 1 …"),
        (lambda: world.exact_aux_logits(row, torch.tensor([-1])), "found -1"),
        (lambda: world.posterior(row, word.expand(3)), "one keyword for each of 1 rows, found 3"),
        (lambda: world.keyword_log_odds(row, word[0]), "expected keyword_ids [B] of torch.int64, found [] of"),
        (lambda: world.posterior(row, ["hens"]), "expected keyword_ids [B] of torch.int64, found list"),
        (lambda: world.sample(2, keyword_ids=word), "one keyword for each of 2 rows, found 1"),
        (lambda: world.sample(1, keyword_ids=torch.tensor([BLANK])), "must lie in 1 …"),
        (lambda: world.log_prob(torch.tensor([[beyond]])), f"token_ids [B, T] must lie in 0 … {beyond - 1}"),
        (lambda: world.log_prob(torch.tensor([[-1, 3]])), "found -1 … 3"),
        (lambda: world.is_grammatical(row[0]), "expected token_ids [B, T] of torch.int64, found [2] of torch.int64"),
        (lambda: world.next_log_probs(row.float()), "found [1, 2] of torch.float32"),
        (lambda: world.decode(row[0]), "expected token_ids [B, T]"),
        (lambda: world.decode(-row), "must lie in 0 …"),
        (lambda: world.draw_keywords(world.encode(["The farmer", "It is the"])), "row 1 holds no content word"),
    ]:
        with pytest.raises(WorldError, match=re.escape(words)):
            ask()


def test_a_language_that_hardly_ever_ends_is_refused(tmp_path: Path) -> None:
    text = LOOP.replace("0.01", "0.99999").replace("0.99:", "0.00001:")
    endless = Storyland(grammar_of(text, tmp_path))
    with pytest.raises(WorldError, match="has passed 10000 words"):
        endless.sample(10, seeded())
    with pytest.raises(WorldError, match="too long"):
        _ = endless.entropy


def test_the_wheel_has_a_copy_where_the_library_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auxlib.data import assets

    root = data_dir().parent
    included = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    installed = tmp_path / "site-packages"
    for source, target in included["force-include"].items():
        (installed / target).parent.mkdir(parents=True, exist_ok=True)
        (installed / target).symlink_to(root / source)
    monkeypatch.setattr(assets, "__file__", str(installed / "auxlib" / "data" / "assets.py"))
    assert data_dir() == installed / "auxlib" / "_data"
    assert (data_dir() / "storyland" / "grammar.toml").read_text() == (root / "data/storyland/grammar.toml").read_text()
    assert (data_dir() / "checkpoints" / "storyland-lm" / "model.safetensors").is_file()


def test_the_data_card_shows_what_its_lines_print(capsys: pytest.CaptureFixture[str]) -> None:
    card = (data_dir() / "storyland" / "README.md").read_text(encoding="utf-8")
    code, shown = (
        textwrap.dedent(re.search(rf" *```{kind}\n(.*?)\n *```", card, re.DOTALL)[1]) for kind in ("python", "text")
    )
    exec(code, {})
    assert capsys.readouterr().out.strip() == shown
    assert "CC BY 4.0" in card
