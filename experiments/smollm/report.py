"""What came out, with a real model? Figures of all systems over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxlib.benchmarking import hardware_info, package_versions
from auxlib.metrics import wilson
from experiments.runner import Record, require_probe, require_provenance
from experiments.smollm.auxiliary_system import AuxiliarySystem
from experiments.smollm.experiment import RIVALS, SEARCH_SEED, SEEDS, made_by
from experiments.smollm.setup import WritingSetup, WritingSize
from experiments.smollm.table import AGAIN, RESULTS, read_rivals

MEAN = (
    "slor", "nll", "forgotten", "distinct_2", "tokens", "flops", "memory_bytes", "train_seconds",
    "flops_per_written_token",
)  # fmt: skip
SAME = ("learning", "task_bytes", "setting")


def assemble(records: Sequence[Record]) -> dict[str, Any]:
    """The results: for every system its pooled test figures, or its error."""
    done = [record for record in records if "error" not in record]
    return {
        "systems": {name: _of_system(name, [r for r in records if r["system"] == name]) for name in RIVALS},
        "slor_human": round(sum(r["slor_human"] for r in done) / max(1, len(done)), 4),
        "failed": {f"{r['system']}, seed {r['seed']}": r["error"] for r in records if "error" in r},
        "settings": {r["system"]: r["setting"] for r in done if r["setting"]},
        "sentences": done[0]["sentences"] if done else 0,
        "seeds": len(SEEDS),
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _of_system(name: str, records: Sequence[Record]) -> dict[str, Any]:
    done = [record for record in records if "error" not in record]
    broken = {"label": RIVALS[name].label, "failed_seeds": [r["seed"] for r in records if "error" in r]}
    if not done:
        return broken | {"error": records[0]["error"] if records else "was not run"}
    hits, n = (sum(record[key] for record in done) for key in ("hits", "n"))
    rule = {"rule_by_counter": done[0]["flops_by_rule"] / done[0]["flops"]} if "flops_by_rule" in done[0] else {}
    return {
        **broken,
        "accuracy_interval": [round(value, 4) for value in (hits / n, *wilson(hits, n))],
        **{key: round(sum(r[key] for r in done) / len(done), 4) for key in MEAN if done[0].get(key) is not None},
        **{key: done[0][key] for key in SAME if key in done[0]},
        **{key: round(value, 4) for key, value in rule.items()},
        **{key: sum(record[key] for record in done) for key in ("recited", "empty")},
        "by_seed": {str(r["seed"]): [round(r["hits"] / r["n"], 3), r["slor"]] for r in done},
        "n": n,
        "examples": done[0]["written"][:8],
    }


def load_rivals(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any; those of other code or data are refused."""
    found = read_rivals(root)
    if found is not None:
        require_provenance(found, made_by(), root / RESULTS, AGAIN)
        require_probe(found["rehearsal"], behaviour_probe(), RESULTS, AGAIN)
    return found


def origin() -> dict[str, Any]:
    """What results stand on: the comparison's own code and data, and the library as it computes."""
    return {"made_by": made_by(), "rehearsal": behaviour_probe()}


def behaviour_probe() -> list[float]:
    """Nats a token on development sentences: of the shipped auxiliary, and of one that has learned from few.

    Code that was only written better says the same.
    """
    bench = WritingSetup(WritingSize(train=96, dev=48), SEARCH_SEED)
    ours = AuxiliarySystem(bench)
    before = ours.nll(bench.corpus["dev"])
    ours.learn({"rate": 4e-3, "epochs": 4})
    return [round(before, 4), round(ours.nll(bench.corpus["dev"]), 4)]
