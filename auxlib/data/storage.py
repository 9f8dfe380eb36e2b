"""Write-once Arrow datasets and atomic JSON files.

The name of a dataset's folder is a hash of everything that its rows depend on, so that a later call reuses what an
earlier one has built. Processes started by `torchrun` or `accelerate launch` share the work: each builds its own shard
first, and then the shards of processes that have died.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from auxlib.errors import CourseError

if TYPE_CHECKING:
    from datasets import Dataset, Features

Batches = Sequence[Sequence[int]]
Record = dict[str, Any]


def load_or_build(
    folder: Path, columns: Features, make_batches: Callable[[], Batches], compute: Callable[[Batches], Iterator[dict]]
) -> Dataset:
    """Return the memory-mapped dataset in ``folder``; build it first if the folder does not exist.

    Args:
        columns: names and types.
        make_batches: groups row numbers into batches; called only if the dataset has to be built.
        compute: yields the rows of these batches, in their order.
    """
    from datasets import load_from_disk

    if not folder.is_dir():
        (rank, world_size), batches = rank_and_world_size(), make_batches()

        def write(batches: Batches, scratch: Path) -> None:
            _write_dataset(compute(batches), columns, scratch)

        if world_size == 1:
            _build_once(folder, partial(write, batches))
        else:
            shards = [batches[i::world_size] for i in range(min(world_size, len(batches)))]
            _build_shared(folder, write, shards, rank)
    return load_from_disk(str(folder))


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the number of processes, as set by the launcher; ``(0, 1)`` without one."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def by_length(encoded: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Yield batches of row numbers, texts of similar length together, so that little is computed on padding."""
    batch: list[int] = []
    for row in sorted(range(len(encoded)), key=lambda row: len(encoded[row])):
        if batch and len(encoded[row]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def read_json(path: Path, required: Set[str], command: str) -> Record | None:
    """Read a JSON object written by `write_json_atomic`; None if there is no such file.

    Args:
        required: keys that must be present.
        command: makes the file; quoted in error messages.

    Raises:
        CourseError: the file is damaged, or a key is missing.
    """
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also raised for a file cut inside a UTF-8 character
        raise CourseError(f"{path} is damaged or truncated ({error}); make it again: {command}") from error
    if missing := required - set(record):
        raise CourseError(f"{path} lacks {', '.join(sorted(missing))}; make it again: {command}")
    return record


def write_json_atomic(path: Path, content: Any) -> None:
    """Write JSON to a temporary file and rename it: a reader never meets a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    scratch.replace(path)


def _build_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder under a lock: ``make`` fills ``scratch / "ready"`` beside it, which is then renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = folder.with_name(f".{folder.name}.part")
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            make(scratch)
            (scratch / "ready").rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _write_dataset(rows: Iterator[dict], columns: Features, scratch: Path) -> None:
    from datasets import Dataset

    # with a fingerprint of our own: the generator holds a model, which datasets cannot hash
    options: dict[str, Any] = {"fingerprint": scratch.name.strip("."), "cache_dir": str(scratch / "work")}
    dataset = Dataset.from_generator(lambda: rows, features=columns, writer_batch_size=500, **options)
    dataset.save_to_disk(str(scratch / "ready"))


def _build_shared(folder: Path, write: Callable[[Batches, Path], None], shards: Sequence[Batches], rank: int) -> None:
    """Build this rank's shard, then all that are still missing; one process joins them."""
    from datasets import concatenate_datasets, load_from_disk

    parts = [folder.with_name(f"{folder.name}-{i + 1}-of-{len(shards)}") for i in range(len(shards))]
    for turn in range(len(shards)):
        i = (rank + turn) % len(shards)
        if not folder.is_dir():
            _build_once(parts[i], partial(write, shards[i]))

    def join(scratch: Path) -> None:
        turns = [turn for shard in shards for turn, batch in enumerate(shard) for _ in batch]
        order = sorted(range(len(turns)), key=turns.__getitem__)  # the order in which a single process would write
        joined = concatenate_datasets([load_from_disk(str(part)) for part in parts])
        joined.select(order).save_to_disk(scratch / "ready")

    _build_once(folder, join)
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
