"""How is a stranger's code kept from doing harm by accident? Limits on time and memory, no network, no other programs,
and no file written outside a folder of its own.

This is a fence and no prison: who means harm and knows Python will find a hole in it. Grade the work of strangers on a
machine that holds nothing else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

CLOSED = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill",
          "ctypes.dlopen", "shutil.rmtree")  # fmt: skip
CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def restrict_process(folder: Path, seconds: int, memory_mb: int) -> None:
    """From now on this process is fenced in; there is no way back.

    Args:
        folder: where it works, and may write.
        seconds: of computing, not of waiting.
        memory_mb: that it may ask for beyond what it has; not everywhere is that kept (Windows, macOS).
    """
    os.chdir(folder)
    sys.dont_write_bytecode = True
    _no_input_and_no_output()
    _limit(seconds, memory_mb)
    home = str(folder.resolve())

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(CLOSED):
            raise PermissionError(f"{event} is not allowed while grading")
        if event in CHANGING or (event == "open" and _writes(args)):
            for path in (part for part in args[: 1 + (event != "open")] if isinstance(part, (str, bytes))):
                _stay_inside(home, path)

    sys.addaudithook(watch)  # nobody can take it off again


def _writes(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITING)


def _stay_inside(home: str, path: str | bytes) -> None:
    where = os.path.realpath(os.fsdecode(path))
    if where != os.devnull and os.path.commonpath([home, where]) != home:
        raise PermissionError(f"writing to {where} is not allowed while grading")


def _no_input_and_no_output() -> None:
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for the rest of this process
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _limit(seconds: int, memory_mb: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the one who waits for this process sees to the time
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    statm = Path("/proc/self/statm")
    if statm.is_file():  # torch alone maps gigabytes that it never touches; count from there
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        most = mapped + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
