"""Sliders for the weight λ and the temperature T, with a sheet of rendered frames where there is no kernel.

`Sliders` is the last expression of a cell, like a `Picture`. JupyterLab shows the sliders and redraws the picture while
they move; GitHub, an exported page and a stored notebook show the frames. Both are described in words: the frames by
their alternative text, the sliders by a sentence under the picture.
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
    """Bar charts that follow two sliders, the weight λ and the temperature T.

    Args:
        draw: maps (weight, temperature) to named distributions, each with one probability for each label.
        labels: of the bars; few, so that the frames stay readable.
        title: the finding.
        weights: values of λ, in order; the frames show the first, the middle and the last.
        temperatures: values of T, likewise; a single value has no slider.
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
        """Sheet of frames for readers without a kernel: λ grows from left to right, T from top to bottom."""
        return self._sheet(_few(self.weights), _few(self.temperatures))

    def at(self, weight: float, temperature: float) -> Picture:
        """Return the picture for one setting of the sliders."""
        return self._sheet([weight], [temperature])

    def panel(self) -> VBox:
        """Return the widget: sliders that arrow keys move, the picture, and its description for screen readers.

        Needs ipywidgets.
        """
        from ipywidgets import HTML, Image, Layout, VBox

        sliders = [_slider("weight λ", self.weights), _slider("temperature T", self.temperatures)]
        image, description, picture_at = Image(format="png", layout=Layout(max_width="100%")), HTML(), cache(self.at)

        def update(change: object = None) -> None:
            picture = picture_at(*(slider.value for slider in sliders))
            image.value, description.value = picture.png, f'<p role="status">{escape(picture.alt)}</p>'

        update()
        for slider in sliders:
            slider.observe(update, "value")
        return VBox([*(slider for slider in sliders if len(slider.options) > 1), image, description])

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
    """Return a slider that starts at the neutral setting 1, or the one nearest to it."""
    from ipywidgets import SelectionSlider

    options, start = [(f"{value:g}", value) for value in settings], min(settings, key=lambda value: abs(value - 1))
    return SelectionSlider(options=options, value=start, description=name, style={"description_width": "8em"})


def _few(settings: Sequence[float]) -> Sequence[float]:
    """Return the first, the middle and the last of more than three settings."""
    return settings if len(settings) <= 3 else [settings[0], settings[len(settings) // 2], settings[-1]]


def _kernel() -> bool:
    """Return whether a kernel can react to a slider. IPython is not imported: without it there is no kernel."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython() if ipython else None, "kernel", None) is not None
