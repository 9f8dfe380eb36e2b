"""Outputs of an executed notebook: copying them to a generated one, and checking that the whole notebook ran."""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode

from auxlib.errors import CourseError

MAX_IMAGE_KB = 80  # a page of pictures stays light; comparisons read text, never pixels


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def with_outputs(fresh: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Copy normalised outputs from an executed notebook to one with the same code; leave none if the code differs."""
    executed = without_widgets(executed)
    ran = [cell for cell in executed.cells if cell.cell_type == "code" and "injected-parameters" not in tags(cell)]
    code = [cell for cell in fresh.cells if cell.cell_type == "code"]
    if [cell.source for cell in ran] == [cell.source for cell in code]:
        for count, (cell, done) in enumerate(zip(code, ran, strict=True), 1):
            cell.execution_count = None if done.execution_count is None else count
            cell.outputs = [_normal(output, count) for output in done.outputs]
    return fresh


def without_widgets(executed: NotebookNode) -> NotebookNode:
    """Remove live widgets in place; pictures and texts, which a page without a kernel can show, stay."""
    executed.metadata.pop("widgets", None)
    for output in (output for cell in executed.cells for output in cell.get("outputs", [])):
        for kind in [kind for kind in output.get("data", {}) if "widget" in kind]:
            del output.data[kind]
    return executed


def _normal(output: NotebookNode, count: int) -> NotebookNode:
    """Return the output without large images; its text stays, because comparisons need it."""
    output = nbformat.from_dict(output)
    if "execution_count" in output:
        output.execution_count = count
    for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
        if len(output.data[kind]) * 3 / 4 > MAX_IMAGE_KB * 1000:
            del output.data[kind]
    return output


def check_executed(notebook: NotebookNode, slug: str, profile: str) -> None:
    """Check that every code cell ran and that the notebook printed ``profile: <profile>`` and no other profile.

    The injected parameter is no proof, because a later cell may overwrite it.

    Raises:
        CourseError: a cell did not run, or no profile or another one was printed.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if skipped := [cell.id for cell in code if cell.execution_count is None]:
        raise CourseError(
            f"{slug}: cell {skipped[0]} was not run; a notebook must run from its first cell to its last."
        )
    printed = "".join(out.text for cell in code for out in cell.outputs if out.get("name") == "stdout")
    profiles = [line.split(":", 1)[1].strip() for line in printed.splitlines() if line.startswith("profile:")]
    if not profiles:
        raise CourseError(f"{slug}: nothing printed its profile; one cell must print(f'profile: {{PROFILE}}').")
    if set(profiles) != {profile}:
        raise CourseError(
            f"{slug}: ran with profile {profiles[-1]!r}, asked for {profile!r}; a cell overwrites PROFILE."
        )
