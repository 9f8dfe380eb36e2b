"""Assets: complete and as pinned, or an error with advice."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from auxlib.data import assets
from auxlib.data.assets import ASSETS, MANIFEST, Asset, asset_path, cache_dir, describe, fetch, sha256_of, verify
from auxlib.errors import AssetError

WHEEL, TARBALL = "fake-1.0-py3-none-any.whl", "fake-1.0.tar.gz"
CONTENT = {"fake/model.bin": b"weights" * 1000, "fake/LICENSE.txt": b"do as you like\n"}
METADATA = {
    "fake-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n",
    "fake-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "fake-1.0.dist-info/RECORD": b"",
}
HOSTILE = {"../../escaped.txt": b"outside", "/tmp/auxlib-escaped.txt": b"outside", "fake/unasked.txt": b"not wanted"}
Make = Callable[..., Asset]
pytestmark = pytest.mark.usefixtures("cache")


def pack(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as box:
            for name, data in members.items():
                box.writestr(name, data)
        return
    with tarfile.open(path, "w:gz") as box:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            box.addfile(entry, io.BytesIO(data))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Register an asset called ``fake`` and put its archive into the drop folder (or elsewhere)."""

    def register(
        archive: str = WHEEL, extra: dict[str, bytes] = HOSTILE, where: Path | None = None, **options
    ) -> Asset:
        folder = where or cache_dir() / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        pack(folder / archive, {**CONTENT, **METADATA, **extra})
        pins = tmp_path / "data" / "assets"
        pins.mkdir(parents=True, exist_ok=True)
        (pins / "fake.txt").write_text(f"fake==1.0 --hash=sha256:{sha256_of(folder / archive)}\n")
        members = {name: Path(name).name for name in CONTENT}
        described = {"title": "A fake", "licence": "none", "megabytes": 1}
        fake = Asset(name="fake", archive=archive, members=members, **described, **options)
        monkeypatch.setitem(ASSETS, "fake", fake)
        monkeypatch.setattr(assets, "data_dir", lambda: tmp_path / "data")
        return fake

    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip runs, and finds nothing
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return register


def left_behind() -> set[str]:
    """Names of all files beside the ready assets, without locks."""
    return {path.name for path in (cache_dir() / "assets").iterdir() if not path.name.endswith(".lock")}


# --- the usual way ---


@pytest.mark.parametrize("archive", [WHEEL, TARBALL])
def test_a_dropped_archive_is_unpacked_and_only_the_named_members_are_written(
    make: Make, tmp_path: Path, archive: str
) -> None:
    make(archive)
    assert asset_path("fake") is None
    folder = fetch("fake")
    assert folder == asset_path("fake")
    assert {path.name for path in folder.iterdir()} == {"model.bin", "LICENSE.txt", MANIFEST}
    assert (folder / "model.bin").read_bytes() == CONTENT["fake/model.bin"]
    assert verify(folder) == []
    assert left_behind() == {"fake"}
    written = {path.name for path in tmp_path.rglob("*")}
    assert not written & {"escaped.txt", "unasked.txt"}
    assert not Path("/tmp/auxlib-escaped.txt").exists()


def test_pip_is_asked_with_the_pin_when_nothing_was_dropped(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(extra={}, where=tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    assert verify(fetch("fake")) == []
    assert left_behind() == {"fake"}


def test_a_second_fetch_takes_what_is_there(make: Make) -> None:
    make()
    first = fetch("fake")
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    (cache_dir() / "downloads" / WHEEL).unlink()
    assert fetch("fake") == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == before


def test_what_is_kept_can_be_converted_once(make: Make) -> None:
    def convert(folder: Path) -> None:
        (folder / "model.bin").rename(folder / "model.safetensors")

    make(convert=convert)
    folder = fetch("fake")
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "model.bin").exists()
    assert verify(folder) == []


# --- what can go wrong ---


def test_an_unknown_name_lists_the_known_ones() -> None:
    for ask in (fetch, asset_path, describe):
        with pytest.raises(AssetError, match=r"unknown asset 'gpt5'; known are minilm, smollm2, topics, vader"):
            ask("gpt5")


def test_without_any_source_every_place_tried_is_named(make: Make) -> None:
    make(where=cache_dir() / "elsewhere")
    with pytest.raises(AssetError) as caught:
        fetch("fake")
    message = str(caught.value)
    for part in (str(cache_dir() / "assets" / "fake"), str(cache_dir() / "downloads"), "fake.txt", WHEEL, "network"):
        assert part in message
    assert "\n" not in message
    assert asset_path("fake") is None
    assert not left_behind()


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
@pytest.mark.parametrize("archive", [WHEEL, TARBALL])
def test_an_archive_that_is_not_the_pinned_one_is_refused(make: Make, archive: str, damage: str) -> None:
    make(archive)
    path = cache_dir() / "downloads" / archive
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[:-20], "altered": whole[:-1] + b"!", "empty": b""}[damage])
    with pytest.raises(AssetError, match=r"is not the file that was pinned: sha256 .* expected .*delete it"):
        fetch("fake")
    assert asset_path("fake") is None
    assert not left_behind()


def test_pip_refuses_an_altered_archive_as_well(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(extra={}, where=tmp_path / "index")
    pack(tmp_path / "index" / WHEEL, {**CONTENT, **METADATA, "more": b"of it"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(AssetError, match="could not get fake"):
        fetch("fake")
    assert not left_behind()


def test_a_member_that_is_not_there_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = make()
    monkeypatch.setitem(fake.members, "fake/more.bin", "more.bin")
    with pytest.raises(AssetError, match=r"has no member fake/more\.bin"):
        fetch("fake")
    assert not left_behind()


def test_a_conversion_that_fails_leaves_nothing(make: Make) -> None:
    def convert(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    make(convert=convert)
    with pytest.raises(AssetError, match=r"No space left .* free some space, or set AUXLIB_CACHE"):
        fetch("fake")
    assert not left_behind()


def test_a_cache_that_cannot_be_a_folder_is_reported(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUXLIB_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="set AUXLIB_CACHE to a folder that can be written"):
        fetch("fake")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_reported(make: Make) -> None:
    make()
    cache_dir().chmod(0o500)
    try:
        with pytest.raises(AssetError, match="set AUXLIB_CACHE to a folder that can be written"):
            fetch("fake")
    finally:
        cache_dir().chmod(0o700)


@pytest.mark.parametrize("spoil", ["missing", "longer", "manifest"])
def test_a_spoilt_folder_is_fetched_anew(make: Make, spoil: str) -> None:
    make()
    folder = fetch("fake")
    if spoil == "missing":
        (folder / "model.bin").unlink()
    elif spoil == "longer":
        (folder / "model.bin").write_bytes(b"x")
    else:
        (folder / MANIFEST).write_text('{"model.bin": [70')
    assert verify(folder)
    assert verify(fetch("fake")) == []


def test_verify_finds_a_change_that_keeps_the_size(make: Make) -> None:
    make()
    folder = fetch("fake")
    (folder / "model.bin").write_bytes(b"WEIGHTS" * 1000)
    assert verify(folder) == ["model.bin has changed since it was fetched"]
    assert verify(folder, deep=False) == []


# --- several processes ---

CHILD = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from auxlib.data import assets

    data, log = Path(sys.argv[1]), Path(sys.argv[2])

    def convert(folder):
        with log.open("a") as stream:
            stream.write("converted\\n")
        time.sleep(float(sys.argv[3]))

    assets.data_dir = lambda: data
    members = {"fake/model.bin": "model.bin", "fake/LICENSE.txt": "LICENSE.txt"}
    assets.ASSETS["fake"] = assets.Asset("fake", sys.argv[4], members, "A fake", "none", 1, convert)
    assert assets.verify(assets.fetch("fake")) == []
""")


def start(tmp_path: Path, seconds: float) -> subprocess.Popen:
    log = tmp_path / "log"
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "data"), str(log), str(seconds), WHEEL],
        cwd=Path(assets.__file__).parents[2],
    )


def test_two_processes_may_fetch_at_once_and_the_work_is_done_once(make: Make, tmp_path: Path) -> None:
    make()
    children = [start(tmp_path, 0.3) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert (tmp_path / "log").read_text() == "converted\n"
    assert left_behind() == {"fake"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_fetch_leaves_nothing_that_looks_ready_and_the_next_one_sweeps_up(make: Make, tmp_path: Path) -> None:
    make()
    child = start(tmp_path, 60)
    for _ in range(600):
        if (tmp_path / "log").exists():
            break
        time.sleep(0.05)
    child.kill()
    assert child.wait(60) == -signal.SIGKILL
    assert asset_path("fake") is None
    assert verify(fetch("fake")) == []
    assert left_behind() == {"fake"}


# --- the real ones ---


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_every_asset_is_pinned_once_and_has_a_card_with_its_licence(name: str) -> None:
    asset = ASSETS[name]
    lines = [line for line in asset.requirement.read_text().splitlines() if line.strip() and line[0] != "#"]
    assert len(lines) == 1
    assert re.fullmatch(r"[\w-]+==[\d.]+ --hash=sha256:[0-9a-f]{64}", lines[0])
    assert asset.sha256() in lines[0]
    project, version = re.match(r"([\w-]+)==([\d.]+)", lines[0]).groups()
    assert asset.archive.startswith(f"{project.replace('-', '_')}-{version}")
    card = asset.requirement.with_suffix(".md").read_text(encoding="utf-8")
    assert asset.licence.split()[0] in card


def test_a_pin_file_with_no_or_two_pins_is_refused(make: Make) -> None:
    fake = make()
    pin = fake.requirement.read_text()
    for text in ("fake==1.0\n", pin + pin):
        fake.requirement.write_text(text)
        with pytest.raises(AssetError, match="exactly one"):
            fetch("fake")


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_what_was_fetched_is_still_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real cache
    if (folder := asset_path(name)) is None:
        pytest.skip(f"needs {name}: python -m auxlib fetch {name}")
    assert verify(folder) == []
