"""One name for an experiment, its package, its record and its command; earlier names still resolve."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from auxlib.__main__ import _parser
from auxlib.errors import CourseError
from experiments.records import ALIASES, RECORDS, read_record
from experiments.runner import load_experiment

ROOT = Path(__file__).parents[2]
EARLIER = {"rivals": "smollm", "generation": "control", "endtask": "tartan", "bench": "speed"}


def test_experiment_package_file_and_command_share_one_name() -> None:
    assert list(RECORDS) == ["claim", "smollm", "control", "ytuning", "tartan", "speed"]
    for name, record in RECORDS.items():
        assert load_experiment(name).record is record
        assert find_spec(f"experiments.{name}") is not None
        assert record.path == Path("data/results/full") / f"{name}.json"
        assert (ROOT / record.path).is_file()
        assert record.command.endswith(f"--experiment {name}") or name == "speed"
        assert _parser().parse_args(["run", "--experiment", name]).experiment == name


@pytest.mark.parametrize("earlier", EARLIER)
def test_an_earlier_name_still_resolves(earlier: str) -> None:
    assert ALIASES == EARLIER
    assert load_experiment(earlier) is load_experiment(EARLIER[earlier])
    assert _parser().parse_args(["run", "--experiment", earlier]).experiment == EARLIER[earlier]


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CourseError, match="no experiment 'rival'; choose from claim, smollm"):
        load_experiment("rival")
    with pytest.raises(SystemExit):
        _parser().parse_args(["run", "--experiment", "rival"])
    assert "rival" in capsys.readouterr().err


def test_records_are_read_without_torch_and_the_command_line_imports_none() -> None:
    code = "import sys, experiments.records as r; from pathlib import Path; r.read_record('claim', Path('.'))\n"
    code += "import experiments.runner\nfrom auxlib.__main__ import _parser\n_parser()\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_a_record_is_none_before_there_is_one(tmp_path: Path) -> None:
    assert all(read_record(name, tmp_path) is None for name in RECORDS)
