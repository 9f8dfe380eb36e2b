"""The portability check: its combinations, what the kernels of a run are given, and what it reports."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from auxlib.errors import CourseError
from course import portability
from course.build import build
from course.config import Course, load_course
from course.execute import run
from course.portability import COMBINATIONS, Combination, main, measure, moved, possible
from tests.course.conftest import ECHO, HEAD, ROOT, MakeCourse

SAID = """# %% tags=["nbval-check-output"]
import os
names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "AUXLIB_DTYPE", "OMP_NUM_THREADS")
print(*(os.environ.get(name) for name in names))

# %% tags=["nbval-check-output"]
print("share", 0.3127 if os.environ.get("AUXLIB_DTYPE") else 0.3126)

# %% [markdown]
# About 0.313<!-- share -->.
"""


@pytest.fixture
def course(make_course: MakeCourse, tmp_path: Path) -> Course:
    """One notebook that prints what its kernel was given, with the outputs of a plain run."""
    course = make_course(tmp_path, {"00_a": HEAD + ECHO + SAID})
    run(course, course.notebooks, "quick", jobs=1, threads=1)
    build(course, course.notebooks, course.build_dir("quick"))
    return course


def test_a_combination_has_a_name_and_variables() -> None:
    one = Combination.parse("avx2-2-float32")
    assert one == Combination("avx2", 2, "float32")
    assert one.name == "avx2-2-float32"
    assert one.environment == {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "AUXLIB_DTYPE": "float32",
    }


@pytest.mark.parametrize("name", ["avx2", "sse-1-float32", "avx2-0-float32", "avx2-1-float16", "avx2-1-float32 "])
def test_another_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CourseError, match=f"no combination '{name}'; write INSTRUCTIONS-THREADS-DTYPE"):
        Combination.parse(name)
    assert main(["02", "--on", name]) == 2
    assert capsys.readouterr().err.startswith("CourseError: no combination")


def test_one_thing_changes_at_a_time() -> None:
    """Each combination differs from one before it in a single respect, but for bfloat16 where nothing computes it."""
    chosen = [Combination.parse(name) for name in COMBINATIONS]
    for index, one in enumerate(chosen[1:], 1):
        fields = vars(one).items()
        assert any(sum(vars(other)[name] != value for name, value in fields) == 1 for other in chosen[:index]), one
    assert {one.instructions for one in chosen} == {"default", "avx2", "avx512"}
    assert {one.instructions for one in chosen if one.dtype == "bfloat16"} == {"avx512"}


def test_only_notebooks_with_a_frozen_model_depend_on_the_precision() -> None:
    rows = load_course(ROOT).select(["02", "07", "10"])
    float32, bfloat16 = Combination("avx512", 1, "float32"), Combination("avx512", 1, "bfloat16")
    assert [float32.case(row) == bfloat16.case(row) for row in rows] == [True, False, False]
    assert Combination("avx512", 2, "float32").case(rows[0]) != float32.case(rows[0])


@pytest.mark.parametrize(
    ("here", "good"),
    [("AVX512", ["default", "avx2", "avx512"]), ("AVX2", ["default", "avx2"]), ("NO AVX", ["default"])],
)
def test_instructions_that_the_processor_lacks_are_not_run(
    monkeypatch: pytest.MonkeyPatch, here: str, good: list[str]
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: here)
    assert [name for name in portability.INSTRUCTIONS if possible(name)] == good


def test_the_kernels_get_the_variables_and_this_process_keeps_its_own(course: Course) -> None:
    before = dict(os.environ)
    found = measure(course, course.notebooks, Combination("default", 1, "float32"), str)
    assert dict(os.environ) == before
    assert found == {
        "00_a": [
            "cell 3: stdout: committed 'None None None None 1', now 'default SSE41 SSE4_2 float32 1'",
        ]
    }, "0.3126 and 0.3127 are one unit apart, and 0.313 in the prose stands for both"
    assert (course.root / "build" / "portability" / "default-1-float32" / "00_a.ipynb").is_file()
    assert not (course.root / "build" / "portability" / "default-1-float32" / "cache").exists()


def test_the_command_lists_what_moved_and_runs_no_case_twice(
    course: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (course.root / "tests").mkdir()
    (course.root / "tests" / "sanitize.cfg").write_text((ROOT / "tests" / "sanitize.cfg").read_text())
    monkeypatch.setattr(portability, "load_course", lambda: course)
    monkeypatch.setattr(portability, "possible", lambda instructions: instructions != "avx512")
    said = []

    def one_run(course: Course, rows: list, combination: Combination, sanitize: object) -> dict[str, list[str]]:
        said.append(combination.name)
        return {row.slug: [] if combination.threads == 1 else ["cell 3: moved"] for row in rows}

    monkeypatch.setattr(portability, "measure", one_run)
    assert main(["00", "--on", "default-1-float32,default-1-bfloat16,avx512-1-float32"]) == 0
    assert said == ["default-1-float32"], "without a frozen model the precision changes nothing"
    assert "avx512-1-float32    not run: instructions missing" in capsys.readouterr().out
    assert main(["--on", "default-2-float32"]) == 1
    assert "default-2-float32  00_a  cell 3: moved\n" in capsys.readouterr().out


def _notebook(text: str, source: str = "f()") -> NotebookNode:
    cell = nbformat.v4.new_code_cell(source, id="a", metadata={"tags": ["nbval-check-output"]})
    cell.outputs = [nbformat.v4.new_output("stream", text=text)]
    free = nbformat.v4.new_code_cell("g()", id="b")
    free.outputs = [nbformat.v4.new_output("stream", text=f"time {text}")]
    prose = nbformat.v4.new_markdown_cell("It is 0.31<!-- share -->.", id="c")
    return nbformat.v4.new_notebook(cells=[cell, free, prose])


def test_what_moved_is_named_by_cell() -> None:
    assert moved(_notebook("share 0.31"), _notebook("share 0.32")) == []
    assert moved(_notebook("share 0.31"), _notebook("share 0.33")) == [
        "cell 0: stdout: committed 'share 0.31', now 'share 0.33'",
        'prose, cell 2: "0.31": the run printed 0.33 after "share"',
    ]
    assert moved(_notebook("share 0.31"), _notebook("share 0.31", "h()")) == ["cell 0: the run holds another source"]
