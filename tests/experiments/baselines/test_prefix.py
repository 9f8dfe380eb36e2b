"""The keyword is a word in front of the sentence, and only what is meant to learn does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auxlib.frozen import Expert, fingerprint
from experiments.baselines.decoding import DecodingContext
from experiments.baselines.prefix import Prefixed, fine_tuned, from_scratch, lora, prompt_tuned, prompted
from experiments.claim.plan import SYSTEMS
from experiments.claim.setup import load_world, train_steps, training_batches
from tests.experiments.baselines import asked, bench_beside, build, farthest, logits_of, stirred, what_is_read


@pytest.fixture(scope="module")
def expert() -> Expert:
    return bench_beside().expert


def learning(system: Prefixed) -> dict[str, int]:
    """How many numbers of each weight learn."""
    return {name: weight.numel() for name, weight in system.named_parameters() if weight.requires_grad}


def with_other_keywords(reading: DecodingContext) -> DecodingContext:
    return DecodingContext(reading.token_ids, reading.keyword_ids.roll(1), reading.seen)


@torch.no_grad()
def plainly(expert: Expert, *front: Tensor) -> Tensor:
    """The expert's logits on the sentences, with these words before ``<s>``."""
    read = torch.cat([*front, what_is_read().token_ids], 1)
    return expert.model(read).logits[:, sum(words.shape[1] for words in front) :]


def test_the_keyword_is_read_as_a_word_before_the_sentence(expert: Expert) -> None:
    by_hand = plainly(expert, asked()[1][:, None])
    assert farthest(logits_of(prompted(expert), what_is_read()), by_hand) < 1e-5


def test_a_prompt_of_word_vectors_is_these_words_in_front(expert: Expert) -> None:
    words, system = torch.tensor([7, 90, 33]), prompt_tuned(expert, 3)
    with torch.no_grad():
        system.prompt.copy_(expert.unembedding[words])
    by_hand = plainly(expert, words.expand(len(asked()[1]), -1), asked()[1][:, None])
    assert farthest(logits_of(system, what_is_read()), by_hand) < 1e-5


@pytest.mark.parametrize("rank", [4, 16])
def test_i06_untrained_low_rank_updates_are_no_updates(expert: Expert, rank: int) -> None:
    assert torch.equal(*(logits_of(system, what_is_read()) for system in (lora(expert, rank), prompted(expert))))


def test_i06_fine_tuning_starts_as_the_prompted_expert(expert: Expert) -> None:
    assert torch.equal(*(logits_of(system, what_is_read()) for system in (fine_tuned(expert), prompted(expert))))


@pytest.mark.parametrize("make", [fine_tuned, lambda expert: lora(expert, 4), lambda expert: prompt_tuned(expert, 8)])
def test_i15_what_learns_is_a_copy_and_the_expert_stays(expert: Expert, make) -> None:
    system = make(expert)
    for _ in train_steps(system, training_batches(bench_beside(), 1, 16), 1e-2):
        pass
    assert farthest(logits_of(system, what_is_read()), logits_of(prompted(expert), what_is_read())) > 1e-3
    assert fingerprint(expert.model) == expert.fingerprint
    assert not any(weight.requires_grad or weight.grad is not None for weight in expert.model.parameters())


@pytest.mark.parametrize("name", ["scratch", "scratch_small", "scratch_both", "fine_tuned", "lora_16", "prompt_tuned"])
def test_being_told_makes_a_difference(name: str) -> None:
    system = stirred(build(name))
    told, foreign = (logits_of(system, reading) for reading in (what_is_read(), with_other_keywords(what_is_read())))
    assert farthest(told, foreign) > 1e-2


def test_a_model_that_is_not_told_ignores_the_keyword() -> None:
    untold = from_scratch(load_world(), 32, 1, seed=0, conditional=False)
    assert torch.equal(
        *(logits_of(untold, reading) for reading in (what_is_read(), with_other_keywords(what_is_read())))
    )
    told = from_scratch(load_world(), 32, 1, seed=0)
    reading = what_is_read()
    nothing = DecodingContext(reading.token_ids, torch.zeros_like(reading.keyword_ids), reading.seen)
    assert torch.equal(logits_of(untold, reading), logits_of(told, nothing))


@pytest.mark.parametrize("vectors", [1, 8])
def test_of_a_prompted_expert_only_the_prompt_learns(expert: Expert, vectors: int) -> None:
    assert learning(prompt_tuned(expert, vectors)) == {"prompt": vectors * expert.model.config.hidden_size}
    assert sum(learning(prompted(expert)).values()) == 0


@pytest.mark.parametrize("rank", [4, 16])
def test_of_low_rank_updates_two_thin_matrices_learn_beside_every_linear_layer(expert: Expert, rank: int) -> None:
    layers = [part for part in expert.model.model.modules() if isinstance(part, torch.nn.Linear)]
    thin = sum(rank * (layer.in_features + layer.out_features) for layer in layers)
    assert len(layers) == 7 * expert.model.config.num_hidden_layers
    assert sum(learning(lora(expert, rank)).values()) == thin


def test_all_of_a_fine_tuned_expert_learns(expert: Expert) -> None:
    assert sum(learning(fine_tuned(expert)).values()) == sum(weight.numel() for weight in expert.model.parameters())


@pytest.mark.parametrize(("width", "layers"), [(32, 1), (96, 2), (112, 2)])
def test_a_model_from_scratch_has_the_shape_asked_for(width: int, layers: int) -> None:
    system, V = from_scratch(load_world(), width, layers, seed=3), len(load_world().vocabulary)
    blocks = layers * (4 * width * width + 3 * width * 2 * width + 2 * width)
    assert sum(learning(system).values()) == V * width + blocks + width
    assert logits_of(system, what_is_read()).shape == (*asked()[0].shape, V)


def test_a_model_from_scratch_follows_its_seed_and_leaves_chance_alone() -> None:
    state = torch.get_rng_state()
    same, again, other = (from_scratch(load_world(), 32, 1, seed).lm for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert fingerprint(same) == fingerprint(again) != fingerprint(other)


def test_the_sizes_in_the_plan_are_those_of_their_labels(expert: Expert) -> None:
    weights = {name: sum(w.numel() for w in build(name).parameters() if w.requires_grad) for name in SYSTEMS}
    large = sum(weight.numel() for weight in expert.model.parameters())
    assert weights["scratch"] == large
    assert weights["scratch_small"] == pytest.approx(weights["auxiliary"], rel=0.1)
    assert weights["scratch_both"] == pytest.approx(large + weights["auxiliary"], rel=0.05)
