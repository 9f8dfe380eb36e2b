"""How does a long experiment survive? As many small trials, each written down when it is done.

A trial that was done is not done again, a run that was killed goes on where it stopped, and a trial that fails leaves
its error in the place of its result: it is shown as failed, and never vanishes. Every record names what made it (code
and data, as a hash), and records that something else has made are not mixed in.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from time import process_time
from typing import Any

from auxlib.errors import ResultsMismatch
from auxlib.whole import write_whole

Record = dict[str, Any]
Work = Callable[[Any], Record]
CLOSE = 2e-2  # nats a token; after a training, machines and numbers of threads differ by a quarter of it
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


def made_by(sources: Iterable[Path], *others: object) -> str:
    """16 digits over the statements of source files and over anything else: data, settings, fingerprints.

    Comments, docstrings and blank lines do not count: a better sentence makes no other figure.
    """
    digest = hashlib.sha256(json.dumps([str(other) for other in others]).encode())
    for path in sorted(sources):
        digest.update("\n".join(_statements(path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:16]


def _statements(source: str) -> list[str]:
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, node.end_lineno + 1))
    lines = [line.partition("  # ")[0].rstrip() for i, line in enumerate(source.splitlines(), 1) if i not in prose]
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def require_made_by(record: Mapping[str, Any], maker: str, where: Path | str, again: str) -> None:
    """Raise `ResultsMismatch` for results of other code or data."""
    if record.get("made_by") != maker:
        raise ResultsMismatch(
            f"{where} was made by {record.get('made_by')}, but code and data here are {maker}: figures of the two must "
            f"not be mixed. Make it again: {again}"
        )


def require_same_rehearsal(then: Sequence[float], now: Sequence[float], where: Path | str, again: str) -> None:
    """Raise `ResultsMismatch` when the library computes something else than when results were recorded."""
    if not all(isclose(a, b, abs_tol=CLOSE) for a, b in zip(then, now, strict=True)):
        raise ResultsMismatch(
            f"{where} stands on a library that reached {list(then)} nats a token in a short rehearsal; the one here "
            f"reaches {list(now)}. Make it again: {again}"
        )


def run_trials(
    folder: Path, trials: Mapping[str, Any], work: Work, maker: str, jobs: int = 2, progress: bool = True
) -> dict[str, Record]:
    """Do what is not done yet, several at a time, each process on one thread.

    Args:
        folder: one JSON file a trial.
        trials: by name; what ``work`` gets. It must be a function of a module, for it runs in another process.
        maker: from `made_by`.

    Returns:
        All records by name, in the order of ``trials``. Beside what ``work`` returned: ``seconds`` of computing, and
        ``error`` for a trial that failed. Those are tried again in the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {name: _kept(folder / f"{name}.json", maker) for name in trials}
    todo = {name: trials[name] for name, record in known.items() if record is None or "error" in record}
    for name, record in _in_processes(todo, work, jobs, progress):
        known[name] = record | {"made_by": maker}
        write_whole(folder / f"{name}.json", known[name])
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


def _kept(path: Path, maker: str) -> Record | None:
    """A record of the same maker, if there is one; a broken file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # also what is cut within a character
        return None
    return record if record.get("made_by") == maker else None
