"""The door opens at once, and what goes wrong behind it is said in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest

from auxlib.__main__ import main
from auxlib.frozen import Expert
from auxlib.keywords import contains_keyword
from auxlib.modeling import AuxiliaryTunedLM

COMMANDS = ["run", "notebooks", "bundle", "grade", "fetch", "doctor", "generate", "train", "evaluate", "bench"]
OF_THE_REPOSITORY = {
    "run": "course",
    "notebooks": "course",
    "bundle": "course",
    "grade": "course",
    "doctor": "course",
    "train": "experiments",
    "evaluate": "experiments",
    "bench": "experiments",
}
HEAVY = ("torch", "transformers", "datasets", "matplotlib", "numpy")
LIGHT = f"""
import sys
from auxlib.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
"""


@pytest.fixture(scope="module")
def checkpoint(
    expert: Expert, make_tuned: Callable[..., AuxiliaryTunedLM], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A pair on disk whose expert is on disk too, so that the command line finds both."""
    folder = tmp_path_factory.mktemp("pair")
    expert.model.save_pretrained(folder / "expert")
    expert.tokenizer.save_pretrained(folder / "expert")
    make_tuned(beside=replace(expert, reference=str(folder / "expert"))).save_pretrained(folder / "auxiliary")
    return folder / "auxiliary"


def one_line(capsys: pytest.CaptureFixture[str], name: str) -> str:
    """The error that was printed: a single line that begins with its type."""
    error = capsys.readouterr().err
    assert error.startswith(f"{name}: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_is_instant_and_loads_nothing_heavy(arguments: list[str]) -> None:
    start = perf_counter()
    done = subprocess.run([sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert perf_counter() - start < 5
    assert "usage: python -m auxlib" in done.stdout


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library alone, as a wheel installs it, without the packages of the repository."""
    for package in ("course", "experiments"):
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)  # an import of it raises ModuleNotFoundError


@pytest.mark.parametrize("arguments", [["{}"], ["{}", "02", "--profile", "quick"], ["{}", "all"]])
@pytest.mark.parametrize("command", OF_THE_REPOSITORY)
def test_a_command_of_the_repository_names_what_an_installed_library_lacks(
    command: str, arguments: list[str], installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.format(command) for part in arguments]) == 2
    error = one_line(capsys, "RepositoryMissing")
    assert f"`{command}` needs the package `{OF_THE_REPOSITORY[command]}`" in error
    assert "in a clone of the course's repository" in error


def test_an_installed_library_lists_all_commands_and_runs_its_own(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)
    assert main(["fetch", "gpt5"]) == 2
    one_line(capsys, "AssetError")


def test_a_fault_within_the_repository_is_not_taken_for_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "experiments.commands", raising=False)
    monkeypatch.setitem(sys.modules, "auxlib.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"auxlib\.commands"):
        main(["bench", "all"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["generate"],
        ["generate", "--keyword", "dog", "--n", "0"],
        ["generate", "--keyword", "dog", "--n", "many"],
        ["generate", "--keyword", "dog", "--max-new-tokens", "-1"],
        ["generate", "--keyword", "dog", "--temperature", "0"],
        ["generate", "--keyword", "dog", "--temperature", "nan"],
        ["generate", "--keyword", "dog", "--top-p", "1.5"],
        ["generate", "--keyword", "dog", "--top-p", "0"],
        ["train", "--profile", "huge"],
        ["train", "wordnet-key"],
        ["generate", "--keyword", "dog", "--keywords", "dog,cat"],
        ["generate", "--keyword", "dog", "--jsonl", "--stream"],
        ["bench", "everything"],
        ["doctor", "--fast"],
        ["run", "--fast"],
        ["run", "--experiment", "lottery"],
        ["run", "--jobs", "0"],
        ["notebooks", "--check", "--execute"],
        ["bundle"],
        ["bundle", "teacher"],
        ["grade"],
        ["evaluate", "02"],
    ],
)
def test_what_is_asked_wrongly_is_refused_before_anything_is_loaded(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--keyword", "dog", "--checkpoint", str(tmp_path / "nowhere")]) == 2
    assert "nowhere holds no auxiliary" in one_line(capsys, "CheckpointError")


def test_an_unknown_asset_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "gpt5"]) == 2
    assert "known are" in one_line(capsys, "AssetError")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--keyword", " ", "KeywordError"),
        ("--keyword", "🎈🎈", "KeywordError"),
        ("--weight", "nan", "WeightError"),
    ],
)
def test_a_bad_wish_is_one_line_and_code_2(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, error: str
) -> None:
    assert main(["generate", "--checkpoint", str(checkpoint), "--keyword", "dog", option, value]) == 2
    one_line(capsys, error)


def test_an_expert_that_has_gone_is_one_line_and_code_2(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in checkpoint.iterdir():
        text = path.read_bytes().replace(str(checkpoint.parent).encode(), b"/no/such/place")
        (moved / path.name).write_bytes(text)
    assert main(["generate", "--checkpoint", str(moved), "--keyword", "dog"]) == 2
    assert "/no/such/place" in one_line(capsys, "AssetError")


def test_sentences_are_printed_and_counted(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keyword", "lantern", "--n", "3", "--seed", "4"]
    assert main([*arguments, "--max-new-tokens", "5", "--lambda", "2"]) == 0
    first = capsys.readouterr().out
    assert first.rstrip().splitlines()[-1].endswith("of 3 hold 'lantern'  (λ = 2, temperature 0.8, seed 4)")
    assert main([*arguments, "--max-new-tokens", "5", "--weight", "2"]) == 0
    assert capsys.readouterr().out == first


def test_a_guarantee_holds_for_several_words(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keywords", "zebra, old street", "--n", "3"]
    assert main([*arguments, "--guarantee", "--prompt", "The dog", "--max-new-tokens", "20"]) == 0
    *texts, _, last = capsys.readouterr().out.rstrip().splitlines()
    assert last.startswith("3 of 3 hold 'zebra' and 'old street'")
    assert all(text.startswith("The dog") for text in texts)


def test_a_beginning_that_holds_the_word_already_is_pointed_out(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keywords", "dog,violin", "--n", "1"]
    assert main([*arguments, "--prompt", "The dog", "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().err == "note: the given beginning holds 'dog' already; it is not asked for again.\n"


def test_a_word_that_has_no_room_cannot_be_guaranteed(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keyword", "zebra", "--max-new-tokens", "1"]
    assert main([*arguments, "--guarantee"]) == 2
    assert "only 1 may be written" in one_line(capsys, "KeywordError")


def test_lines_for_machines_are_json_and_nothing_else(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keyword", "été", "--n", "2", "--max-new-tokens", "4"]
    assert main([*arguments, "--jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(row) for row in rows] == [{"keywords", "text", "holds", "lambda", "seed"}] * 2
    assert rows[0]["keywords"] == ["été"]
    assert [row["holds"] for row in rows] == [contains_keyword(row["text"], "été") for row in rows]


def test_a_stream_shows_each_sentence_that_its_own_seed_writes(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "--checkpoint", str(checkpoint), "--keyword", "dog", "--prompt", "The", "--stream"]
    arguments += ["--max-new-tokens", "6"]
    assert main([*arguments, "--n", "2", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    for seed in ("3", "4"):
        assert main([*arguments, "--n", "1", "--seed", seed]) == 0
        sentence = capsys.readouterr().out.split("\n\n")[0]
        assert sentence.startswith("The")
        assert sentence in shown


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("course.doctor.report", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "stopped.\n"


def test_the_doctor_says_what_is_missing(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    shown = capsys.readouterr().out
    for topic in ("python", "packages", "smollm2", "wordnet", "minilm", str(cache), "gpu"):
        assert topic in shown
    assert "python -m auxlib fetch smollm2" in shown


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "auxlib", "fetch", "gpt5"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 2
    assert done.stderr.startswith("AssetError: unknown asset 'gpt5'")
