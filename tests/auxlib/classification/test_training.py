"""One call: a task in, a pair out that predicts, is kept, and says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auxlib.classification.encoders import Encoder
from auxlib.classification.training import train_labels
from auxlib.classification.ytuning import LabelConfig, LabelTuned


@pytest.mark.parametrize("named", [False, True])
def test_a_file_of_texts_becomes_a_pair_that_is_kept(
    encoder: Encoder, tmp_path: Path, cache: Path, named: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"animals": ["dog", "cats"], "places": ["street", "harbour"]}
    rows = [
        {"text": f"the {word} {'old ' * (i % 3)}{i}", "label": label}
        for i in range(40)
        for label, pair in words.items()
        for word in pair
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = LabelConfig(width=16, heads=2, named=named)
    pair = train_labels(
        tmp_path / "own.jsonl", encoder, config, "margin", epochs=12, learning_rate=1e-2, progress=False
    )
    assert pair.receipt["test"]["accuracy"] > 0.9
    asked = ["the dog old 3", "the street 6", "the harbour old 4", "the cats 9"]
    assert pair.predict(asked) == ["animals", "places", "places", "animals"]
    pair.save(tmp_path / "kept")
    assert LabelTuned.load(tmp_path / "kept", encoder).predict(asked) == pair.predict(asked)
    assert pair.receipt["task"].endswith("own.jsonl")
    assert capsys.readouterr().out == "", "no text was cut, and no bar was asked for"
