"""Text classification tasks, as a ``datasets.DatasetDict``.

Each row is a text with the columns ``text`` and ``label`` (a ``ClassLabel`` with names), and ``second`` if pairs of
texts are classified. The splits ``train``, ``dev`` and ``test`` share no text.
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
from auxlib.data.corpora import clean_sentence, hash_fraction, text_hash, wordnet_senses
from auxlib.errors import TaskError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

Row = dict[str, Any]
Parts = dict[str, list[Row]]
PARTS = ("train", "dev", "test")
MIN_RATING = 0.5  # mean ratings run from -4 to 4; a smaller absolute value is no clear sentiment


def load_task(name: str | Path, seed: int = 0, limit: int | None = None) -> DatasetDict:
    """Load a task as ``train`` / ``dev`` / ``test``.

    Args:
        name: one of ``TASKS``; a ``.jsonl`` file with ``text``, ``label`` and optionally ``second``; or, with a
            network, a hub id such as ``"nyu-mll/glue:sst2"``.
        seed: of the split by a hash of the text, the same on every machine, for tasks without their own splits.
        limit: maximum number of texts in train and in dev, sampled with the seed.

    Raises:
        TaskError: no such task, an empty text, fewer than two labels, or a label in dev or test that no training text
            has.
    """
    from datasets import ClassLabel, Dataset, DatasetDict

    parts = TASKS[str(name)](seed) if str(name) in TASKS else _external(str(name), seed)
    for part in ("train", "dev"):
        if limit is not None and limit < len(parts[part]):
            parts[part] = random.Random(seed).sample(parts[part], limit)
    labels = ClassLabel(names=_checked_labels(str(name), parts))
    for row in (row for rows in parts.values() for row in rows):
        row["label"] = labels.str2int(row["label"])
    return DatasetDict({part: Dataset.from_list(rows).cast_column("label", labels) for part, rows in parts.items()})


def task_hash(name: str) -> str:
    """Return 16 hexadecimal digits over all texts and labels of a task, in their order."""
    columns = [part[column] for part in load_task(name).values() for column in sorted(part.column_names)]
    return text_hash(str(value) for column in columns for value in column)[:16]


def label_names(rows: Dataset) -> list[str]:
    """Return the names of the labels, in the order of their numbers."""
    return rows.features["label"].names


def _checked_labels(task: str, parts: Parts) -> list[str]:
    """Return the labels of the training texts, sorted; raise a `TaskError` for a task that cannot be learned."""
    counts = Counter(row["label"] for row in parts["train"])
    if missing := sorted({row["label"] for part in ("dev", "test") for row in parts[part]} - set(counts)):
        raise TaskError(
            f"task {task!r}: no training text has the label {missing[0]!r}, but a held-out one has. Remove the "
            "held-out texts of this label, or add training texts."
        )
    if len(counts) < 2:
        raise TaskError(f"task {task!r} has {len(counts)} label in its training texts; at least two are needed.")
    if any(not row["text"].strip() for rows in parts.values() for row in rows):
        raise TaskError(f"task {task!r} holds an empty text; remove it.")
    return sorted(counts)


def _held_out(rows: Iterable[Row], seed: int, test: float, dev: float) -> Parts:
    """Split rows by a hash of their ``key`` or else of their text; ``test`` and ``dev`` are fractions.

    Development texts whose label has no training text go to training.
    """
    parts: Parts = {part: [] for part in PARTS}
    for row in rows:
        fraction = hash_fraction(row.pop("key", row["text"]), seed)
        parts["test" if fraction < test else "dev" if fraction < test + dev else "train"].append(row)
    trained = {row["label"] for row in parts["train"]}
    rare = [row for row in parts["dev"] if row["label"] not in trained]
    parts["dev"] = [row for row in parts["dev"] if row["label"] in trained]
    return parts | {"train": parts["train"] + rare}


def _deduplicated(rows: Iterable[Row]) -> list[Row]:
    """Keep the first row of each text."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(_text_key(row), row)
    return list(first.values())


def _text_key(row: Row) -> str:
    return f"{row['text']} {row.get('second', '')}".casefold()


def _topics(name: str, seed: int) -> Parts:
    """Load a collection with its own test split, without texts that are in training; a tenth of training is dev."""
    folder = fetch("topics")
    train = _deduplicated(_read_tab(folder / f"{name}-train.tab"))
    known = set(map(_text_key, train))
    test = [row for row in _read_tab(folder / f"{name}-test.tab") if _text_key(row) not in known]
    return _held_out(train, seed, test=0.0, dev=0.1) | {"test": test}


def _read_tab(path: Path) -> Iterable[Row]:
    """Read a tab-separated table with three header lines, without its empty texts."""
    csv.field_size_limit(10**9)
    with path.open(encoding="utf-8", newline="") as stream:
        header, _, _, *lines = [line for line in csv.reader(stream, delimiter="\t") if line]
    label, text = header.index("Category"), header.index("Text")
    return ({"text": line[text].strip(), "label": line[label]} for line in lines if line[text].strip())


def _sentiment(name: str, seed: int) -> Parts:
    """Load VADER's sentences with a clear sentiment, a fifth of them for the test."""
    rows = []
    for line in (fetch("vader") / f"{name}.txt").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mean, text = line.split("\t")
        if abs(float(mean)) > MIN_RATING and text.strip():
            rows.append({"text": text.strip(), "label": "positive" if float(mean) > 0 else "negative"})
    return _held_out(_deduplicated(rows), seed, test=0.2, dev=0.1)


def _word_senses(seed: int) -> Parts:
    """Load pairs of a WordNet example and a definition: is the definition that of the example's word sense?

    No word is in two parts. Half of the definitions come from another pair of the same part, so that the definition
    alone does not predict the label.
    """
    rows = [
        {"text": f"{word}: {clean_sentence(example)}", "second": definition, "label": "yes", "key": word.casefold()}
        for word, definition, example in wordnet_senses()
    ]
    parts = _held_out(_deduplicated(rows), seed, test=0.1, dev=0.05)
    return {part: _mismatch_half(rows, seed) for part, rows in parts.items()}


def _mismatch_half(rows: Sequence[Row], seed: int) -> list[Row]:
    """Give about half of the rows another row's second text and the label "no"."""
    mixed = random.Random(seed).sample(rows, len(rows))
    return [
        row if hash_fraction(row["text"], seed) < 0.5 else {**row, "second": other["second"], "label": "no"}
        for row, other in zip(mixed, mixed[1:] + mixed[:1], strict=True)
        if row["second"] != other["second"]
    ]


TASKS: Mapping[str, Callable[[int], Parts]] = {
    "r8": partial(_topics, "reuters-r8"),
    "r52": partial(_topics, "reuters-r52"),
    "20ng": partial(_topics, "20newsgroups"),
    "vader-movie": partial(_sentiment, "movieReviewSnippets"),
    "vader-amazon": partial(_sentiment, "amazonReviewSnippets"),
    "vader-nyt": partial(_sentiment, "nytEditorialSnippets"),
    "vader-tweets": partial(_sentiment, "tweets"),
    "wordnet-definition": _word_senses,
}


def _external(name: str, seed: int) -> Parts:
    """Load a task from a file or from the hub."""
    from datasets import load_dataset

    hub_id, _, configuration = name.partition(":")
    is_file = Path(name).suffix in {".jsonl", ".json"}
    try:
        splits = load_dataset("json", data_files=name) if is_file else load_dataset(hub_id, configuration or None)
    except Exception as error:  # the hub, pyarrow and requests each raise their own
        raise TaskError(
            f"could not read task {name!r}: {error}. Known here: {', '.join(TASKS)}, a .jsonl file; with a network "
            "also a Hugging Face dataset id, with its configuration after a colon."
        ) from error
    own = {split: _as_rows(name, rows) for split, rows in splits.items()}
    dev, test = own.get("validation", own.get("dev", [])), own.get("test", [])
    if all(row["label"] == "-1" for row in test):  # GLUE does not publish its test labels; or there is no test split
        dev, test = [], dev
    split = _held_out(_deduplicated(own["train"]), seed, test=0.0 if test else 0.2, dev=0.0 if dev else 0.1)
    return {"train": split["train"], "dev": dev or split["dev"], "test": test or split["test"]}


def _as_rows(name: str, rows: Dataset) -> list[Row]:
    """Return ``text``, ``second`` if there is one, and ``label``; without ``text``, take the first string columns."""
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
