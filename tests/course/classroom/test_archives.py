"""What is handed out works where it is unpacked, is the same however often it is made, and gives no solution away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import nbformat
import pytest

from auxlib.__main__ import main
from auxlib.data.assets import cache_dir
from course.build import BEGIN, END
from course.classroom.archives import (
    KEYWORDS,
    TOP,
    as_zip,
    imported_by_notebooks,
    instructor_files,
    student_files,
    varied,
)
from course.exercises.obfuscate import deobfuscate, obfuscate
from tests.course.classroom.conftest import COURSE, SHEET
from tests.course.test_students import worked

# the machinery of experiments, which makes `data/results`
MACHINERY = re.compile(r"experiments/((runner|commands)|\w+/(report|campaign|experiment))\.py")
OWN_NAMES = 40  # letters: a shorter line may stand anywhere by chance


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return student_files(COURSE)


@pytest.fixture(scope="module")
def unpacked(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    (folder / "student.zip").write_bytes(as_zip(files))
    with zipfile.ZipFile(folder / "student.zip") as archive:
        archive.extractall(folder)
    return folder / TOP


@cache
def solutions() -> dict[str, set[str]]:
    """The lines between the markers of every exercise, by its id."""
    found = {}
    for row in COURSE.notebooks:
        for id, source in worked(row).items():
            regions = re.findall(rf"{BEGIN}\n(.*?){END}", source, re.DOTALL)
            found[id] = {line.strip() for line in "".join(regions).splitlines() if line.strip()}
    return found


def leaks(files: dict[str, bytes]) -> list[str]:
    """Where a solution can be read: the whole of one, or a long line of it. What the library computes is no secret: it
    is what the course teaches, and notebooks import from it what an earlier one has built."""
    found = []
    taught = re.compile(r"(auxlib|experiments)/")
    for name, content in ((name, content) for name, content in files.items() if not taught.match(name)):
        lines = {line.strip() for line in _text(name, content).splitlines()}
        for id, solution in solutions().items():
            if solution <= lines or any(len(line) >= OWN_NAMES for line in solution & lines):
                found.append(f"{id} in {name}")
    return found


def _text(name: str, content: bytes) -> str:
    if name.endswith(".ipynb"):
        return "\n".join(cell.source for cell in nbformat.reads(content.decode(), 4).cells)
    return content.decode(errors="replace")


def test_no_solution_can_be_read_in_it(files: dict[str, bytes]) -> None:
    assert len(solutions()) == sum(len(row.exercises) for row in COURSE.notebooks)
    assert leaks(files) == []
    assert not [name for name in files if name.endswith(".ipynb") and BEGIN in _text(name, files[name])]


def test_a_leak_would_be_seen(files: dict[str, bytes]) -> None:
    book = COURSE.built(SHEET).read_bytes()
    assert {leak.partition(" ")[0] for leak in leaks({f"notebooks/{SHEET}.ipynb": book})} >= {"2.1", "2.2"}
    room = "course/exercises/notebook_02.py"
    assert leaks({room: files[room]}) == []
    assert leaks({room: (COURSE.root / room).read_bytes()}) != []


def test_it_holds_what_a_student_needs_and_nothing_else(files: dict[str, bytes]) -> None:
    books = {f"notebooks/{row.slug}.ipynb" for row in COURSE.notebooks}
    assert {name for name in files if name.endswith(".ipynb")} == books
    assert {"README.md", "AGENTS.md", "pyproject.toml", "constraints.txt", "LICENSE"} <= set(files)
    strange = re.compile(r"notebooks/(src|answers|assignments|handout|mistakes)|^docs|^tests|\.pyc$|^\.")
    assert not [name for name in files if strange.search(name)]


def test_every_link_between_its_notebooks_leads_somewhere(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        if name.endswith(".ipynb"):
            for link in re.findall(r"\]\(([^)#]+\.ipynb)", _text(name, content)):
                assert f"notebooks/{link}" in files, (name, link)


def alone(unpacked: Path, *command: str) -> subprocess.CompletedProcess:
    """Run Python there, where it sees nothing of this repository."""
    env = {**os.environ, "PYTHONPATH": str(unpacked), "AUXLIB_CACHE": str(cache_dir())}
    return subprocess.run([sys.executable, *command], cwd=unpacked, env=env, capture_output=True, text=True)


def test_its_exercises_can_be_solved_where_it_is_unpacked(unpacked: Path) -> None:
    code = f"""
import auxlib
from course.exercises import check, use
from course.exercises.exercise import load_exercise
assert auxlib.__file__.startswith({str(unpacked)!r}), auxlib.__file__
ids = {[exercise.id for row in COURSE.notebooks for exercise in row.exercises]}
assert all(load_exercise(id).hints for id in ids)
check("2.1", lambda lm_logits, aux_logits: (lm_logits + aux_logits).softmax(-1))
check("2.1", lambda lm_logits, aux_logits: lm_logits.softmax(-1))
"""
    done = alone(unpacked, "-c", code)
    assert done.returncode == 0, done.stderr
    assert [line[:6] for line in done.stdout.splitlines()] == ["2.1  ✓", "2.1  ✗"]


def test_a_notebook_of_it_runs_to_its_end(unpacked: Path) -> None:
    done = alone(unpacked, "-m", "papermill", f"notebooks/{SHEET}.ipynb", "out.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_that_a_notebook_imports_is_in_it(unpacked: Path) -> None:
    lines = [
        line.strip()
        for row in COURSE.notebooks
        for line in (COURSE.folder / "src" / f"{row.slug}.py").read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(from (auxlib|course|experiments)[.\w]* import [\w, ]+|import auxlib)$", line)
    ]
    assert len(lines) > 50
    done = alone(unpacked, "-c", "\n".join(sorted(set(lines))))
    assert done.returncode == 0, done.stderr


def test_it_holds_the_library_the_exercises_and_what_notebooks_import(files: dict[str, bytes]) -> None:
    packages = {name for name in files if name.endswith(".py")}
    for package in ("auxlib", "course/exercises"):
        sources = {path.relative_to(COURSE.root).as_posix() for path in (COURSE.root / package).rglob("*.py")}
        assert sources
        assert sources <= packages
        packages -= sources
    of_the_course = {name for name in packages if name.startswith("course/")}
    assert of_the_course == {f"course/{name}.py" for name in ("__init__", "doctor", "letters", "sliders")}
    others = {name for name in packages if not name.startswith("course/")}
    assert others == {name for name in imported_by_notebooks(COURSE) if name.startswith("experiments/")}


def test_it_holds_no_machinery_of_experiments(files: dict[str, bytes]) -> None:
    assert [name for name in files if MACHINERY.fullmatch(name)] == []


def test_grading_in_it_is_refused_with_the_reason(unpacked: Path) -> None:
    done = alone(unpacked, "-m", "auxlib", "grade", "notebooks")
    assert done.returncode == 2
    assert "RepositoryMissing: `grade` needs the package `course`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_is_the_same_to_the_last_byte(files: dict[str, bytes]) -> None:
    assert as_zip(files) == as_zip(student_files(COURSE))
    assert as_zip(dict(reversed(files.items()))) == as_zip(files)


def test_a_variant_has_another_seed_and_another_keyword_and_nothing_else(files: dict[str, bytes]) -> None:
    plain = 'PROFILE = "quick"\nSEED = 0\nKEYWORD = "lantern"\nSENTENCES = 12'
    assert varied(plain, 7) == f'PROFILE = "quick"\nSEED = 7\nKEYWORD = "{KEYWORDS[6]}"\nSENTENCES = 12'
    assert len({varied(plain, variant) for variant in range(1, 40)}) == 39
    other = student_files(COURSE, 7)
    changed = {name for name in files if files[name] != other[name]}
    assert changed == {f"notebooks/{row.slug}.ipynb" for row in COURSE.notebooks}
    name = f"notebooks/{SHEET}.ipynb"
    ours, theirs = (_text(name, one[name]).splitlines() for one in (files, other))
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == [("SEED = 0", "SEED = 7")]


def test_a_variants_keyword_is_one_that_the_course_does_not_use() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (COURSE.folder / "src").glob("*.py"))
    assert not [word for word in KEYWORDS if f'"{word}"' in text]


def test_the_instructors_archive_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course.classroom.mistakes_page.mistakes_page", lambda root: "# Expected mistakes")
    files = instructor_files(COURSE)
    assert {f"notebooks/{SHEET}.ipynb", f"notebooks/src/{SHEET}.py", f"notebooks/mistakes/{SHEET}.py"} <= set(files)
    assert {"guide/mistakes.md", "student.zip", "README.md", "course/exercises/notebook_02.py"} <= set(files)
    assert files["course/exercises/notebook_02.py"] == (COURSE.root / "course/exercises/notebook_02.py").read_bytes()


def test_obfuscated_source_is_not_readable_and_round_trips() -> None:
    source = 'def answer():\n    """What is it?"""\n    return 42  # λ\n'
    room = obfuscate(source)
    assert "42" not in room
    assert "answer" not in room
    names: dict = {}
    exec(room, names)
    assert names["answer"]() == 42
    assert deobfuscate(room.split('"""')[3]) == source


def test_the_commands_write_the_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "student.zip"
    assert main(["bundle", "student", "--variant", "3", "--out", str(path)]) == 0
    assert zipfile.ZipFile(path).testzip() is None
    assert f"{path}: " in capsys.readouterr().out
    assert main(["bundle", "instructor", "--variant", "3"]) == 2
    assert "a variant is a student's" in capsys.readouterr().err
    assert zipfile.ZipFile(path).namelist()[0].startswith(f"{TOP}/")
