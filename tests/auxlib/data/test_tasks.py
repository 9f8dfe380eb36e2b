"""Tasks: named labels, disjoint splits, and errors for tasks that cannot be learned."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import DatasetDict

from auxlib.data import tasks
from auxlib.data.assets import asset_path
from auxlib.data.tasks import TASKS, label_names, load_task
from auxlib.errors import TaskError

Write = Callable[[list[dict]], str]
ROWS = [{"text": f"text number {i}", "label": "even" if i % 2 == 0 else "odd"} for i in range(200)]


@pytest.fixture
def write(tmp_path: Path, cache: Path) -> Write:
    def file(rows: list[dict], name: str = "own.jsonl") -> str:
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return str(tmp_path / name)

    return file


def texts(task: DatasetDict, part: str) -> set[str]:
    rows = task[part]
    second = rows["second"] if "second" in rows.column_names else [""] * len(rows)
    return {f"{a} {b}".casefold() for a, b in zip(rows["text"], second, strict=True)}


def test_a_file_is_split_and_its_labels_have_names(write: Write) -> None:
    task = load_task(write(ROWS))
    assert {part: len(rows) for part, rows in task.items()} == {"train": 149, "dev": 20, "test": 31}
    assert label_names(task["train"]) == ["even", "odd"]
    for rows in task.values():
        assert all(label == int(text.split()[-1]) % 2 for text, label in zip(rows["text"], rows["label"], strict=True))


def test_the_split_is_of_the_text_and_the_seed_alone(write: Write) -> None:
    task = load_task(write(ROWS))
    again = load_task(write([*ROWS[::-1], {"text": "one more", "label": "odd"}]))
    assert texts(task, "test") <= texts(again, "test")
    assert texts(task, "test") != texts(load_task(write(ROWS), seed=1), "test")


def test_a_repeated_text_counts_once(write: Write) -> None:
    task = load_task(write([*ROWS, *({**row, "text": row["text"].upper(), "label": "odd"} for row in ROWS)]))
    assert sum(map(len, task.values())) == 200
    assert task["train"]["text"][0].islower(), "as it first stands there"


def test_a_second_text_belongs_to_the_task(write: Write) -> None:
    task = load_task(write([{**row, "second": "and this"} for row in ROWS]))
    assert task["train"]["second"][0] == "and this"


def test_fewer_texts_are_drawn_by_the_seed(write: Write) -> None:
    task = load_task(write(ROWS), limit=40)
    assert {part: len(rows) for part, rows in task.items()} == {"train": 40, "dev": 20, "test": 31}
    whole = load_task(write(ROWS))
    assert texts(task, "train") < texts(whole, "train")
    assert texts(task, "test") == texts(whole, "test"), "what is tested stays the same"


def test_a_label_with_one_text_keeps_it_in_training(write: Write) -> None:
    rare = [{"text": f"rare {i}", "label": f"rare {i}"} for i in range(300)]
    parts = tasks._held_out([*ROWS, *rare], 0, test=0.0, dev=0.3)
    assert Counter(row["label"].split()[0] for row in parts["dev"])["rare"] == 0
    assert len(parts["train"]) + len(parts["dev"]) == 500


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**row, "label": "even"} for row in ROWS], "has 1 label in its training texts"),
        ([*ROWS[:5], {"text": "  ", "label": "odd"}, *ROWS[5:]], "holds an empty text"),
        (
            [{"text": row["text"], "label": f"label {i}"} for i, row in enumerate(ROWS)],
            "no training text has the label",
        ),
        ([{"sentence": row["text"]} for row in ROWS], "needs columns 'text' and 'label', it has"),
    ],
    ids=["one label", "empty text", "untrained label", "columns"],
)
def test_what_cannot_be_learned_is_refused(write: Write, rows: list[dict], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(write(rows))


def test_an_unknown_task_lists_the_known_ones(cache: Path) -> None:
    with pytest.raises(TaskError, match=r"could not read task 'nothing.jsonl'.* r8, r52, 20ng, vader-movie"):
        load_task("nothing.jsonl")


def test_tasks_of_a_hub_keep_their_splits(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """GLUE's tests have no labels: its validation part becomes the test."""
    from datasets import ClassLabel, Dataset

    def rows(n: int, hidden: bool = False) -> Dataset:
        found = Dataset.from_list(
            [{"sentence1": f"{n} first {i}", "sentence2": "and", "label": -1 if hidden else i % 2} for i in range(n)]
        )
        return found.cast_column("label", ClassLabel(names=["no", "yes"]))

    asked = []
    parts = DatasetDict({"train": rows(100), "validation": rows(20), "test": rows(30, hidden=True)})
    monkeypatch.setattr("datasets.load_dataset", lambda *place: asked.append(place) or parts)
    glue = load_task("nyu-mll/glue:mrpc")
    assert asked == [("nyu-mll/glue", "mrpc")]
    assert {part: len(found) for part, found in glue.items()} == {"train": 97, "dev": 3, "test": 20}
    assert (glue["test"]["text"][1], glue["test"]["second"][1]) == ("20 first 1", "and")
    parts["test"] = rows(30)
    assert {part: len(found) for part, found in load_task("any").items()} == {"train": 100, "dev": 20, "test": 30}


@pytest.mark.parametrize(
    ("name", "asset", "sizes", "labels"),
    [
        ("r8", "topics", (4901, 522, 2185), 8),
        ("r52", "topics", (5833, 617, 2562), 52),
        ("20ng", "topics", (10113, 1160, 7521), 20),
        ("vader-movie", "vader", (7071, 968, 2002), 2),
        ("vader-amazon", "vader", (2046, 292, 597), 2),
        ("vader-nyt", "vader", (1888, 284, 579), 2),
        ("vader-tweets", "vader", (2307, 329, 666), 2),
        ("wordnet-definition", "wordnet", (32685, 1956, 3901), 2),
    ],
)
def test_the_real_tasks(name: str, asset: str, sizes: tuple[int, ...], labels: int) -> None:
    assert name in TASKS
    if asset_path(asset) is None:
        pytest.skip(f"needs its texts: python -m auxlib fetch {asset}")
    task = load_task(name)
    assert tuple(map(len, task.values())) == sizes
    assert len(label_names(task["train"])) == labels
    assert set(task["test"]["label"]) <= set(task["train"]["label"])
    train, dev, test = (texts(task, part) for part in ("train", "dev", "test"))
    assert len(train | dev | test) == len(train) + len(dev) + len(test)


def test_a_definition_alone_does_not_betray_whether_it_belongs() -> None:
    """The frequency of a definition in training predicts little, and no word is in two splits."""
    if asset_path("wordnet") is None:
        pytest.skip("needs WordNet: python -m auxlib fetch wordnet")
    task = load_task("wordnet-definition")
    words = [{text.split(":")[0] for text in rows["text"]} for rows in task.values()]
    assert len(set().union(*words)) == sum(map(len, words))
    train = task["train"]
    right = Counter(second for second, label in zip(train["second"], train["label"], strict=True) if label == 1)
    counts = Counter(train["second"])
    known = [(s, y) for s, y in zip(task["test"]["second"], task["test"]["label"], strict=True) if counts[s]]
    by_definition = sum((right[s] > counts[s] / 2) == bool(y) for s, y in known) / len(known)
    assert len(known) > 200
    assert by_definition < 0.6, f"of {len(known)} pairs whose definition was met in training"
    assert 0.45 < sum(train["label"]) / len(train) < 0.55
