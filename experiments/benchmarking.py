"""Timing, hardware and memory: seconds of several calls in turn, peak memory, and receipts of machine and versions."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from auxlib.frozen import best_device, best_dtype


def paired_seconds(*calls: Callable[[], Any], rounds: int = 5) -> tuple[list[float], ...]:
    """Time several calls in turn, A B A B …, so that noise on the machine reaches all of them.

    Each call is made once before its first round, as a warm-up.

    Returns:
        The seconds of every round, one list for each call.
    """
    times: tuple[list[float], ...] = tuple([] for _ in calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for call, seconds in zip(calls, times, strict=True):
            _wait_for_gpu()
            start = perf_counter()
            call()
            _wait_for_gpu()
            seconds.append(perf_counter() - start)
    return times


def _wait_for_gpu() -> None:
    """Wait until queued GPU work is done; otherwise a clock reads only the time it took to queue it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_ratio(seconds: Sequence[float], of: Sequence[float]) -> float:
    """Return the median over rounds of ``seconds / of``; noise common to both cancels."""
    return median([a / b for a, b in zip(seconds, of, strict=True)])


def peak_memory_mb() -> float:
    """Return this process's peak resident memory in MiB; NaN on Windows, which does not report it."""
    if platform.system() == "Windows":
        return math.nan
    status = Path("/proc/self/status")
    # `resource` reports on Linux the peak of the parent process as well
    if status.is_file() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return float(peak[1]) / 1024
    import resource

    maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maxrss / 2**20 if sys.platform == "darwin" else maxrss / 1024


def hardware_info() -> dict[str, str | int]:
    """Return the machine on which a figure was measured, for the receipt beside it."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": str(best_dtype(best_device())).removeprefix("torch."),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of Python, torch and transformers, without a build's local mark (``+cpu``)."""
    packages = {name: version(name).partition("+")[0] for name in ("torch", "transformers")}
    return {"python": platform.python_version()} | packages


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
