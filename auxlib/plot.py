"""Figures with alternative text computed from their data.

Every function returns a `Picture`: a PNG and a description of the plotted numbers. A notebook stores both, so that
blind readers have the text, and a test that compares notebooks notices when the numbers behind an image have changed.
The palette is safe for colour-blind readers (Okabe and Ito 2008), and colour is never the only difference: bars also
differ by hatch, lines by dash and marker. Neither pyplot nor any global setting is used.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers: TypeAlias = Sequence[float] | Tensor
Names: TypeAlias = Sequence[str]
Lines: TypeAlias = Mapping[str, tuple[Numbers, Numbers]]
Groups: TypeAlias = Mapping[str, Numbers]

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT, PANEL = 6.4, 3.0, 1.8  # inches: width, height of a figure, height of a stacked panel
MAX_LEGEND_INSIDE = 4  # entries; a longer legend is placed below the axes
DPI = 100
STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 10,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A figure as ``png`` bytes with alternative text ``alt``; displayed as the last value of a notebook cell."""

    png: bytes
    alt: str

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        data = {"text/plain": self.alt, "image/png": base64.b64encode(self.png).decode("ascii")}
        return data, {"image/png": {"alt": self.alt}}


def bars(groups: Groups, labels: Names, title: str, ylabel: str = "probability", xlabel: str = "") -> Picture:
    """Draw grouped bars: ``groups[name]`` has a number for each label; at most seven groups."""
    heights = {name: list(map(float, values)) for name, values in groups.items()}

    def paint(axes: list[Axes]) -> None:
        _bars(axes[0], heights, labels)
        _label(axes[0], xlabel, ylabel, legend=len(groups) > 1)

    alt = [f"{name}: {_values_text(labels, values)}." for name, values in heights.items()]
    return _picture(paint, title, [f"Bars, {ylabel}.", *alt])


def small_multiples(
    frames: Sequence[Sequence[Groups]], rows: Names, columns: Names, labels: Names, title: str
) -> Picture:
    """Draw a grid of bar charts, ``frames[row][column]`` being the groups of `bars`; all y axes end at 1."""
    cells = [
        (row, column, {name: list(map(float, values)) for name, values in frames[i][j].items()})
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
    ]

    def paint(axes: list[Axes]) -> None:
        for i, (ax, (row, column, heights)) in enumerate(zip(axes, cells, strict=True)):
            _bars(ax, heights, labels)
            ax.set(ylim=(0, 1), title=column if i < len(columns) else None)
            ax.set_ylabel("" if i % len(columns) else f"{row}\nprobability")
        if len(cells[0][2]) > 1:
            axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

    alt = [
        f"{row}, {column}{f', {name}' if len(heights) > 1 else ''}: {_values_text(labels, values)}."
        for row, column, heights in cells
        for name, values in heights.items()
    ]
    return _picture(paint, title, ["Bars, probability.", *alt], len(rows), len(columns))


def curves(
    lines: Lines,
    xlabel: str,
    ylabel: str,
    title: str,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    bands: Mapping[str, tuple[Numbers, Numbers, Numbers]] | None = None,
) -> Picture:
    """Draw lines over a common x axis: ``lines[name] = (x, y)``; ``levels`` are named horizontal lines, e.g. bounds.

    ``bands[name] = (x, low, high)`` is shaded around the line of that name, e.g. its range over seeds.
    """
    points = {name: (list(map(float, x)), list(map(float, y))) for name, (x, y) in lines.items()}
    levels, bands = levels or {}, bands or {}

    def paint(axes: list[Axes]) -> None:
        for i, (name, (x, y)) in enumerate(points.items()):
            axes[0].plot(x, y, label=name, **_line(i, len(x)))
            if name in bands:
                axes[0].fill_between(*bands[name], color=COLORS[i], alpha=0.2, linewidth=0)
        for i, (name, height) in enumerate(levels.items()):
            axes[0].axhline(height, label=name, color="0.4", linestyle=DASHES[1:][i], linewidth=1)
        if log_x:
            _log_scale(axes[0], [value for x, _ in points.values() for value in x])
        elif all(value.is_integer() for x, _ in points.values() for value in x):
            axes[0].locator_params("x", integer=True)
        if log_y:
            axes[0].set_yscale("log")
        _label(axes[0], xlabel, ylabel, legend=1 < len(points) + len(levels) <= MAX_LEGEND_INSIDE)
        if len(points) + len(levels) > MAX_LEGEND_INSIDE:
            _legend_below(axes[0])

    alt = [f"{name}: {_line_text(x, y, xlabel)}." for name, (x, y) in points.items()]
    alt += [f"{name}: level {_short(height)}." for name, height in levels.items()]
    return _picture(paint, title, [f"Lines, {ylabel} over {xlabel}.", *alt])


def _log_scale(axes: Axes, values: Numbers) -> None:
    """Make the x axis logarithmic; below two decades label its ticks with plain numbers."""
    axes.set_xscale("log")
    if values and max(values) < 100 * min(values):
        from matplotlib.ticker import LogLocator, NullLocator

        ticks = LogLocator(subs=(1, 2, 5))
        axes.xaxis.set(major_locator=ticks, major_formatter="{x:g}", minor_locator=NullLocator())


def weight_sweep(weights: Numbers, series: Mapping[str, Numbers], title: str, xlabel: str = "weight λ") -> Picture:
    """Draw each series over the weight λ in a panel of its own; a vertical line marks λ = 1."""
    x, rows = list(map(float, weights)), {name: list(map(float, values)) for name, values in series.items()}

    def paint(axes: list[Axes]) -> None:
        for i, (ax, (name, values)) in enumerate(zip(axes, rows.items(), strict=True)):
            ax.plot(x, values, **_line(i, len(x)))
            ax.axvline(1.0, color="0.7", linewidth=1, zorder=0)
            _label(ax, xlabel if i == len(rows) - 1 else "", name)

    alt = [f"{name}: {_line_text(x, values, xlabel)}." for name, values in rows.items()]
    return _picture(paint, title, [f"Stacked panels over {xlabel}.", *alt], panels=len(rows))


def heatmap(
    matrix: Tensor, rows: Names, columns: Names, title: str, xlabel: str, ylabel: str, unit: str = "probability"
) -> Picture:
    """Draw a matrix ``[rows, columns]`` as shaded cells, with numbers if there are at most 100; NaN cells are empty."""
    table = [list(map(float, row)) for row in matrix]
    known = [value for row in table for value in row if not isnan(value)]
    low, high = min(known), max(known)

    def paint(axes: list[Axes]) -> None:
        image = axes[0].imshow(table, cmap="cividis", aspect="auto", vmin=low, vmax=high)
        axes[0].set_xticks(range(len(columns)), columns)
        axes[0].set_yticks(range(len(rows)), rows)
        cells = [(i, j, value) for i, row in enumerate(table) for j, value in enumerate(row) if not isnan(value)]
        for i, j, value in cells if len(known) <= 100 else ():
            ink = "black" if value > (low + high) / 2 else "white"
            axes[0].text(j, i, _short(value), ha="center", va="center", color=ink, fontsize=9)
        axes[0].figure.colorbar(image, ax=axes[0], label=unit)
        _label(axes[0], xlabel, ylabel)

    alt = [f"{name}: {_values_text(columns, row)}." for name, row in zip(rows, table, strict=True)]
    return _picture(paint, title, [f"Heat map, {unit}.", *alt])


def histogram(values: Numbers, xlabel: str, title: str, bins: int = 20) -> Picture:
    """Draw a histogram."""
    data = torch.as_tensor(values, dtype=torch.float64).flatten()
    low, middle, high = (_short(float(data.quantile(q))) for q in (0.0, 0.5, 1.0))

    def paint(axes: list[Axes]) -> None:
        axes[0].hist(data.numpy(), bins=bins, color=COLORS[0], edgecolor="white")
        _label(axes[0], xlabel, "count")

    alt = f"{len(data)} values from {low} to {high}, median {middle}, mean {_short(float(data.mean()))}."
    return _picture(paint, title, [f"Histogram of {xlabel}.", alt])


def _picture(
    paint: Callable[[list[Axes]], None], title: str, alt: Sequence[str], panels: int = 1, columns: int = 1
) -> Picture:
    """Paint ``panels x columns`` axes of a new figure in the module's style; the text begins with the title."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(cast(Any, STYLE)):
        figure = Figure(figsize=(WIDTH, max(HEIGHT, PANEL * panels)), dpi=DPI, layout="constrained")
        axes = list(figure.subplots(panels, columns, sharex=True, sharey=columns > 1, squeeze=False).flat)
        paint(axes)
        if axes[0].get_title("left"):  # set by `paint`: a grid of charts
            figure.suptitle(textwrap.fill(title, 76), x=0.01, ha="left", fontsize=STYLE["axes.titlesize"])
        else:
            axes[0].set_title(textwrap.fill(title, 76))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(buffer.getvalue(), " ".join([title.rstrip(".") + ".", *alt]))


def _bars(ax: Axes, heights: Mapping[str, Sequence[float]], labels: Names) -> None:
    width = 0.8 / len(heights)
    for i, (name, values) in enumerate(heights.items()):
        places = [j + (i - (len(heights) - 1) / 2) * width for j in range(len(labels))]
        ax.bar(places, values, width, label=name, color=COLORS[i], hatch=HATCHES[i], edgecolor="white")
    ax.set_xticks(range(len(labels)), labels)


def _label(ax: Axes, xlabel: str, ylabel: str, legend: bool = False) -> None:
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if legend:
        ax.legend()


def _legend_below(ax: Axes) -> None:
    """Place a legend of two columns below the axes and enlarge the figure for it."""
    handles, labels = ax.get_legend_handles_labels()
    figure = cast("Figure", ax.figure)
    figure.set_figheight(HEIGHT + 0.12 * (len(labels) + 1))
    figure.legend(handles, labels, loc="outside lower left", ncols=2)


def _line(i: int, n: int) -> dict[str, Any]:
    """Return the look of the i-th line, with at most 24 markers on its n points."""
    style = {"color": COLORS[i], "linestyle": DASHES[i], "marker": MARKERS[i]}
    return {**style, "markersize": 4, "markevery": max(1, n // 12)}


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 5e-4 else "0"  # digits that show a change but agree across machines


def _values_text(labels: Sequence[str], values: Sequence[float]) -> str:
    """Describe all values that are not NaN with their labels; of more than eight only the largest three."""
    pairs = [(label, value) for label, value in zip(labels, values, strict=True) if not isnan(value)]
    if len(pairs) > 8:
        return "largest " + _values_text(*zip(*sorted(pairs, key=lambda pair: -pair[1])[:3], strict=True))
    return ", ".join(f"{label} {_short(value)}" for label, value in pairs)


def _line_text(x: Sequence[float], y: Sequence[float], xlabel: str) -> str:
    """Describe a line's start, middle, end and maximum, or its single point."""
    if len(x) == 1:
        return f"{_short(y[0])} at {xlabel} {_short(x[0])}"
    top, last = max(range(len(y)), key=lambda i: y[i]), len(y) - 1
    passed = f" through {_short(y[last // 2])} at {_short(x[last // 2])}" if last > 1 else ""
    ends = f"from {_short(y[0])} at {xlabel} {_short(x[0])}{passed} to {_short(y[last])} at {_short(x[last])}"
    return ends if top in (0, last // 2, last) else f"{ends}, highest {_short(y[top])} at {_short(x[top])}"
