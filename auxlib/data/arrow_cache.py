"""How is a long reading done once? A table that is written to disk, whole or not at all, however many ask for it.

The folder's name says all that its numbers depend on, so a second call finds the first one's work. Processes that
`torchrun` or `accelerate launch` has started share the reading: each begins with a part of its own, and takes over that
of one that has died.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from datasets import Dataset, Features

Batches = Sequence[Sequence[int]]


def load_or_build(
    folder: Path, columns: Features, plan: Callable[[], Batches], read: Callable[[Batches], Iterator[dict]]
) -> Dataset:
    """The table in ``folder``, memory-mapped; written now if nobody has written it.

    Args:
        columns: names and types.
        plan: says which row numbers are read together; asked only if there is something to read.
        read: makes the rows of some batches, in their order.
    """
    from datasets import load_from_disk

    if not folder.is_dir():
        (rank, ranks), batches = rank_and_world_size(), plan()

        def write(batches: Batches, scratch: Path) -> None:
            _write(read(batches), columns, scratch)

        if ranks == 1:
            _build_once(folder, partial(write, batches))
        else:
            _build_shared(folder, write, [batches[part::ranks] for part in range(min(ranks, len(batches)))], rank)
    return load_from_disk(str(folder))


def rank_and_world_size() -> tuple[int, int]:
    """This process's number and how many there are, as its launcher told it; ``(0, 1)`` for one that stands alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def by_length(encoded: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers grouped so that texts of about one length share a batch: little is spent on padding."""
    batch: list[int] = []
    for row in sorted(range(len(encoded)), key=lambda row: len(encoded[row])):
        if batch and len(encoded[row]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _build_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Let one process alone make a folder; it is written beside its place, and there whole or not at all."""
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


def _write(rows: Iterator[dict], columns: Features, scratch: Path) -> None:
    from datasets import Dataset

    # the generator holds a model, which datasets cannot hash: the folder's own name is the fingerprint
    built = Dataset.from_generator(lambda: rows, features=columns, cache_dir=str(scratch / "work"),
                                   fingerprint=scratch.name.strip("."), writer_batch_size=500)  # fmt: skip
    built.save_to_disk(str(scratch / "ready"))


def _build_shared(folder: Path, write: Callable[..., None], shares: Sequence[Batches], rank: int) -> None:
    """Each process writes its share, then whichever shares are still nobody's, and one of them joins all."""
    from datasets import concatenate_datasets, load_from_disk

    parts = [folder.with_name(f"{folder.name}-{part + 1}-of-{len(shares)}") for part in range(len(shares))]
    for turn in range(len(shares)):
        part = (rank + turn) % len(shares)
        if not folder.is_dir():
            _build_once(parts[part], partial(write, shares[part]))

    def join(scratch: Path) -> None:
        turns = [turn for share in shares for turn, batch in enumerate(share) for _ in batch]
        order = sorted(range(len(turns)), key=turns.__getitem__)  # as one process would have read
        whole = concatenate_datasets([load_from_disk(str(part)) for part in parts])
        whole.select(order).save_to_disk(scratch / "ready")

    _build_once(folder, join)
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
