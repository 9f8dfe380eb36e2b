"""What is handed out? One archive for students, in which no solution can be read, and one for whoever teaches.

Both are made of the files of this repository, the same to the last byte however often they are made.
"""

from __future__ import annotations

import ast
import io
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import nbformat

from course.build import generate, student
from course.config import Course, Notebook
from course.exercises.obfuscate import obfuscate
from course.outputs import tags

TOP = "auxiliary-tuning"  # the one folder that an archive unpacks to
SET_UP = ("pyproject.toml", "constraints.txt", "environment.yml", "LICENSE", "LICENSE-TEXT.md", "CITATION.cff")
BIRTH = (1980, 1, 1, 0, 0, 0)  # of every file: the earliest that an archive can name
# another keyword for every variant: everyday words, none of which the course's own cells use
WORDS = "marmalade saddle parsnip walnut cathedral pebble trumpet umbrella anchor kettle orchard saucer".split()
Files = dict[str, bytes]


def student_files(course: Course, variant: int = 0) -> Files:
    """Everything a student needs, by path: unsolved notebooks, the library with sealed exercises, data, a README.

    Args:
        variant: 0 leaves seed and keyword as the course has them; any other number changes both.
    """
    sheets = {f"notebooks/{row.slug}.ipynb": _sheet(course, row, variant) for row in course.notebooks}
    handout = _tree(course.root, ["notebooks/handout"])
    top = {Path(name).name: content for name, content in handout.items()}
    beside = _tree(course.root, ["course/exercises", *imported_by_notebooks(course)])
    return _without_solutions(_library(course) | beside) | _set_up(course) | sheets | top


def instructor_files(course: Course) -> Files:
    """The whole course, solutions and planted answers included, with the guide; and the students' archive in it."""
    from course.classroom.mistakes_page import mistakes_page

    kept = _tree(course.root, ["course", "experiments", "notebooks", "docs"])
    top = _set_up(course) | _tree(course.root, ["Makefile", "README.md", "CONTRIBUTING.md"])
    guide = {"guide/mistakes.md": mistakes_page(course.root).encode()}
    return _library(course) | kept | top | guide | {"student.zip": as_zip(student_files(course))}


def as_zip(files: Mapping[str, bytes]) -> bytes:
    """One archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", BIRTH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """The archive is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(as_zip(files))
    os.replace(scratch, path)
    return path


def _library(course: Course) -> Files:
    return _tree(course.root, ["auxlib", "data", "notebooks/course.toml", "notebooks/profiles"])


def imported_by_notebooks(course: Course) -> list[str]:
    """Return the files of `course` and `experiments` that notebooks run, by import, directly or through each other.

    Notebooks 06 to 11 train small versions of what `experiments` records, so a part of it has to travel with them.
    """
    found: set[str] = set()
    waiting = [(course.folder / "src" / f"{row.slug}.py").relative_to(course.root) for row in course.notebooks]
    while waiting:
        for module in _imports((course.root / waiting.pop()).read_text(encoding="utf-8")):
            parts = module.split(".")
            if parts[0] not in ("course", "experiments"):
                continue
            folders = [Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
            for file in (*folders, Path(*parts).with_suffix(".py")):
                if (course.root / file).is_file() and file.as_posix() not in found:
                    found.add(file.as_posix())
                    waiting.append(file)
    return sorted(found)


def _imports(source: str) -> Iterator[str]:
    """Every module that a source imports, and every name that may be one (``from package import module``)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _set_up(course: Course) -> Files:
    return _tree(course.root, SET_UP)


def _tree(root: Path, names: Iterable[str]) -> Files:
    """Files and everything in folders, by their path from the root; nothing that a run or an editor has left."""
    found: Files = {}
    for place in (root / name for name in names):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(root)
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
                found[name.as_posix()] = path.read_bytes()
    return found


def _without_solutions(library: Files) -> Files:
    rooms = [name for name in library if re.match(r"course/exercises/notebook_\d\d\.py", name)]
    return library | {name: obfuscate(library[name].decode()).encode() for name in rooms}


def _sheet(course: Course, row: Notebook, variant: int) -> bytes:
    """The notebook without solutions and outputs; where there is nothing to solve, as it is."""
    worked = generate(course, row)
    sheet = student(worked, row.slug) or worked
    for cell in sheet.cells:
        if "parameters" in tags(cell) and variant:
            cell.source = varied(cell.source, variant)
    return nbformat.writes(sheet).encode() + b"\n"


def varied(parameters: str, variant: int) -> str:
    """The parameters of a variant: another seed, another keyword, nothing else."""
    parameters = re.sub(r"^SEED = \d+$", f"SEED = {variant}", parameters, flags=re.MULTILINE)
    word = WORDS[(variant - 1) % len(WORDS)]
    return re.sub(r'^KEYWORD = ".*"$', f'KEYWORD = "{word}"', parameters, flags=re.MULTILINE)
