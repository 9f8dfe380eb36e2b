"""The command ``doctor``: what this machine has for the course, what is missing, and what to do about it."""

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

from auxlib.commands import Add
from auxlib.data.assets import ASSETS, asset_path, cache_dir, data_dir, verify

PYTHON = (3, 11)
SPARE_MB = 500  # for cached features and a trained auxiliary, in addition to the assets


@dataclass(frozen=True)
class Finding:
    """A line of the report; the course cannot run if a ``required`` finding is not ``ok``."""

    topic: str
    text: str
    ok: bool = True
    required: bool = True


def add_commands(add: Add) -> None:
    """Add the command ``doctor`` to the command line."""
    add("doctor", lambda args: report(), "report what is there and what is missing")


def report() -> int:
    """Print all findings; return 0 if the course can run (it fetches missing assets itself), else 1."""
    missing = 0
    for finding in (*_python(), *_packages(), *_assets(), *_disk_space(), *_devices(), *_shipped()):
        mark = "ok" if finding.ok else "MISSING" if finding.required else "note"
        print(f"{mark:8} {finding.topic:12} {finding.text}")
        missing += finding.required and not finding.ok
    print(f"{missing} things stand in the way of the course." if missing else "This machine can run the course.")
    return int(missing > 0)


def requirements() -> list[Requirement]:
    """Return the requirements of auxlib and the course, from pyproject.toml or from the installed package."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return [Requirement(line) for line in table["dependencies"] + table["optional-dependencies"]["course"]]
    lines = [Requirement(line) for line in metadata.requires("auxlib") or []]
    return [line for line in lines if not line.marker or line.marker.evaluate({"extra": "course"})]


def _python() -> Iterator[Finding]:
    have, want = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, PYTHON))
    ok = sys.version_info[:2] >= PYTHON
    yield Finding("python", f"{have} ({sys.executable})" + ("" if ok else f"; {want} or newer is needed"), ok)


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
        yield Finding(name, text, bool(ready) and not damage, required=False)


def _disk_space() -> Iterator[Finding]:
    folder = cache_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    needed = sum(asset.megabytes for name, asset in ASSETS.items() if not asset_path(name)) + SPARE_MB
    free = shutil.disk_usage(existing).free // 10**6
    yield Finding("cache", f"{folder} ($AUXLIB_CACHE moves it), {free} MB free, {needed} MB wanted", free >= needed)
    if not os.access(existing, os.W_OK):
        yield Finding("cache", f"{existing} cannot be written; set AUXLIB_CACHE to a folder that can", ok=False)


def _devices() -> Iterator[Finding]:
    yield Finding("cpu", f"{os.cpu_count()} cores")
    try:
        import torch
    except ImportError:
        return  # already reported among the packages
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        yield Finding("gpu", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB: profile gpu can be used")
    else:
        yield Finding("gpu", "none that torch can use; profiles quick and full need none", ok=False, required=False)


def _shipped() -> Iterator[Finding]:
    names = [path.relative_to(data_dir()).as_posix() for path in data_dir().rglob("checkpoints/**/*.safetensors")]
    text = ", ".join(sorted(names)) or "none in data/checkpoints; `python -m auxlib train --out FOLDER` makes one"
    yield Finding("auxiliary", text, bool(names), required=False)
