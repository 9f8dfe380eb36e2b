"""What does a run look like? One page per executed notebook and an index that maps the course, readable offline."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from course.config import Course, Notebook
from course.headline import headline
from course.outputs import without_widgets
from course.timings import Timing, load_timings

# nbconvert's page drops the words that an image brings along; this block keeps them
TEMPLATE = """{% extends "lab/index.html.j2" %}
{% block data_png scoped %}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data["image/png"] }}"
 alt="{{ (output | get_metadata("alt", "image/png") or "") | escape_html }}">
</div>
{% endblock %}"""
MAP = ["", "Notebook", "World", "Minutes", "Exercises", "Needs", "Ran in"]


def as_text(rows: list[dict[str, Any]]) -> str:
    """The same rows for a terminal, in columns."""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write_page(course: Course, profile: str) -> Path:
    """Write ``index.html`` and one HTML per notebook of the last run into ``build/<profile>/``; returns the index."""
    import nbformat
    from nbconvert import HTMLExporter

    folder = course.build_dir(profile)
    receipt = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    exporter = HTMLExporter(raw_template=TEMPLATE)  # formulas ask a CDN for MathJax; without one they stay readable
    for executed in (folder / f"{outcome['slug']}.ipynb" for outcome in receipt["notebooks"]):
        if executed.is_file():
            body, _ = exporter.from_notebook_node(without_widgets(nbformat.read(executed, 4)))
            executed.with_suffix(".html").write_text(body, encoding="utf-8")
    index = folder / "index.html"
    index.write_text(_index(course, receipt, headline(course.root)), encoding="utf-8")
    return index


def _index(course: Course, receipt: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    outcomes = {outcome["slug"]: outcome for outcome in receipt["notebooks"]}
    usual = load_timings(course) if receipt["profile"] == "quick" else {}
    lines = [_map_line(row, outcomes.get(row.slug), usual.get(row.slug)) for row in course.notebooks]
    tables = _table("Course map", MAP, lines)
    if rows:
        cells = [[escape(_cell(value)) for value in row.values()] for row in rows]
        tables += _table("Results of a full run", list(rows[0]), cells)
    versions = ", ".join(f"{name} {number}" for name, number in receipt["versions"].items())
    facts = {"title": escape(course.title), "lead": escape(course.lead), "tables": tables, "versions": versions}
    return Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8")).substitute(receipt | facts)


def _map_line(row: Notebook, outcome: dict[str, Any] | None, usual: Timing | None) -> list[str]:
    goals = "".join(f"<li>{escape(goal)}</li>" for goal in row.objectives)
    title = f'<a href="{row.slug}.html">{escape(row.title)}</a>' if outcome else escape(row.title)
    ran = "failed" if outcome and outcome["error"] else f"{outcome['seconds']} s" if outcome else "not in this run"
    ran += f" (usually {usual.in_words()})" if usual else ""
    needs = ", ".join(row.needs) or "–"
    return [
        f"{row.number:02d}",
        f"{title}<ul>{goals}</ul>",
        row.world,
        str(row.minutes),
        str(len(row.exercises)),
        needs,
        ran,
    ]


def _table(caption: str, head: list[str], lines: list[list[str]]) -> str:
    """A heading and a table that scrolls by itself on a small screen and is reached by keyboard; cells hold HTML."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    around = f'<h2>{caption}</h2>\n<div class="wide" tabindex="0" role="region" aria-label="{caption}">'
    return f"{around}<table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
