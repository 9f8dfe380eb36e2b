"""What did a student hand in? Definitions by name, whatever has happened to the cells around them.

Cells are deleted, copied, moved, split and turned into text by people and by editors; metadata and ids break first. So
nothing here asks for a cell: a function is looked for by its name, in all cells, and comes with what it needs.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auxlib.errors import CourseError

Bound = tuple[str, ast.stmt]  # a name, and the statement that gives it its value
CHECKS = "course.exercises"  # whoever imports that imports the reference solutions


@dataclass(frozen=True)
class Submission:
    """One notebook as it was handed in.

    Attributes:
        bound: every name that a top-level definition, import or literal binds, with its statement, in order.
        torn: sources that are no Python, each with what is wrong with it.
    """

    path: Path
    bound: list[Bound]
    torn: list[tuple[str, str]] = field(default_factory=list)

    def answers(self, name: str) -> list[ast.stmt]:
        """All statements that define a function of this name, the last one first."""
        return [node for bound, node in reversed(self.bound) if bound == name and not isinstance(node, IMPORTS)]

    def missing(self, name: str) -> str:
        """Why there is no function of this name, for whoever looks for it."""
        for source, error in self.torn:
            if f"def {name}" in source:
                return f"the cell that defines `{name}` is no Python: {error}"
        known = [bound for bound, node in self.bound if isinstance(node, FUNCTIONS)]
        near = difflib.get_close_matches(name, known, n=1)
        return f"there is no function `{name}`" + (f"; is `{near[0]}` meant to be it?" if near else ".")


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def read_submission(path: Path) -> Submission:
    """Read a notebook of any version, in any state.

    Raises:
        CourseError: it is no notebook at all.
    """
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata, which nobody asks for here
            notebook = nbformat.reads(path.read_bytes().decode("utf-8-sig", errors="replace"), as_version=4)
        cells = [(cell.get("cell_type") == "code", str(cell.get("source", ""))) for cell in notebook.cells]
    except Exception as error:  # nbformat lets through whatever json, its schemas and missing keys raise
        raise CourseError(f"{path.name} cannot be read as a notebook ({type(error).__name__}).") from error
    return read_cells(path, cells)


def read_cells(path: Path, cells: Sequence[tuple[bool, str]]) -> Submission:
    """The same from pairs: is it a cell of code, and its source. Of text that is only taken which reads as Python."""
    found = Submission(path, [])
    for is_code, source in sorted(cells, key=lambda cell: cell[0]):  # text first: code that says otherwise is later
        try:
            found.bound.extend(bindings(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if is_code:
                found.torn.append((source, f"{getattr(error, 'msg', error)}, line {getattr(error, 'lineno', '?')}."))
    return found


def bindings(source: str) -> Iterator[Bound]:
    """Names that the top level of a cell binds, with what is safe to run alone: no statement that only does things."""
    from IPython.core.inputtransformer2 import TransformerManager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as a backslash too many in a student's string
        body = ast.parse(TransformerManager().transform_cell(source)).body
    for node in body:
        yield from ((name, node) for name in _names(node))


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, FUNCTIONS):
        return [node.name]
    if isinstance(node, IMPORTS):
        ours = (getattr(node, "module", None) or "").startswith(CHECKS)
        return [] if ours else [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign) and (isinstance(node.value, ast.Lambda) or _is_literal(node.value)):
        targets = [part for target in node.targets for part in ast.walk(target)]
        return [part.id for part in targets if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    return []


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def needed(answer: ast.stmt, offered: Mapping[str, ast.stmt]) -> list[ast.stmt]:
    """What an answer needs among the statements ``offered``, and what that needs: imports first, functions last."""
    wanted, open_ends = set(), [answer]
    while open_ends:
        used = {part.id for part in ast.walk(open_ends.pop()) if isinstance(part, ast.Name)}
        fresh = used & set(offered) - wanted
        wanted |= fresh
        open_ends += [offered[name] for name in fresh if not isinstance(offered[name], IMPORTS)]
    chosen = [node for name, node in offered.items() if name in wanted and node is not answer]
    return sorted(dict.fromkeys(chosen), key=lambda node: (not isinstance(node, IMPORTS), isinstance(node, FUNCTIONS)))
