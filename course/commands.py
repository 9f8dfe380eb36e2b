"""The course's commands: ``run``, ``notebooks``, ``bundle`` and ``grade``."""

from __future__ import annotations

import sys
from argparse import Namespace
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
    grade.add_argument("--seconds", type=positive, default=20, help="that one answer may compute (default 20)")
    grade.add_argument("--seed", type=positive, default=1, help="random numbers of the second look (default 1)")
    grade.add_argument("--jobs", type=positive, default=2, help="answers at the same time (default 2)")


def run_command(args: Namespace) -> int:
    """Execute notebooks and write a page of them, or run an experiment and record it."""
    if args.experiment:
        from experiments.commands import experiment_command

        return experiment_command(args)
    from auxlib.data.assets import fetch
    from course.config import load_course
    from course.execute import run
    from course.headline import headline
    from course.page import as_text, write_page

    course = load_course()
    rows = course.select(args.notebooks)
    for name in sorted({need for row in rows for need in row.needs}):
        fetch(name)
    outcomes = run(course, rows, args.profile, args.jobs, args.threads)
    for done in outcomes:
        memory = "" if done.memory_mb is None else f"{done.memory_mb:6d} MB"
        print(f"{'FAILED' if done.error else 'ok':6}  {done.slug:28} {done.seconds:7.1f} s {memory}")
        if done.error:
            print(f"        {done.error}", file=sys.stderr)
    page = write_page(course, args.profile)
    failed = sum(done.error is not None for done in outcomes)
    spent = sum(done.seconds for done in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed; {spent:.0f} s of notebook time")
    print(f"executed notebooks: {page.parent}\npage: {page}")
    if table := headline(course.root):
        print(f"\nHeadline results of a recorded full run\n{as_text(table)}")
    return int(failed > 0)


def notebooks_command(args: Namespace) -> int:
    """Generate notebooks from their sources, or say which are stale."""
    from course.build import build, check
    from course.config import load_course
    from course.execute import run
    from course.readme import path_of, render
    from course.timings import record_timings

    course = load_course()
    rows = course.select(args.notebooks)
    if args.check:
        stale = check(course, rows)
        if render(course) != path_of(course).read_text(encoding="utf-8"):
            stale.append("README.md: its generated blocks are stale")
        print("\n".join(stale) or f"{len(rows)} notebooks agree with their sources.")
        return int(bool(stale))
    written = build(course, rows)
    if args.execute:
        outcomes = run(course, rows, "quick")
        failed = [done for done in outcomes if done.error]
        print("\n".join(f"{done.slug}: {done.error}" for done in failed), file=sys.stderr, end="\n" if failed else "")
        if failed:
            return 1
        record_timings(course, outcomes)
        written = build(course, rows, executed=course.build_dir("quick"))
    path_of(course).write_text(render(course), encoding="utf-8")
    print("\n".join(f"wrote {path.relative_to(course.root)}" for path in [*written, path_of(course)]))
    return 0


def bundle_command(args: Namespace) -> int:
    """Make one archive and say how many files are in it."""
    from course.classroom.archives import instructor_files, student_files, write_zip
    from course.classroom.nbgrader import nbgrader_files
    from course.config import load_course

    if args.who != "student" and args.variant:
        raise CourseError("a variant is a student's; the other archives hold the course as it is.")
    make = {"student": student_files, "instructor": instructor_files, "nbgrader": nbgrader_files}[args.who]
    files = make(load_course(), *filter(None, [args.variant]))
    path = write_zip(args.out or Path("build") / f"{args.who}.zip", files)
    print(f"{path}: {len(files)} files, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def grade_command(args: Namespace) -> int:
    """Grade what was handed in, print the table, and write it down with a page of feedback for each student."""
    from course.classroom.autograde import Limits
    from course.classroom.feedback import rows, write
    from course.classroom.grade import grade
    from course.config import load_course
    from course.page import as_text

    graded = grade(load_course(), args.paths, Limits(args.seconds, seed=args.seed), args.jobs)
    table = write(args.out, graded)
    print(as_text(rows(graded)))
    print(f"table: {table}\nfeedback: {args.out / 'feedback'}")
    return 0
