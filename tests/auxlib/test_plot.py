"""Pictures carry words that come from their data, stay small, and do not rely on colour or on global state."""

from __future__ import annotations

import base64
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from auxlib import plot
from course import sliders as dials
from course.sliders import VIEW, Sliders

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
        "log-log": lambda: plot.curves({"p": (GRID + 1, y + 1)}, "FLOPs", "GFLOP/s", "A roof", log_x=True, log_y=True),
        "dial": lambda: plot.weight_sweep(GRID, {"accuracy": y, "drift (nats)": GRID**2}, "Accuracy saturates"),
        "heat": lambda: plot.heatmap(
            torch.stack([y, y]), ["u", "v"], [f"{x:.2f}" for x in GRID], "Rows agree", "x", "y"
        ),
        "histogram": lambda: plot.histogram(y, "score (nats)", "Scores pile up"),
        "sheet": lambda: plot.small_multiples(
            [[{"p": y[-3:] / 3}] * 3] * 3, list("ABC"), list("DEF"), list("abc"), "Alike"
        ),
    }
    return kinds[name]()


KINDS = ["bars", "curves", "log", "log-log", "dial", "heat", "histogram", "sheet"]


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
    alt = plot.weight_sweep([0, 1, 2, 3], {"SLOR": [1.0, 2.0, 2.5, 0.5]}, "Fluency peaks at two").alt
    assert "from 1 at weight λ 0 through 2 at 1 to 0.5 at 3, highest 2.5 at 2" in alt
    assert "level 0.5" in draw("curves").alt
    assert "a: 2 at cost 3." in plot.curves({"a": ([3.0], [2.0])}, "cost", "gain", "One point").alt
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


def turn(weight: float, temperature: float) -> dict[str, torch.Tensor]:
    logits = torch.tensor([2.0, 1.0, 0.0]) + weight * torch.tensor([0.0, 0.0, 3.0])
    return {"next letter": (logits / temperature).softmax(-1)}


def a_dial(temperatures: tuple[float, ...] = (0.5, 0.7, 1.0, 1.4, 2.0)) -> Sliders:
    return Sliders(turn, list("abk"), "The k takes over", (0.0, 0.5, 1.0, 1.5, 2.0), temperatures)


def in_a_kernel(monkeypatch: pytest.MonkeyPatch, answer: bool = True) -> None:
    monkeypatch.setattr(dials, "_kernel", lambda: answer)


def test_without_a_kernel_dials_are_frames_with_words() -> None:
    data, metadata = a_dial()._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"}
    assert data["text/plain"] == metadata["image/png"]["alt"] == repr(a_dial())
    assert len(base64.b64decode(data["image/png"])) <= 80_000


def test_the_frames_words_hold_the_ends_and_the_middle_of_both_dials() -> None:
    said = repr(a_dial())
    for weight, temperature in itertools.product((0.0, 1.0, 2.0), (0.5, 1.0, 2.0)):
        numbers = turn(weight, temperature)["next letter"].tolist()
        row = ", ".join(f"{letter} {plot._short(p)}" for letter, p in zip("abk", numbers, strict=True))
        assert f"T = {temperature:g}, λ = {weight:g}: {row}." in said
    assert said.count("λ = ") == 9


def test_two_distributions_a_frame_are_named() -> None:
    both = Sliders(lambda w, t: {"model": [0.25, 0.75], "pair": [0.5, 0.5]}, ["a", "b"], "Two", (0.0, 1.0))
    assert repr(both).endswith("T = 1, λ = 1, model: a 0.25, b 0.75. T = 1, λ = 1, pair: a 0.5, b 0.5.")


def test_with_a_kernel_the_sliders_come_beside_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets")
    in_a_kernel(monkeypatch)
    data, _ = a_dial()._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png", VIEW}
    assert data["text/plain"] == repr(a_dial())


def test_a_kernel_without_ipywidgets_shows_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_kernel(monkeypatch)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    data, _ = a_dial()._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"}


def test_turning_a_slider_changes_the_picture_and_its_words() -> None:
    pytest.importorskip("ipywidgets")
    weight, temperature, image, words = a_dial().panel().children
    assert (weight.description, temperature.description) == ("weight λ", "temperature T")
    assert (weight.value, temperature.value) == (1.0, 1.0)
    seen = {(image.value, words.value)}
    for slider, value in ((weight, 2.0), (temperature, 0.5)):
        slider.value = value
        seen.add((image.value, words.value))
    assert len({png for png, _ in seen}) == len({said for _, said in seen}) == 3
    picture = a_dial().at(2.0, 0.5)
    assert picture.alt in words.value
    assert image.value == picture.png
    assert "λ = 2" in picture.alt


def test_sliders_are_of_the_kind_that_arrow_keys_move() -> None:
    widgets = pytest.importorskip("ipywidgets")
    sliders = a_dial().panel().children[:2]
    assert all(isinstance(slider, widgets.SelectionSlider) and slider.tabbable is not False for slider in sliders)
    assert not any(slider.disabled for slider in sliders)


def test_a_dial_with_one_setting_has_no_slider() -> None:
    pytest.importorskip("ipywidgets")
    assert len(a_dial(temperatures=(1.0,)).panel().children) == 3
    assert repr(a_dial(temperatures=(1.0,))).count("λ = ") == 3


def test_nothing_interactive_is_imported_to_draw_frames() -> None:
    code = "import sys, course.sliders; print(sorted({'IPython', 'ipywidgets', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_empty_cell_of_a_heat_map_is_neither_painted_nor_said() -> None:
    picture = plot.heatmap(torch.tensor([[0.25, torch.nan], [1.0, 0.5]]), ["a", "b"], ["u", "v"], "Two", "x", "y")
    assert "a: u 0.25. b: u 1, v 0.5." in picture.alt
