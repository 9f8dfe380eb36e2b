"""What came out? The figures by which control is judged, and everything that they were taken from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from auxlib.benchmarking import hardware_info, package_versions
from auxlib.frozen import load_expert
from auxlib.recipes import load_pretrained
from experiments.control.experiment import made_by, merged
from experiments.control.table import AGAIN, RESULTS, read_control
from experiments.runner import Record, require_probe, require_provenance


def assemble(records: Mapping[str, Record]) -> dict[str, Any]:
    """The results: headline figures, then what every part found; a part that failed is named with its error."""
    found = merged(records)
    return {
        **headline(found),
        **found,
        "failed": {name: record["error"] for name, record in records.items() if "error" in record},
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def headline(found: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures that were asked for; None where the part that they come from has failed.

    ``control_efficiency`` is that of the trained strength λ = 1; two keywords are words that nothing connects; the
    guarantee's loss is the SLOR of the same requests without it, less that with it.
    """
    learned = next((row for row in found.get("learned", ()) if row["weight"] == 1), {})
    one, sure = (found.get(name, {}) for name in ("one", "one_sure"))
    loss = round(one["slor"] - sure["slor"], 4) if one and sure else None
    return {
        "control_efficiency": learned.get("efficiency"),
        "control_accuracy": learned.get("accuracy"),
        "two_keywords_joint": found.get("strangers_joint", {}).get("accuracy"),
        "two_keywords_sum": found.get("strangers_sum", {}).get("accuracy"),
        "guarantee_accuracy": sure.get("accuracy"),
        "guarantee_slor_loss": loss,
    }


def load_control(root: Path) -> dict[str, Any] | None:
    """The recorded results, or None before there are any; those of other code or data are refused."""
    found = read_control(root)
    if found is not None:
        require_provenance(found, made_by(), root / RESULTS, AGAIN)
        require_probe(found["rehearsal"], behaviour_probe(), RESULTS, AGAIN)
    return found


def origin() -> dict[str, Any]:
    """What results stand on: the experiment's own code and data, and the library as it computes."""
    return {"made_by": made_by(), "rehearsal": behaviour_probe()}


@torch.inference_mode()
def behaviour_probe() -> list[float]:
    """Nats a token of a sentence about two words: to their sum, and to the auxiliary that reads both.

    Code that was only written better says the same, and so does a machine that would take half precision by itself.
    """
    expert, said = load_expert(dtype=torch.float32), []
    for several in (False, True):
        model = load_pretrained(expert, several)
        inputs = model.inputs_for([("lantern", "harbour")], ["A lantern was burning above the quiet harbour."])
        labels = inputs["input_ids"].clone()
        labels[:, : len(model.template.preamble_ids)] = -100
        said.append(round(float(model(**inputs, labels=labels).loss), 4))
    return said
