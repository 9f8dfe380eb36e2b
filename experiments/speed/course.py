"""Time of the whole course: all notebooks with profile quick, as `make course` runs them."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from auxlib.data.assets import data_dir
from auxlib.errors import CourseError


def course_figures(jobs: int = 2) -> dict[str, float | int]:
    """Return the seconds of a run in a process of its own."""
    start = perf_counter()
    command = [sys.executable, "-m", "auxlib", "run", "--profile", "quick", "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=data_dir().parent, capture_output=True, text=True)
    if done.returncode:
        raise CourseError(
            f"the course failed; run `make course` to see where:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return {"course_quick_seconds": perf_counter() - start, "course_jobs": jobs}
