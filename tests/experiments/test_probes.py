"""Behaviour probes: each notices a change of what the code computes, and none reads the code itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import auxlib
from auxlib.auxiliary import AuxiliaryModel
from auxlib.classification.ytuning import LabelDecoder
from auxlib.data.assets import asset_path
from auxlib.errors import ResultsMismatch
from auxlib.tartan.meta_weights import MetaWeights
from experiments.baselines.story_auxiliary import StoryAuxiliary
from experiments.runner import CLOSE, require_probe

NEEDS = {"claim": None, "control": "smollm2", "rivals": "smollm2", "labels": "minilm", "tartan": None}


def scaled(module: type[nn.Module], by: float) -> tuple[type, str, Callable[..., Any]]:
    """A module whose output is a little too large."""
    forward = module.forward

    def slipped(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found = forward(self, *args, **kwargs)
        if isinstance(found, Tensor):
            return found * by
        found.shift = found.shift * by
        return found

    return module, "forward", slipped


def turned(self: MetaWeights, *args: Any) -> Tensor:
    return -_direction(self, *args)


_direction = MetaWeights.direction
SLIPS = {
    "claim": scaled(StoryAuxiliary, 1.2),
    "control": scaled(AuxiliaryModel, 1.2),
    "rivals": scaled(AuxiliaryModel, 1.5),
    "labels": scaled(LabelDecoder, 1.2),
    "tartan": (MetaWeights, "direction", turned),
}


@pytest.mark.parametrize("room", SLIPS)
def test_a_probe_notices_a_change_of_behaviour(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if NEEDS[room] and asset_path(NEEDS[room]) is None:
        pytest.skip(f"needs {NEEDS[room]}: python -m auxlib fetch {NEEDS[room]}")
    report = import_module(f"auxlib.{room}.report")
    tolerance, recorded = getattr(report, "PROBE_TOLERANCE", CLOSE), report.behaviour_probe()
    require_probe(recorded, report.behaviour_probe(), "the record", "make it again", tolerance)
    monkeypatch.setattr(*SLIPS[room])
    with pytest.raises(ResultsMismatch, match=r"in a short rehearsal; the code here reaches"):
        require_probe(recorded, report.behaviour_probe(), "the record", "make it again", tolerance)


def test_a_provenance_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.claim.campaign import made_by

    known = made_by()
    root, read = Path(auxlib.__file__).parents[1], Path.read_bytes

    def guarded(path: Path) -> bytes:
        assert root not in path.parents or path.suffix != ".py"
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    torch.rand(3)
    assert made_by() == known
