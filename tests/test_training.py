"""Training lowers the loss, touches the auxiliary alone, can be broken off and repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from auxlib.experts import Expert, fingerprint
from auxlib.features import Frame, cache_features
from auxlib.keywords import NO_PIECE, encode_keyword, word_continues
from auxlib.training import IGNORED, FeatureCollator, FeatureLoss, mean_nll, train_auxiliary
from auxlib.tuned import AuxiliaryTunedLM
from tests.conftest import SENTENCES

MakeTuned = Callable[..., AuxiliaryTunedLM]
KEYWORDS = [
    ["dog", "postman"],
    ["violin", "plays"],
    ["harbour", "narrow street"],
    ["coat", "absent"],
    ["lantern", "night"],
    ["dogs", "cats"],
    ["bring", "coat"],
    ["violin"],
]


@pytest.fixture(scope="module")
def features(expert: Expert, frame: Frame, make_tuned: MakeTuned, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = [{"text": text, "keywords": words} for text, words in zip(SENTENCES, KEYWORDS, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        support = make_tuned().auxiliary.support
        return cache_features(expert, Dataset.from_list(rows), frame, support, progress=False)


@pytest.fixture
def make_loss(make_tuned: MakeTuned, expert: Expert) -> Callable[..., FeatureLoss]:
    continues = word_continues(expert.tokenizer, expert.unembedding.shape[0])
    return lambda **options: FeatureLoss(make_tuned(zero_init=True, **options).auxiliary, continues)


@pytest.fixture
def make_collator(expert: Expert, frame: Frame) -> Callable[..., FeatureCollator]:
    return lambda kind=FeatureCollator, **options: kind(expert.tokenizer, frame.preamble_ids[-1], **options)


def weights(loss: FeatureLoss) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in loss.named_parameters()}


def train(loss: FeatureLoss, features: Dataset, collator: FeatureCollator, folder: Path, **options: Any) -> Any:
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "progress": False, **options}
    return train_auxiliary(loss, features, collator, output_dir=folder, **settings)


def test_the_loss_falls_and_its_log_is_kept(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    loss = make_loss()
    before = mean_nll(loss, features, make_collator(drop=0.0))
    run = train(loss, features, make_collator(), tmp_path, epochs=15, dev_features=features)
    assert run.dev_loss < before - 0.5
    assert run.losses[-1] < run.losses[0]
    assert run.steps == sorted(run.steps)
    assert run.steps[-1] == 30
    assert run.minutes > 0


def test_a_keyword_helps_on_the_texts_it_was_learned_from(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    loss = make_loss()
    train(loss, features, make_collator(drop=0.3), tmp_path, epochs=25)
    asked, unasked = (mean_nll(loss, features, make_collator(drop=share)) for share in (0.0, 1.0))
    assert asked < unasked - 0.02


def test_only_the_auxiliary_changes(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, expert: Expert, tmp_path: Path
) -> None:
    loss = make_loss()
    before, buffers = weights(loss), {name: value.clone() for name, value in loss.named_buffers()}
    train(loss, features, make_collator(), tmp_path, epochs=2)
    assert all(name.startswith("auxiliary.") for name in before)
    assert any(not torch.equal(value, before[name]) for name, value in weights(loss).items())
    assert all(torch.equal(value, buffers[name]) for name, value in loss.named_buffers())
    assert fingerprint(expert.model) == expert.fingerprint
    assert all(weight.grad is None for weight in expert.model.parameters())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    def run(name: str, seed: int) -> dict[str, Tensor]:
        loss = make_loss()
        train(loss, features, make_collator(seed=seed), tmp_path / name, seed=seed)
        return weights(loss)

    first, again, other = run("a", 0), run("b", 0), run("c", 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_broken_run_goes_on_where_it_stopped_and_ends_where_it_would_have(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    class Power(FeatureCollator):
        """Goes out in the third epoch."""

        batches = 0

        def __call__(self, rows: Any) -> dict[str, Tensor]:
            Power.batches += 1
            if Power.batches > 5:
                raise KeyboardInterrupt
            return super().__call__(rows)

    whole, broken = make_loss(), make_loss()
    train(whole, features, make_collator(drop=1.0), tmp_path / "whole", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train(broken, features, make_collator(Power, drop=1.0), tmp_path / "broken", epochs=4)
    fresh = make_loss(seed=5)
    run = train(fresh, features, make_collator(drop=1.0), tmp_path / "broken", epochs=4, resume=True)
    assert run.steps[-1] == 8
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(fresh)[name], value, atol=1e-6, rtol=1e-5)


def test_to_resume_without_a_checkpoint_is_to_begin(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset, tmp_path: Path
) -> None:
    assert train(make_loss(), features, make_collator(), tmp_path / "none", epochs=1, resume=True).steps[-1] == 2


def test_every_token_counts_once_in_the_mean(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset
) -> None:
    loss, collator = make_loss(), make_collator(drop=1.0)
    rows = list(features.with_format("numpy"))
    with torch.no_grad():
        alone = [loss(**collator([row]))["nll"][0] for row in rows]
    expected = float(torch.cat(alone).mean())
    for size in (1, 3, 64):
        assert mean_nll(loss, features, collator, batch_size=size) == pytest.approx(expected, abs=1e-5)


def test_padding_and_neighbours_do_not_change_a_rows_loss(
    make_loss: Callable[..., FeatureLoss], make_collator: Any, features: Dataset
) -> None:
    loss, rows = make_loss(), list(features.with_format("numpy"))
    loss.auxiliary.requires_grad_(False)
    for weight in loss.parameters():
        weight += 0.05
    together = loss(**make_collator(drop=1.0)(rows))["nll"]
    for row, nll in zip(rows, together, strict=True):
        alone = loss(**make_collator(drop=1.0)([row]))["nll"][0]
        torch.testing.assert_close(nll[: len(alone)], alone, atol=1e-4, rtol=1e-4)
        assert not nll[len(alone) :].any()


# --- the collator ---


def conditions(batch: dict[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(int(piece) for piece in row[0] if piece != NO_PIECE) for row in batch["keyword_ids"]]


def test_only_keywords_that_are_spelled_in_the_text_are_asked_for(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows, collator = list(features.with_format("numpy")), make_collator(drop=0.0)
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
    assert conditions(make_collator(drop=0.0)([row])) == [()]


def test_a_share_of_the_conditions_is_dropped(make_collator: Any, features: Dataset) -> None:
    rows = list(features.with_format("numpy")) * 50
    assert not any(conditions(make_collator(drop=1.0)(rows)))
    missing = sum(not condition for condition in conditions(make_collator(drop=0.3)(rows))) / len(rows)
    assert missing == pytest.approx(0.3, abs=0.08)
    assert all(conditions(make_collator(drop=0.0)(rows)))


def test_a_foreign_word_is_one_the_text_does_not_hold_and_its_row_is_marked(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows, collator = list(features.with_format("numpy")) * 20, make_collator(drop=0.0, foreign=0.5)
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
    rows, collator = list(features.with_format("numpy")) * 30, make_collator(drop=0.0, most=3)
    counts = Counter()
    for row, asked in zip(rows, several(collator(rows)), strict=True):
        own = {encode_tuple(expert, word) for word in row["keywords"]}
        assert set(asked) <= own
        assert len(set(asked)) == len(asked) <= 2, "no row here has three words"
        counts[len(asked)] += len(own) == 2
    assert counts[2] > counts[1] > 0


def test_a_label_is_asked_for_though_no_text_holds_it(make_collator: Any, features: Dataset, expert: Expert) -> None:
    rows = [{**row, "keywords": ["short"]} for row in features.with_format("numpy")]
    assert set(conditions(make_collator(drop=0.0)(rows))) == {()}
    assert set(conditions(make_collator(drop=0.0, spelled=False)(rows))) == {encode_tuple(expert, "short")}


def test_a_foreign_word_takes_the_place_of_one_of_several(
    make_collator: Any, features: Dataset, expert: Expert
) -> None:
    rows = list(features.with_format("numpy")) * 20
    batch = make_collator(drop=0.0, foreign=0.5, most=3)(rows)
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
    return lambda seed: make_collator(drop=0.2, seed=seed)


def test_a_batch_reads_one_token_behind_its_targets_and_pads_on_the_right(
    make_collator: Any, features: Dataset, frame: Frame
) -> None:
    rows = list(features.with_format("numpy"))
    batch = make_collator()(rows)
    for row, read, targets, hidden in zip(rows, batch["token_ids"], batch["targets"], batch["hidden"], strict=True):
        length = len(row["token_ids"])
        assert targets[:length].tolist() == row["token_ids"].tolist()
        assert read[:length].tolist() == [frame.preamble_ids[-1], *row["token_ids"][:-1].tolist()]
        assert (targets[length:] == IGNORED).all()
        assert hidden[:length].flatten().tolist() == row["hidden"].tolist()
