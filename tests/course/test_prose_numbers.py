"""The prose says what the run printed: keys are looked up, numbers without a key are found, and both checks bite."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from course.config import load_course
from course.prose_numbers import claims, mismatched_numbers, unkeyed
from tests.course.conftest import ROOT

COURSE = load_course(ROOT)
PRESENT = [row.slug for row in COURSE.notebooks if COURSE.built(row.slug).is_file()]
STREAM = """h   0.276 → 0.300
ratio 1.087
12 of 1,000 texts
myopic shift  q 0.5   drift −0.41
λ 1.5  score 3
λ 1    score 2
"""
ALT = "Sharper. product: 1st 0.104, 2nd 0.203."


def _notebook(prose: str, after: str = "") -> NotebookNode:
    first, stream, figure, last = (nbformat.v4.new_code_cell(id=name) for name in ("first", "stream", "figure", "last"))
    first.outputs = [nbformat.v4.new_output("stream", text="ratio 9\nonce 7.5\n")]
    stream.outputs = [
        nbformat.v4.new_output("stream", text=STREAM),
        nbformat.v4.new_output("stream", name="stderr", text="secret 1"),
    ]
    figure.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": ALT, "image/png": ""})]
    last.outputs = [nbformat.v4.new_output("stream", text="rate 41%\nshare 0.412\nratio 2\nlater 0.7")]
    cell = nbformat.v4.new_markdown_cell
    return nbformat.v4.new_notebook(cells=[first, stream, figure, cell(prose), last, cell(after)])


@pytest.mark.parametrize(
    "prose",
    [
        "0.28<!-- h -->",  # at the precision written
        "**1.09**<!-- ratio --> and `1.087`<!-- ratio --> and $1.1$<!--ratio-->",  # nearest above, in any dress
        "1,000<!-- 12 of --> texts",
        "-0.41<!-- myopic shift … drift -->",
        "−0.4<!-- myopic shift ...\ndrift -->",  # a wrapped line
        "2<!-- λ 1 … score -->",  # λ 1, not λ 1.5
        "0.104<!-- product: 1st --> and 0.104<!-- product -->",  # an ordinal is no result
        "7.5<!-- once -->",  # further up
        "0.7<!-- later -->",  # below, when nothing above holds it
        "41 %<!-- rate -->, 41%<!-- share -->, 41.2 %<!-- share -->, 0.41<!-- rate -->",
        "0.5<!-- share ±0.1 --> and 50 %<!-- rate ± 9 -->",
        "2.8e-1<!-- h -->",
    ],
)
def test_what_agrees_with_the_run(prose: str) -> None:
    notebook = _notebook(prose)
    assert len(claims(notebook)) == prose.count("<!--")
    assert mismatched_numbers(notebook) == []
    assert unkeyed(notebook) == []


@pytest.mark.parametrize(
    ("prose", "said"),
    [
        ("0.27<!-- h -->", 'cell 3: "0.27": the run printed 0.276 after "h"'),
        ("1.086<!-- ratio -->", "printed 1.087"),
        ("2<!-- ratio -->", "printed 1.087"),  # the one above, though the one below would do
        ("1,001<!-- 12 of -->", "printed 1,000"),
        ("0.41<!-- myopic shift … drift -->", "printed −0.41"),
        ("42 %<!-- rate -->", "printed 41%"),
        ("0.5<!-- share ±0.01 -->", "printed 0.412"),
        ("0.1<!-- secret -->", 'no output holds "secret"'),  # stderr is not text for readers
        ("0.1<!-- rat -->", 'no output holds "rat"'),  # not inside a longer word
        ("0.1<!-- later … ratio -->", 'no output holds "later … ratio"'),  # in this order
        ("0.1<!-- texts … texts -->", "no output holds"),
        ("0.1<!-- -->", 'no output holds ""'),
    ],
)
def test_what_does_not_is_found(prose: str, said: str) -> None:
    (line,) = mismatched_numbers(_notebook(prose))
    assert said in line


def test_another_run_is_compared_by_cell_id() -> None:
    notebook, other = _notebook("1.087<!-- ratio -->"), _notebook("")
    other.cells.insert(0, nbformat.v4.new_code_cell("PROFILE", metadata={"tags": ["injected-parameters"]}))
    assert mismatched_numbers(notebook, other) == []
    other.cells[2].outputs[0].text = STREAM.replace("1.087", "1.089")
    assert "printed 1.089" in mismatched_numbers(notebook, other)[0]


def _rerun(printed: str, tolerance: str = "", prose: str = "1.087<!-- ratio -->") -> list[str]:
    """What the prose gets wrong when another run prints this in place of the ratio 1.087."""
    notebook, other = _notebook(prose), _notebook("")
    notebook.cells[1].metadata["tags"] = [f"tolerance:{tolerance}"] if tolerance else []
    other.cells[1].outputs[0].text = STREAM.replace("1.087", printed)
    return mismatched_numbers(notebook, other)


def test_another_run_may_move_the_last_digit_by_one_unit() -> None:
    """A number such as 0.3125 is printed as 0.312 or 0.313, as the processor has it; prose quotes the committed one."""
    assert _rerun("1.086") == _rerun("1.088") == []
    assert "printed 1.085" in _rerun("1.085")[0]
    assert "printed 1.09 " in _rerun("1.09")[0], "1.087 and 1.09 are three units apart"
    assert _rerun("1.086", prose="1.09<!-- ratio -->") == []
    assert "printed 1.086" in _rerun("1.086", prose="1.088<!-- ratio -->")[0], "the committed run does not say so"
    assert "printed 1 " in _rerun("1", prose="1.087<!-- ratio -->")[0]


def test_another_run_may_move_a_number_by_what_its_cell_states() -> None:
    assert _rerun("1.095", tolerance="0.01") == []
    assert "printed 1.098" in _rerun("1.098", tolerance="0.01")[0]


def test_a_whole_number_of_another_run_is_the_same() -> None:
    notebook, other = _notebook("1,000<!-- 12 of -->"), _notebook("")
    other.cells[1].outputs[0].text = STREAM.replace("1,000", "1,001")
    assert "printed 1,001" in mismatched_numbers(notebook, other)[0]


FREE = """## 3.2 A heading
`0.1` and <code>0.2</code> and $0.9/0.1 = 9$ and [a link](page_0.3.html), https://x.org/1.5, Exercise 2.1,
exercises 2.1, 2.2 and 2.3, Section 4.5, Python 3.11, version 1.2.3, arXiv 2006.16823, Qwen2.5, 49,152 tokens, 60 %.
A line ends in 3. And $$x
= 0.5$$

```python
x = 0.7  # 0.8<!-- nothing -->
```
<details><summary>Hint 1</summary>about 0.5</details>
<details><summary>Answer</summary>nine of 10, from 60 % to 98 %</details>"""


def test_names_code_and_formulas_need_no_key() -> None:
    assert unkeyed(_notebook(FREE)) == []
    header = _notebook("0.6 GB")
    header.cells[3].metadata["tags"] = ["header"]
    assert unkeyed(header) == []


@pytest.mark.parametrize(
    ("prose", "said"),
    [
        ("about 0.41 of them", '"0.41" has no key: …about 0.41 of them…'),
        ("0.3 to 0.41<!-- share -->", '"0.3"'),
        ("97.8 %", '"97.8"'),
        ("1,234.5 nats", '"1,234.5"'),
        ("it fell by .5", '".5"'),
        ("λ = 1.5", '"1.5"'),
        ("<details><summary>Answer</summary>It is 0.7.</details>", '"0.7"'),
        ("**0.7**.", '"0.7"'),
        ("many <!-- share -->", "'<!-- share -->' follows no number"),
    ],
)
def test_a_decimal_without_a_key_and_a_key_without_a_number_are_found(prose: str, said: str) -> None:
    (line,) = unkeyed(_notebook(prose))
    assert line.startswith("cell 3: ")
    assert said in line


@pytest.mark.parametrize("slug", PRESENT)
def test_each_decimal_in_prose_has_a_key(slug: str) -> None:
    found = unkeyed(nbformat.read(COURSE.built(slug), 4))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("slug", PRESENT)
def test_the_prose_says_what_the_notebook_shows(slug: str, record_property) -> None:
    notebook = nbformat.read(COURSE.built(slug), 4)
    wrong, total = mismatched_numbers(notebook), len(claims(notebook))
    record_property("prose_numbers", {"slug": slug, "all": total, "good": total - len(wrong)})
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("slug", PRESENT)
def test_the_prose_says_what_the_latest_run_printed(slug: str, replay: Path) -> None:
    twin = replay / f"{slug}.ipynb"
    assert twin.is_file(), "execute the notebooks first: python -m auxlib run"
    wrong = mismatched_numbers(nbformat.read(COURSE.built(slug), 4), nbformat.read(twin, 4))
    assert not wrong, "\n".join(wrong)
