"""Restrictions on a process that runs submitted code: time, memory, no network, no programs, one folder to write to.

Not a security boundary; protects against accidents. Code written to escape will escape: grade the work of strangers on
a machine that holds nothing else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.kill",
    "ctypes.dlopen",
    "shutil.rmtree",
)
CHANGES_FILES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.link", "os.symlink")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def restrict_process(folder: Path, seconds: int, memory_mb: int) -> None:
    """Restrict this process for the rest of its life.

    Args:
        folder: becomes the working directory, and the only place where files can be written.
        seconds: CPU time; not enforced on Windows, where the parent process enforces wall time.
        memory_mb: limit beyond the memory mapped so far; enforced on Linux only.
    """
    os.chdir(folder)
    sys.dont_write_bytecode = True
    _disconnect_streams()
    _limit(seconds, memory_mb)
    home = str(folder.resolve())

    def check_event(event: str, args: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is not allowed while grading")
        if event in CHANGES_FILES or (event == "open" and _writes(args)):
            for path in (part for part in args[: 1 + (event != "open")] if isinstance(part, (str, bytes))):
                _require_inside(home, path)

    sys.addaudithook(check_event)  # Python has no way to remove an audit hook


def _writes(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITE_FLAGS)


def _require_inside(home: str, path: str | bytes) -> None:
    target = os.path.realpath(os.fsdecode(path))
    if target != os.devnull and os.path.commonpath([home, target]) != home:
        raise PermissionError(f"writing to {target} is not allowed while grading")


def _disconnect_streams() -> None:
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for the rest of this process
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _limit(seconds: int, memory_mb: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    statm = Path("/proc/self/statm")
    if statm.is_file():  # torch alone maps gigabytes that it never touches; count from there
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        limit = mapped + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
