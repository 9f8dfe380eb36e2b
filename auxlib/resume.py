"""How does a training go on that was broken off?

The trainer's own checkpoints hold weights, optimiser, schedule and the state of torch's dice. What they lack is added
here: where the draws of conditions stood, and dice that another number of processes can find. It is written last, so
that it is also the mark of a checkpoint that is whole: one that was being written when the power went is passed over.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from auxlib.data.storage import write_json_atomic

DRAWS = "draws.json"


class SaveRngState(TrainerCallback):
    """Completes each checkpoint with the state of ``draw``."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **known: Any) -> None:
        """The first process alone makes the batches, so its dice are the ones that matter, by whatever name."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        alone, first = folder / "rng_state.pth", folder / "rng_state_0.pth"
        shutil.copy(*((first, alone) if first.exists() else (alone, first)))
        write_json_atomic(folder / DRAWS, {"draws": self.draw.getstate()})


def newest_checkpoint(output_dir: Path) -> Path | None:
    """The newest whole checkpoint, if there is any."""
    whole = {
        int(found[1]): path.parent
        for path in output_dir.glob(f"checkpoint-*/{DRAWS}")
        if (found := re.fullmatch(r"checkpoint-(\d+)", path.parent.name))
    }
    return whole[max(whole)] if whole else None


def restore(draw: random.Random, checkpoint: Path) -> None:
    """Let the draws go on where they stood."""
    version, words, gauss = json.loads((checkpoint / DRAWS).read_text())["draws"]
    draw.setstate((version, tuple(words), gauss))
