"""How are the recorded results said? Read as they are; those that other code or data have made are refused by
`report.load_endtask`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from auxlib.data.storage import read_json
from experiments.claim.table import Row

RESULTS, AGAIN = Path("data/results/full/endtask.json"), "python -m auxlib run --experiment endtask"
NEEDED = {"storyland", "real", "ranking_seeds_correct", "meta_step_ratio", "seconds", "made_by", "rehearsal"}


def read_endtask(root: Path) -> dict[str, Any] | None:
    """The recorded results as they are, or None before there are any."""
    return read_json(root / RESULTS, NEEDED, AGAIN)


def story_rows(found: Mapping[str, Any]) -> list[Row]:
    """Storyland: one row an arm, with one other objective and with three."""
    main, crowd = found["storyland"]["main"], found["storyland"]["crowd"]
    return [
        {
            "": row["label"],
            "one other objective": _spread(main.get(arm)),
            "three others, one of them harmful": _spread(crowd.get(arm)),
        }
        for arm, row in (main | crowd).items()
    ]


def goal_rows(found: Mapping[str, Any]) -> list[Row]:
    """What was asked before the run, and what was found."""
    main, crowd = found["storyland"]["main"], found["storyland"]["crowd"]
    order = [main[arm]["macro_f1"] for arm in ("mt", "before", "tune")]
    apart = all(high - its > low + other for (high, its), (low, other) in pairwise(order))
    ranked, seeds = found["ranking_seeds_correct"]["meta"], len(crowd["meta"]["seeds"])
    ratio, both = found["meta_step_ratio"], [crowd[arm]["macro_f1"][0] for arm in ("meta", "mt")]
    asked = [
        ("together above first above alone, standard errors apart", " > ".join(map(_pair, order)), apart),
        ("weights end in the order useful, neutral, harmful", f"in {ranked} of {seeds} seeds", ranked == seeds),
        ("META at least as good as MT in the crowd", "{:.3f} and {:.3f}".format(*both), both[0] >= both[1]),
        ("a META step takes at most 2.5 MT steps", str(ratio), ratio <= 2.5),
    ]
    return [{"asked": what, "found": how, "": "yes" if met else "**no**"} for what, how, met in asked]


def real_rows(found: Mapping[str, Any]) -> list[Row]:
    """Tasks of the world outside: one row an arm, one column a task."""
    arms = {arm: row["label"] for table in found["real"].values() for arm, row in table.items()}
    return [
        {"": label} | {task: _spread(table.get(arm)) for task, table in found["real"].items()}
        for arm, label in arms.items()
    ]


def weight_rows(found: Mapping[str, Any]) -> list[Row]:
    """The weights in the end, mean over the seeds."""
    story = found["storyland"]
    return [
        {"": story["crowd"][arm]["label"]}
        | dict(zip(story["objectives"], (f"{w:.3f}" for w in story["crowd"][arm]["ended"]), strict=True))
        for arm in ("meta", "exact")
    ]


def _spread(arm: Mapping[str, Any] | None) -> str:
    return "–" if arm is None else _pair(arm["macro_f1"])


def _pair(mean_and_error: Sequence[float]) -> str:
    return "{:.3f} ± {:.3f}".format(*mean_and_error)
