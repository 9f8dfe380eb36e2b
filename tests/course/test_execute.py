"""Execution of notebooks: no notebook passes by accident."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from auxlib.errors import CourseError
from course.config import Course, load_course, load_profile
from course.execute import check_parameters, run
from course.headline import headline
from course.outputs import check_executed
from course.timings import Outcome
from experiments.tables import as_text
from tests.course.conftest import ECHO, HEAD, PROFILE, ROOT, MakeCourse

SENT = PROFILE + "notebooks: {00_good: {STEPS: 7}}\n"
SOURCES = {
    "00_good": HEAD + ECHO + "# %%\nimport os\nprint(STEPS * 2, os.environ['OMP_NUM_THREADS'], os.getcwd()[-9:])",
    "01_other_profile": HEAD + '# %%\nPROFILE = "full"\n\n' + ECHO,
    "02_fails": HEAD + ECHO + "# %%\n# the failing one\nraise ValueError('no luck')\n\n# %%\nprint('never')",
    "03_dies": HEAD + ECHO + "# %%\nos = __import__('os')\nos._exit(1)",
}


@pytest.fixture(scope="module")
def ran(make_course: MakeCourse, tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, dict[str, Outcome]]:
    """Four notebooks, one good, executed once for the whole file: kernels are slow to start."""
    course = make_course(tmp_path_factory.mktemp("course"), SOURCES, SENT)
    outcomes = run(course, course.notebooks, "quick", jobs=2, threads=1)
    return course, {outcome.slug: outcome for outcome in outcomes}


def test_a_good_notebook_gets_parameters_threads_and_its_own_folder(ran) -> None:
    course, outcomes = ran
    assert outcomes["00_good"].error is None
    executed = nbformat.read(course.build_dir("quick") / "00_good.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "14 1 notebooks\n"


def test_a_failing_cell_is_shown_by_number_source_and_error(ran) -> None:
    assert ran[1]["02_fails"].error == "cell [4] `# the failing one`: ValueError: no luck"


def test_a_dead_kernel_is_an_outcome_and_stops_nobody_else(ran) -> None:
    assert "DeadKernelError" in ran[1]["03_dies"].error
    assert len(ran[1]) == 4


def test_a_notebook_that_overwrites_its_profile_is_found_out(ran) -> None:
    assert (
        "CourseError: 01_other_profile: ran with profile 'full', asked for 'quick'" in ran[1]["01_other_profile"].error
    )


def test_the_receipt_names_profile_versions_seconds_and_memory(ran) -> None:
    receipt = json.loads((ran[0].build_dir("quick") / "run.json").read_text())
    assert receipt["profile"] == "quick"
    assert receipt["versions"]["papermill"]
    assert all(done["seconds"] > 0 and done["memory_mb"] > 20 for done in receipt["notebooks"])


FIGURES = {
    "accuracy": 0.912,
    "accuracy_ci": [0.9, 0.93],
    "stem_accuracy": 0.92,
    "base_rate": 0.004,
    "n_samples": 1000,
    "slor": 3.2,
    "slor_human": 3.1,
    "slor_frozen": 3.4,
    "train_minutes": 14.0,
    "decode_ratio": 1.1,
    "ms_per_token_pair": 44.0,
    "ms_per_token_frozen": 40.0,
    "frozen_unchanged": True,
    "machine": {"cores": 2},
}


def test_the_headline_of_a_recorded_run_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "data" / "results" / "full" / "real.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(FIGURES))
    shown = as_text(headline(tmp_path))
    assert "0.912 [0.900, 0.930]" in shown
    assert "by chance 0.004; n = 1000" in shown
    path.write_text("{}")
    with pytest.raises(CourseError, match=r"real\.json lacks accuracy"):
        headline(tmp_path)


def test_a_table_for_the_terminal_shows_cells_as_they_are_written() -> None:
    assert as_text([{"no": "02", "share": "40%"}, {"no": "10", "share": "-"}]).splitlines() == [
        "no    share",
        "02    40%",
        "10    -",
    ]
    assert as_text([]) == ""


def _notebook(path: Path, parameters: str, tag: str = "parameters") -> Path:
    cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": [tag]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.mark.parametrize(
    ("source", "tag", "said"),
    [
        ('PROFILE = "quick"', "parameters", "sets STEPS; the notebook has PROFILE"),
        ("", "parameters", "sets (PROFILE|STEPS); the notebook has none"),
        ('PROFILE = "quick"\nSTEPS = 5', "parametres", "one code cell tagged 'parameters', found 0"),
        ('PROFILE = "quick"\nSTEPS = 5\nN = 2 * STEPS', "parameters", r"`N = 2 \* STEPS`; only NAME = literal"),
        ('PROFILE = "quick"\nSTEPS = int("5")', "parameters", "only NAME = literal"),
        ('PROFILE = "quick"\nSTEPS, N = 5, 6', "parameters", "only NAME = literal"),
        ('import os\nPROFILE = "quick"\nSTEPS = 5', "parameters", "`import os`; only NAME = literal"),
        ('PROFILE = "quick"\nSTEPS = "5"', "parameters", "sets STEPS to 3, the notebook to '5'"),
    ],
)
def test_parameters_that_papermill_would_let_pass_are_errors(tmp_path: Path, source: str, tag: str, said: str) -> None:
    path = _notebook(tmp_path / "00_a.ipynb", source, tag)
    with pytest.raises(CourseError, match=r"00_a\.ipynb: .*" + said):
        check_parameters(path, {"PROFILE": "quick", "STEPS": 3})


def test_a_number_that_yaml_reads_as_text_is_an_error(tmp_path: Path) -> None:
    path = _notebook(tmp_path / "00_a.ipynb", "RATE = 0.1")
    check_parameters(path, {"RATE": 1})
    with pytest.raises(CourseError, match="sets RATE to '1e-3'"):
        check_parameters(path, {"RATE": "1e-3"})


def test_a_misspelt_parameter_stops_the_run_before_any_kernel_starts(make_course: MakeCourse, tmp_path: Path) -> None:
    course = make_course(tmp_path, {"00_a": HEAD + ECHO}, PROFILE + "notebooks: {00_a: {STEP: 7}}\n")
    with pytest.raises(CourseError, match=r"00_a\.ipynb: the profile sets STEP; the notebook has PROFILE, STEPS"):
        run(course, course.notebooks, "quick")
    course.built("00_a").unlink()
    with pytest.raises(CourseError, match=r"00_a\.ipynb is missing; `python -m auxlib notebooks`"):
        run(course, course.notebooks, "quick")


@pytest.mark.parametrize(
    ("count", "text", "said"),
    [
        (None, "", "cell .* was not run"),
        (1, "", "nothing printed its profile"),
        (1, "profile: full\n", "ran with profile 'full', asked for 'quick'"),
        (1, "profile: quick\nprofile: gpu\n", "ran with profile 'gpu'"),
    ],
)
def test_an_executed_notebook_must_say_its_profile_and_be_whole(count: int | None, text: str, said: str) -> None:
    outputs = [nbformat.v4.new_output("stream", text=text)] if text else []
    cell = nbformat.v4.new_code_cell("print(PROFILE)", execution_count=count, outputs=outputs)
    with pytest.raises(CourseError, match="00_a: " + said):
        check_executed(nbformat.v4.new_notebook(cells=[cell]), "00_a", "quick")


PRESENT = [row.slug for row in load_course(ROOT).notebooks if load_course(ROOT).built(row.slug).is_file()]


@pytest.mark.parametrize("profile", ["quick", "full", "gpu"])
@pytest.mark.parametrize("slug", PRESENT)
def test_each_profile_fits_each_committed_notebook(slug: str, profile: str) -> None:
    course = load_course(ROOT)
    check_parameters(course.built(slug), load_profile(course, profile).parameters(slug))


def test_the_door_reports_errors_in_one_line_with_exit_code_2() -> None:
    done = subprocess.run([sys.executable, "-m", "auxlib", "run", "99"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("CourseError: no notebook '99'")
    assert len(done.stderr.splitlines()) == 1
