"""Portability check: the notebooks executed as on other processors, compared with the committed outputs.

Libraries choose their kernels by the processor's instruction set, and other kernels sum in another order. Environment
variables restrict the choice to a smaller set: ``ATEN_CPU_CAPABILITY`` (PyTorch), ``ONEDNN_MAX_CPU_ISA`` and
``MKL_ENABLE_INSTRUCTIONS``. ``AUXLIB_DTYPE`` sets the precision of the frozen models. Each run is compared with the
committed outputs by `compare.py`, and differences are listed cell by cell.

``COMBINATIONS`` change one setting at a time, and end with the one farthest from the recorded run. bfloat16 is combined
with AVX-512 only: no other x86 processor has instructions for it, so `best_dtype` never chooses it there. Any
combination can be named: ``python -m course.portability 02 04 --on avx2-2-bfloat16``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode

from auxlib.data.assets import cache_dir, fetch
from auxlib.errors import AuxlibError, CourseError
from course.compare import Sanitize, differences, sanitizer, stated_tolerance
from course.config import Course, Notebook, load_course
from course.execute import run
from course.outputs import tags
from course.prose_numbers import mismatched_numbers
from experiments.tables import as_text

INSTRUCTIONS = {  # in increasing order, with the values of the three variables
    "default": ("default", "SSE41", "SSE4_2"),
    "avx2": ("avx2", "AVX2", "AVX2"),
    "avx512": ("avx512", "AVX512_CORE_BF16", "AVX512"),
}
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
FROZEN = {"smollm2", "minilm"}  # the models whose precision AUXLIB_DTYPE sets
COMBINATIONS = (
    "avx512-1-bfloat16",  # as the committed outputs were made
    "avx512-1-float32",
    "avx512-2-bfloat16",
    "avx2-1-float32",
    "default-1-float32",
    "default-2-float32",
)


@dataclass(frozen=True)
class Combination:
    """Instruction set, threads of a kernel, and precision of the frozen models."""

    instructions: str
    threads: int
    dtype: str

    @classmethod
    def parse(cls, name: str) -> Combination:
        """Parse a name such as ``avx2-1-float32``.

        Raises:
            CourseError: the name has another form.
        """
        match = re.fullmatch(rf"({'|'.join(INSTRUCTIONS)})-([1-9]\d*)-(float32|bfloat16)", name)
        if not match:
            raise CourseError(
                f"no combination {name!r}; write INSTRUCTIONS-THREADS-DTYPE, for instance {COMBINATIONS[3]} "
                f"(instructions: {', '.join(INSTRUCTIONS)}; dtype: float32 or bfloat16)."
            )
        return cls(match[1], int(match[2]), match[3])

    @property
    def name(self) -> str:
        """Name that ``parse`` reads."""
        return f"{self.instructions}-{self.threads}-{self.dtype}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a kernel with this combination."""
        return dict(zip(VARIABLES, INSTRUCTIONS[self.instructions], strict=True)) | {"AUXLIB_DTYPE": self.dtype}

    def case(self, row: Notebook) -> tuple[str, str, int, str]:
        """Return the settings that affect a notebook; combinations with the same case need only one run."""
        return row.slug, self.instructions, self.threads, self.dtype if FROZEN & set(row.needs) else ""


def measure(course: Course, rows: list[Notebook], combination: Combination, sanitize: Sanitize) -> dict[str, list[str]]:
    """Execute notebooks under a combination, and return by slug how they differ from the committed notebooks.

    The executed notebooks stay in ``build/portability/<combination>/``. The kernels share the fetched models with this
    process, but not the cached states: those of another combination would hide a difference.
    """
    folder = course.root / "build" / "portability" / combination.name
    shutil.rmtree(folder, ignore_errors=True)
    cache = folder / "cache"
    cache.mkdir(parents=True)
    for name in {name for row in rows for name in row.needs}:
        fetch(name)
    (cache_dir() / "assets").mkdir(parents=True, exist_ok=True)
    (cache / "assets").symlink_to((cache_dir() / "assets").resolve(), target_is_directory=True)
    jobs = max(1, (os.cpu_count() or 1) // combination.threads)
    environment = combination.environment | {"AUXLIB_CACHE": str(cache)}
    outcomes = run(course, rows, "quick", jobs, combination.threads, folder, environment)
    shutil.rmtree(cache)
    failed = {outcome.slug: [f"failed: {outcome.error}"] for outcome in outcomes if outcome.error}
    return {
        row.slug: failed.get(row.slug)
        or moved(nbformat.read(course.built(row.slug), 4), nbformat.read(folder / f"{row.slug}.ipynb", 4), sanitize)
        for row in rows
    }


def moved(committed: NotebookNode, executed: NotebookNode, sanitize: Sanitize = str) -> list[str]:
    """Return how another run of a notebook differs: in compared cells, and from numbers in the prose."""
    executed_cells = {cell.id: cell for cell in executed.cells}
    lines = []
    for index, cell in enumerate(committed.cells):
        if "nbval-check-output" in tags(cell):
            other = executed_cells.get(cell.id)
            if other is None or other.source != cell.source:
                lines.append(f"cell {index}: the run holds another source")
            else:
                differing = differences(cell.outputs, other.outputs, stated_tolerance(cell), sanitize)
                lines += [f"cell {index}: {line}" for line in differing]
    return lines + [f"prose, {line}" for line in mismatched_numbers(committed, executed)]


def possible(instructions: str) -> bool:
    """Return whether this machine has the instructions; a kernel that uses missing ones dies."""
    import torch

    known = list(INSTRUCTIONS)
    here = torch.backends.cpu.get_cpu_capability().lower()
    return known.index(instructions) <= (known.index(here) if here in known else 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the combinations, print the differences, and return 0 without any, 1 with some, 2 for an error."""
    description = "Execute notebooks as other processors would, and list what differs from the committed outputs."
    parser = argparse.ArgumentParser(prog="python -m course.portability", description=description)
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number or name; all without any")
    parser.add_argument("--on", default=",".join(COMBINATIONS), metavar="NAME,NAME", help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        course = load_course()
        chosen = [Combination.parse(name) for name in args.on.split(",")]
        return int(_report(course, course.select(args.notebooks), chosen))
    except AuxlibError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _report(course: Course, rows: list[Notebook], combinations: Iterable[Combination]) -> bool:
    """Print the differences under each combination, then a summary. Return whether there are any."""
    sanitize = sanitizer(course.root / "tests" / "sanitize.cfg")
    seen: set[tuple[str, str, int, str]] = set()
    summary = []
    for combination in combinations:
        if not possible(combination.instructions):
            summary.append({"combination": combination.name, "notebooks": "not run: instructions missing", "moved": ""})
            continue
        todo = [row for row in rows if combination.case(row) not in seen]
        seen |= {combination.case(row) for row in todo}
        results = measure(course, todo, combination, sanitize) if todo else {}
        for slug, lines in results.items():
            print("".join(f"{combination.name}  {slug}  {line}\n" for line in lines), end="", flush=True)
        count = sum(map(len, results.values()))
        summary.append({"combination": combination.name, "notebooks": str(len(todo)), "moved": str(count)})
    print(as_text(summary))
    return any(row["moved"] not in ("", "0") for row in summary)


if __name__ == "__main__":
    sys.exit(main())
