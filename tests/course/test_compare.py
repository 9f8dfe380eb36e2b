"""Outputs of two runs: numbers compare as numbers, all else to the letter, and each way to differ is found."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import nbformat
import pytest
from nbformat import NotebookNode

from auxlib.errors import CourseError
from course.compare import close, differences, same_line, sanitizer, stated_tolerance
from course.config import load_course
from course.outputs import tags
from tests.course.conftest import ROOT

COURSE = load_course(ROOT)
NOISE = re.compile(r"\de-(1[2-9]|[2-9]\d)\b")
PRESENT = [row.slug for row in COURSE.notebooks if COURSE.built(row.slug).is_file()]


def _stream(text: str, name: str = "stdout") -> NotebookNode:
    return nbformat.v4.new_output("stream", text=text, name=name)


def _rich(**data: object) -> NotebookNode:
    kinds = {"plain": "text/plain", "html": "text/html", "markdown": "text/markdown", "png": "image/png"}
    named = {kinds.get(kind, "application/json"): content for kind, content in data.items()}
    return nbformat.v4.new_output("display_data", data=named)


def _cell(*stated: str) -> NotebookNode:
    return nbformat.v4.new_code_cell("", id="a", metadata={"tags": ["nbval-check-output", *stated]})


def test_a_tie_is_where_the_rule_comes_from() -> None:
    just_below, just_above = math.nextafter(0.3125, 0), math.nextafter(0.3125, 1)
    assert (f"{just_below:.3f}", f"{just_above:.3f}") == ("0.312", "0.313")
    assert same_line(f"h {just_above:.3f}", f"h {just_below:.3f}")


@pytest.mark.parametrize(
    ("committed", "fresh"),
    [
        ("0.312", "0.313"),
        ("before the first word 0.312", "before the first word 0.313"),
        ("-0.574 → -0.575", "-0.575 → -0.574"),
        ("−0.41", "−0.42"),  # a typographic minus
        ("-0.000", "0.000"),
        ("sum -0.000   p", "sum  0.000   p"),  # padded by one
        ("+0.001", "+0.000"),
        ("1.17%", "1.18%"),
        ("1.6e+03", "1.61e+03"),  # %.3g drops zeros: the finer digit counts
        ("0.3", "0.301"),
        ("1", "0.999"),
        ("1e+03", "999.9"),
        ("1.5e-05", "1.6e-05"),
        ("12,345.6", "12,345.7"),
        ("p  9.99 nats", "p 10.00 nats"),
        ("p 9.99   nats", "p 10.00  nats"),
        ("|  9.99 | 10.00 |", "| 10.00 |  9.99 |"),
        ("[0.999, 1.000]", "[1.000, 0.999]"),
        ("a    nan  e    nan", "a    nan  e    nan"),
        ("-inf", "-inf"),
        ("<td>0.312</td>", "<td>0.313</td>"),
        ("from 0.0762 at 1.78 to 5.", "from 0.0763 at 1.78 to 5."),
        ("0.25-0.75", "0.26-0.74"),  # a range, no sign
        ("5.0s", "5.1s"),
        ("-0 of 3", "0 of 3"),
    ],
)
def test_what_agrees(committed: str, fresh: str) -> None:
    assert same_line(committed, fresh)
    assert same_line(fresh, committed)


@pytest.mark.parametrize(
    ("committed", "fresh"),
    [
        ("0.311", "0.313"),  # two units
        ("0.312", "0.3131"),  # more than a unit of the finer digit
        ("0.3", "0.35"),
        ("0.001", "-0.001"),
        ("1.17%", "1.17"),
        ("1.5e-05", "1.5e-04"),
        ("1e+03", "2e+03"),
        ("1e+03", "500"),
        ("1e-3", "2e-3"),
        ("12,345.6", "12,346.6"),
        ("value 0.313", "price 0.313"),
        ("value 0.313", "value 0.313."),
        ("1000 texts", "1001 texts"),
        ("1,000 texts", "1,001 texts"),
        ("states (3, 5)", "states (3, 6)"),
        ("16% of pairs", "15% of pairs"),
        ("0", "0.002"),
        ("0.312 0.5", "0.312"),
        ("0.312", ""),
        ("0.312", "nan"),
        ("inf", "0.312"),
        ("inf", "-inf"),
        ("nan", "inf"),
        ("a 0.312", "a  0.312"),  # as long as before: the space is no padding
        ("9.99a b", "10.00a  b"),
        ("torch 2.13.0", "torch 2.13.1"),
        ("arXiv 2006.1.5", "arXiv 2006.1.6"),
        ("layer3.5", "layer3.6"),
        ("fingerprint 118b8ed3e19cfd03", "fingerprint 118b8ed3e19cfd04"),
        ("fingerprint 1234567890123e12", "fingerprint 1234567890124e12"),
        ("True 0.5", "False 0.5"),
    ],
)
def test_what_differs(committed: str, fresh: str) -> None:
    assert not same_line(committed, fresh)
    assert not same_line(fresh, committed)


def test_a_stated_tolerance_holds_for_each_number_and_not_beyond() -> None:
    tolerance = stated_tolerance(_cell("tolerance:0.02"))
    assert tolerance == Decimal("0.02")
    assert close("0.300", "0.320", tolerance)
    assert not close("0.300", "0.321", tolerance)
    assert close("5.3", "5.4", tolerance), "never less than one unit of the last digit"
    assert not close("30", "31", tolerance)
    assert same_line("12 of 400, 3.00", "14 of 398, 5.00", Decimal(2))
    assert not same_line("12 of 400, 3.00", "15 of 398, 5.00", Decimal(2))
    assert not same_line("twelve 0.3", "nine 0.3", Decimal(2)), "words stay to the letter"
    assert stated_tolerance(_cell()) == 0


@pytest.mark.parametrize("stated", [["some"], [""], ["0"], ["-0.1"], ["inf"], ["nan"], ["0.1", "0.2"]])
def test_another_tolerance_is_an_error(stated: list[str]) -> None:
    with pytest.raises(CourseError, match=r"cell a: the tags state the tolerance .*; expected one positive number"):
        stated_tolerance(_cell(*(f"tolerance:{value}" for value in stated)))


def test_each_kind_of_output_is_compared_and_pictures_are_not() -> None:
    committed = [
        _stream("a 0.312\nb 1\n"),
        _rich(plain="0.312", html="<b>0.312</b>", png="AAAA"),
        _rich(markdown="| 0.312 |"),
        _stream("w 0.5", "stderr"),
        _rich(json={"x": 1}),
    ]
    tied = [
        _stream("a 0.313\n"),
        _rich(plain="0.313", html="<b>0.313</b>", png="BBBB"),
        _stream("b 1\n"),  # a kernel may send a stream in pieces
        _rich(markdown="| 0.313 |"),
        _stream("w 0.6", "stderr"),
        _rich(json={"x": 1}),
    ]
    assert differences(committed, tied) == []
    other = [
        _stream("a 0.312\nb 2\nc"),
        _rich(plain="0.314", html="<i>0.312</i>", png="AAAA"),
        _rich(markdown="| 0.310 |"),
        _stream("v 0.5", "stderr"),
        _rich(json={"x": 2}),
    ]
    assert differences(committed, other) == [
        "stdout: committed 'b 1', now 'b 2'",
        "stdout: committed '', now 'c'",
        "text/plain: committed '0.312', now '0.314'",
        "text/html: committed '<b>0.312</b>', now '<i>0.312</i>'",
        "text/markdown: committed '| 0.312 |', now '| 0.310 |'",
        "stderr: committed 'w 0.5', now 'v 0.5'",
        "application/json: committed {'x': 1}, now {'x': 2}",
    ]


def test_a_missing_line_output_or_kind_is_found() -> None:
    assert differences([_stream("a\nb")], [_stream("a")]) == ["stdout: committed 'b', now no such line"]
    assert differences([_rich(plain="1"), _rich(plain="1")], [_rich(plain="1")]) == [
        "text/plain: 2 outputs committed, 1 now"
    ]
    assert differences([], [_stream("w", "stderr")]) == ["stderr: 0 outputs committed, 1 now"]
    error, same, other = (
        nbformat.v4.new_output("error", ename="E", evalue=said, traceback=[place])
        for said, place in (("no", "/a"), ("no", "/b"), ("yes", "/a"))
    )
    assert differences([error], [same]) == []
    assert differences([error], [other]) == ["error: committed 'E: no', now 'E: yes'"]


def test_what_may_differ_is_replaced_first() -> None:
    sanitize = sanitizer(ROOT / "tests" / "sanitize.cfg")
    assert sanitize("<object at 0x7f0012345678> of ipykernel_12") == "<object at 0xADDRESS> of ipykernel_PID"
    one, other = [_stream("at 0x7f0012345678: 0.3")], [_stream("at 0x7fffff345678: 0.4")]
    assert differences(one, other, sanitize=sanitize) == []
    assert differences(one, other) != []


@pytest.mark.parametrize("slug", PRESENT)
def test_tolerances_of_the_course_are_numbers_on_compared_cells(slug: str) -> None:
    for cell in nbformat.read(COURSE.built(slug), 4).cells:
        assert not stated_tolerance(cell) or "nbval-check-output" in tags(cell), cell.id


@pytest.mark.parametrize("slug", PRESENT)
def test_no_compared_cell_prints_rounding_noise(slug: str) -> None:
    """A number such as 4e-16 has no digit that another machine repeats; print ``error < 1e-12`` instead."""
    cells = [cell for cell in nbformat.read(COURSE.built(slug), 4).cells if "nbval-check-output" in tags(cell)]
    said = [output.get("text") or output.data.get("text/plain", "") for cell in cells for output in cell.outputs]
    assert [text for text in said if NOISE.search(text)] == []
    assert NOISE.search("largest difference 4e-16")
    assert not NOISE.search("2.5e-09 of 1e-3")
