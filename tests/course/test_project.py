"""What the repository promises: one set of versions, commands that exist, a typed library that installs alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec

import pytest
import yaml
from packaging.requirements import Requirement

from course import doctor
from tests.course.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, TOOLS = PYPROJECT["project"], PYPROJECT["tool"]
EXTRAS = ("course", "site")
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "course.yml").read_text())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [path.read_text(encoding="utf-8") for path in PAGES]


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
    assert "-c constraints.txt -e '.[dev]'" in MAKEFILE


def test_the_oldest_python_is_the_same_everywhere() -> None:
    floor = PROJECT["requires-python"].removeprefix(">=")
    major, minor = floor.split(".")
    assert tuple(map(int, (major, minor))) == doctor.PYTHON
    assert f"< ({major}, {minor})" in MAKEFILE
    assert f"FROM python:{floor}-" in (ROOT / ".devcontainer" / "Dockerfile").read_text()
    assert TOOLS["mypy"]["python_version"] == floor
    assert TOOLS["ruff"]["target-version"] == f"py{major}{minor}"
    assert floor in WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["python"]


def test_the_workflow_runs_targets_of_the_makefile_on_main_and_on_pull_requests() -> None:
    triggers = WORKFLOW[True]  # YAML 1.1 reads the key `on` as a boolean
    assert triggers["push"]["branches"] == ["main"]
    assert "pull_request" in triggers
    steps = [step.get("run", "") for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    called = {target for step in steps for target in re.findall(r"^make (\w+)", step)}
    assert {"lint", "unit", "replay", "site"} <= called <= targets()


def test_no_job_of_the_workflow_may_write_to_the_repository() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("contents" not in job.get("permissions", {}) for job in WORKFLOW["jobs"].values())


def test_the_site_is_deployed_only_when_every_other_check_has_passed() -> None:
    assert set(WORKFLOW["jobs"]["deploy"]["needs"]) == {"lint", "tests", "notebooks", "site"}


def targets() -> set[str]:
    """Return the targets of the Makefile that `make help` explains."""
    return set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))


def test_every_target_of_the_makefile_is_phony_and_explained_by_help() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets()
    assert not re.search(r"^\.ONESHELL|!=", MAKEFILE, re.MULTILINE), "GNU make 3.81 knows neither"


def test_every_file_and_module_that_the_makefile_names_exists() -> None:
    names = set(re.findall(r"[\w/.-]+\.(?:py|ipynb|cfg|txt|toml)\b", MAKEFILE))
    assert names >= {"constraints.txt", "pyproject.toml", "tests/sanitize.cfg"}
    assert [name for name in names if not (ROOT / name).is_file()] == []
    modules = re.findall(r"-m ((?:course|experiments)\.\w+|auxlib)", MAKEFILE)
    assert [name for name in modules if find_spec(name) is None] == []


def test_every_make_target_in_the_documents_exists() -> None:
    named = {target for text in DOCUMENTS for target in re.findall(r"(?:^\$? ?|`)make (\w+)", text, re.MULTILINE)}
    assert {"course", "test"} <= named <= targets()


def test_every_command_in_the_documents_exists() -> None:
    named = {command for text in DOCUMENTS for command in re.findall(r"-m auxlib\s+([a-z]+)", text)}
    assert {"run", "generate", "doctor", "grade"} <= named
    help_text = subprocess.run(
        [sys.executable, "-m", "auxlib", "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert named <= set(re.findall(r"^ {4}([a-z]+)\b", help_text, re.MULTILINE))


def test_the_wheel_holds_the_typed_library_alone() -> None:
    wheel = TOOLS["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["auxlib"]
    assert all(target.startswith("auxlib/_data/") for target in wheel["force-include"].values())
    assert (ROOT / "auxlib" / "py.typed").is_file()


@pytest.mark.parametrize(("package", "extras"), [("auxlib", ()), ("experiments", ("course",)), ("course", EXTRAS)])
def test_every_imported_package_is_a_declared_dependency(package: str, extras: tuple[str, ...]) -> None:
    declared = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    names = {_name(Requirement(line).name) for line in declared}
    providers = packages_distributions()
    foreign = imported_by(package) - sys.stdlib_module_names - {"auxlib", "experiments", "course"}
    assert [name for name in foreign if not names & {_name(provider) for provider in providers[name]}] == []


def imported_by(package: str) -> set[str]:
    """Return the top-level names that the modules of a package import."""
    names: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("command", ["import auxlib", "import auxlib.__main__", "import course.config"])
def test_importing_the_door_imports_no_torch(command: str) -> None:
    code = f"{command}\nimport sys\nprint(sorted({{'torch', 'transformers', 'papermill'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_hints_are_read_without_transformers() -> None:
    """``notebooks --check`` imports every module of exercises; it is to stay a matter of seconds."""
    modules = [f"course.exercises.{path.stem}" for path in (ROOT / "course" / "exercises").glob("notebook_*.py")]
    assert modules
    code = f"import sys, importlib\n[importlib.import_module(name) for name in {modules}]\n"
    code += "print(sorted({'transformers', 'datasets', 'matplotlib', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_doctor_reads_the_bounds_of_pyproject() -> None:
    assert {want.name for want in doctor.requirements()} >= {"torch", "papermill", "jupyterlab"}
