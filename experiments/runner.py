"""How does a long experiment survive? As many small trials, each written down when it is done.

A trial that was done is not done again, a run that was killed goes on where it stopped, and a trial that fails leaves
its error in the place of its result: it is shown as failed, and never vanishes. Every record names what made it (the
experiment's version, and hashes of data and weights), and records that something else has made are not mixed in.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isclose, nan
from pathlib import Path
from time import process_time
from typing import Any

from auxlib.data.storage import write_json_atomic
from auxlib.errors import ResultsMismatch

Record = dict[str, Any]
Provenance = dict[str, Any]
Work = Callable[[Any], Record]
CLOSE = 2e-2  # mostly nats a token; after a training, machines and numbers of threads differ by a quarter of it
KILLED = {"error": "the process was killed, perhaps for want of memory", "seconds": 0.0}


@dataclass(frozen=True)
class Trial:
    """What is to be tried, small enough to be sent to another process.

    Attributes:
        size: a dataclass of numbers.
        setting: what a search has to choose.
    """

    system: str
    seed: int
    size: Any
    setting: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A file's name: system, seed, size, and the setting where there is one."""
        numbers = [self.seed, *vars(self.size).values(), *self.setting.values()]
        return "-".join([self.system, *(f"{number:g}" for number in numbers)])


def digest(*parts: object) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over parts in their order; bytes as they are, anything else as text."""
    found = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode()
        found.update(len(content).to_bytes(8, "big") + content)  # "1", "23" is not "12", "3"
    return found.hexdigest()[:16]


def provenance(version: int, **data: str) -> Provenance:
    """Return what decides an experiment's figures, for its records.

    Source code is no part of it: a rename or a clearer sentence computes the same. What the code computes is held by
    the experiment's behaviour probe instead.

    Args:
        version: raised by hand when the experiment's rules change; `CHANGELOG.md` says why.
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
    if other := [name for name in names if there["data"].get(name) != here["data"].get(name)]:
        told = ", ".join(f"{name} ({there['data'].get(name)}, here {here['data'].get(name)})" for name in other)
        raise ResultsMismatch(f"{where} was made from other data or weights: {told}. Make it again: {again}")


def require_probe(
    recorded: Sequence[float], now: Sequence[float], where: Path | str, again: str, tolerance: float = CLOSE
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


def run_trials(
    folder: Path, trials: Mapping[str, Any], work: Work, maker: Provenance, jobs: int = 2, progress: bool = True
) -> dict[str, Record]:
    """Do what is not done yet, several at a time, each process on one thread.

    Args:
        folder: one JSON file a trial.
        trials: by name; what ``work`` gets. It must be a function of a module, for it runs in another process.
        maker: from `provenance`.

    Returns:
        All records by name, in the order of ``trials``. Beside what ``work`` returned: ``seconds`` of computing, and
        ``error`` for a trial that failed. Those are tried again in the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {name: _kept(folder / f"{name}.json", maker) for name in trials}
    todo = {name: trials[name] for name, record in known.items() if record is None or "error" in record}
    for name, record in _in_processes(todo, work, jobs, progress):
        known[name] = record | {"made_by": maker}
        write_json_atomic(folder / f"{name}.json", known[name])
    return {name: known[name] for name in trials}


def _in_processes(todo: Mapping[str, Any], work: Work, jobs: int, progress: bool) -> Iterator[tuple[str, Record]]:
    """All trials in some order. A pool that loses a process is lost whole: whose fault it was shows when the trials
    that were running are tried alone; all others go on in a new pool."""
    from tqdm.auto import tqdm

    left = dict(todo)
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
    """What was done, until a process was killed."""
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit a library's threads half alive
    with ProcessPoolExecutor(jobs, spawn, initializer=_one_thread) as pool:
        waiting = {pool.submit(_guarded, work, trial): name for name, trial in trials.items()}
        for done in as_completed(waiting):
            with suppress(BrokenProcessPool):
                yield waiting[done], done.result()


def _guarded(work: Work, trial: Any) -> Record:
    start = process_time()  # a neighbour on the machine makes a trial wait; that is none of the experiment's cost
    try:
        record = work(trial)
    except Exception as error:  # whatever it is, it belongs in the table and must not stop the other trials
        where = traceback.extract_tb(error.__traceback__)[-1]
        record = {"error": f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"}
    return record | {"seconds": round(process_time() - start, 1)}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _kept(path: Path, maker: Provenance) -> Record | None:
    """A record of the same maker, if there is one; a broken file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # also what is cut within a character
        return None
    return record if record.get("made_by") == maker else None
