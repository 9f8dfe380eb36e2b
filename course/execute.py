"""Execution of the notebooks with papermill, several at a time.

A notebook passes only if its parameters are those of the profile, every cell ran, and it printed the profile's name.
Each notebook gets a process of its own, which isolates crashes and lets us measure its kernel's peak memory.
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
from dataclasses import asdict
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
from course.timings import Outcome, load_timings, longest_first

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
PACKAGES = ("torch", "transformers", "datasets", "papermill", "ipykernel")
OFFLINE_AND_QUIET = (
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "HF_DATASETS_DISABLE_PROGRESS_BARS",
    "PYDEVD_DISABLE_FILE_VALIDATION",
)


def run(
    course: Course,
    rows: list[Notebook],
    profile: str,
    jobs: int = 2,
    threads: int | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] = NO_VARIABLES,
) -> list[Outcome]:
    """Execute notebooks and write ``run.json`` beside the executed ones.

    Args:
        jobs: number of notebooks that run at the same time.
        threads: of each kernel; an equal share of the cores when None.
        folder: for the executed notebooks; ``build/<profile>/`` when None.
        environment: variables for the kernels in addition to those that they inherit; this process's own stay.

    Returns:
        One outcome per notebook, sorted by slug. A notebook that fails does not stop the others.

    Raises:
        CourseError: the profile and a notebook's parameters do not agree; no notebook has run then.
    """
    settings = load_profile(course, profile)
    folder = folder or course.build_dir(profile)
    folder.mkdir(parents=True, exist_ok=True)
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    jobs_by_slug: dict[str, Callable[[], Outcome]] = {}
    for row in longest_first(rows, load_timings(course)):
        source, parameters = course.built(row.slug), settings.parameters(row.slug)
        check_parameters(source, parameters)
        target = folder / source.name
        target.unlink(missing_ok=True)
        limits = settings.cell_timeout, threads, dict(environment)
        jobs_by_slug[row.slug] = partial(execute, source, target, profile, parameters, *limits)
    start = time.perf_counter()
    outcomes = sorted(_run_all(jobs_by_slug, jobs), key=lambda outcome: outcome.slug)
    record: dict[str, Any] = {"profile": profile, "jobs": jobs, "threads": threads}
    record |= {
        "seconds": round(time.perf_counter() - start, 1),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "notebooks": [asdict(outcome) for outcome in outcomes],
    }
    (folder / "run.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return outcomes


def check_parameters(path: Path, parameters: dict[str, Any]) -> None:
    """Check a profile's parameters against a notebook's ``parameters`` cell.

    Papermill itself only warns about an unknown name, puts parameters above a notebook without such a cell (whose own
    constants then win), and cannot update a value that the cell derives from another one.

    Raises:
        CourseError: one of these, or a value of another type: YAML reads 1e-3 as text.
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


def _run_all(jobs_by_slug: Mapping[str, Callable[[], Outcome]], jobs: int) -> list[Outcome]:
    """Run the jobs with one progress bar that names the notebooks at work."""
    from tqdm import tqdm

    pending, outcomes = list(jobs_by_slug), []
    with (
        tqdm(total=len(pending), unit="notebook", desc=" + ".join(pending[:jobs])) as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        for future in as_completed([pool.submit(in_own_process, slug, job) for slug, job in jobs_by_slug.items()]):
            outcomes.append(future.result())
            pending.remove(outcomes[-1].slug)
            bar.set_description(" + ".join(pending[:jobs]) or "done", refresh=False)
            bar.update()
    return outcomes


def in_own_process(slug: str, job: Callable[[], Outcome]) -> Outcome:
    """Run one notebook's job in a fresh process; a process that is killed becomes an outcome with an error."""
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
    environment: Mapping[str, str] = NO_VARIABLES,
) -> Outcome:
    """Execute one notebook in a kernel of this process; errors become part of the outcome.

    Sets environment variables, so it needs a process of its own (`in_own_process`).
    """
    import papermill
    from traitlets.config import Config

    os.environ |= dict.fromkeys(OFFLINE_AND_QUIET, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)) | dict(environment)
    config = Config()
    config.KernelManager.transport_encryption = "auto"  # else every kernel start prints a line about it
    start, error = time.perf_counter(), None
    try:
        done = papermill.execute_notebook(
            source,
            target,
            parameters=parameters,
            kernel_name="python3",
            cwd=source.parent,
            config=config,
            progress_bar=False,
            record_timing=False,
            coalesce_streams=True,
            shutdown_kernel="immediate",
            execution_timeout=cell_timeout,
        )
        check_executed(done, source.stem, profile)
    except papermill.PapermillExecutionError as failed:
        first = failed.source.strip().splitlines()[0]
        error = f"cell [{failed.exec_count}] `{first}`: {failed.ename}: {failed.evalue}"
    except Exception as failed:  # a failed check, a dead kernel, a timeout, a full disk: part of the outcome
        error = f"{type(failed).__name__}: {str(failed).strip()}"
    return Outcome(source.stem, round(time.perf_counter() - start, 1), _peak_memory_mb(), error)


def _peak_memory_mb() -> int | None:
    """Return the peak resident memory of this process's largest child, the kernel."""
    if platform.system() == "Windows":
        return None
    import resource

    unit = 1e6 if platform.system() == "Darwin" else 1e3  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit)
