"""Submitted notebooks: definitions by name, independent of cells.

Students and editors delete, copy, move, split and retype cells, and metadata and ids are lost first. A function is
therefore searched by its name in all cells, and extracted together with the definitions that it needs.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from auxlib.errors import CourseError

Binding: TypeAlias = tuple[str, ast.stmt]  # a name, and the statement that gives it its value
CHECKS = "course.exercises"  # an import from there would give access to the reference solutions


@dataclass(frozen=True)
class Submission:
    """Content of one submitted notebook.

    Attributes:
        bound: every name that a top-level definition, import or literal binds, with its statement, in order.
        invalid: sources that are no Python, each with its error.
    """

    path: Path
    bound: list[Binding]
    invalid: list[tuple[str, str]] = field(default_factory=list)

    def answers(self, name: str) -> list[ast.stmt]:
        """Return all statements that define a function of this name, the last one first."""
        return [node for bound, node in reversed(self.bound) if bound == name and not isinstance(node, IMPORTS)]

    def missing(self, name: str) -> str:
        """Return one sentence that explains why there is no function of this name."""
        for source, error in self.invalid:
            if f"def {name}" in source:
                return f"the cell that defines `{name}` is no Python: {error}"
        known = [bound for bound, node in self.bound if isinstance(node, FUNCTIONS)]
        near = difflib.get_close_matches(name, known, n=1)
        return f"there is no function `{name}`" + (f"; is `{near[0]}` meant to be it?" if near else ".")


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def read_submission(path: Path) -> Submission:
    """Read a notebook of any version, with broken metadata as well.

    Raises:
        CourseError: the file is not a notebook.
    """
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata, which is not used
            notebook = nbformat.reads(path.read_bytes().decode("utf-8-sig", errors="replace"), as_version=4)
        cells = [(cell.get("cell_type") == "code", str(cell.get("source", ""))) for cell in notebook.cells]
    except Exception as error:  # nbformat passes on errors of json, of its schemas and of missing keys
        raise CourseError(f"{path.name} cannot be read as a notebook ({type(error).__name__}).") from error
    return read_cells(path, cells)


def read_cells(path: Path, cells: Sequence[tuple[bool, str]]) -> Submission:
    """Read cells given as pairs (whether it is a code cell, source); of text cells, only what parses as Python."""
    submission = Submission(path, [])
    for is_code, source in sorted(cells, key=lambda cell: cell[0]):  # text first: definitions in code take precedence
        try:
            submission.bound.extend(bindings(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if is_code:
                submission.invalid.append(
                    (source, f"{getattr(error, 'msg', error)}, line {getattr(error, 'lineno', '?')}.")
                )
    return submission


def bindings(source: str) -> Iterator[Binding]:
    """Yield the names that a cell binds at top level by definitions, imports and literals, which are safe to run."""
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
        from_checks = (getattr(node, "module", None) or "").startswith(CHECKS)
        return [] if from_checks else [alias.asname or alias.name.partition(".")[0] for alias in node.names]
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
    """Return the statements of ``offered`` that an answer needs, directly or not: imports first, functions last."""
    names: set[str] = set()
    pending = [answer]
    while pending:
        used = {part.id for part in ast.walk(pending.pop()) if isinstance(part, ast.Name)}
        new = used & set(offered) - names
        names |= new
        pending += [offered[name] for name in new if not isinstance(offered[name], IMPORTS)]
    chosen = [node for name, node in offered.items() if name in names and node is not answer]
    return sorted(dict.fromkeys(chosen), key=lambda node: (not isinstance(node, IMPORTS), isinstance(node, FUNCTIONS)))
