"""Texts with a label in, ``datasets.DatasetDict`` out.

A classification task has one row a text with the columns ``text`` and ``label`` (a ``ClassLabel``: every label has a
name), and ``second`` where pairs of texts are judged. The splits ``train``, ``dev`` and ``test`` share no text.
"""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlib.data.assets import fetch
from auxlib.data.corpora import clean_sentence, share_of, text_hash, wordnet_senses
from auxlib.errors import TaskError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

Row = dict[str, Any]
Parts = dict[str, list[Row]]
PARTS = ("train", "dev", "test")
FEELING = 0.5  # a mean rating nearer to zero is no clear feeling


def load_task(name: str | Path, seed: int = 0, limit: int | None = None) -> DatasetDict:
    """Load a task as ``train`` / ``dev`` / ``test``.

    Args:
        name: one of ``TASKS``; a ``.jsonl`` file with ``text``, ``label`` and perhaps ``second``; or, with a network, a
            hub id such as ``"nyu-mll/glue:sst2"``.
        seed: decides what is held out where the task itself does not; a hash of the text, the same on every machine.
        limit: keep at most so many texts in train and in dev, drawn by the seed.

    Raises:
        TaskError: no such task, an empty text, fewer than two labels, or a label in dev or test that no training text
            has.
    """
    from datasets import ClassLabel, Dataset, DatasetDict

    parts = TASKS[str(name)](seed) if str(name) in TASKS else _other(str(name), seed)
    parts |= {part: _first(parts[part], limit, seed) for part in ("train", "dev")}
    names = _label_names(str(name), parts)
    kind = ClassLabel(names=names)
    rows = {part: Dataset.from_list(rows).cast_column("label", kind) for part, rows in _numbered(parts, names).items()}
    return DatasetDict(rows)


def task_hash(name: str) -> str:
    """Return 16 hexadecimal digits over all texts and labels of a task, in their order."""
    columns = [part[column] for part in load_task(name).values() for column in sorted(part.column_names)]
    return text_hash(str(value) for column in columns for value in column)[:16]


def label_names(rows: Dataset) -> list[str]:
    """The labels' names, in their order."""
    return rows.features["label"].names


def _first(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    return rows if limit is None or limit >= len(rows) else random.Random(seed).sample(rows, limit)


def _label_names(task: str, parts: Parts) -> list[str]:
    """All labels that can be learned; whatever cannot be is refused."""
    counts = Counter(row["label"] for row in parts["train"])
    if missing := sorted({row["label"] for part in ("dev", "test") for row in parts[part]} - set(counts)):
        raise TaskError(
            f"task {task!r}: no training text has the label {missing[0]!r}, but a held-out one has. Leave those texts "
            "out, or take more to learn from."
        )
    if len(counts) < 2:
        raise TaskError(f"task {task!r} has {len(counts)} label in its training texts; two are needed to tell apart.")
    if any(not row["text"].strip() for rows in parts.values() for row in rows):
        raise TaskError(f"task {task!r} holds an empty text; leave it out, there is nothing to tell it by.")
    return sorted(counts)


def _numbered(parts: Parts, names: Sequence[str]) -> Parts:
    number = {name: i for i, name in enumerate(names)}
    return {part: [row | {"label": number[row["label"]]} for row in rows] for part, rows in parts.items()}


def _held_out(rows: Iterable[Row], seed: int, test: float, dev: float) -> Parts:
    """Each text to the part that a hash of it decides (of its ``key``, if it has one)."""
    parts: Parts = {part: [] for part in PARTS}
    for row in rows:
        draw = share_of(row.pop("key", row["text"]), seed)
        parts["test" if draw < test else "dev" if draw < test + dev else "train"].append(row)
    trained = {row["label"] for row in parts["train"]}
    rare = [row for row in parts["dev"] if row["label"] not in trained]  # the only texts of their label
    parts["dev"] = [row for row in parts["dev"] if row["label"] in trained]
    return parts | {"train": parts["train"] + rare}


def _unlike(rows: Iterable[Row]) -> list[Row]:
    """Each text once, as it first stands there."""
    once: dict[str, Row] = {}
    for row in rows:
        once.setdefault(_mark(row), row)
    return list(once.values())


def _mark(row: Row) -> str:
    return f"{row['text']} {row.get('second', '')}".casefold()


def _topics(name: str, seed: int) -> Parts:
    """A collection with its own test split, less what training holds; a tenth of training is for development."""
    train, test = (_table(fetch("topics") / f"{name}-{part}.tab") for part in ("train", "test"))
    train = _unlike(train)
    known = set(map(_mark, train))
    return _held_out(train, seed, test=0.0, dev=0.1) | {"test": [row for row in test if _mark(row) not in known]}


def _table(path: Path) -> Iterable[Row]:
    """A tab-separated table with three header lines; texts without a word are left out."""
    csv.field_size_limit(10**9)
    with path.open(encoding="utf-8", newline="") as stream:
        header, _, _, *lines = [line for line in csv.reader(stream, delimiter="\t") if line]
    label, text = header.index("Category"), header.index("Text")
    return ({"text": line[text].strip(), "label": line[label]} for line in lines if line[text].strip())


def _feelings(name: str, seed: int) -> Parts:
    """VADER's sentences with a clear feeling, a fifth of them for the test."""
    rows = []
    for line in (fetch("vader") / f"{name}.txt").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mean, text = line.split("\t")
        if abs(float(mean)) > FEELING and text.strip():
            rows.append({"text": text.strip(), "label": "positive" if float(mean) > 0 else "negative"})
    return _held_out(_unlike(rows), seed, test=0.2, dev=0.1)


def _definitions(seed: int) -> Parts:
    """Does this definition belong to this word, as this sentence uses it? No word stands in two parts.

    Half of the definitions are another pair's of the same part, so that a definition alone betrays nothing.
    """
    rows = [
        {"text": f"{word}: {clean_sentence(example)}", "second": definition, "label": "yes", "key": word.casefold()}
        for word, definition, example in wordnet_senses()
    ]
    parts = _held_out(_unlike(rows), seed, test=0.1, dev=0.05)
    return {part: _half_exchanged(rows, seed) for part, rows in parts.items()}


def _half_exchanged(rows: Sequence[Row], seed: int) -> list[Row]:
    """About half of the rows get the second text of a stranger."""
    mixed = random.Random(seed).sample(rows, len(rows))
    return [
        row if share_of(row["text"], seed) < 0.5 else {**row, "second": other["second"], "label": "no"}
        for row, other in zip(mixed, mixed[1:] + mixed[:1], strict=True)
        if row["second"] != other["second"]
    ]


TASKS: Mapping[str, Callable[[int], Parts]] = {
    "r8": partial(_topics, "reuters-r8"),
    "r52": partial(_topics, "reuters-r52"),
    "20ng": partial(_topics, "20newsgroups"),
    "vader-movie": partial(_feelings, "movieReviewSnippets"),
    "vader-amazon": partial(_feelings, "amazonReviewSnippets"),
    "vader-nyt": partial(_feelings, "nytEditorialSnippets"),
    "vader-tweets": partial(_feelings, "tweets"),
    "wordnet-definition": _definitions,
}


def _other(name: str, seed: int) -> Parts:
    """A file, or a task of the hub."""
    from datasets import load_dataset

    place, _, part = name.partition(":")
    is_file = Path(name).suffix in {".jsonl", ".json"}
    try:
        found = load_dataset("json", data_files=name) if is_file else load_dataset(place, part or None)
    except Exception as error:  # the hub, pyarrow and requests each raise their own
        raise TaskError(
            f"could not read task {name!r}: {error}. Known here: {', '.join(TASKS)}, a .jsonl file; with a network "
            "also a Hugging Face dataset id, with its configuration after a colon."
        ) from error
    own = {part: _as_rows(name, rows) for part, rows in found.items()}
    dev, test = own.get("validation", own.get("dev", [])), own.get("test", [])
    if all(row["label"] == "-1" for row in test):  # GLUE keeps its test labels to itself; or there is no test at all
        dev, test = [], dev
    split = _held_out(_unlike(own["train"]), seed, test=0.0 if test else 0.2, dev=0.0 if dev else 0.1)
    return {"train": split["train"], "dev": dev or split["dev"], "test": test or split["test"]}


def _as_rows(name: str, rows: Dataset) -> list[Row]:
    """``text``, perhaps ``second``, ``label``; where there is no ``text``, the first columns of text are it."""
    texts = [column for column, kind in rows.features.items() if getattr(kind, "dtype", "") == "string"]
    texts = [column for column in texts if column != "label"]
    if "label" not in rows.features or not texts:
        raise TaskError(f"task {name!r} needs columns 'text' and 'label', it has {sorted(rows.features)}.")
    named = getattr(rows.features["label"], "names", None)
    columns = dict(zip(("text", "second"), sorted(texts, key=lambda c: c != "text")[:2], strict=False))
    return [
        {to: str(row[of]) for to, of in columns.items()}
        | {"label": named[row["label"]] if named and row["label"] >= 0 else str(row["label"])}
        for row in rows
    ]
