"""Checkpoints: finished auxiliaries, and trainings to be resumed.

An auxiliary is two files: its weights, and a JSON file that names the frozen model and the text template. A training's
checkpoint is the trainer's own, completed by the state of the random draws.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.data.storage import write_json_atomic
from auxlib.errors import CheckpointError
from auxlib.features import TextTemplate
from auxlib.frozen import Expert, load_expert, require_same_expert

RNG_STATE = "draws.json"  # written last, so that it also marks a training's checkpoint as complete
WEIGHTS, SETTINGS = "auxiliary.safetensors", "auxiliary.json"
NEEDED = ("auxiliary", "expert.fingerprint", "expert.reference", "frame.preamble_ids.0", "frame.end_id", "receipt")


@dataclass(frozen=True)
class AuxiliaryCheckpoint:
    """An auxiliary with its frozen model, its text template and its receipt.

    Attributes:
        expert: the frozen model; only its reference and fingerprint are stored.
        receipt: the record of how the auxiliary was made.
    """

    auxiliary: AuxiliaryModel
    expert: Expert
    template: TextTemplate
    receipt: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> None:
        """Write both files."""
        settings = {
            "auxiliary": self.auxiliary.config.as_dict(),
            "expert": {"reference": self.expert.reference, "fingerprint": self.expert.fingerprint},
            "frame": {"preamble_ids": list(self.template.preamble_ids), "end_id": self.template.end_id},
            "receipt": self.receipt,
        }
        write_files(folder, "auxiliary", self.auxiliary, settings)

    @classmethod
    def load(cls, folder: str | Path, expert: Expert | None = None, swap: bool = False) -> AuxiliaryCheckpoint:
        """Read both files.

        Args:
            expert: the frozen model, if it is loaded already; by default the one that the checkpoint names.
            swap: allow another frozen model than the one of the training. Its states then have another meaning for the
                auxiliary, so expect little; the receipt keeps the fingerprint of the training's model.

        Raises:
            CheckpointError: a file is missing, truncated or not an auxiliary.
            ExpertMismatch: the frozen model is not the one of the training, and ``swap`` is False.
        """
        settings, weights = read_files(folder, "auxiliary", *NEEDED)
        expert = expert or load_expert(settings["expert"]["reference"])
        known, receipt = settings["expert"]["fingerprint"], settings["receipt"]
        if swap and known != expert.fingerprint:
            receipt = {"trained_beside": known, **receipt}
        else:
            require_same_expert(expert, known, f"the auxiliary in {folder}")
        frame = TextTemplate(tuple(settings["frame"]["preamble_ids"]), settings["frame"]["end_id"])
        try:
            config = AuxiliaryConfig.from_dict(settings["auxiliary"])
            auxiliary = AuxiliaryModel(config, expert.unembedding, weights["groups"], weights.get("support"))
            auxiliary.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder} does not hold the auxiliary that its {SETTINGS} describes: {error}"
            ) from error
        return cls(auxiliary.float().to(expert.model.device).eval(), expert, frame, receipt)


def write_files(folder: str | Path, kind: str, module: nn.Module, settings: Mapping[str, Any]) -> None:
    """Write ``<kind>.safetensors``, weights in bfloat16, and ``<kind>.json``; each whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().to("cpu").contiguous() for name, value in module.state_dict().items()}
    half = {name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in weights.items()}
    described = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
    save_file(half, folder / f"{kind}.safetensors.part")
    (folder / f"{kind}.json.part").write_text(described, encoding="utf-8")
    for name in (f"{kind}.safetensors", f"{kind}.json"):
        (folder / f"{name}.part").replace(folder / name)


def read_files(folder: str | Path, kind: str, *needed: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read both files.

    Args:
        needed: dotted names that the settings must hold, such as ``expert.fingerprint``.

    Raises:
        CheckpointError: a file is missing, or it is damaged.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
        weights = load_file(folder / f"{kind}.safetensors")
        for name in needed:
            reduce(lambda found, key: found[int(key) if key.isdigit() else key], name.split("."), settings)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} holds no {kind}: {Path(error.filename or folder).name} is missing. "
            f"Expected {kind}.json and {kind}.safetensors."
        ) from error
    except (SafetensorError, json.JSONDecodeError, LookupError, TypeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"the {kind} in {folder} is damaged or truncated ({error}); get a fresh copy or train it again."
        ) from error
    return settings, weights


class SaveRngState(TrainerCallback):
    """Complete each checkpoint with the collator's random state, which the trainer's own checkpoints lack."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **known: Any) -> None:
        """Write the collator's state, and torch's under both names, for one process or several to resume."""
        if not state.is_world_process_zero:  # the first process alone makes the batches
            return
        assert args.output_dir is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        alone, first = folder / "rng_state.pth", folder / "rng_state_0.pth"
        shutil.copy(*((first, alone) if first.exists() else (alone, first)))
        write_json_atomic(folder / RNG_STATE, {"draws": self.rng.getstate()})


def newest_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest complete checkpoint; one that was being written when the process died is passed over."""
    complete = {
        int(match[1]): path.parent
        for path in output_dir.glob(f"checkpoint-*/{RNG_STATE}")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.parent.name))
    }
    return complete[max(complete)] if complete else None


def restore_rng_state(rng: random.Random, checkpoint: Path) -> None:
    """Set the collator's random state to the one of a checkpoint."""
    version, words, gauss = json.loads((checkpoint / RNG_STATE).read_text())["draws"]
    rng.setstate((version, tuple(words), gauss))
