"""The course's commands: ``run``, ``notebooks``, ``bundle`` and ``grade``."""

from __future__ import annotations

import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

from auxlib.commands import Add, positive
from auxlib.errors import CourseError


def add_commands(add: Add) -> None:
    """Add the course's commands to the command line."""
    from experiments.records import ALIASES, RECORDS

    earlier = ", ".join(f"{alias} ({name})" for alias, name in ALIASES.items())
    run = add("run", run_command, "execute the notebooks and write a page of them")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number or name, e.g. 02; all without any")
    run.add_argument("--profile", default="quick", help="quick (default), full or gpu")
    run.add_argument("--jobs", type=positive, default=2, help="notebooks, or trials, at the same time (default 2)")
    run.add_argument(
        "--experiment",
        metavar="NAME",
        type=lambda name: ALIASES.get(name, name),
        choices=tuple(RECORDS),
        help=f"run this instead, and record it: an hour. NAME is {', '.join(RECORDS)}; earlier names are {earlier}",
    )
    run.add_argument("--seed", type=int, choices=range(5), help="only one seed of the claim, nothing is recorded")
    run.add_argument("--threads", type=positive, help="threads per notebook; the cores are shared out by default")

    books = add("notebooks", notebooks_command, "generate the notebooks from notebooks/src")
    books.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number or name; all without any")
    what = books.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; list every notebook that is stale")
    what.add_argument("--execute", action="store_true", help="also run profile quick and keep its outputs")

    bundle = add("bundle", bundle_command, "make the archive that is handed out")
    bundle.add_argument("who", choices=("student", "instructor", "nbgrader"), help="what it is for")
    bundle.add_argument("--variant", type=positive, help="another seed and another keyword for one student")
    bundle.add_argument("--out", type=Path, help="file (default build/student.zip or build/instructor.zip)")

    grade = add("grade", grade_command, "grade notebooks that students handed in")
    grade.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="notebooks, or a folder for each student")
    grade.add_argument("--out", type=Path, default=Path("build/grades"), help="folder (default build/grades)")
    grade.add_argument("--seconds", type=positive, default=20, help="computing time of one answer (default 20)")
    grade.add_argument("--seed", type=positive, default=1, help="random numbers of the second check (default 1)")
    grade.add_argument("--jobs", type=positive, default=2, help="answers at the same time (default 2)")


def run_command(args: Namespace) -> int:
    """Execute notebooks and build their pages, or run an experiment and record it."""
    if args.experiment:
        from experiments.commands import experiment_command

        return experiment_command(args)
    from auxlib.data.assets import fetch
    from course.config import load_course
    from course.execute import run
    from course.headline import headline
    from experiments.tables import as_text

    course = load_course()
    rows = course.select(args.notebooks)
    for name in sorted({need for row in rows for need in row.needs}):
        fetch(name)
    outcomes = run(course, rows, args.profile, args.jobs, args.threads)
    for outcome in outcomes:
        memory = "" if outcome.memory_mb is None else f"{outcome.memory_mb:6d} MB"
        print(f"{'FAILED' if outcome.error else 'ok':6}  {outcome.slug:28} {outcome.seconds:7.1f} s {memory}")
        if outcome.error:
            print(f"        {outcome.error}", file=sys.stderr)
    failed = sum(outcome.error is not None for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed; {seconds:.0f} s of notebook time")
    folder = course.build_dir(args.profile)
    print(f"executed notebooks: {folder}")
    if find_spec("sphinx") and find_spec("myst_nb"):
        from course.site import build_site

        print(f"page: {build_site(course, folder / 'site', folder)}")
    else:
        print("no page: Sphinx is missing; python -m pip install -c constraints.txt -e '.[site]'")
    if table := headline(course.root):
        print(f"\nHeadline results of a recorded full run\n{as_text(table)}")
    return int(failed > 0)


def notebooks_command(args: Namespace) -> int:
    """Generate notebooks from their sources, or list those that are stale."""
    from course.build import build, check
    from course.config import load_course
    from course.execute import run
    from course.readme import render
    from course.timings import record_timings

    course = load_course()
    rows = course.select(args.notebooks)
    if args.check:
        stale = check(course, rows)
        for path, text in render(course).items():
            if text != path.read_text(encoding="utf-8"):
                stale.append(f"{path.relative_to(course.root)}: its generated blocks are stale")
        print("\n".join(stale) or f"{len(rows)} notebooks agree with their sources.")
        return int(bool(stale))
    written = build(course, rows)
    if args.execute:
        outcomes = run(course, rows, "quick")
        if failed := [outcome for outcome in outcomes if outcome.error]:
            print("\n".join(f"{outcome.slug}: {outcome.error}" for outcome in failed), file=sys.stderr)
            return 1
        record_timings(course, outcomes)
        written = build(course, rows, executed=course.build_dir("quick"))
    pages = render(course)
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    print("\n".join(f"wrote {path.relative_to(course.root)}" for path in [*written, *pages]))
    return 0


def bundle_command(args: Namespace) -> int:
    """Write one archive and print its number of files and its size."""
    from course.classroom.archives import instructor_files, student_files, write_zip
    from course.classroom.nbgrader import nbgrader_files
    from course.config import load_course

    if args.who != "student" and args.variant:
        raise CourseError("a variant is a student's; the other archives hold the course as it is.")
    course = load_course()
    if args.who == "student":
        files = student_files(course, args.variant or 0)
    else:
        files = {"instructor": instructor_files, "nbgrader": nbgrader_files}[args.who](course)
    path = write_zip(args.out or Path("build") / f"{args.who}.zip", files)
    print(f"{path}: {len(files)} files, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def grade_command(args: Namespace) -> int:
    """Grade submissions; print the table, and write it with one page of feedback for each student."""
    from course.classroom.autograde import Limits
    from course.classroom.feedback import rows, write
    from course.classroom.grade import grade
    from course.config import load_course
    from experiments.tables import as_text

    graded = grade(load_course(), args.paths, Limits(args.seconds, seed=args.seed), args.jobs)
    table = write(args.out, graded)
    print(as_text(rows(graded)))
    print(f"table: {table}\nfeedback: {args.out / 'feedback'}")
    return 0
