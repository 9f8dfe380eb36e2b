"""Every term that a notebook prints in bold is in the glossary, and every entry is a term that its notebook uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.course.docs.reading import COURSE, bold, notebooks_linked, page, prose

# Bold text that is no term of the field, and why. What is not here and not in the glossary fails.
NO_TERM = {
    "calls on the reader to do something": "Now you | Before you run | Before you look",
    "emphasis on a word of the sentence": (
        "not | is | so far | per text | once | plus | before | same | all | its own | new | exactly one | what | one | "
        "order | fixed | seen | add | sum | row | by name | over the tokens | summed | not normalised | examples | "
        "share | start | end | network | afresh | draw afresh | drop | names | ours | sources | operations | bytes | "
        "float32 | variance | linear system | multiplying | forbids | Accuracy | dataset | nothing | joint | length | "
        "only while it is missing | one number per position | without a cache | tokens a second | "
        "constant per prefix | another sentence's word | step in the space of the expert's thoughts | "
        "a | b | c | d | e | f | g"
    ),
    "a step of a rule that the text spells out": "weigh | move | divide | add the logits | average the probabilities",
    "stands for the rule that it sums up": "OR | AND | One order | parameters / 2N | adaptation + conditioning",
    "a sentence, or most of one, to be remembered": (
        "logits are added | a logit means something only up to a constant | cannot feel the constant | "
        "Loss = entropy + KL. | it is Bayes' rule | what came, minus what the model expected | "
        "Maximum likelihood aims at the very expert that we computed by hand. | Telling the auxiliary what matters | "
        "Zero at the end, and only there | The gap is the KL | "
        "Perplexity cannot see control; keyword accuracy has to be counted | The shift by one is made here, once | "
        "The exact optimum cannot even be written down without one bit more: has the word been seen? | "
        "An undertrained baseline is the cheapest way to a large factor | numbers are fixed before the run | "
        "Development chooses, test judges once | final hidden states are a dataset | Never cache logits. | "
        "given a word, write a short sentence that uses it. | the same for every next word | Adding is exact | "
        "float32 before they are added | what happens to the scores when a token is not there? | moved its own way | "
        "Labels are vectors that look at a frozen text. | the auxiliary is the same in all runs, and it is right. | "
        "If the end task is known, let it say what else is worth learning | "
        "A loss that goes to zero on a language is not a triumph."
    ),
    "a row, a bar or a mark of what stands beside it": (
        "foreign word | trained on shuffled words | Forced | expert alone | with the auxiliary's aids | "
        "with a trunk of its own | random start | weaker expert | Cheaper sentences | Cached states | "
        "fewer sentences | miss | starred | line on the mean | handed on by one | λ = 0 | Future | Twice | Overfit | "
        "smoke detector | trips"
    ),
    "a figure that is asked for": "98 % | 96 % | 2 % | a twentieth | A twentieth of the operations",
}
NUMBERS = re.compile(r"\d+\.|Exercise \d+\.\d+ · .+")  # questions of a quiz, and titles of exercises


@dataclass(frozen=True)
class Entry:
    """One entry: its names and the notebook that introduces it."""

    names: tuple[str, ...]
    notebook: str


def entries(text: str) -> list[Entry]:
    """The entries of a glossary: ``- **name**, **other name**: what it is. [notebook 02](…)``."""
    items = re.findall(r"^- (\*\*.+?\*\*): (.+?)(?=\n- |\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    found = [(bold(head), notebooks_linked(rest)) for head, rest in items]
    return [Entry(tuple(names), notebook) for names, (notebook,) in found]


def excused() -> list[str]:
    """All of NO_TERM."""
    return [item for text in NO_TERM.values() for item in text.split(" | ")]


def missing(glossary: str, texts: dict[str, str]) -> dict[str, str]:
    """Bold text that is neither in a glossary nor excused, each with the first notebook that prints it."""
    known = {_plain(name) for entry in entries(glossary) for name in entry.names} | set(map(_plain, excused()))
    found = {}
    for slug, text in texts.items():
        for said in bold(text):
            if not NUMBERS.fullmatch(said) and _plain(said) not in known:
                found[said] = slug
                known.add(_plain(said))
    return found


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {row.slug: prose(row) for row in COURSE.notebooks}


def test_every_term_in_bold_is_explained(texts: dict[str, str]) -> None:
    assert missing(page("glossary.md"), texts) == {}


def test_a_term_that_nobody_explains_is_named_with_its_notebook(texts: dict[str, str]) -> None:
    new = {slug: f"{text}\nThis is **slice sampling**." for slug, text in texts.items()}
    assert missing(page("glossary.md"), new) == {"slice sampling": next(iter(texts))}
    without = "\n".join(line for line in page("glossary.md").splitlines() if not line.startswith("- **veto**"))
    assert missing(without, texts) == {"veto": COURSE.select(["02"])[0].slug}


def test_nothing_is_excused_that_no_notebook_prints(texts: dict[str, str]) -> None:
    printed = {_plain(said) for text in texts.values() for said in bold(text)}
    assert [item for item in excused() if _plain(item) not in printed] == []


def test_nothing_is_excused_that_the_glossary_explains() -> None:
    names = {_plain(name) for entry in entries(page("glossary.md")) for name in entry.names}
    assert [item for item in excused() if _plain(item) in names] == []


def test_each_entry_is_used_by_the_notebook_that_introduces_it(texts: dict[str, str]) -> None:
    for entry in entries(page("glossary.md")):
        said = _even(texts[entry.notebook])
        stems = [_stem(name) for name in entry.names]
        assert any(stem in said for stem in stems), f"{entry.notebook} does not say {' or '.join(stems)}"


def test_entries_stand_in_order_and_once() -> None:
    names = [name.casefold() for entry in entries(page("glossary.md")) for name in entry.names]
    first = [entry.names[0].casefold() for entry in entries(page("glossary.md"))]
    assert first == sorted(first)
    assert len(names) == len(set(names))
    assert len(first) == page("glossary.md").count("\n- ")


def _plain(text: str) -> str:
    """A term as it is compared: one and many are the same, and so are capitals and a full stop."""
    return _stem(text.rstrip("."))


def _stem(text: str) -> str:
    return _even(text).removesuffix("s")


def _even(text: str) -> str:
    return " ".join(text.replace("*", "").replace("`", "").casefold().split())
