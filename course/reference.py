"""What the pages about the code are generated from: the library's public names, and the rooms by floor."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from auxlib.errors import CourseError
from course.architecture import PACKAGES, Arrow, find_arrows, find_modules, merged, package_of, reachable, room_of

LIBRARY = {  # rooms of the library by task; of a subpackage every module is listed
    "Generate": ("recipes", "generation", "modeling", "constraints"),
    "The method": ("product", "sparse_logits", "auxiliary", "composition", "keywords"),
    "Train and save": ("frozen", "features", "collator", "training", "checkpoint"),
    "Classify with learned labels (Y-Tuning)": ("classification",),
    "Train objectives jointly (TARTAN)": ("tartan",),
    "Data": ("data",),
    "Worlds with a known truth": ("worlds",),
    "Draw": ("plot",),
    "Errors": ("errors",),
}


def public_names(root: Path) -> str:
    """Return the public functions and classes of the library by task, each with its docstring's first sentence.

    Raises:
        CourseError: a room of `LIBRARY` does not exist.
    """
    sections = []
    for task, rooms in LIBRARY.items():
        tables = [_names(root, path) for room in rooms for path in _modules(root, room)]
        sections.append("\n".join([f"### {task}", "", *filter(None, tables)]))
    return "\n".join(sections)


def _modules(root: Path, room: str) -> list[Path]:
    folder, file = root / "auxlib" / room, root / "auxlib" / f"{room}.py"
    if not folder.is_dir() and not file.is_file():
        raise CourseError(f"course.reference.LIBRARY lists auxlib.{room}, but {file} does not exist; correct the list.")
    return sorted(folder.glob("*.py")) if folder.is_dir() else [file]


def _names(root: Path, path: Path) -> str:
    """Return one module's table, or nothing for a module without public names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    if not defined:
        return ""
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    rows = [f"| `{node.name}` | {first_sentence(node)} |" for node in defined]
    return "\n".join([f"`{module}`: {first_sentence(tree)}", "", "| name | purpose |", "|---|---|", *rows, ""])


def first_sentence(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """Return the first sentence of a docstring, ready for a cell of a Markdown table."""
    paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z])", paragraph)[0].replace("|", r"\|")


def rooms_by_floor(root: Path) -> str:
    """Return one table per package, the highest floor first."""
    modules = find_modules(root)
    arrows = find_arrows(modules)
    tables = []
    for package in PACKAGES:
        rooms = {room_of(name) for name in modules if package_of(name) == package} - {package}
        floors = find_floors(rooms, (a for a in arrows if package_of(a.source) == package_of(a.target) == package))
        rows = [
            f"| {floor} | {' · '.join(f'`{room.removeprefix(package)[1:]}`' for room in names)} |"
            for floor, names in enumerate(floors)
        ]
        tables.append("\n".join([f"| floor | rooms of `{package}` |", "|--:|---|", *reversed(rows), ""]))
    return "\n".join(tables)


def find_floors(rooms: set[str], arrows: Iterable[Arrow]) -> list[list[str]]:
    """Return the rooms by floor, each one above the highest room that it imports; a circle shares a floor."""
    below: dict[str, set[str]] = {room: set() for room in rooms}
    below |= reachable(merged((room_of(arrow.source), room_of(arrow.target), arrow.lazy) for arrow in arrows))
    floors: list[list[str]] = []
    while waiting := rooms.difference(*floors):
        floors.append(sorted(one for one in waiting if all(one in below[x] for x in below[one] & waiting - {one})))
    return floors
