"""Sizes, imports and circles of the three packages: `python -m course.architecture`.

`auxlib` is the library, `experiments` stands on it, `course` on both. Upward imports and circles are forbidden. Imports
inside functions are *lazy*; those under `TYPE_CHECKING` never happen at run time and are left out.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("auxlib", "experiments", "course")  # from the bottom up


@dataclass(frozen=True, order=True)
class Arrow:
    """An import of one module by another."""

    source: str
    target: str
    lazy: bool = False

    def __str__(self) -> str:
        return f"{self.source} → {self.target}{' (lazy)' * self.lazy}"

    @property
    def upward(self) -> bool:
        """Whether the importing module belongs to the lower package."""
        return PACKAGES.index(package_of(self.source)) < PACKAGES.index(package_of(self.target))


def package_of(module: str) -> str:
    return module.split(".")[0]


def room_of(module: str) -> str:
    """Return the room of a module: a subpackage, or a file directly under its package."""
    return ".".join(module.split(".")[:2])


def find_modules(root: Path) -> dict[str, Path]:
    """Return the files of the three packages under `root` by dotted name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def find_arrows(modules: dict[str, Path]) -> list[Arrow]:
    """Return the imports between modules."""
    pairs = []
    for source, path in modules.items():
        for name, lazy in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = name if name in modules else name.rpartition(".")[0]  # a function of a module, say
            pairs += [(source, target, lazy)] if target in modules else []
    return merged(pairs)


def merged(pairs: Iterable[tuple[str, str, bool]]) -> list[Arrow]:
    """Return one arrow for each pair of different names; it is lazy if all of the pair's imports are."""
    lazy: dict[tuple[str, str], bool] = {}
    for source, target, is_lazy in pairs:
        lazy[source, target] = lazy.get((source, target), True) and is_lazy
    return sorted(Arrow(*pair, is_lazy) for pair, is_lazy in lazy.items() if pair[0] != pair[1])


def _imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every dotted name that is imported below `node`, and whether the import is lazy."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
    typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    for child in getattr(node, "orelse", []) if typing_only else ast.iter_child_nodes(node):
        yield from _imports(child, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def find_circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Return the strongly connected components of more than one module."""
    reached = reachable(arrows)
    circles = {frozenset(name for name in reached[one] if one in reached.get(name, ())) for one in reached}
    return sorted(sorted(circle) for circle in circles if len(circle) > 1)


def reachable(arrows: Iterable[Arrow]) -> dict[str, set[str]]:
    """Return for each source every name that can be reached from it; its own name only through a circle."""
    targets: dict[str, set[str]] = {}
    for arrow in arrows:
        targets.setdefault(arrow.source, set()).add(arrow.target)
    reached = {name: set(direct) for name, direct in targets.items()}
    for middle in targets:  # Warshall: paths through `middle`
        for names in filter(lambda names: middle in names, reached.values()):
            names |= reached[middle]
    return reached


def report(root: Path) -> tuple[str, bool]:
    """Return the printed report on the packages under `root`, and whether nothing in it is forbidden."""
    arrows = find_arrows(modules := find_modules(root))
    rooms = merged((room_of(arrow.source), room_of(arrow.target), arrow.lazy) for arrow in arrows)
    text = [f"{len(rooms)} arrows between rooms", *(f"    {arrow}" for arrow in rooms)]
    for package in PACKAGES:
        files = [path.read_text(encoding="utf-8") for name, path in modules.items() if package_of(name) == package]
        text.append(f"{package:12}{len(files):4} files{sum(len(file.splitlines()) for file in files):8,} lines")
    between = Counter((package_of(arrow.source), package_of(arrow.target)) for arrow in arrows)
    text += [f"{source} → {target}: {count} imports" for (source, target), count in sorted(between.items())]
    upward, eager = [arrow for arrow in arrows if arrow.upward], [arrow for arrow in arrows if not arrow.lazy]
    text += [f"upward: {len(upward) or 'none'}", *(f"    {arrow}" for arrow in upward)]
    for title, followed in {"circles, eager imports": eager, "circles, lazy ones too": arrows}.items():
        circles = find_circles(followed)
        text += [f"{title}: {len(circles) or 'none'}", *(f"    {' ↔ '.join(circle)}" for circle in circles)]
    return "\n".join(text), not (upward or find_circles(arrows))


if __name__ == "__main__":
    printed, clean = report(Path(__file__).resolve().parents[1])
    print(printed)
    sys.exit(not clean)
