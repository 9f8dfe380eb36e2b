"""How is an auxiliary kept? Two files: its weights, and what one must know to put it beside its expert again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
from auxlib.errors import CheckpointError
from auxlib.experts import Expert, load_expert, require_same_expert
from auxlib.features import Frame

WEIGHTS, SETTINGS = "auxiliary.safetensors", "auxiliary.json"


@dataclass(frozen=True)
class Kept:
    """An auxiliary with all that it needs.

    Attributes:
        expert: the frozen half; only its reference and fingerprint are stored.
        receipt: how the auxiliary was made.
    """

    auxiliary: AuxiliaryModel
    expert: Expert
    frame: Frame
    receipt: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path) -> None:
        """Write both files, weights in bfloat16, each whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().to("cpu").contiguous() for name, value in self.auxiliary.state_dict().items()}
        half = {
            name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in weights.items()
        }
        save_file(half, folder / f"{WEIGHTS}.part")
        settings = {
            "auxiliary": self.auxiliary.config.as_dict(),
            "expert": {"reference": self.expert.reference, "fingerprint": self.expert.fingerprint},
            "frame": {"preamble_ids": list(self.frame.preamble_ids), "end_id": self.frame.end_id},
            "receipt": self.receipt,
        }
        described = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{SETTINGS}.part").write_text(described, encoding="utf-8")
        for name in (WEIGHTS, SETTINGS):
            (folder / f"{name}.part").replace(folder / name)

    @classmethod
    def load(cls, folder: str | Path, expert: Expert | None = None, swap: bool = False) -> Kept:
        """Read both files.

        Args:
            expert: an already loaded one; by default the one the auxiliary names.
            swap: the expert may be another than the one the auxiliary was trained beside. It then reads states that
                mean something else to it, so expect little; the receipt keeps the fingerprint that it knew.

        Raises:
            CheckpointError: a file is missing, truncated or not an auxiliary.
            ExpertMismatch: the expert is not the one the auxiliary was trained beside, and no swap was asked for.
        """
        settings, weights = _read(Path(folder))
        expert = expert or load_expert(settings["expert"]["reference"])
        known, receipt = settings["expert"]["fingerprint"], settings["receipt"]
        if swap and known != expert.fingerprint:
            receipt = {"trained_beside": known, **receipt}
        else:
            require_same_expert(expert, known, f"the auxiliary in {folder}")
        frame = Frame(tuple(settings["frame"]["preamble_ids"]), settings["frame"]["end_id"])
        try:
            config = AuxiliaryConfig(**settings["auxiliary"])
            auxiliary = AuxiliaryModel(config, expert.unembedding, weights["groups"], weights.get("support"))
            auxiliary.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder} does not hold the auxiliary that its {SETTINGS} describes: {error}"
            ) from error
        return cls(auxiliary.float().to(expert.model.device).eval(), expert, frame, receipt)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        _ = (
            settings["auxiliary"],
            settings["expert"]["fingerprint"],
            settings["expert"]["reference"],
            settings["frame"]["preamble_ids"][0],
            settings["frame"]["end_id"],
            settings["receipt"],
        )
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} holds no auxiliary: {Path(error.filename or folder).name} is missing. "
            f"Expected {SETTINGS} and {WEIGHTS}, as written by save_pretrained."
        ) from error
    except (SafetensorError, json.JSONDecodeError, LookupError, TypeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"the auxiliary in {folder} is damaged or truncated ({error}); get a fresh copy or train it again."
        ) from error
    return settings, weights
