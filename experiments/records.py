"""Recorded results: the file of every experiment, the names it must hold, and the command that makes it again.

A record is read here as it is, without torch and without the experiment that made it. `experiments.runner.load_record`
also refuses records that another version, other data or other code have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json

Record = dict[str, Any]
Setting = Mapping[str, Any]  # hyperparameters of a training, by name
FOLDER = Path("data/results/full")
PROVENANCE = frozenset({"made_by", "rehearsal"})


@dataclass(frozen=True)
class RecordFile:
    """The recorded results of one experiment.

    Attributes:
        name: of the experiment, its package, its file and its command.
        needed: names without which a record is refused as damaged.
        aliases: earlier names, still understood on the command line.
        command: makes the record again; ``python -m auxlib run --experiment NAME`` unless given.
    """

    name: str
    needed: frozenset[str]
    aliases: tuple[str, ...] = ()
    command: str = ""

    def __post_init__(self) -> None:
        if not self.command:
            object.__setattr__(self, "command", f"python -m auxlib run --experiment {self.name}")

    @property
    def path(self) -> Path:
        """The file, from the repository's root."""
        return FOLDER / f"{self.name}.json"

    def read(self, root: Path) -> Record | None:
        """Return the record as it is, or None before there is one.

        Raises:
            CourseError: it is damaged, or lacks one of the needed names.
        """
        return read_json(root / self.path, self.needed, self.command)


RECORDS: dict[str, RecordFile] = {
    record.name: record
    for record in (
        RecordFile(
            "claim",
            PROVENANCE
            | {"supported", "seeds_passing", "flops_ratio", "accuracy", "slor", "systems", "verdicts", "settings"},
        ),
        RecordFile(
            "smollm",
            PROVENANCE | {"systems", "slor_human", "sentences", "seeds", "seconds", "machine"},
            aliases=("rivals",),
        ),
        RecordFile(
            "control",
            PROVENANCE
            | {"control_efficiency", "control_accuracy", "two_keywords_joint", "two_keywords_sum"}
            | {"guarantee_accuracy", "guarantee_slor_loss", "failed", "seconds"},
            aliases=("generation",),
        ),
        RecordFile("ytuning", PROVENANCE | {"tasks", "few", "unseen", "seeds", "seconds", "machine", "versions"}),
        RecordFile(
            "tartan",
            PROVENANCE | {"storyland", "real", "ranking_seeds_correct", "meta_step_ratio", "seconds"},
            aliases=("endtask",),
        ),
        RecordFile(
            "speed",
            frozenset(
                {"decode_ratio_b1", "decode_ratio_b8", "prefix_speedup_256", "epoch_ratio_lora"}
                | {"first_epoch_ratio_lora", "memory_ratio_lora", "time_to_090_ratio_lora", "course_quick_seconds"}
            ),
            aliases=("bench",),
            command="make bench",
        ),
    )
}
CLAIM_CURVES = FOLDER / "claim_curves.json"  # what pictures of the claim need of every trial


ALIASES: dict[str, str] = {alias: record.name for record in RECORDS.values() for alias in record.aliases}


def read_record(name: str, root: Path) -> Record | None:
    """Return an experiment's recorded results as they are, or None before there are any."""
    return RECORDS[name].read(root)
