"""Who is the expert in Storyland? A small causal language model that has read sentences of it, and nothing else.

It is an ordinary `transformers` model with a word-level tokenizer: whatever works on it works on a large one. Trained
for a minute on a CPU it comes within a few hundredths of a nat of the true process; the course ships one so trained.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from auxlib.data.assets import data_dir
from auxlib.data.json_io import write_json_atomic
from auxlib.flops import count_flops
from auxlib.frozen import Expert, load_expert
from auxlib.worlds.automaton import BLANK
from auxlib.worlds.grammar import FULL_STOP
from auxlib.worlds.storyland import Storyland

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SHIPPED_LM, WELL_READ_LM = "storyland-lm", "storyland-lm-600k"  # read 60,000 and 600,000 sentences
IGNORE_INDEX = -100  # a label that costs nothing


def load_story_lm(which: str | Path = SHIPPED_LM) -> Expert:
    """A language model of Storyland, frozen, in float32, on the CPU as the world is: a shipped one, or a folder."""
    folder = data_dir() / "checkpoints" / which  # joining an absolute path gives that path
    return load_expert(folder, dtype=torch.float32, device="cpu")


def new_story_lm(world: Storyland, width: int = 96, layers: int = 2, seed: int = 0) -> LlamaForCausalLM:
    """An untrained Llama of the world's vocabulary; a quarter of a million parameters with the default sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(world.vocabulary), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.05,
        bos_token_id=BLANK, pad_token_id=BLANK, eos_token_id=world.ids[FULL_STOP],
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def lm_inputs(token_ids: Tensor) -> dict[str, Tensor]:
    """Sentences ``[B, T]`` as a causal model reads them, ``[B, T + 1]``: ``<s>`` in front, blanks not seen nor scored.

    ``labels`` are not shifted: the model does that itself (position t is scored against token t + 1).
    """
    input_ids = F.pad(token_ids, (1, 0), value=BLANK)
    said = F.pad(token_ids != BLANK, (1, 0), value=True)
    return {
        "input_ids": input_ids,
        "attention_mask": said.long(),
        "labels": input_ids.masked_fill(~said, IGNORE_INDEX),
    }


def train_story_lm(
    world: Storyland, sentences: int = 60_000, batch: int = 128, rate: float = 6e-3, width: int = 96, seed: int = 0
) -> LlamaForCausalLM:
    """Train a language model on sentences drawn from the world, each read once; a minute or two on two cores."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    model = new_story_lm(world, width, seed=seed)
    texts = world.sample(sentences, torch.Generator().manual_seed(seed))
    rows = Dataset.from_dict({name: column.numpy() for name, column in lm_inputs(texts).items()}).with_format("torch")
    arguments = TrainingArguments(
        output_dir="build/training/storyland-lm", num_train_epochs=1, per_device_train_batch_size=batch,
        learning_rate=rate, lr_scheduler_type="cosine", warmup_steps=30, adam_beta2=0.98, weight_decay=0.01,
        save_strategy="no", report_to="none", logging_steps=50, seed=seed, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    Trainer(model, arguments, train_dataset=rows).train()
    return model.cpu()


@torch.inference_mode()
def lm_nll(model: torch.nn.Module, token_ids: Tensor) -> float:
    """Mean negative log likelihood of sentences ``[B, T]`` in nats per token; compare with `Storyland.entropy_rate`."""
    device = next(model.parameters()).device
    return float(model.eval()(**lm_inputs(token_ids.to(device)), use_cache=False).loss)


def training_flops(model: torch.nn.Module, token_ids: Tensor, sentences: int) -> float:
    """What training on so many sentences like ``token_ids [B, T]`` costs, by the rule of the ledger."""
    trained = copy.deepcopy(model).requires_grad_(True)
    with count_flops(trained) as tally:
        trained(**lm_inputs(token_ids), use_cache=False)
    return tally.flops / len(token_ids) * sentences


def word_tokenizer(world: Storyland) -> PreTrainedTokenizerFast:
    """The world's words as a `transformers` tokenizer; the full stop is a word of its own, capitals do not matter."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    blank = world.vocabulary[BLANK]
    tokenizer = Tokenizer(models.WordLevel(dict(world.ids), unk_token=blank))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"bos_token": blank, "pad_token": blank, "eos_token": FULL_STOP}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=True, **marks)


def train_shipped(args: Namespace) -> int:
    """Train one of the shipped experts and save it with its receipt: the command ``train storyland-lm``."""
    from auxlib.benchmarking import package_versions
    from auxlib.commands import checkpoint_folder

    full, rate = (60_000, 6e-3) if args.what == SHIPPED_LM else (600_000, 5e-3)
    world, sentences = Storyland.load(), 2_560 if args.profile == "quick" else full
    model = train_story_lm(world, sentences, rate=rate, seed=args.seed)
    unseen = world.sample(5_000, torch.Generator().manual_seed(args.seed + 1))
    receipt = {
        "command": f"python -m auxlib train {args.what} --profile {args.profile} --seed {args.seed}",
        "sentences": sentences, "nll": round(lm_nll(model, unseen), 4), "entropy_rate": round(world.entropy_rate, 4),
        "training_flops": training_flops(model, unseen[:8], sentences), "versions": package_versions(),
    }  # fmt: skip
    out = checkpoint_folder(args)
    model.save_pretrained(out)
    word_tokenizer(world).save_pretrained(out)
    write_json_atomic(out / "receipt.json", receipt)
    print(f"{receipt['nll']:.3f} nats/token, the truth has {receipt['entropy_rate']:.3f}; saved in {out}")
    return 0
