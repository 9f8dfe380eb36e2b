"""How does one turn a dial? Two sliders where there is a kernel, a sheet of pre-rendered frames where there is none.

`Sliders` is the last expression of a cell, like a `Picture`. JupyterLab shows the sliders and redraws while they move;
GitHub, an exported page and a stored notebook show the frames. Both say in words what can be seen: the frames in their
alt text, the sliders in a sentence under the picture.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from auxlib import plot
from auxlib.plot import Groups, Names, Picture

if TYPE_CHECKING:
    from ipywidgets import SelectionSlider, VBox

Draw: TypeAlias = Callable[[float, float], Groups]
VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True, eq=False)
class Sliders:
    """Bars that follow two dials, the weight λ and the temperature T.

    Args:
        draw: from (weight, temperature) to named distributions, each with one probability for each label.
        labels: what the bars stand for; few, so that the frames stay readable.
        title: the finding.
        weights: settings of λ, in order; the frames show the first, the middle and the last.
        temperatures: settings of T, likewise; with only one setting there is no slider for it.
    """

    draw: Draw
    labels: Names
    title: str
    weights: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0)
    temperatures: Sequence[float] = (1.0,)

    def __repr__(self) -> str:
        return self.frames.alt

    @cached_property
    def frames(self) -> Picture:
        """The sheet for readers without a kernel: λ grows from left to right, T from top to bottom."""
        return self._sheet(_few(self.weights), _few(self.temperatures))

    def at(self, weight: float, temperature: float) -> Picture:
        """One setting of the dials."""
        return self._sheet([weight], [temperature])

    def panel(self) -> VBox:
        """Sliders that arrow keys move, the picture, and its words for those who do not see it; needs ipywidgets."""
        from ipywidgets import HTML, Image, Layout, VBox

        dials = [_slider("weight λ", self.weights), _slider("temperature T", self.temperatures)]
        image, words, draw = Image(format="png", layout=Layout(max_width="100%")), HTML(), cache(self.at)

        def turn(change: object = None) -> None:
            picture = draw(*(dial.value for dial in dials))
            image.value, words.value = picture.png, f'<p role="status">{escape(picture.alt)}</p>'

        turn()
        for dial in dials:
            dial.observe(turn, "value")
        return VBox([*(dial for dial in dials if len(dial.options) > 1), image, words])

    def _sheet(self, weights: Sequence[float], temperatures: Sequence[float]) -> Picture:
        frames = [[self.draw(weight, temperature) for weight in weights] for temperature in temperatures]
        rows, columns = [f"T = {value:g}" for value in temperatures], [f"λ = {value:g}" for value in weights]
        return plot.small_multiples(frames, rows, columns, self.labels, self.title)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        data, metadata = self.frames._repr_mimebundle_()
        if _kernel() and (view := self._view()):
            data[VIEW] = view
        return data, metadata

    def _view(self) -> dict | None:
        try:
            bundle = self.panel()._repr_mimebundle_()
        except ImportError:
            return None
        return bundle.get(VIEW) if bundle else None


def _slider(name: str, settings: Sequence[float]) -> SelectionSlider:
    """It starts where nothing is turned: at 1, or as near as can be."""
    from ipywidgets import SelectionSlider

    options, start = [(f"{value:g}", value) for value in settings], min(settings, key=lambda value: abs(value - 1))
    return SelectionSlider(options=options, value=start, description=name, style={"description_width": "8em"})


def _few(settings: Sequence[float]) -> Sequence[float]:
    """The first, the middle and the last of more than three."""
    return settings if len(settings) <= 3 else [settings[0], settings[len(settings) // 2], settings[-1]]


def _kernel() -> bool:
    """Whether somebody can answer when a slider moves. Without IPython there is no kernel, so none is imported."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython() if ipython else None, "kernel", None) is not None
