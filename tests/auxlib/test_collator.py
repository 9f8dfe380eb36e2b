"""Rows are views of the table on disk, and a batch asks each for a condition that it can fulfil."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets
from torch import Tensor

from auxlib.collator import IGNORE_INDEX, FeatureCollator, FeatureRows
from auxlib.features import TextTemplate
from auxlib.frozen import Expert
from auxlib.keywords import NO_PIECE, encode_keyword

COLUMNS = ("token_ids", "hidden", "log_mass_outside_support", "log_z")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows,
        lambda rows: rows.select([3, 0, 3, 6]),
        lambda rows: rows.select(range(2, 7)),
        lambda rows: concatenate_datasets([rows, rows.select(range(1, 5)), rows.select([0])]),
        lambda rows: rows.remove_columns("keywords").add_column("keywords", [["short"]] * len(rows)),
    ],
    ids=["as cached", "chosen", "a stretch", "several tables", "labelled"],
)
def test_rows_are_those_of_the_table(features: Dataset, change: Callable[[Dataset], Dataset]) -> None:
    features = change(features)
    rows, expected = FeatureRows(features), features.with_format("numpy")
    assert len(rows) == len(expected)
    assert rows.lengths == [len(ids) for ids in features["token_ids"]]
    for i in range(len(rows)):
        row = rows[i]
        assert row["keywords"] == list(expected[i]["keywords"])
        for name in COLUMNS:
            np.testing.assert_array_equal(row[name], expected[i][name])


def test_rows_are_views_and_cannot_be_written_to(features: Dataset) -> None:
    rows = FeatureRows(features)
    assert all(np.shares_memory(rows[2][name], rows[2][name]) for name in COLUMNS), "the same memory each time"
    with pytest.raises(ValueError, match="read-only"):
        rows[2]["hidden"][0] = 1.0


def test_a_batch_is_a_copy(make_collator: Any, features: Dataset) -> None:
    rows = FeatureRows(features)
    batch = make_collator()([rows[2], rows[3]])
    batch["hidden"].zero_()
    assert rows[2]["hidden"].any()


def conditions(batch: dict[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(int(piece) for piece in row[0] if piece != NO_PIECE) for row in batch["keyword_ids"]]


def test_only_keywords_that_are_spelled_in_the_text_are_asked_for(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows, collator = list(features.with_format("numpy")), make_collator(condition_dropout=0.0)
    allowed = [
        {encode_tuple(expert, word) for word in row["keywords"] if word.lower() in row["text"].lower()} for row in rows
    ]
    seen: list[set[tuple[int, ...]]] = [set() for _ in rows]
    for _ in range(40):
        for found, condition in zip(seen, conditions(collator(rows)), strict=True):
            found.add(condition)
    assert seen == allowed


def encode_tuple(expert: Expert, word: str) -> tuple[int, ...]:
    return tuple(encode_keyword(expert.tokenizer, word)[0])


@pytest.mark.parametrize("words", [[], ["absent"], ["🎈"], ["zqxj" * 30], ["", "  "]])
def test_a_row_without_a_usable_keyword_is_trained_without_one(
    make_collator: Any, features: Dataset, words: list[str]
) -> None:
    row = {**features.with_format("numpy")[0], "keywords": words}
    assert conditions(make_collator(condition_dropout=0.0)([row])) == [()]


def test_a_share_of_the_conditions_is_dropped(make_collator: Any, features: Dataset) -> None:
    rows = list(features.with_format("numpy")) * 50
    assert not any(conditions(make_collator(condition_dropout=1.0)(rows)))
    missing = sum(not condition for condition in conditions(make_collator(condition_dropout=0.3)(rows))) / len(rows)
    assert missing == pytest.approx(0.3, abs=0.08)
    assert all(conditions(make_collator(condition_dropout=0.0)(rows)))


def test_a_foreign_word_is_one_the_text_does_not_hold_and_its_row_is_marked(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows, collator = list(features.with_format("numpy")) * 20, make_collator(condition_dropout=0.0, negative_rate=0.5)
    batch = collator(rows)
    for row, condition, censored in zip(rows, conditions(batch), batch["censored"].tolist(), strict=True):
        own = {encode_tuple(expert, word) for word in row["keywords"]}
        assert condition
        assert censored == (condition not in own)
    assert 0.3 < batch["censored"].float().mean() < 0.6


def several(batch: dict[str, Tensor]) -> list[list[tuple[int, ...]]]:
    """The words that every row is asked for."""
    rows = batch["keyword_ids"][:, :, 0].tolist()
    return [
        [tuple(piece for piece in word if piece != NO_PIECE) for word in row if word[0] != NO_PIECE] for row in rows
    ]


def test_a_row_is_asked_for_up_to_so_many_of_its_words_each_once(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows, collator = list(features.with_format("numpy")) * 30, make_collator(condition_dropout=0.0, max_keywords=3)
    counts = Counter()
    for row, asked in zip(rows, several(collator(rows)), strict=True):
        own = {encode_tuple(expert, word) for word in row["keywords"]}
        assert set(asked) <= own
        assert len(set(asked)) == len(asked) <= 2, "no row here has three words"
        counts[len(asked)] += len(own) == 2
    assert counts[2] > counts[1] > 0


def test_a_label_is_asked_for_though_no_text_holds_it(make_collator: Any, features: Dataset, expert: Expert) -> None:
    rows = [{**row, "keywords": ["short"]} for row in features.with_format("numpy")]
    assert set(conditions(make_collator(condition_dropout=0.0)(rows))) == {()}
    assert set(conditions(make_collator(condition_dropout=0.0, must_appear=False)(rows))) == {
        encode_tuple(expert, "short")
    }


def test_a_foreign_word_takes_the_place_of_one_of_several(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows = list(features.with_format("numpy")) * 20
    batch = make_collator(condition_dropout=0.0, negative_rate=0.5, max_keywords=3)(rows)
    for row, asked, censored in zip(rows, several(batch), batch["censored"].tolist(), strict=True):
        own = {encode_tuple(expert, word) for word in row["keywords"]}
        assert len(set(asked) - own) == censored
    assert 0.3 < batch["censored"].float().mean() < 0.6


def test_the_same_seed_draws_the_same_conditions(make_collator: Any, features: Dataset) -> None:
    rows = list(features.with_format("numpy"))
    one, same, other = (
        [conditions(collator(rows)) for _ in range(8)] for collator in map(seeded(make_collator), (3, 3, 4))
    )
    assert one == same != other


def seeded(make_collator: Any) -> Callable[[int], FeatureCollator]:
    return lambda seed: make_collator(condition_dropout=0.2, seed=seed)


def test_a_batch_reads_one_token_behind_its_targets_and_pads_on_the_right(
    make_collator: Any, features: Dataset, frame: TextTemplate
) -> None:
    rows = list(features.with_format("numpy"))
    batch = make_collator()(rows)
    for row, read, targets, hidden in zip(rows, batch["token_ids"], batch["targets"], batch["hidden"], strict=True):
        length = len(row["token_ids"])
        assert targets[:length].tolist() == row["token_ids"].tolist()
        assert read[:length].tolist() == [frame.preamble_ids[-1], *row["token_ids"][:-1].tolist()]
        assert (targets[length:] == IGNORE_INDEX).all()
        assert hidden[:length].flatten().tolist() == row["hidden"].tolist()
