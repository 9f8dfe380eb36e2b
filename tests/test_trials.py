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

from auxlib.errors import ResultsMismatch
from auxlib.trials import Record, Work, made_by, require_made_by, run_trials
from auxlib.whole import write_whole

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


def run(folder: Path, deeds: Mapping[str, str], jobs: int = 2, maker: str = "us") -> dict[str, Record]:
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
        "late": 4, "quick": 5, "broken": None, "last": 4
    }  # fmt: skip
    assert records == {name: json.loads((folder / "trials" / f"{name}.json").read_text("utf-8")) for name in DEEDS}
    assert all(record["made_by"] == "us" for record in records.values())
    assert 0.2 <= records["late"]["seconds"] < 0.5, "computing counts, waiting does not"
    assert records["late"]["threads"] == 1
    assert len(stamps(folder)) == len(DEEDS), "no half-written file is left"


def test_a_failed_trial_keeps_its_place_with_type_message_and_line(first: tuple[Path, dict[str, Record]]) -> None:
    error = first[1]["broken"]["error"]
    assert error.startswith("ValueError: the barn is on fire, λ too (test_trials.py, line ")
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
        "first": 5, "killer": 6, "last": 4
    }  # fmt: skip
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

    monkeypatch.setattr("auxlib.trials._in_processes", do)


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
    write_whole(path, {"λ": 1})
    with pytest.raises(TypeError):
        write_whole(path, {"λ": object()})
    assert json.loads(path.read_text("utf-8")) == {"λ": 1}
    assert list(path.parent.iterdir()) == [path]


# --- makers ---

SOURCE = '''"""What is the answer?"""

RATE = 0.5  # of all


def answer(x):
    """Give it."""
    if x:
        x += 1
    return x
'''


def hashed(folder: Path, source: str, *others: object) -> str:
    path = folder / "answer.py"
    path.write_text(source)
    return made_by([path], *others)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What is the answer?", "What?\n\nMore."),
        ('    """Give it."""\n', ""),
        ("  # of all", ""),
        ("of all", "of them"),
        ("    return", "    # because\n    return"),
        ("    return", "\n\n    return"),
        ("\n\n\ndef", "\ndef"),
    ],
)
def test_words_about_the_code_do_not_change_its_maker(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert hashed(tmp_path, SOURCE.replace(old, new)) == hashed(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.6"),
        ("x += 1", "x += 2"),
        ("    return x\n", ""),
        ("        x += 1\n    return", "        x += 1\n        return"),
        ("RATE =", "RATE: float ="),
    ],
)
def test_a_statement_does(tmp_path: Path, old: str, new: str) -> None:
    assert old in SOURCE
    assert hashed(tmp_path, SOURCE.replace(old, new)) != hashed(tmp_path, SOURCE)


def test_so_do_another_file_and_other_data_but_not_the_order_in_which_files_are_found(tmp_path: Path) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a = 1\n")
    two.write_text("b = 2\n")
    assert made_by([one, two]) == made_by([two, one])
    found = {made_by([one]), made_by([two]), made_by([one, two]), made_by([one], "data"), made_by([one], "other data")}
    assert len(found) == 5
    assert made_by([one], 1, 23) != made_by([one], 12, 3), "data are not run together"
    assert all(len(maker) == 16 for maker in found)


def test_results_of_another_maker_are_refused_with_both_hashes_and_the_command() -> None:
    require_made_by({"made_by": "0123abcd"}, "0123abcd", "claim.json", "python -m auxlib")
    with pytest.raises(ResultsMismatch) as refusal:
        require_made_by({"made_by": "0123abcd"}, "4567cdef", "claim.json", "python -m auxlib")
    for part in ("claim.json", "0123abcd", "4567cdef", "python -m auxlib"):
        assert part in str(refusal.value)
    with pytest.raises(ResultsMismatch):
        require_made_by({}, "4567cdef", "claim.json", "python -m auxlib")
