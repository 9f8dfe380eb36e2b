"""Where does the course print the same? Every notebook again, as other processors would compute it.

Libraries choose their kernels by what a processor can do, and another kernel adds in another order. Variables make them
choose as a lesser processor would: ``ATEN_CPU_CAPABILITY`` (PyTorch), ``ONEDNN_MAX_CPU_ISA`` and
``MKL_ENABLE_INSTRUCTIONS``. ``AUXLIB_DTYPE`` sets the precision of the frozen models. Each run is compared with the
committed outputs by `compare.py`, and what moved is listed cell by cell.

``COMBINATIONS`` change one thing at a time, and end with the corner that is farthest from the recorded run. bfloat16 is
combined with AVX-512 only: no other x86 processor multiplies it, so `best_dtype` never chooses it there. Any
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
from course.page import as_text
from course.prose_numbers import mismatched_numbers

INSTRUCTIONS = {  # from the least to the most; the values of the three variables
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
    """A kind of machine: instructions, threads of a kernel, precision of the frozen models."""

    instructions: str
    threads: int
    dtype: str

    @classmethod
    def parse(cls, name: str) -> Combination:
        """Read a name such as ``avx2-1-float32``; CourseError for any other form."""
        found = re.fullmatch(rf"({'|'.join(INSTRUCTIONS)})-([1-9]\d*)-(float32|bfloat16)", name)
        if not found:
            raise CourseError(
                f"no combination {name!r}; write INSTRUCTIONS-THREADS-DTYPE, for instance {COMBINATIONS[3]} "
                f"(instructions: {', '.join(INSTRUCTIONS)}; dtype: float32 or bfloat16)."
            )
        return cls(found[1], int(found[2]), found[3])

    @property
    def name(self) -> str:
        """The name that ``parse`` reads."""
        return f"{self.instructions}-{self.threads}-{self.dtype}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a kernel that computes so."""
        return dict(zip(VARIABLES, INSTRUCTIONS[self.instructions], strict=True)) | {"AUXLIB_DTYPE": self.dtype}

    def case(self, row: Notebook) -> tuple[str, str, int, str]:
        """What decides a notebook's outputs: combinations with the same case need only one run."""
        return row.slug, self.instructions, self.threads, self.dtype if FROZEN & set(row.needs) else ""


def measure(course: Course, rows: list[Notebook], combination: Combination, sanitize: Sanitize) -> dict[str, list[str]]:
    """Execute notebooks under a combination, and list by slug what differs from the committed notebooks.

    The executed notebooks stay in ``build/portability/<combination>/``. The kernels share the fetched models with this
    process, but none of the computed states: those of another combination would hide a difference.
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
    failed = {done.slug: [f"failed: {done.error}"] for done in outcomes if done.error}
    return {
        row.slug: failed.get(row.slug)
        or moved(nbformat.read(course.built(row.slug), 4), nbformat.read(folder / f"{row.slug}.ipynb", 4), sanitize)
        for row in rows
    }


def moved(committed: NotebookNode, executed: NotebookNode, sanitize: Sanitize = str) -> list[str]:
    """List what another run of a notebook prints differently: in compared cells, and against numbers in the prose."""
    ran = {cell.id: cell for cell in executed.cells}
    found = []
    for index, cell in enumerate(committed.cells):
        if "nbval-check-output" in tags(cell):
            done = ran.get(cell.id)
            if done is None or done.source != cell.source:
                found.append(f"cell {index}: the run holds another source")
            else:
                lines = differences(cell.outputs, done.outputs, stated_tolerance(cell), sanitize)
                found += [f"cell {index}: {line}" for line in lines]
    return found + [f"prose, {line}" for line in mismatched_numbers(committed, executed)]


def possible(instructions: str) -> bool:
    """Whether this machine has the instructions; a kernel that uses others dies."""
    import torch

    known = list(INSTRUCTIONS)
    here = torch.backends.cpu.get_cpu_capability().lower()
    return known.index(instructions) <= (known.index(here) if here in known else 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the combinations and print what moved. Returns 0 when nothing did, 1 when something did, 2 for an error."""
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
    """Print what moved under each combination, then one line for each. Returns whether anything did."""
    sanitize = sanitizer(course.root / "tests" / "sanitize.cfg")
    seen: set[tuple[str, str, int, str]] = set()
    summary = []
    for combination in combinations:
        if not possible(combination.instructions):
            summary.append({"combination": combination.name, "notebooks": "not run: instructions missing", "moved": ""})
            continue
        todo = [row for row in rows if combination.case(row) not in seen]
        seen |= {combination.case(row) for row in todo}
        found = measure(course, todo, combination, sanitize) if todo else {}
        for slug, lines in found.items():
            print("".join(f"{combination.name}  {slug}  {line}\n" for line in lines), end="", flush=True)
        count = sum(map(len, found.values()))
        summary.append({"combination": combination.name, "notebooks": str(len(todo)), "moved": str(count)})
    print(as_text(summary))
    return any(row["moved"] not in ("", "0") for row in summary)


if __name__ == "__main__":
    sys.exit(main())
