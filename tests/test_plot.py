"""Pictures carry words that come from their data, stay small, and do not rely on colour or on global state."""

from __future__ import annotations

import base64
import itertools

import pytest
import torch

from auxlib import plot

GRID = torch.linspace(0, 3, 13)


def draw(name: str, bump: float = 0.0) -> plot.Picture:
    """One picture of each kind; ``bump`` changes one of its numbers."""
    y = GRID.tanh().clone()
    y[-1] += bump
    lines = {name: (GRID, y * k) for k, name in enumerate("pqrs", start=1)}
    kinds = {
        "bars": lambda: plot.bars({"product": [0.2, 0.8 + bump], "mixture": [0.5, 0.5]}, ["a", "b"], "Sharper"),
        "curves": lambda: plot.curves(lines, "step", "loss (nats)", "Loss falls", levels={"entropy": 0.5}),
        "log": lambda: plot.curves({"p": (GRID + 1, y)}, "FLOPs", "loss (nats)", "Loss falls", log_x=True),
        "dial": lambda: plot.dial(GRID, {"accuracy": y, "drift (nats)": GRID**2}, "Accuracy saturates"),
        "heat": lambda: plot.heat(torch.stack([y, y]), ["u", "v"], [f"{x:.2f}" for x in GRID], "Rows agree", "x", "y"),
        "histogram": lambda: plot.histogram(y, "score (nats)", "Scores pile up"),
    }
    return kinds[name]()


KINDS = ["bars", "curves", "log", "dial", "heat", "histogram"]


@pytest.mark.parametrize("name", KINDS)
def test_bundle_holds_the_image_and_the_words_twice(name: str) -> None:
    picture = draw(name)
    data, metadata = picture._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == picture.alt == repr(picture)
    assert base64.b64decode(data["image/png"]) == picture.png
    assert picture.png.startswith(b"\x89PNG")
    assert len(picture.png) <= 60_000


@pytest.mark.parametrize("name", KINDS)
def test_words_and_image_change_exactly_when_the_data_do(name: str) -> None:
    first, again, other = draw(name), draw(name), draw(name, bump=0.11)
    assert first.alt == again.alt != other.alt
    assert first.png == again.png != other.png


def test_words_say_the_numbers() -> None:
    alt = plot.bars({"product": [0.25, 0.75]}, ["a", "b"], "B wins").alt
    assert alt == "B wins. Bars, probability. product: a 0.25, b 0.75."
    alt = plot.dial([0, 1, 2, 3], {"SLOR": [1.0, 2.0, 2.5, 0.5]}, "Fluency peaks at two").alt
    assert "from 1 at weight λ 0 through 2 at 1 to 0.5 at 3, highest 2.5 at 2" in alt
    assert "level 0.5" in draw("curves").alt
    many = plot.bars({"p": torch.arange(10.0)}, list("abcdefghij"), "Ten").alt
    assert "largest j 9, i 8, h 7" in many


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw("bars")
    assert dict(matplotlib.rcParams) == before


def luminance(color: str) -> float:
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_looks_differ_by_more_than_colour() -> None:
    for looks in (plot.COLORS, plot.HATCHES, plot.DASHES, plot.MARKERS):
        assert len(set(looks)) == len(looks) == 7
    grey = [luminance(color) for color in plot.COLORS]
    assert max(grey) < 0.75, "too pale on white"
    assert all(abs(a - b) > 0.05 for a, b in itertools.pairwise(grey)), "neighbours look alike in grey"
