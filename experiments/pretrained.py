"""Training of what ships with the course: auxiliaries beside SmolLM2, and the language models of Storyland."""

from __future__ import annotations

import copy
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from auxlib.commands import Add
from auxlib.data.assets import data_dir
from auxlib.data.storage import rank_and_world_size, write_json_atomic

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import LlamaForCausalLM

    from auxlib.recipes import Recipe
    from auxlib.worlds.storyland import Storyland

LOSSES = {  # auxiliaries that the course ships, and the file that keeps the losses of their training
    "wordnet-keyword": "real_training.json",
    "wordnet-keywords": "several_training.json",
    "wordnet-length": "length_training.json",
}
STORY_LMS = {"storyland-lm": (60_000, 6e-3), "storyland-lm-600k": (600_000, 5e-3)}  # sentences and learning rate


def add_commands(add: Add) -> None:
    """Add the command ``train`` to the command line."""
    train = add("train", train_command, "train what the course ships: an auxiliary, or Storyland's expert")
    train.add_argument("what", nargs="?", choices=(*LOSSES, *STORY_LMS), default="wordnet-keyword")
    train.add_argument("--out", type=Path, help="folder for the checkpoint; with profile full the shipped one's")
    train.add_argument("--profile", choices=("quick", "full"), default="quick")
    train.add_argument("--seed", type=int, default=0)


def train_command(args: Namespace) -> int:
    """Train what the course ships, and save it with its receipt."""
    if args.what in STORY_LMS:
        return _train_language_model(args)
    from auxlib.recipes import SHIPPED_LENGTH, labelled, length_label, prepare_data, train

    data = prepare_data(recipe_for(args.profile, args.seed, args.what))
    data = labelled(data, length_label) if args.what == SHIPPED_LENGTH else data
    print(f"{len(data.train)} sentences, support of {len(data.support)} tokens, expert {data.expert.fingerprint}")
    model, run = train(data, output_dir=f"build/training/{args.what}-{args.profile}")
    if rank_and_world_size()[0]:
        return 0  # one of several processes saves
    model.receipt["command"] = f"python -m auxlib train {args.what} --profile {args.profile} --seed {args.seed}"
    out = checkpoint_folder(args)
    model.save_pretrained(out)
    curve = {"steps": run.steps, "losses": run.losses, **model.receipt}
    write_json_atomic(data_dir() / "results" / args.profile / LOSSES[args.what], curve)
    print(f"dev {run.dev_loss:.3f} nats/token after {run.minutes:.1f} minutes; saved in {out}")
    return 0


def _train_language_model(args: Namespace) -> int:
    """Train a language model of Storyland and save it with its receipt."""
    import torch

    from auxlib.worlds.story_lm import lm_nll, word_tokenizer
    from auxlib.worlds.storyland import Storyland
    from experiments.benchmarking import package_versions

    full, rate = STORY_LMS[args.what]
    world, sentences = Storyland.load(), 2_560 if args.profile == "quick" else full
    model = train_story_lm(world, sentences, rate=rate, seed=args.seed)
    unseen = world.sample(5_000, torch.Generator().manual_seed(args.seed + 1))
    receipt = {
        "command": f"python -m auxlib train {args.what} --profile {args.profile} --seed {args.seed}",
        "sentences": sentences,
        "nll": round(lm_nll(model, unseen), 4),
        "entropy_rate": round(world.entropy_rate, 4),
        "training_flops": training_flops(model, unseen[:8], sentences),
        "versions": package_versions(),
    }
    out = checkpoint_folder(args)
    model.save_pretrained(out)
    word_tokenizer(world).save_pretrained(out)
    write_json_atomic(out / "receipt.json", receipt)
    print(f"{receipt['nll']:.3f} nats/token, the entropy rate is {receipt['entropy_rate']:.3f}; saved in {out}")
    return 0


def train_story_lm(
    world: Storyland, sentences: int = 60_000, batch: int = 128, rate: float = 6e-3, width: int = 96, seed: int = 0
) -> LlamaForCausalLM:
    """Train a language model on sampled sentences for one epoch; a minute or two on two cores."""
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from auxlib.worlds.story_lm import lm_inputs, new_story_lm

    model = new_story_lm(world, width, seed=seed)
    texts = world.sample(sentences, torch.Generator().manual_seed(seed))
    rows = Dataset.from_dict({name: column.numpy() for name, column in lm_inputs(texts).items()}).with_format("torch")
    arguments = TrainingArguments(
        output_dir="build/training/storyland-lm",
        num_train_epochs=1,
        per_device_train_batch_size=batch,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=30,
        adam_beta2=0.98,
        weight_decay=0.01,
        save_strategy="no",
        report_to="none",
        logging_steps=50,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    Trainer(model, arguments, train_dataset=rows).train()
    return model.cpu()


def training_flops(model: nn.Module, token_ids: Tensor, sentences: int) -> float:
    """Return the FLOPs of training on so many sentences like ``token_ids [B, T]``, as counted by `count_flops`."""
    from auxlib.worlds.story_lm import lm_inputs
    from experiments.flops import count_flops

    trained = copy.deepcopy(model).requires_grad_(True)
    with count_flops(trained) as counter:
        trained(**lm_inputs(token_ids), use_cache=False)
    return counter.flops / len(token_ids) * sentences


def checkpoint_folder(args: Namespace) -> Path:
    """Return where a training's result goes: only a full one may replace what the course ships."""
    kept = data_dir() if args.profile == "full" else data_dir().parent / "build"
    return args.out or kept / "checkpoints" / args.what


def recipe_for(profile: str, seed: int = 0, name: str = "wordnet-keyword") -> Recipe:
    """Return the recipe of an auxiliary that the course ships; profiles differ in size only."""
    from auxlib.recipes import QUICK, RECIPES

    recipe = replace(RECIPES[name], seed=seed)
    return replace(recipe, sentences=QUICK.sentences, epochs=QUICK.epochs) if profile == "quick" else recipe
