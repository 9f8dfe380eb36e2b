"""Cached features are the expert's own states, exact where they must be, and never half there."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from auxlib.errors import CorpusError
from auxlib.features import TextTemplate, cache_features, choose_support, token_groups
from auxlib.frozen import Expert
from auxlib.keywords import continuation_mask
from auxlib.modeling import AuxiliaryTunedLM
from auxlib.training import FeatureCollator, FeatureLoss
from tests.conftest import PREAMBLE, SENTENCES

WORDS = ["dog", "violin", "street", "coat", "lantern", "cats", "bring", "heard"]
SUPPORT = torch.arange(3, 300, 2)
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def corpus() -> Dataset:
    texts = [*SENTENCES, "A"]  # the last is one token
    return Dataset.from_list([{"text": t, "keywords": [w]} for t, w in zip(texts, [*WORDS, "A"], strict=True)])


def features(
    expert: Expert, corpus: Dataset, frame: TextTemplate, support: Tensor | None = SUPPORT, **options: Any
) -> Dataset:
    return cache_features(expert, corpus, frame, support, **{"dtype": torch.float32, "progress": False, **options})


def states(row: dict[str, Any]) -> Tensor:
    return torch.tensor(row["hidden"]).reshape(len(row["token_ids"]), -1)


@torch.no_grad()
def live_states(expert: Expert, frame: TextTemplate, token_ids: list[int]) -> Tensor:
    """One text, read from its first token on by the model as it is."""
    ids = torch.tensor([[*frame.preamble_ids, *token_ids]])
    return expert.model.base_model(ids).last_hidden_state[0, len(frame.preamble_ids) - 1 : -1]


def test_cached_states_are_the_live_ones(expert: Expert, frame: TextTemplate, corpus: Dataset) -> None:
    cached = features(expert, corpus, frame)
    assert sorted(cached["text"]) == sorted(corpus["text"])
    for row in cached:
        assert row["token_ids"] == frame.encode(expert, row["text"])
        torch.testing.assert_close(states(row), live_states(expert, frame, row["token_ids"]), atol=1e-5, rtol=1e-5)


def test_texts_are_sorted_by_length_and_keep_their_keywords(
    expert: Expert, frame: TextTemplate, corpus: Dataset
) -> None:
    cached = features(expert, corpus, frame)
    lengths = [len(ids) for ids in cached["token_ids"]]
    assert lengths == sorted(lengths)
    assert lengths[0] == 2
    assert dict(zip(cached["text"], map(tuple, cached["keywords"]), strict=True)) == dict(
        zip(corpus["text"], map(tuple, corpus["keywords"]), strict=True)
    )


@pytest.mark.parametrize("support", [SUPPORT, None, torch.tensor([7])], ids=["half", "all", "one"])
def test_normalisers_are_exact(expert: Expert, frame: TextTemplate, corpus: Dataset, support: Tensor | None) -> None:
    outside = torch.ones(expert.unembedding.shape[0], dtype=torch.bool)
    outside[slice(None) if support is None else support] = False
    for row in features(expert, corpus, frame, support):
        lm_logits = live_states(expert, frame, row["token_ids"]).double() @ expert.unembedding.double().T
        rest, log_z = torch.tensor(row["log_mass_outside_support"]).double(), torch.tensor(row["log_z"]).double()
        torch.testing.assert_close(log_z, lm_logits.logsumexp(-1), atol=1e-5, rtol=1e-6)
        torch.testing.assert_close(rest, lm_logits[:, outside].logsumexp(-1), atol=1e-5, rtol=1e-6)


def test_the_batch_a_text_is_read_in_does_not_change_it(
    expert: Expert, frame: TextTemplate, corpus: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = features(expert, corpus, frame, batch_tokens=10_000)
    monkeypatch.setenv("AUXLIB_CACHE", str(tmp_path / "other"))
    alone = features(expert, corpus, frame, batch_tokens=1)
    assert together["text"] == alone["text"]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(states(one), states(other), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            torch.tensor(one["log_mass_outside_support"]),
            torch.tensor(other["log_mass_outside_support"]),
            atol=1e-5,
            rtol=1e-5,
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-3)])
@pytest.mark.parametrize("form", ["default", "paper"])
def test_the_loss_on_cached_features_is_the_live_loss(
    make_tuned: Callable[..., AuxiliaryTunedLM],
    expert: Expert,
    frame: TextTemplate,
    corpus: Dataset,
    dtype: torch.dtype,
    tolerance: float,
    form: str,
) -> None:
    from auxlib.auxiliary import AuxiliaryConfig

    config = AuxiliaryConfig.paper(width=16, heads=2, zero_init=False) if form == "paper" else None
    model = make_tuned(config)
    loss = FeatureLoss(model.auxiliary, continuation_mask(expert.tokenizer, expert.unembedding.shape[0]))
    collator = FeatureCollator(expert.tokenizer, frame.preamble_ids[-1], condition_dropout=0.0)
    rows = features(expert, corpus, frame, model.auxiliary.support, dtype=dtype).with_format("numpy")
    with torch.no_grad():
        together = loss(**collator(list(rows)))["nll"]
        for row, cached in zip(rows, together, strict=True):
            length = len(row["token_ids"])
            inputs = model.inputs_for([row["keywords"][0]])
            ids = torch.cat([inputs["input_ids"][0], torch.tensor(row["token_ids"])])
            logits = model(input_ids=ids[None], keyword_ids=inputs["keyword_ids"]).logits[0, -length - 1 : -1]
            live = torch.nn.functional.cross_entropy(logits, ids[-length:], reduction="none")
            torch.testing.assert_close(cached[:length].mean(), live.mean(), atol=tolerance, rtol=tolerance)
            assert not cached[length:].any()


def folders(cache: Path) -> set[str]:
    return {path.name for path in (cache / "features").glob("*") if path.is_dir()}


def test_a_second_call_computes_nothing(
    expert: Expert, frame: TextTemplate, corpus: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = features(expert, corpus, frame)

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the expert was asked again")

    monkeypatch.setattr(expert.model.base_model, "forward", never)
    assert features(expert, corpus, frame).to_list() == first.to_list()
    assert len(folders(cache)) == 1


def test_whatever_the_numbers_depend_on_makes_another_cache(
    expert: Expert, make_expert: Callable[..., Expert], frame: TextTemplate, corpus: Dataset, cache: Path
) -> None:
    features(expert, corpus, frame)
    changes = [
        lambda: features(expert, corpus.select(range(3)), frame),
        lambda: features(expert, corpus.map(lambda row: {"text": row["text"].replace("dog", "cat")}), frame),
        lambda: features(expert, corpus.map(lambda row: {"keywords": ["the"]}), frame),
        lambda: features(expert, corpus, TextTemplate.of(expert, PREAMBLE.replace("dog", "cat"))),
        lambda: features(expert, corpus, TextTemplate(frame.preamble_ids, 0)),
        lambda: features(expert, corpus, frame, SUPPORT[1:]),
        lambda: features(expert, corpus, frame, None),
        lambda: features(expert, corpus, frame, dtype=torch.float16),
        lambda: features(make_expert(seed=1), corpus, frame),
        lambda: features(make_expert(dtype="bfloat16"), corpus, frame),
    ]
    for count, change in enumerate(changes, 2):
        change()
        assert len(folders(cache)) == count


def test_a_writer_that_fails_leaves_nothing_and_the_next_one_succeeds(
    expert: Expert, frame: TextTemplate, corpus: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, calls = expert.model.base_model.forward, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return read(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(expert.model.base_model, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            features(expert, corpus, frame, batch_tokens=1)
    assert not folders(cache)
    assert len(features(expert, corpus, frame)) == len(corpus)


# a process of its own: a fork of one that has computed with several threads may wait for them for ever
WRITER = """
import os, signal, sys
from types import SimpleNamespace
import torch
from datasets import Dataset
from auxlib import features

expert = SimpleNamespace(fingerprint="f", model=SimpleNamespace(dtype=torch.float32), unembedding=torch.zeros(5, 2))
row = {"text": "a b", "keywords": ["b"], "token_ids": [1], "hidden": [0.0, 0.0]}
row |= {"log_mass_outside_support": [0.0], "log_z": [0.0]}
features._feature_rows = lambda *options: iter([row])
features.TextTemplate.encode = lambda *options: [1]
if "killed" in sys.argv:
    Dataset.save_to_disk = lambda *options: os.kill(os.getpid(), signal.SIGKILL)
corpus = Dataset.from_list([{"text": "a b", "keywords": ["b"]}])
print(len(features.cache_features(expert, corpus, features.TextTemplate((0,), 1))))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_writer_leaves_no_folder_that_looks_whole(cache: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", WRITER, "killed"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert folders(cache), "it had begun"
    assert all(name.startswith(".") for name in folders(cache))
    next_one = subprocess.run([sys.executable, "-c", WRITER], capture_output=True, text=True)
    assert next_one.stdout == "1\n", next_one.stderr
    assert len(folders(cache)) == 1, "the killed one's leavings are swept away"


def test_a_corpus_without_text_is_refused(expert: Expert, frame: TextTemplate, corpus: Dataset, cache: Path) -> None:
    with pytest.raises(CorpusError, match="no text"):
        features(expert, corpus.select([]), frame)
    assert not folders(cache)


def test_a_frame_ends_texts_as_its_preamble_does(expert: Expert) -> None:
    framed, bare, open_ = (
        TextTemplate.of(expert, PREAMBLE),
        TextTemplate.of(expert, ""),
        TextTemplate.of(expert, "No line break"),
    )
    newline = expert.tokenizer("\n")["input_ids"]
    assert [framed.end_id] == newline
    assert framed.preamble_ids[0] == bare.end_id == open_.end_id == expert.end_of_text_id
    assert bare.preamble_ids == (expert.end_of_text_id,)
    assert framed.encode(expert, "A dog")[-1] == framed.end_id


def test_support_holds_the_tokens_that_were_seen_often_enough() -> None:
    sequences = [[1, 2, 2, 9], [2, 9, 4], [9]]
    assert choose_support(sequences, 12, at_least=1).tolist() == [1, 2, 4, 9]
    assert choose_support(sequences, 12, at_least=3).tolist() == [2, 9]
    assert choose_support(sequences, 12, at_least=4).tolist() == []


def test_groups_are_what_closes_a_text_and_what_carries_a_word_on() -> None:
    continues = torch.tensor([False, True, True, False, True])
    groups = token_groups([[1, 3, 0]] * 5 + [[1, 2, 0]], continues, at_least=5)
    assert groups[:, 0].tolist() == [True, False, False, True, False], "the end, and the stop before it"
    assert groups[:, 1].tolist() == [False, True, True, False, True]
    assert not (groups[:, 0] & groups[:, 1]).any()
