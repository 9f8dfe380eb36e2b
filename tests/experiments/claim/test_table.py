"""Is what is verdict_line what was found? Every system keeps its row, and the sentence at the end names the verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from experiments.claim.plan import SYSTEMS
from experiments.claim.table import CONTROLS, MAIN, VARIANTS, as_lines, conclusion, system_rows, verdict_line
from experiments.tables import as_markdown
from tests.experiments.claim.test_report import SEEDS, campaign, failing, results

Found = dict[str, Any]
Row = dict[str, str]


@pytest.fixture(scope="module")
def found() -> Found:
    return results(campaign())


@pytest.fixture(scope="module")
def with_failures() -> Found:
    """All of LoRA failed, and two seeds of fine-tuning."""
    return results(failing(failing(campaign(), "lora_4", *SEEDS), "fine_tuned", 1, 3))


def row_of(found: Found, name: str) -> Row:
    return system_rows(found, [name])[0]


# --- rows ---


def test_nothing_that_was_run_is_left_out_of_the_tables(found: Found) -> None:
    assert {*MAIN, *CONTROLS, *VARIANTS} == SYSTEMS.keys()
    for names in (MAIN, CONTROLS, VARIANTS):
        assert [row["system"] for row in system_rows(found, names)] == [SYSTEMS[name].label for name in names]
    assert len(set(MAIN)) == len(MAIN)


def test_a_row_says_the_figures_with_their_intervals(found: Found) -> None:
    row, system = row_of(found, "auxiliary"), found["systems"]["auxiliary"]
    value, low, high = system["accuracy_interval"]
    assert row["keyword"] == f"{value:.3f} [{low:.3f}, {high:.3f}]"
    assert row["SLOR"].startswith(f"{system['slor']:.2f} [")
    assert row["efficiency"] == f"{system['efficiency']:.2f}"
    assert (row["weights"], row["nats"], row["grammatical"]) == ("300", "10.00", "0.980")


def test_the_cost_to_the_bar_is_compared_with_from_scratch(found: Found) -> None:
    assert row_of(found, "auxiliary")["to the bar"].endswith(f"(÷ {found['flops_ratio']:.1f})")
    assert row_of(found, "scratch")["to the bar"].endswith("(÷ 1.0)")
    assert row_of(found, "forced")["to the bar"] == "–", "nothing was trained"


def test_who_never_passed_the_bar_has_no_cost_to_it(found: Found) -> None:
    systems = found["systems"] | {"auxiliary": found["systems"]["auxiliary"] | {"flops_to_bar": None}}
    assert row_of(found | {"systems": systems}, "auxiliary")["to the bar"] == "never"


def test_what_is_not_known_is_a_dash(found: Found) -> None:
    system = {key: value for key, value in found["systems"]["classifier"].items() if key != "nll"}
    row = row_of(found | {"systems": found["systems"] | {"classifier": system | {"efficiency": None}}}, "classifier")
    assert row["nats"] == row["efficiency"] == row_of(found, "expert")["weights"] == "–"


# --- failures ---


def test_a_system_that_failed_keeps_its_row_with_its_error(with_failures: Found) -> None:
    table = system_rows(with_failures)
    assert [row["system"].split(" (seed")[0] for row in table] == [SYSTEMS[name].label for name in MAIN]
    assert row_of(with_failures, "lora_4") == {
        "system": "LoRA, rank 4",
        "keyword": "FAILED: RuntimeError: barn on fire",
    }


def test_a_system_that_failed_with_some_seeds_says_with_which(with_failures: Found) -> None:
    row = row_of(with_failures, "fine_tuned")
    assert row["system"] == "full fine-tuning (seed 1, 3 FAILED)"
    assert row["keyword"].startswith("0.")


@pytest.mark.parametrize(
    "shown", [lambda found: as_markdown(system_rows(found)), lambda found: "\n".join(as_lines(found))]
)
def test_failures_are_seen_in_readme_and_terminal(shown: Callable[[Found], str], with_failures: Found) -> None:
    assert "FAILED: RuntimeError: barn on fire" in shown(with_failures)
    assert "seed 1, 3 FAILED" in shown(with_failures)


# --- markdown ---


def cells(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.rstrip("\n").split("\n")]


def test_markdown_has_one_header_and_a_line_for_each_row(found: Found) -> None:
    table = system_rows(found)
    header, rule, *body = cells(as_markdown(table))
    assert header == list(table[0])
    assert all(re.fullmatch("-+:?", cell) for cell in rule)
    assert [dict(zip(header, line, strict=True)) for line in body] == table
    assert as_markdown(table).count("|---") == 1
    assert as_markdown(table).endswith("|\n")


@pytest.mark.parametrize("order", [1, -1])
def test_a_failed_row_does_not_take_columns_from_the_others_wherever_it_stands(
    order: int, with_failures: Found
) -> None:
    header, _, *body = cells(as_markdown(system_rows(with_failures, ("lora_4", "scratch")[::order])))
    assert header == list(row_of(with_failures, "scratch"))
    assert {len(line) for line in body} == {len(header)}


def test_an_error_of_many_lines_is_still_one_row() -> None:
    error = "RuntimeError: sizes differ:\n\tweight | [3, 4]\n\tbias | [3] (trial.py, line 7)"
    broken = results(failing(campaign((0,)), "lora_4", 0, error=error))
    header, _, *body = cells(as_markdown(system_rows(broken)))
    assert len(body) == len(MAIN)
    assert {len(line) for line in body} == {len(header)}
    lines = as_lines(broken)
    assert len(lines) == len("\n".join(lines).splitlines())


# --- sentences ---


def test_the_conclusion_says_supported_and_where_the_factor_came_from(found: Found) -> None:
    sentence = conclusion(found)
    assert sentence.startswith("The claim is supported at this scale: 5 of 5 seeds pass. ")
    for number in (found["flops_ratio"], *found["factors"].values()):
        assert f"{number:.1f}" in sentence


def test_one_seed_alone_has_no_verdict() -> None:
    assert "decides nothing" in conclusion(results(campaign((3,))))


def test_the_conclusion_says_not_supported() -> None:
    two = conclusion(results(failing(campaign(), "auxiliary", 0, 1)))
    assert two.startswith("The claim is not supported at this scale: 3 of 5 seeds pass. The auxiliary takes ")
    none = conclusion(results(failing(campaign(), "scratch", *SEEDS)))
    assert none == "The claim is not supported at this scale: 0 of 5 seeds pass."


def test_a_seeds_verdict_in_a_line(found: Found) -> None:
    verdict = found["verdicts"]["0"]
    line = verdict_line(verdict)
    assert line.startswith("passes (control, fluency and cost); accuracy 0.")
    assert f"{verdict['flops_ratio']:.1f} times fewer operations" in line
    other = verdict_line(verdict | {"passes": False, "why": "not cost"})
    assert other == line.replace("passes (control, fluency and cost)", "does not pass (not cost)")
    assert verdict_line({"passes": False, "why": "a system failed"}) == "does not pass: a system failed"


def test_a_terminal_shows_every_system_every_seed_and_the_conclusion(found: Found) -> None:
    lines = as_lines(found)
    assert all(any(line.startswith(SYSTEMS[name].label) for line in lines) for name in MAIN)
    assert [line[:7] for line in lines if line.startswith("seed ")] == [f"seed {seed}:" for seed in SEEDS]
    assert lines[-1] == conclusion(found)
