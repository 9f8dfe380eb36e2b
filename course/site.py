"""The course as web pages: sources laid out for Sphinx, which builds them.

Nothing is executed here. A notebook's page shows the outputs of a run of the same code, if that run was whole, else the
committed outputs. The laid-out sources are for the site alone: links lead to its pages or to copies of files, folded
answers are Markdown, and every picture carries its alternative text. The pages request nothing from other hosts; the
renderer of formulas (MathJax) comes with a package and is verified by its hash.

``python -m auxlib run`` builds the pages of its run, with a page of results; ``python -m course.site`` builds the site.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from auxlib.data.assets import sha256_of
from auxlib.errors import CourseError
from course.config import Course, Notebook, load_course
from course.outputs import check_executed, tags, with_outputs
from course.timings import load_timings

MATH = "sphinx-mathjax-offline"  # carries MathJax 3.2.2 as its makers published it
MATH_SHA256 = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
MARKER = ".auxlib-site"  # marks folders that this module made and may therefore remove
PRIVATE = "notebooks/answers"  # for instructors
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^()\s]+)\)")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
INCLUDE = re.compile(r"(?<=\{include\} )(\S+)")
# hints are generated as HTML and stay it: Markdown would read the stars of a formula
FOLDED = re.compile(r"<details>\s*<summary>(?!Hint )(.*?)</summary>\s*(.*?)\s*</details>", re.DOTALL)
FRONT = "index.md"
ROOT_PAGES = {"README.md": "Overview", "CONTRIBUTING.md": "Contributing"}  # and their names in the menu
RUN_PAGE = "run.md"


@dataclass
class Layout:
    """Places on the site: ``pages`` maps files of the repository to theirs."""

    root: Path
    folder: Path
    pages: dict[Path, str] = field(default_factory=dict)

    def resolve(self, text: str, source: Path) -> str:
        """Return the Markdown of ``source`` with links, images and included files as they are on the site."""
        base = source.parent
        text = IMAGE.sub(lambda match: self._image(match, base), text)
        text = LINK.sub(lambda match: self._link(match, base), text)
        return INCLUDE.sub(lambda match: self._place(match[0], base) or match[0], text)

    def _image(self, match: re.Match[str], base: Path) -> str:
        alt, target = match.groups()
        if "://" in target:
            return alt  # a badge, for instance: every reader's browser would request it from its host
        return f"![{alt}]({self._place(target, base) or target})"

    def _link(self, match: re.Match[str], base: Path) -> str:
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        if path and (base / path).is_dir():
            return text
        if "://" in target or not path or not (place := self._place(path, base)):
            return match[0]
        download = "path:" if place.startswith("/files/") else ""
        return f"[{text}]({download}{place}{'#' if anchor else ''}{anchor})"

    def _place(self, path: str, base: Path) -> str | None:
        """Return the place of a repository's file on the site, as a page or a copy; None if there is no such file."""
        file = Path(os.path.normpath(base / path))
        if file in self.pages:
            return f"/{self.pages[file]}"
        return self.copy(file) if file.is_file() and file.is_relative_to(self.root) else None

    def copy(self, file: Path) -> str:
        """Copy a file of the repository to the site and return its place.

        Raises:
            CourseError: the file is for instructors.
        """
        name = file.relative_to(self.root).as_posix()
        if name.startswith(PRIVATE):
            raise CourseError(f"a page links to {name}, which is for instructors; take the link out.")
        copy = self.folder / "files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        return f"/files/{name}"


def lay_out(course: Course, folder: Path, run: Path | None = None) -> None:
    """Write the sources that Sphinx reads into the new folder ``folder``; see `build_site`."""
    texts = _texts(course.root)
    (folder / "notebooks").mkdir(parents=True)
    books = {course.built(row.slug): f"notebooks/{row.slug}.ipynb" for row in course.notebooks}
    layout = Layout(course.root, folder, texts | books)
    record = read_run(run) if run else None
    for path, place in texts.items():
        text = layout.resolve(path.read_text(encoding="utf-8"), path)
        text += _contents(course, texts, with_run=record is not None) if path.name == FRONT else ""
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    for row in course.notebooks:
        nbformat.write(_notebook_source(course, row, layout, run), folder / "notebooks" / f"{row.slug}.ipynb")
    if record:
        (folder / RUN_PAGE).write_text(run_page(course, record), encoding="utf-8")
    _add_math(folder / "_static")


def build_site(course: Course, folder: Path, run: Path | None = None) -> Path:
    """Build the site in ``folder`` and return its index; every warning of Sphinx is an error.

    Args:
        run: folder of a run, whose outputs are shown and whose results become a page. When None, the outputs of
            ``build/quick`` are shown where there are any, without such a page.

    Raises:
        CourseError: Sphinx refused a source (an earlier site in ``folder`` stays), a source is missing, or ``folder``
            holds files that are no site.
    """
    from sphinx.cmd.build import main

    work = folder.with_name(f"{folder.name}-work")
    for old in (work, folder):
        if old.exists() and any(old.iterdir()) and not (old / MARKER).is_file():
            raise CourseError(f"{old} holds files that are no site of ours; name another folder, or empty it yourself.")
    shutil.rmtree(work, ignore_errors=True)
    source, doctrees, pages = (work / name for name in ("source", "doctrees", "html"))
    lay_out(course, source, run)
    (work / MARKER).touch()
    options = ["-W", "--keep-going", "-q", "-b", "html", "-c", str(course.root / "docs"), "-d", str(doctrees)]
    if main([*options, str(source), str(pages)]):
        raise CourseError(f"the site could not be built; the lines above say why, of the sources in {source}.")
    (pages / MARKER).touch()
    shutil.rmtree(folder, ignore_errors=True)
    pages.rename(folder)
    return folder / "index.html"


def published(course: Course, row: Notebook, run: Path | None = None) -> NotebookNode:
    """Return the notebook with the outputs of a run (``build/quick`` when None) if that was whole, else the committed.

    Raises:
        CourseError: the notebook has not been generated.
    """
    path, folder = course.built(row.slug), run or course.build_dir("quick")
    if not path.is_file():
        raise CourseError(f"{path} is missing; `python -m auxlib notebooks --execute` makes it.")
    notebook = nbformat.read(path, 4)
    try:
        executed = nbformat.read(folder / path.name, 4)
        check_executed(executed, row.slug, read_run(folder)["profile"] if run else "quick")
    except (OSError, ValueError):  # there is no run of it, or the run stopped early
        return notebook
    return with_outputs(notebook, executed)


def read_run(folder: Path) -> dict[str, Any]:
    """Load the record that a run left in its folder."""
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def run_page(course: Course, record: dict[str, Any]) -> str:
    """Return the page of a run's results in Markdown: one row for each notebook, and the machine."""
    outcomes = {outcome["slug"]: outcome for outcome in record["notebooks"]}
    usual = load_timings(course) if record["profile"] == "quick" else {}
    lines = ["# Results of this run", "| notebook | result | usually |", "|---|---|---|"]
    for row in course.notebooks:
        timing = usual[row.slug].in_words() if row.slug in usual else "–"
        link = f"[{row.number:02d} · {row.title}](notebooks/{row.slug}.ipynb)"
        lines.append(f"| {link} | {_result(outcomes.get(row.slug))} | {timing} |")
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines.append(
        f"\nProfile {record['profile']}, {record['seconds']} s in all on {record['machine']}. {versions}. "
        "Pages of notebooks that failed or were not in this run show the committed outputs."
    )
    return "\n".join([lines[0], "", *lines[1:]]) + "\n"


def _result(outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return "not in this run"
    if not outcome["error"]:
        return f"{outcome['seconds']} s"
    error = " ".join(outcome["error"].split()).replace("`", "'").replace("|", r"\|")
    return f"**failed**: `{error}`"


def _texts(root: Path) -> dict[Path, str]:
    """Return the pages in Markdown and their places: the front page, the others in the order it links them, the README.

    Raises:
        CourseError: there is no front page.
    """
    docs = root / "docs"
    front = docs / FRONT
    if not front.is_file():
        raise CourseError(f"{front} is missing; it is the site's first page.")
    text = front.read_text(encoding="utf-8")
    names = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md") if path != front)
    names.sort(key=lambda name: text.find(name) % (len(text) + 1))  # pages without a link come last
    at_root = {root / name: name.lower() for name in ROOT_PAGES if (root / name).is_file()}
    return {front: FRONT} | {docs / name: name.lower() for name in names} | at_root


def _contents(course: Course, texts: dict[Path, str], with_run: bool) -> str:
    """Return two hidden tables of contents: the notebooks with their numbers, and the other pages."""
    books = [f"{row.number:02d} · {row.title} <notebooks/{row.slug}>" for row in course.notebooks]
    names = {place.removesuffix(".md"): ROOT_PAGES.get(path.name) for path, place in texts.items() if place != FRONT}
    others = [f"{title} <{name}>" if title else name for name, title in names.items()]
    lines = {"The course": books, "Beside it": ["run", *others] if with_run else others}
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(entries) + "\n```\n"
        for caption, entries in lines.items()
    )


def _notebook_source(course: Course, row: Notebook, layout: Layout, run: Path | None) -> NotebookNode:
    """Return a notebook for the site: links resolved, answers in Markdown, files to download, alternative texts."""
    notebook = published(course, row, run)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            folded = FOLDED.sub(r"<details><summary>\1</summary>\n\n\2\n\n</details>\n", cell.source)
            cell.source = layout.resolve(folded, course.built(row.slug))
            cell.source += _downloads(course, row, layout) if "header" in tags(cell) else ""
        elif alt := _alt(cell):
            cell.metadata["mystnb"] = {"image": {"alt": alt}}  # where myst-nb looks; it drops an output's own
    return notebook


def _downloads(course: Course, row: Notebook, layout: Layout) -> str:
    """Return a line for the opening cell with links to this notebook and to its assignment."""
    handout = course.folder / "assignments" / f"{row.slug}.ipynb"
    paths = {"this notebook as a file": course.built(row.slug), "the same with gaps to fill": handout}
    links = [f"[{name}](path:{layout.copy(path)})" for name, path in paths.items() if path.is_file()]
    return f"\n\n**Take away**: {', '.join(links)}"


def _alt(cell: NotebookNode) -> str:
    """Return the alternative text of the pictures that a code cell shows."""
    images = [(out, kind) for out in cell.outputs for kind in out.get("data", {}) if kind.startswith("image/")]
    texts = [out.metadata.get(kind, {}).get("alt") or out.data.get("text/plain", "") for out, kind in images]
    return " ".join(dict.fromkeys(texts))


def _add_math(folder: Path) -> None:
    """Copy the renderer of formulas, provided that it is the pinned file."""
    try:
        paths = [path.locate() for path in files(MATH) or () if path.name == "tex-svg.js"]
    except PackageNotFoundError:
        paths = []
    if len(paths) != 1 or sha256_of(Path(str(paths[0]))) != MATH_SHA256:
        raise CourseError(f"{MATH} is missing or not the pinned one: pip install -c constraints.txt -e '.[site]'.")
    folder.mkdir(parents=True)
    shutil.copyfile(str(paths[0]), folder / "tex-svg.js")


if __name__ == "__main__":
    course = load_course()
    try:
        print(f"site: {build_site(course, course.root / 'build' / 'site')}")
    except CourseError as error:
        sys.exit(f"CourseError: {error}")
