"""Do the results say what the parts found, failures included, and are those of other code refused?"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from auxlib.__main__ import main
from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError, ResultsMismatch
from experiments import commands
from experiments.control.experiment import EXPERIMENT, assemble, headline, merged
from experiments.control.table import REAL, STORYLAND, real_rows, storyland_rows
from experiments.runner import Record, TrialRunner, load_record, provenance
from tests.auxlib.test_main import one_line
from tests.experiments.control import real_found, storyland_found

ERROR = {"error": "RuntimeError: barn on fire", "seconds": 1.0, "made_by": "us"}
CONTROL = EXPERIMENT.record
HEADLINE = CONTROL.needed - {"failed", "made_by", "rehearsal", "seconds"} | {"control_accuracy"}


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """What all ten parts may have found."""
    with pytest.MonkeyPatch.context() as patch:
        made = {"made_by": "us", "seconds": 6.0}
        found = {**storyland_found(), **real_found(patch)[0]}
        return {name: record | made | {"system": name, "seed": 0} for name, record in found.items()}


# --- the results ---


def test_the_headline_is_taken_from_the_trained_strength_and_from_strangers(records: dict[str, Record]) -> None:
    found = merged(records.values())
    head = headline(found)
    trained = next(row for row in found["learned"] if row["weight"] == 1.0)
    assert head == {
        "control_efficiency": trained["efficiency"],
        "control_accuracy": trained["accuracy"],
        "two_keywords_joint": 1.0,
        "two_keywords_sum": 0.0,
        "guarantee_accuracy": 1.0,
        "guarantee_slor_loss": pytest.approx(found["one"]["slor"] - found["one_sure"]["slor"], abs=1e-4),
    }
    moved = found | {"learned": found["learned"][::-1], "strangers_joint": found["strangers_joint"] | {"accuracy": 0.7}}
    moved |= {"one": found["one"] | {"slor": 2.0}, "one_sure": found["one_sure"] | {"slor": 1.75}}
    assert headline(moved) == head | {"two_keywords_joint": 0.7, "guarantee_slor_loss": 0.25}


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ("storyland-learned", {"control_efficiency", "control_accuracy"}),
        ("real-strangers", {"two_keywords_joint", "two_keywords_sum"}),
        ("real-words", {"guarantee_accuracy", "guarantee_slor_loss"}),
        ("storyland-truth", set()),
    ],
)
def test_a_part_that_failed_is_named_and_the_others_keep_their_figures_and_rows(
    records: dict[str, Record], part: str, lost: set[str]
) -> None:
    broken = {**records, part: ERROR | {"system": part, "seed": 0}}
    whole, found = assemble(list(records.values())), assemble(list(broken.values()))
    assert whole["failed"] == {}
    assert found["failed"] == {part: "RuntimeError: barn on fire"}
    assert {name for name in HEADLINE if found[name] is None} == lost
    assert all(found[name] == whole[name] for name in HEADLINE - lost)
    for make, named in ((storyland_rows, STORYLAND), (real_rows, REAL)):
        kept = [row for row, key in zip(make(whole), named, strict=True) if key not in records[part]]
        assert make(found) == kept


def test_a_row_says_the_rounded_figures_of_the_trained_strength() -> None:
    row = {"accuracy": 0.9514, "interval": [0.9211, 0.9703], "grammatical": 0.99, "drift": 3.456, "efficiency": 0.912}
    weak = row | {"weight": 0.5, "accuracy": 0.1}
    assert storyland_rows({"learned": [weak, row | {"weight": 1.0}], "myopic": [weak]}) == [
        {
            "asked for": "one word, auxiliary",
            "fulfilled": "0.951 [0.921, 0.970]",
            "grammatical": "0.990",
            "drift": "3.46",
            "efficiency": "0.91",
        }
    ]
    (babble,) = storyland_rows({"sum_3": {name: row[name] for name in ("accuracy", "interval", "grammatical")}})
    assert (babble["drift"], babble["efficiency"]) == ("∞", "–")
    (said,) = real_rows({"one": row | {"slor": 1.256, "tokens": 7.04, "twice": 0.0123}})
    assert said == {
        "asked for": "one word",
        "fulfilled": "0.951 [0.921, 0.970]",
        "SLOR": "1.26",
        "words": "7.0",
        "said twice": "0.012",
    }


# --- recorded ---


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository where nothing is recorded yet, with code and data that need no model to be known."""
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(1, texts="0123abcd"))
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [3.1, 3.3])
    monkeypatch.setattr(commands, "data_dir", lambda: tmp_path / "data")
    return tmp_path


def run_whole(monkeypatch: pytest.MonkeyPatch, records: dict[str, Record]) -> int:
    def run(trials: TrialRunner) -> list[Record]:
        trials.seconds = 61.4
        return list(records.values())

    monkeypatch.setattr(EXPERIMENT, "run", run)
    return main(["run", "--experiment", "generation"])


def test_a_run_is_shown_and_recorded_and_what_is_recorded_is_loaded(
    root: Path, records: dict[str, Record], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_record(EXPERIMENT, root) is CONTROL.read(root) is None
    assert run_whole(monkeypatch, records) == 0
    shown, found = capsys.readouterr().out, load_record(EXPERIMENT, root)
    assert all(f"| {label} " in shown for label in (*STORYLAND.values(), *REAL.values()))
    assert found == CONTROL.read(root)
    assert found == json.loads(json.dumps(assemble(list(records.values())))) | EXPERIMENT.origin() | {"seconds": 61}
    assert run_whole(monkeypatch, {**records, "real-dial": ERROR | {"system": "real-dial"}}) == 1
    assert load_record(EXPERIMENT, root)["failed"] == {"real-dial": ERROR["error"]}


def test_results_of_other_code_are_refused_and_damaged_ones_named(
    root: Path, records: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_whole(monkeypatch, records) == 0
    whole = CONTROL.read(root)
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [3.1, 3.33])
    with pytest.raises(ResultsMismatch, match=r"reached \[3.1, 3.3\].*reaches \[3.1, 3.33\].*" + CONTROL.command):
        load_record(EXPERIMENT, root)
    monkeypatch.setattr(EXPERIMENT, "behaviour_probe", lambda: [3.1001, 3.2996])
    assert load_record(EXPERIMENT, root) == whole, "a machine's rounding is no other code"
    monkeypatch.setattr(EXPERIMENT, "made_by", lambda: provenance(2, texts="0123abcd"))
    with pytest.raises(ResultsMismatch, match=f"control.json was made by version 1.*version 2.*{CONTROL.command}"):
        load_record(EXPERIMENT, root)
    for part in CONTROL.needed:
        write_json_atomic(root / CONTROL.path, {key: value for key, value in whole.items() if key != part})
        for read in (CONTROL.read, partial(load_record, EXPERIMENT)):
            with pytest.raises(CourseError, match=f"lacks {part}; make it again: {CONTROL.command}"):
                read(root)
    (root / CONTROL.path).write_text('{"one": {')
    with pytest.raises(CourseError, match=f"control.json is damaged or truncated.*{CONTROL.command}"):
        CONTROL.read(root)


def test_control_is_measured_whole_or_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--experiment", "generation", "--seed", "1"]) == 2
    assert "'control' is run whole" in one_line(capsys, "CourseError")
