"""Tables of the TARTAN results, for README and notebook 11."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from experiments.tables import Row


def story_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each arm in Storyland, with one other objective and with three."""
    main, crowd = results["storyland"]["main"], results["storyland"]["crowd"]
    return [
        {
            "": row["label"],
            "one other objective": _spread(main.get(arm)),
            "three others, one of them harmful": _spread(crowd.get(arm)),
        }
        for arm, row in (main | crowd).items()
    ]


def goal_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each goal that was set before the run, and what was reached."""
    main, crowd = results["storyland"]["main"], results["storyland"]["crowd"]
    order = [main[arm]["macro_f1"] for arm in ("mt", "before", "tune")]
    apart = all(high - its > low + other for (high, its), (low, other) in pairwise(order))
    ranked, seeds = results["ranking_seeds_correct"]["meta"], len(crowd["meta"]["seeds"])
    ratio, both = results["meta_step_ratio"], [crowd[arm]["macro_f1"][0] for arm in ("meta", "mt")]
    goals = [
        ("together above first above alone, standard errors apart", " > ".join(map(_pair, order)), apart),
        ("weights end in the order useful, neutral, harmful", f"in {ranked} of {seeds} seeds", ranked == seeds),
        ("META at least as good as MT in the crowd", "{:.3f} and {:.3f}".format(*both), both[0] >= both[1]),
        ("a META step takes at most 2.5 MT steps", str(ratio), ratio <= 2.5),
    ]
    return [{"asked": goal, "found": figure, "": "yes" if met else "**no**"} for goal, figure, met in goals]


def real_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return one row for each arm on real texts, with one column for each task."""
    arms = {arm: row["label"] for table in results["real"].values() for arm, row in table.items()}
    return [
        {"": label} | {task: _spread(table.get(arm)) for task, table in results["real"].items()}
        for arm, label in arms.items()
    ]


def weight_rows(results: Mapping[str, Any]) -> list[Row]:
    """Return the final weights of META's two rules, mean over the seeds."""
    story = results["storyland"]
    return [
        {"": story["crowd"][arm]["label"]}
        | dict(zip(story["objectives"], (f"{w:.3f}" for w in story["crowd"][arm]["ended"]), strict=True))
        for arm in ("meta", "exact")
    ]


def _spread(arm: Mapping[str, Any] | None) -> str:
    return "–" if arm is None else _pair(arm["macro_f1"])


def _pair(mean_and_error: Sequence[float]) -> str:
    return "{:.3f} ± {:.3f}".format(*mean_and_error)
