"""What came out? Mean and standard deviation of every system over its seeds, and how far the claim carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from auxlib.benchmarking import hardware_info, package_versions
from auxlib.classification.encoders import cache_states, load_encoder
from auxlib.classification.trainer import states_batch
from auxlib.classification.ytuning import LabelConfig, LabelDecoder, margin_loss
from auxlib.collator import FeatureRows
from auxlib.data.tasks import load_task
from experiments.runner import Record, require_probe, require_provenance
from experiments.ytuning.experiment import EACH, SEEDS, TASKS, USED, made_by
from experiments.ytuning.systems import BY_NAME, MIDDLE, SYSTEMS
from experiments.ytuning.table import AGAIN, RESULTS, read_labels

MEAN = ("train_flops", "read_flops", "told_flops", "memory_bytes", "learning", "epoch_seconds", "best_epoch")


def assemble(records: Sequence[Record]) -> dict[str, Any]:
    """The results: for every task and system its test figures, or its error."""
    done = [record for record in records if "error" not in record]
    few = {name: _few(name, [r for r in done if r["use"] == "few" and r["system"] == name])
           for name in (SYSTEMS | BY_NAME)}  # fmt: skip
    return {
        "tasks": {task: _task(task, records) for task in TASKS if any(r["task"] == task for r in done)},
        "few": {name: system for name, system in few.items() if len(system) > 1},
        "unseen": {name: _of([r for r in done if r["use"] == "unseen" and r["system"] == name],
                             ("accuracy", "seen", "cosine")) for name in BY_NAME},
        "each": list(map(str, EACH)),
        "used": USED,
        "failed": {f"{r['task']}, {r['system']}, {r['use']}, seed {r['seed']}": r["error"]
                   for r in records if "error" in r},
        "seeds": len(SEEDS),
        "machine": hardware_info(),
        "versions": package_versions(),
    }  # fmt: skip


def _task(task: str, records: Sequence[Record]) -> dict[str, Any]:
    """One task: all systems, and the figures that the claim is about."""
    mine = [record for record in records if record["task"] == task and record["use"] == "all"]
    systems = {name: _system(name, [r for r in mine if r["system"] == name]) for name in SYSTEMS}
    ours, full = systems["ytuning"], systems["full"]
    found: dict[str, Any] = {name: system.get("accuracy") for name, system in systems.items()}
    if "error" not in ours and "error" not in full:
        spent, read, whole = ours["train_flops"], ours["read_flops"], full["train_flops"]
        found |= {
            "params_percent": ours["params_percent"],
            "flops_ratio_full": round(whole / (spent + read), 2),
            "flops_ratio_seeds": round(len(SEEDS) * whole / (len(SEEDS) * spent + read), 2),
            "texts": ours["learned_from"], "labels": ours["labels"], "chance": ours["chance"],
        }  # fmt: skip
    return found | {"systems": systems}


def _system(name: str, records: Sequence[Record]) -> dict[str, Any]:
    done = [record for record in records if "error" not in record]
    label = {"label": SYSTEMS[name].label}
    if not done:
        return label | {"error": records[0]["error"] if records else "was not run"}
    found = _of(done, ("accuracy", "macro_f1"))
    found |= {key: round(mean(record[key] for record in done), 3) for key in MEAN}
    noisy = {noise: round(mean(r["noisy"][noise] for r in done), 4) for noise in done[0]["noisy"]}
    return label | found | {
        "noisy": noisy, "params_percent": round(100 * found["learning"] / done[0]["encoder"], 3),
        "setting": SYSTEMS[name].settings[done[0]["setting"]], "seeds": len(done),
        **{key: done[0][key] for key in ("learned_from", "labels", "chance")},
    }  # fmt: skip


def _few(name: str, records: Sequence[Record]) -> dict[str, Any]:
    by_each = {str(each): [r["accuracy"] for r in records if r["each"] == each] for each in EACH}
    spread = {each: [round(mean(values), 4), round(_sd(values), 4)] for each, values in by_each.items() if values}
    return {"label": (SYSTEMS | BY_NAME)[name].label} | spread


def _of(records: Sequence[Record], keys: Sequence[str]) -> dict[str, float]:
    """Means, and standard deviations over the seeds."""
    if not records:
        return {}
    return {key: round(mean(r[key] for r in records), 4) for key in keys} | {
        f"{key}_sd": round(_sd([r[key] for r in records]), 4) for key in keys
    }


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def origin() -> dict[str, Any]:
    """What results stand on: the comparison's own code and texts, and the library as it computes."""
    return {"made_by": made_by(), "rehearsal": behaviour_probe()}


def behaviour_probe() -> list[float]:
    """Loss and slope of a label decoder that has learned nothing, on a few texts that are read in full precision.

    Code that was only written better says the same, and so does another machine.
    """
    encoder, texts = load_encoder(layers=MIDDLE, dtype=torch.float32, device="cpu"), load_task("vader-amazon", limit=64)
    rows = FeatureRows(cache_states(encoder, texts["train"], progress=False), plain="label")
    batch = states_batch([rows[i] for i in range(len(rows))])
    torch.manual_seed(0)
    decoder = LabelDecoder(LabelConfig(), encoder.width, 2).eval()
    loss = margin_loss(decoder(batch["hidden"], batch["mask"]), batch["labels"])
    loss.backward()
    slope = sum(float(weight.grad.square().sum()) for weight in decoder.parameters()) ** 0.5
    return [round(loss.item(), 4), round(slope, 4)]


def load_labels(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any; those of other code or data are refused."""
    found = read_labels(root)
    if found is not None:
        require_provenance(found, made_by(), root / RESULTS, AGAIN)
        require_probe(found["rehearsal"], behaviour_probe(), RESULTS, AGAIN)
    return found
