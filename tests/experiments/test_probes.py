"""Behaviour probes: each notices a change of what the code computes, and none reads the code itself."""

from __future__ import annotations

from collections.abc import Callable
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
from experiments.records import RECORDS
from experiments.runner import load_experiment, require_probe

NEEDS = {"control": "smollm2", "smollm": "smollm2", "ytuning": "minilm"}
WITHOUT_PROBE = {"speed"}  # its record depends on the machine alone


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
    "smollm": scaled(AuxiliaryModel, 1.5),
    "ytuning": scaled(LabelDecoder, 1.2),
    "tartan": (MetaWeights, "direction", turned),
}


def test_every_experiment_whose_record_depends_on_code_has_a_probe() -> None:
    assert RECORDS.keys() - WITHOUT_PROBE == SLIPS.keys()
    for name in RECORDS:
        experiment = load_experiment(name)
        assert (experiment.behaviour_probe is None) == (experiment.made_by is None) == (name in WITHOUT_PROBE)


@pytest.mark.parametrize("name", [name for name in RECORDS if name not in WITHOUT_PROBE])
def test_a_probe_notices_a_change_of_behaviour(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in NEEDS and asset_path(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}: python -m auxlib fetch {NEEDS[name]}")
    experiment = load_experiment(name)
    assert experiment.behaviour_probe is not None
    recorded = experiment.behaviour_probe()
    require_probe(recorded, experiment.behaviour_probe(), "the record", "make it again", experiment.tolerance)
    monkeypatch.setattr(*SLIPS[name])
    with pytest.raises(ResultsMismatch, match=r"in a short rehearsal; the code here reaches"):
        require_probe(recorded, experiment.behaviour_probe(), "the record", "make it again", experiment.tolerance)


def test_a_provenance_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.claim.experiment import made_by

    known = made_by()
    root, read = Path(auxlib.__file__).parents[1], Path.read_bytes

    def guarded(path: Path) -> bytes:
        assert root not in path.parents or path.suffix != ".py"
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    torch.rand(3)
    assert made_by() == known
