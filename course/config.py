"""The course table ``notebooks/course.toml``, and one file of notebook parameters per profile.

Headers, map, site, runner and grader read these files, so a title, an exercise or a prerequisite is stated once.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from auxlib.data.assets import ASSETS
from auxlib.errors import CourseError

WORLDS = ("Letters", "Storyland", "Real", "both", "any")


@dataclass(frozen=True)
class ExerciseEntry:
    """One exercise in the table: minutes to solve, difficulty and importance from 1 to 5, points."""

    id: str
    minutes: int
    difficulty: int
    importance: int
    points: int


@dataclass(frozen=True)
class Notebook:
    """One notebook in the table."""

    slug: str  # file name without extension, number first: 02_product_of_experts
    number: int
    title: str
    world: str
    objectives: list[str]  # of the learner, each starting with a verb
    prerequisites: list[str]  # slugs of earlier notebooks
    minutes: int  # to read and to do, for a person
    needs: list[str]  # names of assets (auxlib.data.assets.ASSETS)
    exercises: list[ExerciseEntry] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """The course table and the paths of the files that it names."""

    root: Path
    title: str
    lead: str
    notebooks: list[Notebook]
    repository: str = ""  # owner/name on GitHub; adds links to Colab and Binder to the notebooks

    @property
    def folder(self) -> Path:
        """Folder of the notebooks, also their working directory."""
        return self.root / "notebooks"

    def source(self, slug: str) -> Path:
        """Return the path of the jupytext script that a notebook is generated from."""
        return self.folder / "src" / f"{slug}.py"

    def built(self, slug: str) -> Path:
        """Return the path of the committed notebook, worked and executed."""
        return self.folder / f"{slug}.ipynb"

    def build_dir(self, profile: str) -> Path:
        """Return the folder for the executed notebooks and the pages of a run with ``profile``."""
        return self.root / "build" / profile

    def select(self, names: list[str]) -> list[Notebook]:
        """Return rows by slug, number or path (``2``, ``02``, ``notebooks/02_product_of_experts.ipynb``); all for [].

        Raises:
            CourseError: there is no such notebook.
        """
        rows = {key: row for row in self.notebooks for key in (row.slug, f"{row.number:02d}", str(row.number))}
        keys = [Path(name).stem for name in names] or [row.slug for row in self.notebooks]
        if unknown := [key for key in keys if key not in rows]:
            raise CourseError(f"no notebook {unknown[0]!r}; the course has {', '.join(rows)}.")
        return [rows[key] for key in keys]


@dataclass(frozen=True)
class Profile:
    """One set of papermill parameters."""

    name: str
    cell_timeout: int  # seconds
    shared: dict[str, Any]  # parameters of all notebooks
    notebooks: dict[str, dict[str, Any]]  # further parameters of single notebooks, by slug

    def parameters(self, slug: str) -> dict[str, Any]:
        """Return the parameters of one notebook; its own override the shared ones."""
        return self.shared | self.notebooks.get(slug, {})


def load_course(root: Path | None = None) -> Course:
    """Load and validate the course table, of this repository or else of the current folder.

    Raises:
        CourseError: names the file and the key that is wrong.
    """
    repository = Path(__file__).resolve().parents[1]
    root = root or (repository if (repository / "notebooks").is_dir() else Path.cwd())
    path = root / "notebooks" / "course.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path} cannot be read ({error}); run this in a clone of the repository.") from error
    if set(raw) - {"repository"} != {"title", "lead", "notebook"}:
        raise CourseError(f"{path}: expected the keys title, lead and [[notebook]], found {', '.join(raw) or 'none'}.")
    rows = [_notebook(row, f"{path}, notebook {n}") for n, row in enumerate(raw["notebook"], 1)]
    _check_rows(rows, path)
    return Course(root, raw["title"], raw["lead"], rows, raw.get("repository", ""))


def load_profile(course: Course, name: str) -> Profile:
    """Load and validate ``profiles/<name>.yaml``.

    Raises:
        CourseError: names the file and the key that is wrong.
    """
    import yaml

    path = course.folder / "profiles" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise CourseError(f"no profile {name!r}: {path} is missing; known are {known or 'none'}.")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CourseError(f"{path}: not readable as YAML: {error}.") from error
    raw = {"notebooks": {}, **raw} if isinstance(raw, dict) else {}
    profile = _record(Profile, {"name": name, **raw}, str(path))
    if (stated := profile.shared.get("PROFILE")) != name:
        raise CourseError(f"{path}: shared.PROFILE is {stated!r}, expected the file's name, {name!r}.")
    slugs = {row.slug for row in course.notebooks}
    if wrong := [slug for slug, own in profile.notebooks.items() if slug not in slugs or not isinstance(own, dict)]:
        raise CourseError(f"{path}: notebooks.{wrong[0]} is not in course.toml, or holds no NAME: value.")
    return profile


def _notebook(raw: dict[str, Any], where: str) -> Notebook:
    where = f"{where} ({raw.get('slug', 'no slug')})"
    items = enumerate(raw.get("exercises", []), 1)
    exercises = [_record(ExerciseEntry, item, f"{where}, exercise {n}") for n, item in items]
    return _record(Notebook, raw | {"exercises": exercises}, where)


def _record(cls: type, raw: dict[str, Any], where: str) -> Any:
    """Build a dataclass from a mapping; unknown, missing and mistyped keys are errors that name ``where``."""
    hints = get_type_hints(cls)
    required = {item.name for item in fields(cls) if item.default_factory is MISSING}
    if unknown := set(raw) - set(hints):
        raise CourseError(f"{where}: unknown key {min(unknown)!r}; known are {', '.join(hints)}.")
    if missing := required - set(raw):
        raise CourseError(f"{where}: key {min(missing)!r} is missing.")
    for key, value in raw.items():
        if not _fits(value, hints[key]):
            raise CourseError(f"{where}: key {key!r} is {value!r}, expected {hints[key]}.")
    return cls(**raw)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(isinstance(item, get_args(kind)[0]) for item in value)
    return isinstance(value, get_origin(kind) or kind) and not isinstance(value, bool)


def _check_rows(rows: list[Notebook], path: Path) -> None:
    seen: set[str] = set()
    for row in rows:
        number = row.slug.split("_")[0]
        if not number.isdigit() or int(number) != row.number:
            raise CourseError(f"{path}: {row.slug} has number {row.number}; the slug must start with the number.")
        if row.slug in seen or row.world not in WORLDS:
            raise CourseError(f"{path}: {row.slug} is listed twice, or its world {row.world!r} is not one of {WORLDS}.")
        if unknown := [need for need in row.needs if need not in ASSETS]:
            raise CourseError(f"{path}: {row.slug}: key 'needs' names {unknown[0]!r}; assets are {', '.join(ASSETS)}.")
        if late := [slug for slug in row.prerequisites if slug not in seen]:
            raise CourseError(f"{path}: {row.slug}: prerequisite {late[0]!r} is not a notebook that comes before it.")
        seen.add(row.slug)
