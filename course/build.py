"""Generation of notebooks from their sources ``notebooks/src/NN_slug.py``.

A source yields the worked notebook, whose outputs are those of a run, and, when it has exercises, the student's
notebook, without solutions and outputs. Generation is deterministic, so that ``check`` can recognise stale notebooks.
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
MAX_SHOWN = 3  # differences per notebook; an inserted cell moves all that follow
KERNEL = "python3"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
    "language_info": {"name": "python"},
}


def source_cells(path: Path) -> list[NotebookNode]:
    """Read the cells of a source."""
    return jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells


def generate(course: Course, row: Notebook) -> NotebookNode:
    """Return the worked notebook without outputs: header and tasks filled in, ids from slug and position.

    Raises:
        CourseError: the source is missing, or its header or an exercise's cells are not as expected.
    """
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
    """Return the opening cell in Markdown: the only H1 and the notebook's facts from course.toml."""
    before = [f"[{other.title}]({other.slug}.ipynb)" for other in course.notebooks if other.slug in row.prerequisites]
    needs = [describe(name).title for name in row.needs]
    facts = [
        f"**Notebook {row.number:02d}** · world: {row.world} · about {row.minutes} minutes to read and do",
        f"**Before this**: {', '.join(before) or 'nothing'}",
        f"**Needs**: {'; '.join(needs) or 'no model and no data'}",
    ]
    if timing := load_timings(course).get(row.slug):
        facts.append(f"**Runs in** {timing.in_words()} (profile `quick`, two cores)")
    if course.repository:
        facts.append(links(course.repository, row.slug))
    goals = "\n".join(f"- {goal}" for goal in row.objectives)
    return f"# {row.title}\n\n" + "  \n".join(facts) + f"\n\nAfter this notebook you can\n\n{goals}"


def student(worked: NotebookNode, where: str) -> NotebookNode | None:
    """Return the student's notebook, or None when there is nothing to solve. Ids are those of the worked notebook.

    Cells tagged ``solution`` go; lines between the markers become a stub that still runs.
    """
    sources = {cell.id: without_solution(cell.source, f"{where}, cell {cell.id}") for cell in worked.cells}
    remaining = [cell for cell in worked.cells if "solution" not in tags(cell)]
    if len(remaining) == len(worked.cells) and all(sources[cell.id] == cell.source for cell in remaining):
        return None
    cells = [nbformat.from_dict({**cell, "source": sources[cell.id]}) for cell in remaining]
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


def without_solution(source: str, where: str) -> str:
    """Replace each marked region, markers included, by one stub line with the marker's indentation.

    Raises:
        CourseError: a marker has no partner; names ``where``.
    """
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
    """Return the worked notebook and the student's (None when there is nothing to solve) without outputs, by path."""
    worked = generate(course, row)
    path = course.folder / "assignments" / f"{row.slug}.ipynb"
    assignment = student(worked, row.slug)
    for cell in (cell for cell in (assignment.cells if assignment else []) if "header" in tags(cell)):
        cell.source = cell.source.replace("](", "](../")  # assignments are one folder deeper
    return {course.built(row.slug): worked, path: assignment}


def build(course: Course, rows: list[Notebook], executed: Path | None = None) -> list[Path]:
    """Write worked and student notebooks and return their paths.

    Outputs come from the folder ``executed``, else from the notebook on disk if its code is the same.
    """
    written = []
    for row in rows:
        for path, notebook in notebook_pair(course, row).items():
            previous = executed / path.name if executed else path
            if notebook and path == course.built(row.slug) and previous.is_file():
                notebook = with_outputs(notebook, nbformat.read(previous, 4))
            if notebook:
                _write(notebook, path)
                written.append(path)
            else:
                path.unlink(missing_ok=True)
    return written


def check(course: Course, rows: list[Notebook]) -> list[str]:
    """Return every difference between the generated notebooks and those on disk; outputs are not compared."""
    stale = []
    for row in rows:
        try:
            pair = notebook_pair(course, row)
            stale += [line for path, expected in pair.items() for line in _differences(expected, path)]
        except CourseError as error:  # one broken source does not hide the others
            stale.append(str(error))
    known = {row.slug for row in course.notebooks}
    files = [path for kind in ("src/*.py", "*.ipynb", "assignments/*.ipynb") for path in course.folder.glob(kind)]
    return stale + [f"{path} is not in course.toml" for path in files if path.stem not in known]


def _differences(expected: NotebookNode | None, path: Path) -> list[str]:
    if expected is None:
        return [f"{path} should not exist"] if path.is_file() else []
    if not path.is_file():
        return [f"{path} is missing"]
    actual = nbformat.read(path, 4)
    lines = []
    if len(actual.cells) != len(expected.cells):
        lines.append(f"{path}: {len(actual.cells)} cells, expected {len(expected.cells)}")
    if actual.metadata.get("kernelspec", {}).get("name") != KERNEL:
        lines.append(f"{path}: its kernel is not {KERNEL}")
    for index, (old, new) in enumerate(zip(actual.cells, expected.cells, strict=False)):
        differing = [key for key in ("id", "cell_type", "source") if old[key] != new[key]]
        differing += ["tags"] if tags(old) != tags(new) else []
        lines += [f"{path}: cell {index} ({new.id}): {key} differs" for key in differing]
    if len(lines) > MAX_SHOWN:
        lines = [*lines[:MAX_SHOWN], f"{path}: {len(lines) - MAX_SHOWN} more differences"]
    return lines


def _write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    nbformat.write(notebook, scratch)
    os.replace(scratch, path)
