"""How does a source become a notebook? ``notebooks/src/NN_slug.py`` is what people edit; the rest is generated.

Two twins come out of a source: the worked notebook, whose outputs are those of a run, and, when it holds exercises,
the student's notebook, where solutions are cut out and no output is left. Everything is deterministic, so that
``check`` can tell a stale notebook from a fresh one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from auxlib.data.assets import describe
from auxlib.errors import CourseError
from course.config import Course, Notebook
from course.launch import launch_cell, links
from course.outputs import tags, with_outputs
from course.task_cells import fill_tasks
from course.timings import load_timings

BEGIN, END, STUB = "# SOLUTION", "# END", "...  # your code here"
SHOWN = 3  # differences of one notebook; an inserted cell moves all that follow
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def source_cells(path: Path) -> list[NotebookNode]:
    """The cells of a source, as people wrote them."""
    return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells


def generate(course: Course, row: Notebook) -> NotebookNode:
    """The worked notebook without outputs: header and tasks filled in, ids from slug and position, bare metadata."""
    path = course.source(row.slug)
    if not path.is_file():
        raise CourseError(f"{path} is missing; course.toml lists {row.slug}, so its source must be there.")
    cells = source_cells(path)
    headers = [cell for cell in cells if "header" in tags(cell)]
    if len(headers) != 1 or headers[0].cell_type != "markdown":
        raise CourseError(f'{path}: expected one cell `# %% [markdown] tags=["header"]`, found {len(headers)}.')
    headers[0].source = header(course, row)
    fill_tasks(cells, row, path)
    if course.repository:
        cells.insert(cells.index(headers[0]) + 1, launch_cell(course.repository))
    for index, cell in enumerate(cells):
        cell.id = hashlib.sha256(f"{row.slug}/{index}".encode()).hexdigest()[:8]
        cell.source = cell.source.rstrip()
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def header(course: Course, row: Notebook) -> str:
    """The opening cell in markdown: the one H1 and what course.toml knows about the notebook."""
    before = [f"[{other.title}]({other.slug}.ipynb)" for other in course.notebooks if other.slug in row.prerequisites]
    needs = [describe(name).title for name in row.needs]
    facts = [
        f"**Notebook {row.number:02d}** · world: {row.world} · about {row.minutes} minutes to read and do",
        f"**Before this**: {', '.join(before) or 'nothing'}",
        f"**Needs**: {'; '.join(needs) or 'no model and no data'}",
    ]
    if receipt := load_timings(course).get(row.slug):
        facts.append(f"**Runs in** {receipt.in_words()} (profile `quick`, two cores)")
    if course.repository:
        facts.append(links(course.repository, row.slug))
    goals = "\n".join(f"- {goal}" for goal in row.objectives)
    return f"# {row.title}\n\n" + "  \n".join(facts) + f"\n\nAfter this notebook you can\n\n{goals}"


def student(worked: NotebookNode, where: str) -> NotebookNode | None:
    """The notebook handed out, or None when there is nothing to solve. Ids are those of the worked notebook.

    Cells tagged ``solution`` go; lines between the markers become a stub that still runs.
    """
    sources = {cell.id: without_solution(cell.source, f"{where}, cell {cell.id}") for cell in worked.cells}
    kept = [cell for cell in worked.cells if "solution" not in tags(cell)]
    if len(kept) == len(worked.cells) and all(sources[cell.id] == cell.source for cell in kept):
        return None
    cells = [nbformat.from_dict({**cell, "source": sources[cell.id]}) for cell in kept]
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def without_solution(source: str, where: str) -> str:
    """Replace each marked region, markers included, by one stub line with the marker's indentation."""
    lines: list[str] = []
    inside = False
    for line in source.splitlines():
        if line.strip() in (BEGIN, END):
            if (line.strip() == BEGIN) == inside:
                raise CourseError(f"{where}: {line.strip()!r} without its partner; regions run from {BEGIN} to {END}.")
            inside = not inside
            lines += [line.replace(BEGIN, STUB)] if inside else []
        elif not inside:
            lines.append(line)
    if inside:
        raise CourseError(f"{where}: {BEGIN!r} without {END!r}; the solution would leak.")
    return "\n".join(lines)


def notebook_pair(course: Course, row: Notebook) -> dict[Path, NotebookNode | None]:
    """Both notebooks of a row without outputs, by the path they belong to: the worked one first."""
    worked = generate(course, row)
    handout = course.folder / "assignments" / f"{row.slug}.ipynb"
    sheet = student(worked, row.slug)
    for cell in (cell for cell in (sheet.cells if sheet else []) if "header" in tags(cell)):
        cell.source = cell.source.replace("](", "](../")  # the handout lies one folder deeper
    return {course.built(row.slug): worked, handout: sheet}


def build(course: Course, rows: list[Notebook], executed: Path | None = None) -> list[Path]:
    """Write worked and student notebooks. Outputs come from the folder ``executed``, else stay if no code changed."""
    written = []
    for row in rows:
        for path, fresh in notebook_pair(course, row).items():
            previous = executed / path.name if executed else path
            if fresh and path == course.built(row.slug) and previous.is_file():
                fresh = with_outputs(fresh, nbformat.read(previous, 4))
            if fresh:
                _write(fresh, path)
                written.append(path)
            else:
                path.unlink(missing_ok=True)
    return written


def check(course: Course, rows: list[Notebook]) -> list[str]:
    """Every difference between what the sources generate and the notebooks on disk; outputs are not looked at."""
    found = []
    for row in rows:
        try:
            found += [line for path, fresh in notebook_pair(course, row).items() for line in _differences(fresh, path)]
        except CourseError as error:  # one broken source does not hide the others
            found.append(str(error))
    known = {row.slug for row in course.notebooks}
    files = [path for kind in ("src/*.py", "*.ipynb", "assignments/*.ipynb") for path in course.folder.glob(kind)]
    return found + [f"{path} is not in course.toml" for path in files if path.stem not in known]


def _differences(want: NotebookNode | None, path: Path) -> list[str]:
    if want is None or not path.is_file():
        return [] if want is None and not path.is_file() else [f"{path} {'is missing' if want else 'should not exist'}"]
    have = nbformat.read(path, 4)
    wrong = [f"{path}: {len(have.cells)} cells, expected {len(want.cells)}"] * (len(have.cells) != len(want.cells))
    if have.metadata.get("kernelspec", {}).get("name") != METADATA["kernelspec"]["name"]:
        wrong.append(f"{path}: its kernel is not python3")
    for index, (old, new) in enumerate(zip(have.cells, want.cells, strict=False)):
        pairs = {key: (old[key], new[key]) for key in ("id", "cell_type", "source")} | {"tags": (tags(old), tags(new))}
        wrong += [
            f"{path}: cell {index} ({new.id}): {key} differs" for key, (ours, fresh) in pairs.items() if ours != fresh
        ]
    return wrong if len(wrong) <= SHOWN else [*wrong[:SHOWN], f"{path}: {len(wrong) - SHOWN} more differences"]


def _write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    nbformat.write(notebook, scratch)
    os.replace(scratch, path)
