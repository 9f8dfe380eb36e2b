"""The frame of an experiment: independent trials, their provenance, and the record they are assembled into.

Every trial's record is written as soon as it is done. A second run repeats only what is missing or failed, and a trial
that fails keeps its place with its error instead of figures. Every record names what made it (the experiment's version,
hashes of data and weights); a record of another origin is refused.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import zip_longest
from math import isclose, nan
from pathlib import Path
from time import process_time
from typing import Any

from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError, ResultsMismatch
from experiments.records import ALIASES, RECORDS, Record, RecordFile, Setting
from experiments.tables import Row, as_markdown

Provenance = dict[str, Any]
Work = Callable[[Any], Record]
TOLERANCE = 2e-2  # mostly nats a token; after a training, machines and numbers of threads differ by a quarter of it
KILLED = {"error": "the process was killed, perhaps for want of memory", "seconds": 0.0}


# --- trials ---


@dataclass(frozen=True)
class Trial:
    """One run of one system, small enough to be sent to another process; a subclass adds the fields."""

    @property
    def name(self) -> str:
        """The file name of its record, from all fields."""
        return "-".join(map(str, vars(self).values()))

    @property
    def identity(self) -> Record:
        """The fields that stand in its record, also when it failed."""
        return dict(vars(self))


@dataclass(frozen=True)
class SystemTrial(Trial):
    """A trial of a system with a seed.

    Attributes:
        size: a dataclass of numbers.
        setting: the hyperparameters that a search chooses.
    """

    system: str
    seed: int
    size: Any
    setting: Setting = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file name of its record: system, seed, size, and the setting if there is one."""
        numbers = [self.seed, *vars(self.size).values(), *self.setting.values()]
        return "-".join([self.system, *(f"{number:g}" for number in numbers)])

    @property
    def identity(self) -> Record:
        """System, seed, and the number of training sentences where the size has one."""
        sentences = {"sentences": self.size.train} if hasattr(self.size, "train") else {}
        return {"system": self.system, "seed": self.seed} | sentences


@dataclass
class TrialRunner:
    """Runs the trials of one experiment and keeps their records in a folder.

    Attributes:
        folder: one JSON file a trial.
        work: a function of a module, from a trial to its record; it runs in another process.
        made_by: the experiment's provenance.
        jobs: number of processes.
        seconds: computing time of all trials so far, divided by ``jobs``.
    """

    folder: Path
    work: Work
    made_by: Provenance
    jobs: int = 2
    seconds: float = 0.0

    def __call__(self, trials: Iterable[Trial]) -> list[Record]:
        """Return the records of trials in their order, each with its trial's identity."""
        named = {trial.name: trial for trial in trials}
        records = run_trials(self.folder, named, self.work, self.made_by, self.jobs)
        self.seconds += sum(record["seconds"] for record in records.values()) / self.jobs
        return [named[name].identity | record for name, record in records.items()]


# --- experiments ---


@dataclass
class Experiment:
    """The description of one experiment; `load_experiment` finds it by name.

    Attributes:
        record: its file, command and names.
        run: runs all trials and returns their records.
        assemble: makes the results of the records.
        tables: rows of the results that are shown after a run.
        work: runs one trial; None if ``run`` uses no trials.
        made_by: provenance of the results; None if they depend on the machine alone.
        behaviour_probe: figures of a rehearsal of a few seconds, which tell whether the code still computes the same.
        tolerance: the largest difference of the probe that may be a processor's rounding.
        summary: text shown after a run in the place of the tables.
        finish: writes what stands beside the record, from root and trial records.
        repeat_seed: runs one seed again and returns the results and where they differ from the recorded ones.
    """

    record: RecordFile
    run: Callable[[TrialRunner], list[Record]]
    assemble: Callable[[Sequence[Record]], Record]
    tables: tuple[Callable[[Record], list[Row]], ...] = ()
    work: Work | None = None
    made_by: Callable[[], Provenance] | None = None
    behaviour_probe: Callable[[], list[float]] | None = None
    tolerance: float = TOLERANCE
    summary: Callable[[Record], str] | None = None
    finish: Callable[[Path, Sequence[Record]], None] | None = None
    repeat_seed: Callable[[TrialRunner, int, Record | None], tuple[Record, list[str]]] | None = None

    def origin(self) -> Record:
        """Return what results stand on: version, data and weights, and the behaviour of the code."""
        if self.made_by is None or self.behaviour_probe is None:
            return {}
        return {"made_by": self.made_by(), "rehearsal": self.behaviour_probe()}

    def runner(self, root: Path, jobs: int) -> TrialRunner:
        """Return a runner whose folder is ``build/NAME``."""
        made_by = {} if self.made_by is None else self.made_by()
        return TrialRunner(root / "build" / self.record.name, self.work or _no_work, made_by, jobs)

    def describe(self, results: Record) -> str:
        """Return the summary of results, or all tables that are not empty as markdown."""
        if self.summary is not None:
            return self.summary(results)
        return "\n".join(as_markdown(rows) for rows in (table(results) for table in self.tables) if rows)


def _no_work(trial: Any) -> Record:
    raise TypeError(f"the experiment has no trials, but was given {trial!r}.")


def load_experiment(name: str) -> Experiment:
    """Return an experiment by its name or an alias; its modules are imported only now.

    Raises:
        CourseError: no experiment has that name.
    """
    name = ALIASES.get(name, name)
    if name not in RECORDS:
        raise CourseError(f"there is no experiment {name!r}; choose from {', '.join(RECORDS)}.")
    return import_module(f"experiments.{name}.experiment").EXPERIMENT


def run_and_record(experiment: Experiment, root: Path, jobs: int = 2) -> Record:
    """Run a whole experiment, write its record, and return the results."""
    runner = experiment.runner(root, jobs)
    records = experiment.run(runner)
    results = experiment.assemble(records)
    if origin := experiment.origin():
        results = results | origin | {"seconds": round(runner.seconds)}
    write_json_atomic(root / experiment.record.path, results)
    if experiment.finish is not None:
        experiment.finish(root, records)
    return results


def load_record(experiment: Experiment, root: Path) -> Record | None:
    """Return the recorded results, or None before there are any.

    Raises:
        CourseError: the file is damaged.
        ResultsMismatch: another version, other data or other code have made it.
    """
    record = experiment.record
    results = record.read(root)
    if results is not None and experiment.made_by is not None and experiment.behaviour_probe is not None:
        require_provenance(results, experiment.made_by(), root / record.path, record.command)
        recorded, now = results["rehearsal"], experiment.behaviour_probe()
        require_probe(recorded, now, record.path, record.command, experiment.tolerance)
    return results


# --- provenance ---


def digest(*parts: object) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over parts in their order; bytes as they are, anything else as text."""
    sha = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        sha.update(len(content).to_bytes(8, "big") + content)  # "1", "23" is not "12", "3"
    return sha.hexdigest()[:16]


def provenance(version: int, **data: str) -> Provenance:
    """Return what decides an experiment's figures, for its records.

    Source code is no part of it: a rename or a clearer sentence computes the same. What the code computes is held by
    the experiment's behaviour probe instead.

    Args:
        version: raised by hand when the experiment's rules change; `CHANGELOG.md` states the reason.
        data: hashes of data and weights by name.
    """
    return {"version": version, "data": data}


def require_provenance(record: Mapping[str, Any], here: Provenance, where: Path | str, again: str) -> None:
    """Raise `ResultsMismatch` unless a record was made by this version of its experiment and from these data."""
    there = record.get("made_by")
    if not isinstance(there, Mapping) or set(there) != set(here):
        raise ResultsMismatch(f"{where} does not say which version and data made it. Make it again: {again}")
    if there["version"] != here["version"]:
        raise ResultsMismatch(
            f"{where} was made by version {there['version']} of its experiment; the one here is version "
            f"{here['version']}, and figures of the two must not be mixed. Make it again: {again}"
        )
    names = sorted(there["data"].keys() | here["data"].keys())
    if different := [name for name in names if there["data"].get(name) != here["data"].get(name)]:
        pairs = ", ".join(f"{name} ({there['data'].get(name)}, here {here['data'].get(name)})" for name in different)
        raise ResultsMismatch(f"{where} was made from other data or weights: {pairs}. Make it again: {again}")


def require_probe(
    recorded: Sequence[float], now: Sequence[float], where: Path | str, again: str, tolerance: float = TOLERANCE
) -> None:
    """Raise `ResultsMismatch` when the code computes something else than when results were recorded.

    Args:
        recorded, now: the figures of a behaviour probe, a short rehearsal of the experiment.
        tolerance: the largest difference that may be a processor's rounding.
    """
    pairs = zip_longest(recorded, now, fillvalue=nan)
    if not all(isclose(a, b, rel_tol=0, abs_tol=tolerance) for a, b in pairs):
        raise ResultsMismatch(
            f"{where} stands on code that reached {list(recorded)} in a short rehearsal; the code here reaches "
            f"{list(now)}. Make it again: {again}"
        )


# --- running trials in processes ---


def run_trials(
    folder: Path, trials: Mapping[str, Any], work: Work, maker: Provenance, jobs: int = 2, progress: bool = True
) -> dict[str, Record]:
    """Run the trials that have no record yet, several at a time, each process on one thread.

    Args:
        folder: one JSON file a trial.
        trials: by name.
        work: from a trial to its record; a function of a module, for it runs in another process.
        maker: from `provenance`.

    Returns:
        All records by name, in the order of ``trials``. Beside what ``work`` returned: ``seconds`` of computing, and
        ``error`` for a trial that failed, which the next run repeats.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: _read(folder / f"{name}.json", maker) for name in trials}
    records = {name: record for name, record in found.items() if record is not None}
    missing = {name: trials[name] for name in trials if name not in records or "error" in records[name]}
    for name, record in _in_processes(missing, work, jobs, progress):
        records[name] = record | {"made_by": maker}
        write_json_atomic(folder / f"{name}.json", records[name])
    return {name: records[name] for name in trials}


def _in_processes(missing: Mapping[str, Any], work: Work, jobs: int, progress: bool) -> Iterator[tuple[str, Record]]:
    """Yield all trials with their records, as they finish.

    A pool that loses a process is lost whole. To find the trial that kills its process, those that were running are
    repeated alone; all others go on in a new pool.
    """
    from tqdm.auto import tqdm

    left = dict(missing)
    with tqdm(total=len(left), desc="trials", disable=not progress or not left) as bar:
        while left:
            for name, record in _in_pool(left, work, jobs):
                del left[name]
                bar.update()
                yield name, record
            for name in list(left)[:jobs]:
                alone = dict(_in_pool({name: left.pop(name)}, work, 1))
                bar.update()
                yield name, alone.get(name, KILLED)


def _in_pool(trials: Mapping[str, Any], work: Work, jobs: int) -> Iterator[tuple[str, Record]]:
    """Yield trials with their records until all are done or a process is killed."""
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks but not the threads that hold them
    with ProcessPoolExecutor(jobs, spawn, initializer=_one_thread) as pool:
        pending = {pool.submit(_guarded, work, trial): name for name, trial in trials.items()}
        for done in as_completed(pending):
            with suppress(BrokenProcessPool):
                yield pending[done], done.result()


def _guarded(work: Work, trial: Any) -> Record:
    """Return the record of one trial, or its error."""
    start = process_time()  # not wall time, which other processes on the machine prolong
    try:
        record = work(trial)
    except Exception as error:  # any error belongs in the table and must not stop the other trials
        where = traceback.extract_tb(error.__traceback__)[-1]
        record = {"error": f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"}
    return record | {"seconds": round(process_time() - start, 1)}


def _one_thread() -> None:
    """Limit torch to one thread in a worker process."""
    import torch

    torch.set_num_threads(1)


def _read(path: Path, maker: Provenance) -> Record | None:
    """Return the record of the same provenance, or None; a damaged file counts as none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: also a file cut within a character
        return None
    return record if record.get("made_by") == maker else None
