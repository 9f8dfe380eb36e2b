"""The repository's own promises: one set of versions, one door, a small library."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from auxlib.doctor import requirements
from tests.course.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
LIBRARY = sorted((ROOT / "auxlib").rglob("*.py"))


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_each_constraint_is_one_exact_public_version() -> None:
    for line in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\d[\w.]*", line), (
            f"{line!r}: a local version (+cpu) exists on one machine"
        )
    assert len({_name(line.split("==")[0]) for line in PINS}) == len(PINS)


def test_each_requirement_of_the_project_is_satisfied_by_its_pin() -> None:
    pins = {_name(name): version for name, version in (line.split("==") for line in PINS)}
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(line) for line in sum(extras.values(), PROJECT["dependencies"])]
    for want in wanted:
        if want.name != "auxlib":
            assert want.specifier.contains(pins[_name(want.name)]), want


def test_the_conda_way_in_is_the_pip_way_in() -> None:
    table = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = table["dependencies"]
    assert python == "python" + PROJECT["requires-python"]
    assert pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[dev]"]}
    makefile = (ROOT / "Makefile").read_text()
    assert "-c constraints.txt -e '.[dev]'" in makefile


def test_ci_runs_what_the_readme_tells_a_reader_to_run() -> None:
    if not (ROOT / "README.md").is_file():
        pytest.skip("no README yet")
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and line[0] != "#"]
    commands = [line for line in lines if not line.startswith(("set ", "cd ", "command -v chromedriver "))]
    assert commands == ["make test"], "besides a browser for the tests that look at pages, where apt can bring one"
    assert re.search(r"^\s*(\$ )?make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_workflow_runs_the_same_command_on_main_and_on_pull_requests() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "course.yml").read_text())
    triggers = flow[True]  # YAML 1.1 reads the key `on` as a boolean
    assert triggers["push"]["branches"] == ["main"]
    assert "pull_request" in triggers
    job = flow["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make test", "make site"]


def test_the_site_is_deployed_as_an_artifact_and_no_job_may_write_to_the_repository() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "course.yml").read_text())
    uses = {
        step["uses"].split("@")[0]: step for job in flow["jobs"].values() for step in job["steps"] if "uses" in step
    }
    assert uses["actions/upload-pages-artifact"]["with"]["path"] == "build/site"
    assert "actions/deploy-pages" in uses
    assert flow["jobs"]["deploy"]["needs"] == "test"
    assert [job.get("permissions", {}).get("contents") for job in flow["jobs"].values()] == [None, None]
    assert flow["permissions"] == {"contents": "read"}


def test_every_target_of_the_makefile_is_phony_and_explained_by_help() -> None:
    text = (ROOT / "Makefile").read_text()
    explained = re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE)
    assert {"course", "test", "lab", "site", "notebooks", "bench", "portability", "clean", "help"} <= set(explained)
    assert set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) == set(explained)
    assert not re.search(r"^\.ONESHELL|!=", text, re.MULTILINE), "GNU make 3.81 knows neither"


@pytest.mark.parametrize("command", ["import auxlib", "import auxlib.__main__", "import course.config"])
def test_importing_the_door_imports_no_torch(command: str) -> None:
    code = f"{command}\nimport sys\nprint(sorted({{'torch', 'transformers', 'papermill'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_hints_are_read_without_transformers() -> None:
    """``notebooks --check`` imports every room of exercises; it is to stay a matter of seconds."""
    rooms = [f"course.exercises.{path.stem}" for path in LIBRARY if path.parent.name == "check"]
    code = f"import sys, importlib\n[importlib.import_module(name) for name in {rooms}]\n"
    code += "print(sorted({'transformers', 'datasets', 'matplotlib', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", LIBRARY, ids=[path.relative_to(ROOT).as_posix() for path in LIBRARY])
def test_each_file_is_read_in_one_sitting(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 300
    assert lines[0].startswith('"""'), "each file opens with the question it answers"


def test_the_library_stays_small() -> None:
    # lines of code: a docstring, a comment and a blank line make a library longer, but no heavier.
    # What runs the notebooks, what examines answers, what the experiments are made of, and the door to all of it
    # are no part of it: they stand on the library, and nothing of it stands on them.
    examined = len(list((ROOT / "auxlib" / "check").glob("notebook_*.py")))
    experiments = {
        "baselines": 250,
        "claim": 800,
        "rivals": 600,
        "control": 700,
        "bench": 380,
        "labels": 500,
        "tartan": 650,
        "classroom": 750,
        "trials": 120,
        "portability": 125,
    }
    rooms = {"library": 4000, "course": 1200, "check": 220 * examined, "door": 480, **experiments}
    sizes = dict.fromkeys(rooms, 0)
    for path in LIBRARY:
        room = "door" if path.name in ("__main__.py", "commands.py", "doctor.py") else path.parent.name
        room = path.stem if path.stem in ("trials", "portability") else room
        sizes[room if room in rooms else "library"] += lines_of_code(path)
    heavy = {room: lines for room, lines in sizes.items() if lines > rooms[room]}
    assert not heavy, f"lines of code beyond {rooms}"


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no docstring, no comment, nothing blank."""
    text = path.read_text(encoding="utf-8")
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in quiet]
    spoken = [line for token in tokens for line in range(token.start[0], token.end[0] + 1)]
    return len(set(spoken) - set().union(*map(_docstring, ast.walk(ast.parse(text)))))


def _docstring(node: ast.AST) -> range:
    if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return range(0)
    first = node.body[0] if ast.get_docstring(node) is not None else None
    return range(first.lineno, (first.end_lineno or first.lineno) + 1) if first else range(0)


def test_a_docstring_a_comment_and_a_blank_line_are_no_code(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text('"""Two\nlines."""\n\n# why\ndef f() -> str:\n    """Doc."""\n    return """two\n    lines"""\n')
    assert lines_of_code(path) == 3


def test_doctor_reads_the_bounds_of_pyproject() -> None:
    assert {want.name for want in requirements()} >= {"torch", "papermill", "jupyterlab"}
