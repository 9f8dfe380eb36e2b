"""The exercises of notebook 00, start here."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from course.exercises.exercise import Answer, exercise, expect, expect_number

# text, keyword, whether it is there, what an answer that says otherwise has overlooked
CASES = (
    ("He hung a lantern there", "lantern", True, "the word stands there in plain sight"),
    ("Two lanterns hung there", "lantern", False, "these letters go on, and “lanterns” is another word"),
    ("He will concatenate them", "cat", False, "letters touch it on both sides"),
    ("The Lantern hung there", "lantern", True, "a capital does not make another word"),
    ("LANTERN", "lantern", True, "capitals do not make another word"),
    ("He hung a lantern.", "lantern", True, "a full stop may touch a word; only letters, digits and _ may not"),
    ("a magic-lantern show", "lantern", True, "a hyphen may touch a word; only letters, digits and _ may not"),
    ("He wrote my_cat there", "cat", False, "an underscore counts as a letter"),
    ("Did he kick the bucket", "kick the bucket", True, "a keyword may hold spaces"),
    ("the version 1x5 failed", "1.5", False, "a dot in a pattern stands for any character; re.escape takes that away"),
    ("I write C++ here", "C++", True, "\\b asks for a letter on one of its sides, and + is none"),
    ("in C++11 it is", "C++", False, "the digit right after it makes another word"),
    ("", "cat", False, "nothing holds no word"),
)


@exercise(
    "0.1",
    hints=(
        "Regular expressions know what a word character is: `\\w`.",
        'In a pattern "+" and "." mean something. `re.escape` takes that away.',
        '`\\b` is not enough after "C++": between "+" and a space there is no word boundary. Ask instead that no word '
        "character stands before, `(?<!\\w)`, and none behind, `(?!\\w)`.",
    ),
)
def contains_word(text: str, keyword: str) -> bool:
    """Whether ``text`` holds ``keyword`` as a whole word, whatever its case."""
    return re.search(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE) is not None


@contains_word.examiner
def _(answer: Answer) -> str:
    for text, keyword, there, overlooked in CASES:
        said = answer(text, keyword)
        expect(isinstance(said, bool), f"say True or False; for {text!r} you returned {type(said).__name__}.")
        expect(said == there, f"{keyword!r} in {text!r}: you say {said}, but {overlooked}.")
    return f"finds whole words and nothing else in {len(CASES)} tricky texts."


@exercise(
    "0.2",
    hints=(
        "At the λ you look for, the joint logits of the two tokens are equal. Write that down as an equation.",
        "lm_logits[token] + λ · aux_logits[token] = lm_logits[rival] + λ · aux_logits[rival]. Bring λ to one side.",
        "How far token is behind, lm_logits[rival] - lm_logits[token], divided by what it gains on the rival for each "
        "unit of λ, aux_logits[token] - aux_logits[rival].",
    ),
)
def weight_of_a_tie(lm_logits: Tensor, aux_logits: Tensor, token: int, rival: int) -> Tensor:
    """The λ at which ``token`` draws level with ``rival``: logits ``[V]`` and ``[V]`` to one number."""
    return (lm_logits[rival] - lm_logits[token]) / (aux_logits[token] - aux_logits[rival])


@weight_of_a_tie.examiner
def _(answer: Answer) -> str:
    lm = torch.tensor([4.0, 1.0, -3.0, 5.5], dtype=torch.float64)
    aux = torch.tensor([-1.5, 0.5, 4.0, 0.2], dtype=torch.float64)
    weight = expect_number(answer(lm, aux, 2, 0), "the weight of a tie")
    behind, gains = lm[0] - lm[2], aux[2] - aux[0]
    chances = (lm.softmax(-1)[0] - lm.softmax(-1)[2]) / (aux.softmax(-1)[2] - aux.softmax(-1)[0])
    known = {
        "the auxiliary speaks about the rival too: λ moves both, and only what token gains *on the rival* counts.": (
            behind / aux[2]
        ),
        "the sign is turned: a token that is behind, and gains, needs a λ above 0.": -behind / gains,
        "the fraction is upside down: what must be made up goes above the line, what each unit of λ gains below.": (
            gains / behind
        ),
        "these are differences of probabilities; the product adds logits, and a tie is a tie of logits.": chances,
        "that is what must be made up, in nats; how much of it does one unit of λ make up?": behind,
        "the rival is token 0, not the language model's favourite: use the index that is handed in.": (
            (lm[3] - lm[2]) / (aux[2] - aux[3])
        ),
    }
    for says, wrong in known.items():
        expect(abs(weight - float(wrong)) > 1e-9, f"λ = {weight:.3f}: {says}")
    apart = float((lm + weight * aux)[0] - (lm + weight * aux)[2])
    expect(abs(apart) < 1e-9, f"at your λ = {weight:.3f} the two joint logits are still {abs(apart):.3f} apart.")
    lm, aux = torch.randn(2, 100, 6, dtype=torch.float64)
    for row_lm, row_aux in zip(lm, aux, strict=True):
        weight = expect_number(answer(row_lm, row_aux, 1, 4), "the weight of a tie")
        apart = abs(float((row_lm + weight * row_aux)[1] - (row_lm + weight * row_aux)[4]))
        expect(apart < 1e-6, f"right once; on random logits the two are {apart:.3f} apart at your λ = {weight:.3f}.")
    return "the two joint logits are equal on 100 random rows; a constant on all logits changes nothing."
