"""Can this machine run the course? ``report`` says what is there, what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from auxlib.data.assets import ASSETS, asset_path, cache_dir, data_dir, verify

PYTHON = (3, 11)
SPARE_MB = 500  # cached features and a trained auxiliary, on top of the assets


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``needed`` findings that are not ``good`` stop the main job."""

    topic: str
    text: str
    good: bool = True
    needed: bool = True


def report() -> int:
    """Print every finding. Returns 0 when the course can run (missing assets are fetched by it), 1 otherwise."""
    stops = 0
    for finding in (*_python(), *_packages(), *_assets(), *_room(), *_device(), *_shipped()):
        mark = "ok" if finding.good else "MISSING" if finding.needed else "note"
        print(f"{mark:8} {finding.topic:12} {finding.text}")
        stops += finding.needed and not finding.good
    print(f"{stops} things stand in the way of the course." if stops else "This machine can run the course.")
    return int(stops > 0)


def requirements() -> list[Requirement]:
    """What auxlib and its course need: from the repository's pyproject.toml, else from the installed package."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return [Requirement(line) for line in table["dependencies"] + table["optional-dependencies"]["course"]]
    lines = [Requirement(line) for line in metadata.requires("auxlib") or []]
    return [line for line in lines if not line.marker or line.marker.evaluate({"extra": "course"})]


def _python() -> Iterator[Finding]:
    have, want = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, PYTHON))
    good = sys.version_info[:2] >= PYTHON
    yield Finding("python", f"{have} ({sys.executable})" + ("" if good else f"; {want} or newer is needed"), good)


def _packages() -> Iterator[Finding]:
    wrong = []
    for line in requirements():
        try:
            have = metadata.version(line.name)
        except metadata.PackageNotFoundError:
            have = None
        if have is None or not line.specifier.contains(have, prereleases=True):
            wrong.append(f"{line} (found {have or 'nothing'})")
    advice = f"missing or too old: {', '.join(wrong)}; run `{Path(sys.executable).name} -m pip install -e '.[course]'`"
    yield Finding("packages", advice if wrong else f"{len(requirements())} packages within their bounds", not wrong)


def _assets() -> Iterator[Finding]:
    for name, asset in ASSETS.items():
        ready = asset_path(name)
        damage = verify(ready, deep=False) if ready else []
        text = f"{asset.title}; {asset.megabytes} MB; {asset.licence}"
        if not ready:
            text += f". Not here yet: `python -m auxlib fetch {name}`"
        elif damage:
            text += f". Damaged ({damage[0]}): the next fetch replaces it"
        yield Finding(name, text, bool(ready) and not damage, needed=False)


def _room() -> Iterator[Finding]:
    folder = cache_dir()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    lacking = sum(asset.megabytes for name, asset in ASSETS.items() if not asset_path(name)) + SPARE_MB
    free = shutil.disk_usage(there).free // 10**6
    yield Finding("cache", f"{folder} ($AUXLIB_CACHE moves it), {free} MB free, {lacking} MB wanted", free >= lacking)
    if not os.access(there, os.W_OK):
        yield Finding("cache", f"{there} cannot be written; set AUXLIB_CACHE to a folder that can", good=False)


def _device() -> Iterator[Finding]:
    yield Finding("cpu", f"{os.cpu_count()} cores")
    try:
        import torch
    except ImportError:
        return  # already reported among the packages
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        yield Finding("gpu", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB: profile gpu can be used")
    else:
        yield Finding("gpu", "none that torch can use; profiles quick and full need none", good=False, needed=False)


def _shipped() -> Iterator[Finding]:
    names = [path.relative_to(data_dir()).as_posix() for path in data_dir().rglob("checkpoints/**/*.safetensors")]
    text = ", ".join(sorted(names)) or "none in data/checkpoints; `python -m auxlib train --out FOLDER` makes one"
    yield Finding("auxiliary", text, bool(names), needed=False)
