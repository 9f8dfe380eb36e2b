"""What of a run is worth keeping, and is it the run that was asked for?"""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode

from auxlib.errors import CourseError

MAX_IMAGE_KB = 80  # a page of pictures stays light; comparisons read text, never pixels


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def with_outputs(fresh: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Copy normalised outputs from an executed notebook, provided that it ran this very code; else leave none."""
    executed = without_widgets(executed)
    ran = [cell for cell in executed.cells if cell.cell_type == "code" and "injected-parameters" not in tags(cell)]
    code = [cell for cell in fresh.cells if cell.cell_type == "code"]
    if [cell.source for cell in ran] == [cell.source for cell in code]:
        for count, (cell, done) in enumerate(zip(code, ran, strict=True), 1):
            cell.execution_count = None if done.execution_count is None else count
            cell.outputs = [_normal(output, count) for output in done.outputs]
    return fresh


def without_widgets(executed: NotebookNode) -> NotebookNode:
    """Remove live widgets in place: what stays, a picture or a text, is what a page without a kernel can show."""
    executed.metadata.pop("widgets", None)
    for output in (output for cell in executed.cells for output in cell.get("outputs", [])):
        for kind in [kind for kind in output.get("data", {}) if "widget" in kind]:
            del output.data[kind]
    return executed


def _normal(output: NotebookNode, count: int) -> NotebookNode:
    """Text always, images while they are small; the output itself stays, or nothing compares."""
    output = nbformat.from_dict(output)
    if "execution_count" in output:
        output.execution_count = count
    for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
        if len(output.data[kind]) * 3 / 4 > MAX_IMAGE_KB * 1000:
            del output.data[kind]
    return output


def check_executed(notebook: NotebookNode, slug: str, profile: str) -> None:
    """Fail unless every code cell ran and the notebook itself printed ``profile: <profile>``.

    The parameter that was sent proves nothing: a later cell may have overwritten it. What the notebook says counts;
    silence, another profile and a cell that was not run are each a CourseError.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if skipped := [cell.id for cell in code if cell.execution_count is None]:
        raise CourseError(
            f"{slug}: cell {skipped[0]} was not run; a notebook must run from its first cell to its last."
        )
    printed = "".join(out.text for cell in code for out in cell.outputs if out.get("name") == "stdout")
    said = [line.split(":", 1)[1].strip() for line in printed.splitlines() if line.startswith("profile:")]
    if not said:
        raise CourseError(f"{slug}: nothing printed its profile; one cell must print(f'profile: {{PROFILE}}').")
    if set(said) != {profile}:
        raise CourseError(f"{slug}: ran with profile {said[-1]!r}, asked for {profile!r}; a cell overwrites PROFILE.")
