"""The control experiment: trials in Storyland and with SmolLM2, and the results they make together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from auxlib.frozen import load_expert
from auxlib.recipes import SHIPPED, SHIPPED_LENGTH, SHIPPED_MULTI_KEYWORD, load_pretrained
from experiments.benchmarking import hardware_info, package_versions
from experiments.claim.experiment import made_by as claim_made_by
from experiments.control import real, storyland
from experiments.control.table import real_rows, storyland_rows
from experiments.records import RECORDS, Record
from experiments.runner import Experiment, Provenance, SystemTrial, TrialRunner, provenance
from experiments.smollm.experiment import corpus_hash, weights_hash

VERSION = 1
OF_THE_TRIAL = {"system", "seed", "sentences", "seconds", "made_by", "error"}  # names that are no figures


@dataclass(frozen=True)
class ControlSize:
    """The size of the experiment, in Storyland and with SmolLM2."""

    storyland: storyland.StorySize = field(default_factory=storyland.StorySize)
    real: real.RealSize = field(default_factory=real.RealSize)


WHOLE = ControlSize()
TRIALS: dict[str, Mapping[str, Callable[[Any], Record]]] = {"storyland": storyland.TRIALS, "real": real.TRIALS}


def made_by() -> Provenance:
    """Return what decides the figures: the version, the claim's data, the auxiliaries, the model and the sentences."""
    auxiliaries = {name: weights_hash(name) for name in (SHIPPED, SHIPPED_MULTI_KEYWORD, SHIPPED_LENGTH)}
    return provenance(
        VERSION, **claim_made_by()["data"], smollm2=load_expert().fingerprint, corpus=corpus_hash(), **auxiliaries
    )


def run_trial(trial: SystemTrial) -> Record:
    """Run one part of the experiment by its name and return plain numbers, for JSON."""
    where, name = trial.system.split("-")
    return TRIALS[where][name](trial.size)


def run_experiment(run: TrialRunner, size: ControlSize = WHOLE) -> list[Record]:
    """Run all parts and return their records."""
    return run(SystemTrial(f"{where}-{name}", 0, getattr(size, where)) for where in TRIALS for name in TRIALS[where])


def assemble(records: Sequence[Record]) -> Record:
    """Return the results: headline figures, then those of every part; a part that failed is listed with its error."""
    figures = merged(records)
    return {
        **headline(figures),
        **figures,
        "failed": {record["system"]: record["error"] for record in records if "error" in record},
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def merged(records: Iterable[Record]) -> Record:
    """Return the figures of all parts under their names."""
    return {key: value for record in records for key, value in record.items() if key not in OF_THE_TRIAL}


def headline(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the figures by which control is judged; None where the part that they come from has failed.

    ``control_efficiency`` is that of the trained weight λ = 1; two keywords are unconnected words; the guarantee's loss
    is the SLOR of the same requests without it, less that with it.
    """
    learned: Mapping[str, Any] = next((row for row in figures.get("learned", ()) if row["weight"] == 1), {})
    one, sure = (figures.get(name, {}) for name in ("one", "one_sure"))
    loss = round(one["slor"] - sure["slor"], 4) if one and sure else None
    return {
        "control_efficiency": learned.get("efficiency"),
        "control_accuracy": learned.get("accuracy"),
        "two_keywords_joint": figures.get("strangers_joint", {}).get("accuracy"),
        "two_keywords_sum": figures.get("strangers_sum", {}).get("accuracy"),
        "guarantee_accuracy": sure.get("accuracy"),
        "guarantee_slor_loss": loss,
    }


@torch.inference_mode()
def behaviour_probe() -> list[float]:
    """Return nats a token of a sentence with two keywords: under the summed and under the joint auxiliary.

    In float32 throughout, so that it is the same on a machine whose default is half precision.
    """
    expert, figures = load_expert(dtype=torch.float32), []
    for multi_keyword in (False, True):
        model = load_pretrained(expert, multi_keyword)
        inputs = model.inputs_for([("lantern", "harbour")], ["A lantern was burning above the quiet harbour."])
        labels = inputs["input_ids"].clone()
        labels[:, : len(model.template.preamble_ids)] = -100
        figures.append(round(float(model(**inputs, labels=labels).loss), 4))
    return figures


EXPERIMENT = Experiment(
    RECORDS["control"],
    run=run_experiment,
    assemble=assemble,
    tables=(storyland_rows, real_rows),
    work=run_trial,
    made_by=made_by,
    behaviour_probe=behaviour_probe,
)
