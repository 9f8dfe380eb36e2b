"""Two processes train as one does, share the cache, and resume the work of another number of processes.

Two processes on a CPU, joined by gloo: what `torchrun` and `accelerate launch` start on as many GPUs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import load_from_disk

from auxlib.checkpoint import newest_checkpoint
from auxlib.errors import TrainingError
from auxlib.frozen import Expert
from auxlib.training import train_auxiliary
from tests.auxlib.data import launched
from tests.conftest import KEYWORDS, PREAMBLE, SENTENCES

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the processes are killed on the way")
ROOT = Path(__file__).parents[3]
Launch = Callable[..., Any]


@pytest.fixture(scope="module")
def job(expert: Expert, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings that all trainings here share."""
    folder = tmp_path_factory.mktemp("expert")
    expert.model.save_pretrained(folder)
    expert.tokenizer.save_pretrained(folder)
    rows = [{"text": text, "keywords": words} for text, words in zip(SENTENCES, KEYWORDS, strict=True)] * 2
    plain = {"do": "train", "weights": 1, "dies_at": 0, "resume": False}
    return {"expert": str(folder), "preamble": PREAMBLE, "rows": rows, **plain}


@pytest.fixture(scope="module")
def launch(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """Start so many processes on the job, with changes to it; their losses, or None if they were killed."""

    def start(processes: int, out: Path, cache: Path | None = None, **changes: Any) -> Any:
        settings = tmp_path_factory.mktemp("job") / "job.json"
        settings.write_text(json.dumps({**job, "out": str(out), **changes}))
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        done = subprocess.run(
            [sys.executable, *launcher, "-m", "tests.auxlib.data.launched", str(settings)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"AUXLIB_CACHE": str(cache or out / "cache"), "OMP_NUM_THREADS": "1"},
        )
        found = settings.with_suffix(".found")
        assert found.exists() or changes.get("dies_at"), done.stderr[-3000:]
        return json.loads(found.read_text()) if found.exists() else None

    return start


@pytest.fixture(scope="module")
def alone(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], Path]:
    """Losses and folder of a training in a single process without a launcher."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLIB_CACHE", str(out / "cache"))
        return launched.train({**job, "out": str(out)}), out


def test_two_processes_take_the_steps_that_one_would(alone: Any, launch: Launch, tmp_path: Path) -> None:
    losses = launch(2, tmp_path)
    assert len(losses) == 12
    assert losses == pytest.approx(alone[0], abs=1e-5)
    one, two = ((torch_weights(newest_checkpoint(out)), caches(out)) for out in (alone[1], tmp_path))
    for name, weight in one[0].items():
        torch.testing.assert_close(two[0][name], weight, atol=1e-5, rtol=1e-5)
    # each had read its share, and the rows stand where one process would have put them
    assert [path.name for path in two[1]] == [path.name for path in one[1]]
    assert load_from_disk(str(two[1][0])).to_list() == load_from_disk(str(one[1][0])).to_list()


def torch_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(checkpoint / "model.safetensors")


def caches(out: Path) -> list[Path]:
    return [path for path in (out / "cache" / "features").iterdir() if path.is_dir()]


def test_what_two_processes_began_is_finished_by_one(
    alone: Any, launch: Launch, job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch(2, tmp_path, dies_at=7) is None, "both are killed in the second epoch"
    assert newest_checkpoint(tmp_path).name == "checkpoint-4"
    monkeypatch.setenv("AUXLIB_CACHE", str(tmp_path / "cache"))
    # other first weights: whatever agrees must come from the checkpoint
    again = launched.train({**job, "out": str(tmp_path), "resume": True, "weights": 5})
    assert again == pytest.approx(alone[0], abs=1e-5)


def test_what_one_process_began_is_finished_by_two(alone: Any, launch: Launch, tmp_path: Path) -> None:
    shutil.copytree(alone[1] / "checkpoint-8", tmp_path / "checkpoint-8")
    assert launch(2, tmp_path, resume=True, weights=5) == pytest.approx(alone[0], abs=1e-5)


@pytest.mark.parametrize(("rank", "processes"), [(1, 3), (30, 40)], ids=["three", "more than batches"])
def test_a_share_whose_reader_died_is_read_by_the_others(
    alone: Any, job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, processes: int
) -> None:
    monkeypatch.setenv("AUXLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    _, features, _ = launched.prepare(job)
    assert features.to_list() == load_from_disk(str(caches(alone[1])[0])).to_list()
    assert len(caches(tmp_path)) == 1


def test_weights_that_are_shared_out_learn_the_same(launch: Launch, tmp_path: Path) -> None:
    whole, sharded = launch(2, tmp_path, do="shard")
    assert whole[-1] < whole[0]
    assert sharded == pytest.approx(whole, abs=1e-5)


def test_what_no_cpu_can_do_is_refused(job: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="keeps all weights"):
        train_auxiliary(*launched.prepare(job), output_dir=tmp_path, progress=False, fsdp="full_shard")


def test_a_checkpoint_that_was_being_written_is_passed_over(alone: Any, tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for name in ("checkpoint-8", "checkpoint-12", "checkpoint-12.part", "checkpoint-last"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    (tmp_path / "checkpoint-8" / "draws.json").write_text("{}")
    assert newest_checkpoint(tmp_path).name == "checkpoint-8"
