"""How are the recorded results said? Read as they are; those that other code or data have made are refused by
`report.load_endtask`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxlib.claim.table import Row
from auxlib.whole import read_whole

RESULTS, AGAIN = Path("data/results/full/endtask.json"), "python -m auxlib run --experiment endtask"
NEEDED = {"storyland", "real", "ranking_seeds_correct", "meta_step_ratio", "seconds", "made_by", "rehearsal"}
LABELS = {
    "tune": "fine-tuning alone",
    "before": "the other objective first (TAPT)",
    "mt": "MT-TARTAN",
    "meta": "META-TARTAN",
    "exact": "META-TARTAN, exact rule",
    "meta-two": "META-TARTAN, without the adversary",
    "mt-both": "MT-TARTAN, two others",
    "meta-both": "META-TARTAN, two others",
}


def read_endtask(root: Path) -> dict[str, Any] | None:
    """The recorded results as they are, or None before there are any."""
    return read_whole(root / RESULTS, NEEDED, AGAIN)


def story_rows(found: Mapping[str, Any]) -> list[Row]:
    """Storyland: one row an arm, with one other objective and with three."""
    story = found["storyland"]
    arms = [arm for arm in LABELS if arm in story["main"] or arm in story["crowd"]]
    return [
        {
            "": LABELS[arm],
            "one other objective": _spread(story["main"].get(arm)),
            "three others, one of them harmful": _spread(story["crowd"].get(arm)),
        }
        for arm in arms
    ]


def real_rows(found: Mapping[str, Any]) -> list[Row]:
    """Tasks of the world outside: one row an arm, one column a task."""
    arms = [arm for arm in LABELS if any(arm in table for table in found["real"].values())]
    return [{"": LABELS[arm]} | {task: _spread(t.get(arm)) for task, t in found["real"].items()} for arm in arms]


def weight_rows(found: Mapping[str, Any]) -> list[Row]:
    """The weights in the end, mean over the seeds."""
    story = found["storyland"]
    return [
        {"": LABELS[arm]}
        | dict(zip(story["objectives"], (f"{w:.2f}" for w in story["crowd"][arm]["ended"]), strict=True))
        for arm in ("meta", "exact")
    ]


def _spread(arm: Mapping[str, Any] | None) -> str:
    return "–" if arm is None else "{:.3f} ± {:.3f}".format(*arm["macro_f1"])
