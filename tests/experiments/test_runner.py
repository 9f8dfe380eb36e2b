"""Does a long experiment survive what happens to it? Failures are written down, killed runs go on, nothing is mixed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import process_time, sleep
from typing import Any

import pytest

from auxlib.data.storage import write_json_atomic
from auxlib.errors import ResultsMismatch
from experiments.runner import (
    Provenance,
    Record,
    Work,
    digest,
    provenance,
    require_probe,
    require_provenance,
    run_trials,
)

Deed = tuple[str, str, str]  # folder, name, what is to happen


def work(deed: Deed) -> Record:
    """One trial, as another process does it: signs the diary, then does what it was told."""
    import torch

    folder, name, what = Path(deed[0]), deed[1], deed[2]
    with (folder / "diary").open("a") as diary:
        diary.write(f"{name}\n")
    mended = (folder / "mended").exists()
    if what == "late":
        sleep(0.5)
        busy = process_time() + 0.2
        while process_time() < busy:
            pass
    if what == "stumble" and not mended:
        raise ValueError("the barn is on fire, λ too")
    if what == "die" and not mended:
        os._exit(9)
    return {"answer": len(name), "threads": torch.get_num_threads()}


def run(folder: Path, deeds: Mapping[str, str], jobs: int = 2, maker: Any = "us") -> dict[str, Record]:
    trials = {name: (str(folder), name, what) for name, what in deeds.items()}
    return run_trials(folder / "trials", trials, work, maker, jobs, progress=False)


def written(folder: Path) -> Counter[str]:
    """How often each trial was begun."""
    return Counter((folder / "diary").read_text().split())


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "trials").iterdir()}


# --- failures and resuming, in processes ---

DEEDS = {"late": "late", "quick": "", "broken": "stumble", "last": ""}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    """A first run, with one trial that fails."""
    folder = tmp_path_factory.mktemp("experiment")
    return folder, run(folder, DEEDS)


def test_results_come_in_the_order_of_the_trials_and_lie_on_disk(first: tuple[Path, dict[str, Record]]) -> None:
    folder, records = first
    assert list(records) == list(DEEDS)
    assert {name: record.get("answer") for name, record in records.items()} == {
        "late": 4,
        "quick": 5,
        "broken": None,
        "last": 4,
    }
    assert records == {name: json.loads((folder / "trials" / f"{name}.json").read_text("utf-8")) for name in DEEDS}
    assert all(record["made_by"] == "us" for record in records.values())
    assert 0.2 <= records["late"]["seconds"] < 0.5, "computing counts, waiting does not"
    assert records["late"]["threads"] == 1
    assert len(stamps(folder)) == len(DEEDS), "no half-written file is left"


def test_a_failed_trial_keeps_its_place_with_type_message_and_line(first: tuple[Path, dict[str, Record]]) -> None:
    error = first[1]["broken"]["error"]
    assert error.startswith("ValueError: the barn is on fire, λ too (test_runner.py, line ")
    assert [name for name, record in first[1].items() if "error" in record] == ["broken"]


def test_a_second_run_tries_the_failed_one_again_and_a_third_does_nothing(
    first: tuple[Path, dict[str, Record]],
) -> None:
    folder, records = first
    before = stamps(folder)
    (folder / "mended").touch()
    again = run(folder, DEEDS, jobs=1)
    assert written(folder) == {"late": 1, "quick": 1, "broken": 2, "last": 1}
    assert again["broken"]["answer"] == 6
    assert "error" not in again["broken"]
    assert {name: again[name] for name in DEEDS if name != "broken"} == {
        name: records[name] for name in DEEDS if name != "broken"
    }
    after = stamps(folder)
    assert {name for name in after if after[name] != before[name]} == {"broken.json"}
    assert run(folder, DEEDS) == again
    assert stamps(folder) == after
    assert written(folder).total() == 5


def test_a_process_that_dies_is_a_failure_and_the_next_run_completes(tmp_path: Path) -> None:
    deeds = {"first": "", "killer": "die", "last": ""}
    records = run(tmp_path, deeds, jobs=1)
    assert list(records) == list(deeds)
    assert records["first"]["answer"] == 5
    assert "killed" in records["killer"]["error"]
    assert len(stamps(tmp_path)) == 3, "every trial has a record, and no half-written file is left"
    (tmp_path / "mended").touch()
    assert {name: record["answer"] for name, record in run(tmp_path, deeds, jobs=1).items()} == {
        "first": 5,
        "killer": 6,
        "last": 4,
    }
    assert written(tmp_path)["first"] == 1


def test_one_killed_process_takes_nobody_else_with_it(tmp_path: Path) -> None:
    deeds = {"killer": "die", "first": "", "second": "", "third": "", "last": ""}
    records = run(tmp_path, deeds, jobs=2)
    assert list(records) == list(deeds)
    assert [name for name, record in records.items() if "error" in record] == ["killer"]
    assert "killed" in records["killer"]["error"]


# --- which records count ---


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: a new one is not what is tested."""

    def do(todo: Mapping[str, Any], work: Work, jobs: int, progress: bool) -> Iterable[tuple[str, Record]]:
        return [(name, work(trial)) for name, trial in todo.items()]

    monkeypatch.setattr("experiments.runner._in_processes", do)


GOOD = json.dumps({"answer": "früher", "made_by": "us"}, ensure_ascii=False).encode()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "counts"),
    [
        pytest.param(GOOD, True, id="whole"),
        pytest.param(GOOD[:-1], False, id="its end is missing"),
        pytest.param(GOOD[: GOOD.index("ü".encode()) + 1], False, id="cut within a character"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"\0" * 40, False, id="zeros"),
        pytest.param(GOOD.replace(b"us", b"them"), False, id="of another maker"),
        pytest.param(b'{"answer": 3}', False, id="of nobody"),
        pytest.param(b'{"made_by": "us", "error": "ValueError"}', False, id="failed"),
    ],
)
def test_only_a_whole_record_of_the_same_maker_counts(tmp_path: Path, content: bytes, counts: bool) -> None:
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "old.json").write_bytes(content)
    answer = run(tmp_path, {"old": ""})["old"]["answer"]
    assert answer == ("früher" if counts else 3)
    assert (tmp_path / "diary").exists() is not counts
    assert stamps(tmp_path).keys() == {"old.json"}


@pytest.mark.usefixtures("here")
def test_records_that_were_not_asked_for_stay_where_they_are(tmp_path: Path) -> None:
    run(tmp_path, {"one": "", "two": ""})
    assert list(run(tmp_path, {"two": "", "three": ""})) == ["two", "three"]
    assert stamps(tmp_path).keys() == {"one.json", "two.json", "three.json"}
    assert written(tmp_path) == {"one": 1, "two": 1, "three": 1}


def test_what_cannot_be_written_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_json_atomic(path, {"λ": 1})
    with pytest.raises(TypeError):
        write_json_atomic(path, {"λ": object()})
    assert json.loads(path.read_text("utf-8")) == {"λ": 1}
    assert list(path.parent.iterdir()) == [path]


# --- provenance ---

MADE = {"made_by": provenance(2, texts="0123abcd", weights="4567cdef")}


def test_digests_keep_parts_apart_and_take_bytes_as_they_are() -> None:
    assert digest(1, 23) != digest(12, 3)
    assert digest("λ") == digest("λ".encode())
    assert len(digest()) == 16


def test_results_of_the_same_version_and_data_are_taken() -> None:
    require_provenance(MADE, provenance(2, weights="4567cdef", texts="0123abcd"), "claim.json", "make it")
    require_provenance(json.loads(json.dumps(MADE)), MADE["made_by"], "claim.json", "make it")


@pytest.mark.parametrize(
    ("here", "says"),
    [
        (provenance(3, texts="0123abcd", weights="4567cdef"), "version 2 of its experiment; the one here is version 3"),
        (provenance(2, texts="0123abcd", weights="ffff"), r"data or weights: weights \(4567cdef, here ffff\)"),
        (provenance(2, texts="0123abcd"), r"weights \(4567cdef, here None\)"),
        (provenance(2, texts="a", weights="b"), r"texts \(0123abcd, here a\), weights \(4567cdef, here b\)"),
    ],
)
def test_results_of_another_version_or_of_other_data_are_refused_by_name(here: Provenance, says: str) -> None:
    with pytest.raises(ResultsMismatch, match=f"claim.json was made .*{says}.* Make it again: python -m auxlib"):
        require_provenance(MADE, here, "claim.json", "python -m auxlib")


@pytest.mark.parametrize("record", [{}, {"made_by": "0123abcd"}, {"made_by": {"version": 2}}])
def test_results_without_a_provenance_are_refused(record: Record) -> None:
    with pytest.raises(ResultsMismatch, match="does not say which version and data made it"):
        require_provenance(record, MADE["made_by"], "claim.json", "python -m auxlib")


def test_a_probe_may_differ_by_a_machines_rounding_and_no_more() -> None:
    require_probe([3.1, 3.3], [3.1001, 3.2996], "claim.json", "make it")
    for now in ([3.1, 3.33], [3.1], [3.1, 3.3, 0.0], [3.1, float("nan")]):
        with pytest.raises(ResultsMismatch, match=r"reached \[3.1, 3.3\].*reaches.* Make it again: make it"):
            require_probe([3.1, 3.3], now, "claim.json", "make it")
