"""How is an auxiliary kept? Two files: its weights, and what one must know to put it beside its expert again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.errors import CheckpointError
from auxlib.features import TextTemplate
from auxlib.frozen import Expert, load_expert, require_same_expert

WEIGHTS, SETTINGS = "auxiliary.safetensors", "auxiliary.json"
NEEDED = ("auxiliary", "expert.fingerprint", "expert.reference", "frame.preamble_ids.0", "frame.end_id", "receipt")


@dataclass(frozen=True)
class AuxiliaryCheckpoint:
    """An auxiliary with all that it needs.

    Attributes:
        expert: the frozen half; only its reference and fingerprint are stored.
        receipt: how the auxiliary was made.
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
            expert: an already loaded one; by default the one the auxiliary names.
            swap: the expert may be another than the one the auxiliary was trained beside. It then reads states that
                mean something else to it, so expect little; the receipt keeps the fingerprint that it knew.

        Raises:
            CheckpointError: a file is missing, truncated or not an auxiliary.
            ExpertMismatch: the expert is not the one the auxiliary was trained beside, and no swap was asked for.
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
        needed: names that the settings must hold, one below another with a point between them.

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
