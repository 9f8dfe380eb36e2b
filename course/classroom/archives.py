"""Archives of the course: one for students, without readable solutions, and one for instructors.

Both are made of the files of this repository and are reproducible to the last byte.
"""

from __future__ import annotations

import ast
import io
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import nbformat

from course.build import generate, student
from course.config import Course, Notebook
from course.exercises.obfuscate import obfuscate
from course.outputs import tags

TOP = "auxiliary-tuning"  # the folder that an archive unpacks to
SET_UP = ("pyproject.toml", "constraints.txt", "environment.yml", "LICENSE", "LICENSE-TEXT.md", "CITATION.cff")
FILE_DATE = (1980, 1, 1, 0, 0, 0)  # of every file: the earliest that a zip archive can hold
# the keywords of variants: everyday words, none of which the course's own cells use
KEYWORDS = "marmalade saddle parsnip walnut cathedral pebble trumpet umbrella anchor kettle orchard saucer".split()
Files: TypeAlias = dict[str, bytes]  # content by path


def student_files(course: Course, variant: int = 0) -> Files:
    """Return the students' files: unsolved notebooks, the library, obfuscated exercises, data, a README.

    Of `course` and `experiments` the archive holds the exercises and the modules that notebooks import, directly or
    through each other: no grader, no answers, no planted mistakes, no runner of experiments.

    Args:
        variant: 0 leaves seed and keyword as the course has them; any other number changes both.
    """
    notebooks = {f"notebooks/{row.slug}.ipynb": _assignment(course, row, variant) for row in course.notebooks}
    handout = {Path(name).name: content for name, content in _tree(course.root, ["notebooks/handout"]).items()}
    modules = _tree(course.root, ["course/exercises", "course/doctor.py", *imported_by_notebooks(course)])
    return _library(course) | _obfuscated(modules) | _set_up(course) | notebooks | handout


def instructor_files(course: Course) -> Files:
    """Return the whole course with solutions, planted mistakes and the guide, and the students' archive in it."""
    from course.classroom.mistakes_page import mistakes_page

    packages = _tree(course.root, ["course", "experiments", "notebooks", "docs"])
    top = _set_up(course) | _tree(course.root, ["Makefile", "README.md", "CONTRIBUTING.md"])
    guide = {"guide/mistakes.md": mistakes_page(course.root).encode()}
    return _library(course) | packages | top | guide | {"student.zip": as_zip(student_files(course))}


def as_zip(files: Mapping[str, bytes]) -> bytes:
    """Return the files as a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{TOP}/{name}", FILE_DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the archive atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_bytes(as_zip(files))
    os.replace(scratch, path)
    return path


def _library(course: Course) -> Files:
    return _tree(course.root, ["auxlib", "data", "notebooks/course.toml", "notebooks/profiles"])


def imported_by_notebooks(course: Course) -> list[str]:
    """Return the files of `course` and `experiments` that notebooks import, directly or through each other.

    Notebooks 06 to 11 train small versions of what `experiments` records, so they need a part of it.
    """
    files: set[str] = set()
    pending = [(course.folder / "src" / f"{row.slug}.py").relative_to(course.root) for row in course.notebooks]
    while pending:
        for module in _imports((course.root / pending.pop()).read_text(encoding="utf-8")):
            parts = module.split(".")
            if parts[0] not in ("course", "experiments"):
                continue
            folders = [Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
            for file in (*folders, Path(*parts).with_suffix(".py")):
                if (course.root / file).is_file() and file.as_posix() not in files:
                    files.add(file.as_posix())
                    pending.append(file)
    return sorted(files)


def _imports(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, and the names that may be modules (``from package import module``)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _set_up(course: Course) -> Files:
    return _tree(course.root, SET_UP)


def _tree(root: Path, names: Iterable[str]) -> Files:
    """Return files, and everything in folders, by their path from the root, without hidden files and caches."""
    files: Files = {}
    for place in (root / name for name in names):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = path.relative_to(root)
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
                files[name.as_posix()] = path.read_bytes()
    return files


def _obfuscated(files: Files) -> Files:
    """Return the files with the modules obfuscated that hold reference solutions."""
    modules = [name for name in files if re.match(r"course/exercises/notebook_\d\d\.py", name)]
    return files | {name: obfuscate(files[name].decode()).encode() for name in modules}


def _assignment(course: Course, row: Notebook, variant: int) -> bytes:
    """Return the notebook without solutions and outputs; one without exercises stays whole."""
    worked = generate(course, row)
    assignment = student(worked, row.slug) or worked
    for cell in assignment.cells:
        if "parameters" in tags(cell) and variant:
            cell.source = varied(cell.source, variant)
    return nbformat.writes(assignment).encode() + b"\n"


def varied(parameters: str, variant: int) -> str:
    """Return a variant's parameters cell: another seed, another keyword, nothing else."""
    parameters = re.sub(r"^SEED = \d+$", f"SEED = {variant}", parameters, flags=re.MULTILINE)
    word = KEYWORDS[(variant - 1) % len(KEYWORDS)]
    return re.sub(r'^KEYWORD = ".*"$', f'KEYWORD = "{word}"', parameters, flags=re.MULTILINE)
