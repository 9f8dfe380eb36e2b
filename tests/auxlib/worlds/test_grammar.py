"""A grammar file has exactly the sentences listed by hand; every fault in a file is named."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from auxlib.errors import WorldError
from auxlib.worlds.grammar import LAST, read_grammar
from auxlib.worlds.storyland import Storyland
from tests.grammars import AMBIGUOUS, EXACT, LOOP, PLAIN, TEXTS, Listed, believe, close, grammar_of

BY_HAND = """
[remember]
who = { she = 0.25, they = 0.75 }
[states]
start = ["0.4: at noon <hero {who}> <does {who}> and {who} -> rest {who}", "0.6: <hero she> naps -> end"]
"rest {who}" = ["1: <does {who}> -> end"]
[function]
"does she" = "sings"
"does they" = "sing, go home*4"
[content]
"hero she|they" = "cook*3, poet"
"""

GIRL, CROWD = 0.4 * 0.25, 0.4 * 0.75
SENTENCES = {
    "at noon cook sings and she sings .": GIRL * 0.75,
    "at noon poet sings and she sings .": GIRL * 0.25,
    "at noon cook sing and they sing .": CROWD * 0.75 * 0.04,
    "at noon cook sing and they go home .": CROWD * 0.75 * 0.16,
    "at noon cook go home and they sing .": CROWD * 0.75 * 0.16,
    "at noon cook go home and they go home .": CROWD * 0.75 * 0.64,
    "at noon poet sing and they sing .": CROWD * 0.25 * 0.04,
    "at noon poet sing and they go home .": CROWD * 0.25 * 0.16,
    "at noon poet go home and they sing .": CROWD * 0.25 * 0.16,
    "at noon poet go home and they go home .": CROWD * 0.25 * 0.64,
    "cook naps .": 0.6 * 0.75,
    "poet naps .": 0.6 * 0.25,
}


def test_a_file_means_the_sentences_that_one_would_write_by_hand(tmp_path: Path) -> None:
    listed = Listed(grammar_of(BY_HAND, tmp_path))
    said = {" ".join(x): p for x, p in listed.p.items()}
    assert said == pytest.approx(SENTENCES, abs=EXACT)
    assert listed.grammar.content == ("cook", "poet")
    assert listed.grammar.name == "small.toml"
    log_probs = torch.tensor([*SENTENCES.values()], dtype=torch.float64).log()
    assert close(listed.world.log_prob(listed.world.encode(list(SENTENCES))), log_probs)


def test_a_variable_is_drawn_once_for_each_phrase_and_forgotten_after_it(tmp_path: Path) -> None:
    forgets = 'start = ["1: <hero {who}> -> next"]\nnext = ["1: <does {who}> -> end"]\n'
    keeps = forgets.replace("next", '"next {who}"', 2).replace('-> "next {who}"', "-> next {who}")
    tail = (
        '[function]\n"does she" = "sings"\n"does they" = "sing"\n[content]\n"hero she" = "cook"\n"hero they" = "cooks"'
    )
    head = "[remember]\nwho = { she = 0.25, they = 0.75 }\n[states]\n"
    listed = Listed(grammar_of(head + forgets + tail, tmp_path))
    assert len({arc.source for arc in listed.grammar.arcs}) == 3  # nothing is kept that nothing depends on
    said = {" ".join(x): p for x, p in listed.p.items()}
    assert said == pytest.approx(
        {"cook sings .": 1 / 16, "cook sing .": 3 / 16, "cooks sings .": 3 / 16, "cooks sing .": 9 / 16}
    )
    said = {" ".join(x): p for x, p in Listed(grammar_of(head + keeps + tail, tmp_path)).p.items()}
    assert said == pytest.approx({"cook sings .": 1 / 4, "cooks sing .": 3 / 4})


def test_a_phrase_of_two_content_words_says_both(tmp_path: Path) -> None:
    text = PLAIN.replace('"cat*2, dog, owl"', '"cat*2, guide dog, barn owl"')
    listed = Listed(grammar_of(text, tmp_path))
    assert close(listed.mass(("the", "old", "guide", "dog")), 0.6 * 0.75 / 4)
    assert set(listed.grammar.content) == {"old", "red", "cat", "guide", "dog", "barn", "owl"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_probabilities_leave_every_place_and_every_state_whole(text: str, tmp_path: Path) -> None:
    listed = Listed(grammar_of(text, tmp_path))
    assert close(math.fsum(listed.p.values()), 1.0)
    for place, steps in listed.arcs.items():
        assert close(math.fsum(prob for _, prob, _ in steps), float(place != LAST)), place
    automaton = listed.world.automaton
    totals = automaton.probs.sum(-1)
    assert close(totals, torch.ones_like(totals).index_fill(0, torch.tensor(automaton.end), 0.0))


def test_what_is_ambiguous_has_arcs_that_share_a_word_and_what_is_plain_has_none(tmp_path: Path) -> None:
    def shares(text: str) -> bool:
        arcs = Listed(grammar_of(text, tmp_path)).arcs
        return any(len({word for word, _, _ in steps}) < len(steps) for steps in arcs.values())

    assert not shares(PLAIN)
    assert shares(AMBIGUOUS)
    assert shares(LOOP)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_automaton_is_the_forward_filter(text: str, tmp_path: Path) -> None:
    listed = Listed(grammar_of(text, tmp_path))
    for prefix in listed.prefixes:
        belief = believe(listed.arcs, prefix)
        by_hand = torch.zeros(len(listed.world.vocabulary), dtype=torch.float64)
        for place, p in belief.items():
            for said, prob, _ in listed.arcs[place]:
                by_hand[listed.world.ids[said]] += p * prob
        assert close(listed.world.next_log_probs(listed.encode([prefix]))[0, -1].exp(), by_hand), prefix
        assert close(by_hand, listed.next_probs(prefix)), prefix


def test_a_grammar_that_remembers_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxlib.worlds.automaton.MAX_STATES", 5)
    grammar = grammar_of(AMBIGUOUS, tmp_path)
    with pytest.raises(WorldError, match=r"small\.toml: more than 5 beliefs"):
        Storyland(grammar)


# ---------------------------------------------------------------- what is wrong with a file


START = 'start = ["0.6: the <trait> <pet> <does> -> end", "0.4: a <pet> who <does> is -> more"]'
MORE = 'more = ["0.7: <trait> -> end", "0.3: very <trait> indeed -> end"]'
FAULTS = [
    ("not TOML", PLAIN.replace("[states]", "[states"), "not readable as a grammar"),
    ("no table", PLAIN.replace("[function]\n", "[functions]\n"), "the table [function] is missing"),
    ("a value for a table", "content = 3\n" + PLAIN.replace("[content]", "[contents]"), "table [content] is missing"),
    ("no start", PLAIN.replace("start =", "begin ="), "[states] start is missing"),
    ("too little", PLAIN.replace("0.6:", "0.5:"), "[states] start: the probabilities sum to 0.9, not to one"),
    ("nearly one", PLAIN.replace("0.6:", "0.5999999:"), "sum to 0.9999999, not to one"),
    ("too much", AMBIGUOUS.replace("town = 0.4", "town = 0.5"), "[remember] place: the probabilities sum to 1.1"),
    ("no rule", PLAIN.replace(MORE, "more = []"), "[states] more: the probabilities sum to 0"),
    ("no value", AMBIGUOUS.replace("{ glad = 0.7, sad = 0.3 }", "{}"), "[remember] mood: the probabilities sum to 0"),
    ("not a number", AMBIGUOUS.replace("town = 0.4", "town = nan"), "[remember] place: every probability must be"),
    ("negative", AMBIGUOUS.replace("farm = 0.6, town = 0.4", "farm = 1.6, town = -0.6"), "must be a number above zero"),
    ("infinite", AMBIGUOUS.replace("town = 0.4", "town = inf"), "sum to inf"),
    ("never", PLAIN.replace("0.6:", "1:").replace("0.4:", "0:"), "[states] start: every probability must be"),
    ("true", AMBIGUOUS.replace("farm = 0.6, town = 0.4", "farm = true"), "[remember] place: expected values with"),
    ("negative rule", PLAIN.replace("0.6:", "-0.6:"), "[states] start: expected `PROBABILITY: PHRASE -> STATE`, found"),
    ("two points", PLAIN.replace("0.6:", "0.6.0:"), "expected `PROBABILITY: PHRASE -> STATE`, found '0.6.0: the"),
    ("no arrow", PLAIN.replace("indeed -> end", "indeed"), "[states] more: expected `PROBABILITY: PHRASE -> STATE`"),
    ("no phrase", PLAIN.replace("<trait> -> end", " -> end"), "[states] more: expected `PROBABILITY"),
    ("open bracket", PLAIN.replace("the <trait>", "the <trait"), "[states] start: expected `PROBABILITY"),
    ("empty bracket", PLAIN.replace("very", "<>"), "[states] more: expected `PROBABILITY"),
    ("unknown class", PLAIN.replace("very <trait>", "very <tint>"), "there is no class <tint>"),
    ("unknown variable", AMBIGUOUS.replace("<does {mood}> likes", "<does {mod}> likes"), "mentions {mod}, which [rem"),
    (
        "unknown variable in a state",
        PLAIN.replace("-> more", "-> more {mod}").replace("more =", '"more {mod}" ='),
        "'more {mod}' mentions {mod}, which [remember] does not list",
    ),
    ("unknown state", PLAIN.replace("-> more", "-> less"), "a rule leads to 'less', and there is no such state"),
    ("unknown value", AMBIGUOUS.replace("-> rest {place}", "-> rest moon"), "leads to 'rest moon glad', and there"),
    ("unreachable", PLAIN.replace("-> more", "-> end"), "[states] more: no rule leads there from 'start'"),
    (
        "endless",
        PLAIN.replace("<trait> -> end", "<trait> -> more").replace("indeed -> end", "indeed -> more"),
        "[states] more: a sentence that comes here never ends",
    ),
    ("all endless", PLAIN.replace("-> end", "-> start"), "never ends"),
    ("both", PLAIN.replace("sings*2", "sings*2, owl"), "'owl' is a function word and stands under [content]"),
    ("both, in a rule", PLAIN.replace("very", "old"), "'old' is a function word and stands under [content]"),
    ("both, as a value", AMBIGUOUS.replace("barn*2", "farm*2"), "'farm' is a function word and stands under [content]"),
    ("empty class", PLAIN.replace('"sings*2, is heard"', '""'), "class 'does': expected `word, word*3, two words`"),
    ("blank word", PLAIN.replace('"sings*2, is heard"', '"sings, , is"'), "class 'does': expected `word"),
    ("weight zero", PLAIN.replace("cat*2", "cat*0"), "class 'pet': expected `word, word*3, two words`, found 'cat*0"),
    ("weight alone", PLAIN.replace("cat*2", "*2"), "class 'pet': expected"),
    ("half a weight", PLAIN.replace("cat*2", "cat*2.5"), "class 'pet': expected"),
    ("twice", PLAIN + '"pet|bird" = "hen"\n', "class <pet> is listed twice"),
    ("twice, in two tables", PLAIN + 'does = "swims"\n', "class <does> is listed twice"),
    (
        "capital",
        PLAIN.replace("cat*2", "Cat*2"),
        "class 'pet' contains 'Cat'; words consist of lower-case letters only",
    ),
    ("full stop in a rule", PLAIN.replace("very", "very ."), "[states] more contains '.'; words consist of lower"),
    ("digit", PLAIN.replace("very", "a1"), "[states] more contains 'a1'; words"),
    ("unused content", PLAIN.replace("[content]", "") + '[content]\ntrain = "late"\n', "no sentence contains"),
    ("no content", PLAIN.replace("[content]", "") + "[content]\n", "no sentence contains a word of [content]"),
    ("a number for a class", PLAIN.replace('"cat*2, dog, owl"', "3"), "[content] pet: expected words, `"),
    ("a list for a class", PLAIN.replace('"cat*2, dog, owl"', '["cat", "dog"]'), "found ['cat', 'dog']"),
    ("a number for a state", PLAIN.replace(MORE, "more = 3"), "[states] more: expected rules, `["),
    ("a text for a state", PLAIN.replace(MORE, 'more = "1: <trait> -> end"'), "[states] more: expected rules"),
    ("a number for a rule", PLAIN.replace(MORE, "more = [1]"), "[states] more: expected rules"),
    ("a number for a variable", AMBIGUOUS.replace("{ glad = 0.7, sad = 0.3 }", "1"), "[remember] mood: expected"),
    ("a text for a probability", AMBIGUOUS.replace("0.7", '"0.7"'), "[remember] mood: expected values with prob"),
]


@pytest.mark.parametrize(("text", "words"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_whatever_is_wrong_with_a_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=re.escape(words)) as error:
        grammar_of(text, tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'small.toml'}: ")


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "bytes.toml", tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(WorldError, match=re.escape(f"{path}: not readable as a grammar")):
            read_grammar(path)


def test_names_of_states_may_hold_any_sign(tmp_path: Path) -> None:
    text = PLAIN.replace("more =", '"(more+?" =').replace("-> more", "-> (more+?")
    assert Listed(grammar_of(text, tmp_path)).p == Listed(grammar_of(PLAIN, tmp_path)).p
