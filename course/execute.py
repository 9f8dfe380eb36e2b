"""Does the course run? Papermill executes the notebooks side by side; every way to pass by accident is closed.

Each notebook gets a process of its own, so that its kernel's peak memory is known and a crash stays its own affair.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat

from auxlib.errors import CourseError
from course.config import Course, Notebook, load_profile
from course.outputs import check_executed, tags
from course.timings import load_timings, longest_first

NOTHING: Mapping[str, str] = MappingProxyType({})
PACKAGES = ("torch", "transformers", "datasets", "papermill", "ipykernel")
OFFLINE_AND_QUIET = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS",
                     "HF_DATASETS_DISABLE_PROGRESS_BARS", "PYDEVD_DISABLE_FILE_VALIDATION")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of one notebook: seconds, its kernel's peak memory in MB (None on Windows), its error if it failed."""

    slug: str
    seconds: float
    memory_mb: int | None
    error: str | None


def run(
    course: Course,
    rows: list[Notebook],
    profile: str,
    jobs: int = 2,
    threads: int | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] = NOTHING,
) -> list[Outcome]:
    """Execute notebooks and write ``run.json`` beside the executed ones.

    Args:
        jobs: how many notebooks run at a time.
        threads: of each kernel; the cores are shared out evenly when None.
        folder: where the executed notebooks go; ``build/<profile>/`` when None.
        environment: variables for the kernels, beside those that they inherit. This process keeps its own.

    Raises:
        CourseError: the profile and a notebook's parameters do not agree; nothing has run then.
    """
    settings = load_profile(course, profile)
    folder = folder or course.build_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    todo = {}
    for row in longest_first(rows, load_timings(course)):
        source, parameters = course.built(row.slug), settings.parameters(row.slug)
        check_parameters(source, parameters)
        target = folder / source.name
        target.unlink(missing_ok=True)
        limits = settings.cell_timeout, threads, dict(environment)
        todo[row.slug] = partial(execute, source, target, profile, parameters, *limits)
    start = time.perf_counter()
    outcomes = sorted(_all(todo, jobs), key=lambda outcome: outcome.slug)
    receipt: dict[str, Any] = {"profile": profile, "jobs": jobs, "threads": threads}
    receipt |= {
        "seconds": round(time.perf_counter() - start, 1),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "notebooks": [asdict(outcome) for outcome in outcomes],
    }
    (folder / "run.json").write_text(json.dumps(receipt, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return outcomes


def check_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Compare what a profile sends with what a notebook's ``parameters`` cell declares.

    Papermill itself only warns about a name it does not know, puts parameters above a notebook that has no cell for
    them (whose own constants then win), and cannot update a value that the cell derives from another one. Here each
    of these is a CourseError, and so is a value of another type: YAML reads 1e-3 as text.
    """
    if not path.is_file():
        raise CourseError(f"{path} is missing; `python -m auxlib notebooks` generates it from its source.")
    cells = [cell for cell in nbformat.read(path, 4).cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise CourseError(f"{path.name}: expected one code cell tagged 'parameters', found {len(cells)}.")
    declared: dict[str, Any] = {}
    for line in ast.parse(cells[0].source).body:
        try:
            (target,) = line.targets
            declared[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError) as error:
            raise CourseError(
                f"{path.name}: the parameters cell holds `{ast.unparse(line)}`; only NAME = literal works there. "
                "Papermill adds its values after this cell, so derive others in the next one."
            ) from error
    for name, value in parameters.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise CourseError(f"{path.name}: the profile sets {name}; the notebook has {known}.")
        kind = type(declared[name])
        if type(value) is not kind and (type(value), kind) != (int, float):
            raise CourseError(f"{path.name}: the profile sets {name} to {value!r}, the notebook to {declared[name]!r}.")


def _all(todo: dict[str, Callable[[], Outcome]], jobs: int) -> list[Outcome]:
    """Run the jobs with one progress bar that names the notebooks at work."""
    from tqdm import tqdm

    left, outcomes = list(todo), []
    with tqdm(total=len(todo), unit="notebook", desc=" + ".join(left[:jobs])) as bar, ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(in_own_process, slug, job) for slug, job in todo.items()]):
            outcomes.append(future.result())
            left.remove(outcomes[-1].slug)
            bar.set_description(" + ".join(left[:jobs]) or "done", refresh=False)
            bar.update()
    return outcomes


def in_own_process(slug: str, job: Callable[[], Outcome]) -> Outcome:
    """Run one notebook's job in a fresh process; if that is killed, the outcome says so."""
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(job).result()
    except BrokenProcessPool:
        return Outcome(slug, 0.0, None, "its process was killed, most likely for want of memory; try --jobs 1")


def execute(
    source: Path,
    target: Path,
    profile: str,
    parameters: dict[str, Any],
    cell_timeout: int,
    threads: int,
    environment: Mapping[str, str] = NOTHING,
) -> Outcome:
    """Execute one notebook in a kernel of this process, which is its own; errors become part of the outcome."""
    import papermill
    from traitlets.config import Config

    os.environ |= dict.fromkeys(OFFLINE_AND_QUIET, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)) | dict(environment)
    config = Config()
    config.KernelManager.transport_encryption = "auto"  # else every kernel start prints a line about it
    start, error = time.perf_counter(), None
    try:
        done = papermill.execute_notebook(
            source, target, parameters=parameters, kernel_name="python3", cwd=source.parent,
            config=config, progress_bar=False, record_timing=False, coalesce_streams=True,
            shutdown_kernel="immediate", execution_timeout=cell_timeout,
        )  # fmt: skip
        check_executed(done, source.stem, profile)
    except papermill.PapermillExecutionError as failed:
        first = failed.source.strip().splitlines()[0]
        error = f"cell [{failed.exec_count}] `{first}`: {failed.ename}: {failed.evalue}"
    except Exception as other:  # a failed check, a dead kernel, a timeout, a full disk: reported with the others'
        error = f"{type(other).__name__}: {str(other).strip()}"
    return Outcome(source.stem, round(time.perf_counter() - start, 1), _peak_memory_mb(), error)


def _peak_memory_mb() -> int | None:
    """Peak resident memory of this process's largest child, which is the kernel."""
    if platform.system() == "Windows":
        return None
    import resource

    unit = 1e6 if platform.system() == "Darwin" else 1e3  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit)
