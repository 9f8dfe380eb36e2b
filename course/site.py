"""How does the course become a site? Its sources are laid out for Sphinx, which makes pages of them.

Nothing is executed. A notebook shows the outputs of a whole run in ``build/quick`` if that ran the very same code, else
those that are committed. What is laid out is for the site alone: links lead to its pages or to copies of files, folded
answers are Markdown, and every picture brings its words along. Readers' browsers ask no other host for anything; the
renderer of formulas comes with a package and is checked before it is used.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from auxlib.data.assets import sha256_of
from auxlib.errors import CourseError
from course.config import Course, Notebook, load_course
from course.outputs import check_executed, tags, with_outputs

MATH = "sphinx-mathjax-offline"  # carries MathJax 3.2.2 as its makers published it
MATH_SHA256 = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
MARK = ".auxlib-site"  # what we made, and may therefore remove
PRIVATE = "notebooks/answers"  # for instructors
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
INCLUDE = re.compile(r"(?<=\{include\} )(\S+)")
# hints are generated as HTML and stay it: Markdown would read the stars of a formula
FOLDED = re.compile(r"<details>\s*<summary>(?!Hint )(.*?)</summary>\s*(.*?)\s*</details>", re.DOTALL)
FRONT = "index.md"
BESIDE = {"README.md": "Results and library", "CONTRIBUTING.md": "Contributing"}  # pages, and what the menu calls them


@dataclass
class Layout:
    """What lies where. ``pages`` maps files of the repository to their place on the site."""

    root: Path
    folder: Path
    pages: dict[Path, str] = field(default_factory=dict)

    def turned(self, text: str, source: Path) -> str:
        """The Markdown of ``source`` with its links, images and included files as they are on the site."""
        around = source.parent
        text = IMAGE.sub(lambda found: self._image(found, around), text)
        text = LINK.sub(lambda found: self._link(found, around), text)
        return INCLUDE.sub(lambda found: self._place(found[0], around) or found[0], text)

    def _image(self, found: re.Match[str], around: Path) -> str:
        words, target = found.groups()
        if "://" in target:
            return words  # a badge, say: every reader would ask its host for it
        return f"![{words}]({self._place(target, around) or target})"

    def _link(self, found: re.Match[str], around: Path) -> str:
        words, target = found.groups()
        path, _, anchor = target.partition("#")
        if (around / path).is_dir() and path:
            return words
        if not (place := "://" not in target and path and self._place(path, around)):
            return found[0]
        download = "path:" if place.startswith("/files/") else ""
        return f"[{words}]({download}{place}{'#' if anchor else ''}{anchor})"

    def _place(self, path: str, around: Path) -> str | None:
        """Where a file of the repository is on the site, as a page or a copy; None if there is no such file."""
        there = Path(os.path.normpath(around / path))
        if there in self.pages:
            return f"/{self.pages[there]}"
        return self.copied(there) if there.is_file() and there.is_relative_to(self.root) else None

    def copied(self, there: Path) -> str:
        """Put a copy of a file of the repository on the site, and say where."""
        inside = there.relative_to(self.root).as_posix()
        if inside.startswith(PRIVATE):
            raise CourseError(f"a page links to {inside}, which is for instructors; take the link out.")
        copy = self.folder / "files" / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(there, copy)
        return f"/files/{inside}"


def lay_out(course: Course, folder: Path) -> None:
    """Write everything that Sphinx reads into ``folder``, which is made."""
    texts = _texts(course.root)
    (folder / "notebooks").mkdir(parents=True)
    books = {course.built(row.slug): f"notebooks/{row.slug}.ipynb" for row in course.notebooks}
    layout = Layout(course.root, folder, {path: path.name.lower() for path in texts} | books)
    for path in texts:
        text = layout.turned(path.read_text(encoding="utf-8"), path)
        text += _contents(course, texts) if path.name == FRONT else ""
        (folder / path.name.lower()).write_text(text, encoding="utf-8")
    for row in course.notebooks:
        nbformat.write(_dressed(course, row, layout), folder / "notebooks" / f"{row.slug}.ipynb")
    _add_math(folder / "_static")


def build_site(course: Course, folder: Path) -> Path:
    """Make the site in ``folder``; every warning is an error, and then the site that was there before stays."""
    from sphinx.cmd.build import main

    work = folder.with_name(f"{folder.name}-work")
    for old in (work, folder):
        if old.exists() and any(old.iterdir()) and not (old / MARK).is_file():
            raise CourseError(f"{old} holds files that are no site of ours; name another folder, or empty it yourself.")
    shutil.rmtree(work, ignore_errors=True)
    source, doctrees, pages = (work / name for name in ("source", "doctrees", "html"))
    lay_out(course, source)
    (work / MARK).touch()
    options = ["-W", "--keep-going", "-q", "-b", "html", "-c", str(course.root / "docs"), "-d", str(doctrees)]
    if main([*options, str(source), str(pages)]):
        raise CourseError(f"the site could not be built; the lines above say why, of the sources in {source}.")
    (pages / MARK).touch()
    shutil.rmtree(folder, ignore_errors=True)
    pages.rename(folder)
    return folder / "index.html"


def published(course: Course, row: Notebook) -> NotebookNode:
    """The notebook with its outputs: those of a whole fresh run of the same code, else the committed ones."""
    path, fresh = course.built(row.slug), course.build_dir("quick") / f"{row.slug}.ipynb"
    if not path.is_file():
        raise CourseError(f"{path} is missing; `python -m auxlib notebooks --execute` makes it.")
    notebook = nbformat.read(path, 4)
    try:
        check_executed(run := nbformat.read(fresh, 4), row.slug, "quick")
    except (OSError, ValueError):  # there is no run, or it stopped half-way
        return notebook
    return with_outputs(notebook, run)


def _texts(root: Path) -> list[Path]:
    """The pages that are no notebooks: the front page, the others in the order in which it names them, the README."""
    front = root / "docs" / FRONT
    if not front.is_file():
        raise CourseError(f"{front} is missing; it is the site's first page.")
    said = front.read_text(encoding="utf-8")
    others = sorted(path for path in front.parent.glob("*.md") if path != front)
    others.sort(key=lambda path: said.find(path.name) % (len(said) + 1))
    return [front, *others, *(root / name for name in BESIDE if (root / name).is_file())]


def _contents(course: Course, texts: list[Path]) -> str:
    """Two hidden tables of contents: the notebooks with their numbers, and the other pages."""
    books = [f"{row.number:02d} · {row.title} <notebooks/{row.slug}>" for row in course.notebooks]
    others = [(BESIDE.get(path.name), path.stem.lower()) for path in texts[1:]]
    lines = {"The course": books, "Beside it": [f"{title} <{name}>" if title else name for title, name in others]}
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(entries) + "\n```\n"
        for caption, entries in lines.items()
    )


def _dressed(course: Course, row: Notebook, layout: Layout) -> NotebookNode:
    """A notebook for the site: links turned, answers as Markdown, files to take away, words for its pictures."""
    notebook = published(course, row)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            folded = FOLDED.sub(r"<details><summary>\1</summary>\n\n\2\n\n</details>\n", cell.source)
            cell.source = layout.turned(folded, course.built(row.slug))
            cell.source += _files(course, row, layout) if "header" in tags(cell) else ""
        elif alt := _alt(cell):
            cell.metadata["mystnb"] = {"image": {"alt": alt}}  # where myst-nb looks; it drops an output's own
    return notebook


def _files(course: Course, row: Notebook, layout: Layout) -> str:
    """A line for the opening cell: this notebook as a file, and the one to solve."""
    handout = course.folder / "assignments" / f"{row.slug}.ipynb"
    paths = {"this notebook as a file": course.built(row.slug), "the same with gaps to fill": handout}
    links = [f"[{name}](path:{layout.copied(path)})" for name, path in paths.items() if path.is_file()]
    return f"\n\n**Take away**: {', '.join(links)}"


def _alt(cell: NotebookNode) -> str:
    """The words of the pictures that a code cell shows."""
    images = [(out, kind) for out in cell.outputs for kind in out.get("data", {}) if kind.startswith("image/")]
    said = [out.metadata.get(kind, {}).get("alt") or out.data.get("text/plain", "") for out, kind in images]
    return " ".join(dict.fromkeys(said))


def _add_math(folder: Path) -> None:
    """Copy the renderer of formulas, provided that it is the file that was pinned."""
    try:
        found = [path.locate() for path in files(MATH) or () if path.name == "tex-svg.js"]
    except PackageNotFoundError:
        found = []
    if len(found) != 1 or sha256_of(Path(found[0])) != MATH_SHA256:
        raise CourseError(f"{MATH} is missing or not the pinned one: pip install -c constraints.txt -e '.[site]'.")
    folder.mkdir(parents=True)
    shutil.copyfile(found[0], folder / "tex-svg.js")


if __name__ == "__main__":
    course = load_course()
    try:
        print(f"site: {build_site(course, course.root / 'build' / 'site')}")
    except CourseError as error:
        sys.exit(f"CourseError: {error}")
