"""How do we draw? The only place that does: fixed sizes, white ground, colours that colour-blind readers tell apart.

Every function here returns a `Picture`: a PNG together with a description of what can be seen in it, computed from the
plotted numbers. A notebook stores both, so that readers who cannot see the image have the words, and a test that
compares notebooks notices when the numbers behind an image have changed. Colour never stands alone: bars also differ by
hatch, lines by dash and marker (palette: Okabe and Ito 2008). Nothing global is touched, pyplot is not used.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers: TypeAlias = Sequence[float] | Tensor
Names: TypeAlias = Sequence[str]
Lines: TypeAlias = Mapping[str, tuple[Numbers, Numbers]]
Groups: TypeAlias = Mapping[str, Numbers]

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT, PANEL = 6.4, 3.0, 1.8  # inches: of all figures, of single ones, of a stacked panel
FEW = 4  # entries of a legend for which there is room inside the axes
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
    """A drawn figure: ``png`` bytes and ``alt``, the words for what they show. End a cell with one to display it."""

    png: bytes
    alt: str

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict, dict]:
        data = {"text/plain": self.alt, "image/png": base64.b64encode(self.png).decode("ascii")}
        return data, {"image/png": {"alt": self.alt}}


def bars(groups: Groups, labels: Names, title: str, ylabel: str = "probability", xlabel: str = "") -> Picture:
    """Bars side by side: ``groups[name]`` holds one number for each label, at most seven groups."""
    heights = {name: list(map(float, values)) for name, values in groups.items()}

    def paint(axes: list[Axes]) -> None:
        _bars(axes[0], heights, labels)
        _label(axes[0], xlabel, ylabel, legend=len(groups) > 1)

    said = [f"{name}: {_each(labels, values)}." for name, values in heights.items()]
    return _picture(paint, title, [f"Bars, {ylabel}.", *said])


def small_multiples(
    frames: Sequence[Sequence[Groups]], rows: Names, columns: Names, labels: Names, title: str
) -> Picture:
    """Small multiples: bars as in `bars` for every row and column, ``frames[row][column]``; all axes end at 1."""
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

    said = [
        f"{row}, {column}{f', {name}' if len(heights) > 1 else ''}: {_each(labels, values)}."
        for row, column, heights in cells
        for name, values in heights.items()
    ]
    return _picture(paint, title, ["Bars, probability.", *said], len(rows), len(columns))


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
    """Lines over a common x axis: ``lines[name] = (x, y)``; ``levels`` are named horizontal lines, such as a bound.

    ``bands[name] = (x, low, high)`` shade what surrounds the line of that name, such as its seeds.
    """
    points = {name: (list(map(float, x)), list(map(float, y))) for name, (x, y) in lines.items()}
    levels = levels or {}

    def paint(axes: list[Axes]) -> None:
        for i, (name, (x, y)) in enumerate(points.items()):
            axes[0].plot(x, y, label=name, **_line(i, len(x)))
            if name in (bands or {}):
                axes[0].fill_between(*bands[name], color=COLORS[i], alpha=0.2, linewidth=0)
        for i, (name, height) in enumerate(levels.items()):
            axes[0].axhline(height, label=name, color="0.4", linestyle=DASHES[1:][i], linewidth=1)
        if log_x:
            _log_scale(axes[0], [value for x, _ in points.values() for value in x])
        elif all(value.is_integer() for x, _ in points.values() for value in x):
            axes[0].locator_params("x", integer=True)
        if log_y:
            axes[0].set_yscale("log")
        _label(axes[0], xlabel, ylabel, legend=1 < len(points) + len(levels) <= FEW)
        if len(points) + len(levels) > FEW:
            _legend_below(axes[0])

    said = [f"{name}: {_course(x, y, xlabel)}." for name, (x, y) in points.items()]
    said += [f"{name}: level {_short(height)}." for name, height in levels.items()]
    return _picture(paint, title, [f"Lines, {ylabel} over {xlabel}.", *said])


def _log_scale(axes: Axes, values: Numbers) -> None:
    """A logarithmic x axis; where it spans less than two powers of ten, ticks are plain numbers."""
    axes.set_xscale("log")
    if values and max(values) < 100 * min(values):
        from matplotlib.ticker import LogLocator, NullLocator

        ticks = LogLocator(subs=(1, 2, 5))
        axes.xaxis.set(major_locator=ticks, major_formatter="{x:g}", minor_locator=NullLocator())


def weight_sweep(weights: Numbers, series: Mapping[str, Numbers], title: str, xlabel: str = "weight λ") -> Picture:
    """What turning λ does: one stacked panel for each series, never two y axes. A rule marks λ = 1."""
    x, rows = list(map(float, weights)), {name: list(map(float, values)) for name, values in series.items()}

    def paint(axes: list[Axes]) -> None:
        for i, (ax, (name, values)) in enumerate(zip(axes, rows.items(), strict=True)):
            ax.plot(x, values, **_line(i, len(x)))
            ax.axvline(1.0, color="0.7", linewidth=1, zorder=0)
            _label(ax, xlabel if i == len(rows) - 1 else "", name)

    said = [f"{name}: {_course(x, values, xlabel)}." for name, values in rows.items()]
    return _picture(paint, title, [f"Stacked panels over {xlabel}.", *said], panels=len(rows))


def heatmap(
    matrix: Tensor,
    row_labels: Names,
    col_labels: Names,
    title: str,
    xlabel: str,
    ylabel: str,
    unit: str = "probability",
) -> Picture:
    """A matrix as shaded cells, ``[rows, columns]``, with the numbers written in when there are at most a hundred.

    Cells that are NaN stay empty.
    """
    table = [list(map(float, row)) for row in matrix]
    known = [value for row in table for value in row if not isnan(value)]
    low, high = min(known), max(known)

    def paint(axes: list[Axes]) -> None:
        image = axes[0].imshow(table, cmap="cividis", aspect="auto", vmin=low, vmax=high)
        axes[0].set_xticks(range(len(col_labels)), col_labels)
        axes[0].set_yticks(range(len(row_labels)), row_labels)
        cells = [(i, j, value) for i, row in enumerate(table) for j, value in enumerate(row) if not isnan(value)]
        for i, j, value in cells if len(known) <= 100 else ():
            ink = "black" if value > (low + high) / 2 else "white"
            axes[0].text(j, i, _short(value), ha="center", va="center", color=ink, fontsize=9)
        axes[0].figure.colorbar(image, ax=axes[0], label=unit)
        _label(axes[0], xlabel, ylabel)

    said = [f"{name}: {_each(col_labels, row)}." for name, row in zip(row_labels, table, strict=True)]
    return _picture(paint, title, [f"Heat map, {unit}.", *said])


def histogram(values: Numbers, xlabel: str, title: str, bins: int = 20) -> Picture:
    """How often which value occurs."""
    data = torch.as_tensor(values, dtype=torch.float64).flatten()
    low, middle, high = (_short(float(data.quantile(q))) for q in (0.0, 0.5, 1.0))

    def paint(axes: list[Axes]) -> None:
        axes[0].hist(data.numpy(), bins=bins, color=COLORS[0], edgecolor="white")
        _label(axes[0], xlabel, "count")

    said = f"{len(data)} values from {low} to {high}, median {middle}, mean {_short(float(data.mean()))}."
    return _picture(paint, title, [f"Histogram of {xlabel}.", said])


def _picture(
    paint: Callable[[list[Axes]], None], title: str, said: Sequence[str], panels: int = 1, columns: int = 1
) -> Picture:
    """Draw ``panels x columns`` axes on a fresh figure under our own style, and put the title before the words."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, max(HEIGHT, PANEL * panels)), dpi=DPI, layout="constrained")
        axes = list(figure.subplots(panels, columns, sharex=True, sharey=columns > 1, squeeze=False).flat)
        paint(axes)
        if axes[0].get_title("left"):  # the axes have titles of their own
            figure.suptitle(textwrap.fill(title, 76), x=0.01, ha="left", fontsize=STYLE["axes.titlesize"])
        else:
            axes[0].set_title(textwrap.fill(title, 76))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return Picture(buffer.getvalue(), " ".join([title.rstrip(".") + ".", *said]))


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
    """A legend of two columns under the axes, for which the figure grows."""
    handles, labels = ax.get_legend_handles_labels()
    ax.figure.set_figheight(HEIGHT + 0.12 * (len(labels) + 1))
    ax.figure.legend(handles, labels, loc="outside lower left", ncols=2)


def _line(i: int, n: int) -> dict:
    return {
        "color": COLORS[i],
        "linestyle": DASHES[i],
        "marker": MARKERS[i],
        "markersize": 4,
        "markevery": max(1, n // 12),
    }


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 5e-4 else "0"  # three digits: they notice a change, and survive a machine


def _each(labels: Sequence[str], values: Sequence[float]) -> str:
    """Every value that is there with its label; of more than eight only the largest three."""
    pairs = [(label, value) for label, value in zip(labels, values, strict=True) if not isnan(value)]
    if len(pairs) > 8:
        return "largest " + _each(*zip(*sorted(pairs, key=lambda pair: -pair[1])[:3], strict=True))
    return ", ".join(f"{label} {_short(value)}" for label, value in pairs)


def _course(x: Sequence[float], y: Sequence[float], xlabel: str) -> str:
    """Where a line begins, passes, ends and peaks; of a single point, where it is."""
    if len(x) == 1:
        return f"{_short(y[0])} at {xlabel} {_short(x[0])}"
    top, last = max(range(len(y)), key=lambda i: y[i]), len(y) - 1
    passed = f" through {_short(y[last // 2])} at {_short(x[last // 2])}" if last > 1 else ""
    ends = f"from {_short(y[0])} at {xlabel} {_short(x[0])}{passed} to {_short(y[last])} at {_short(x[last])}"
    return ends if top in (0, last // 2, last) else f"{ends}, highest {_short(y[top])} at {_short(x[top])}"
