"""The door: ``python -m auxlib``. Each command imports what it needs, so that --help is instant."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from auxlib.errors import AuxlibError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 something failed and was reported, 2 asked for wrongly."""
    args = _parser().parse_args(argv)
    try:
        return args.command(args) or 0
    except AuxlibError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m auxlib", description="A course on Auxiliary Tuning that runs.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    _course_commands(add)
    _classroom_commands(add)
    _model_commands(add)
    return parser


def _course_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    run = add("run", _run, "execute the notebooks and write a page of them")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number or name, e.g. 02; all without any")
    run.add_argument("--profile", default="quick", help="quick (default), full or gpu")
    run.add_argument("--jobs", type=_positive, default=2, help="notebooks, or trials, at the same time (default 2)")
    run.add_argument(
        "--experiment",
        choices=("claim", "rivals", "generation", "ytuning", "endtask"),
        help="run this instead, and record it: an hour",
    )
    run.add_argument("--seed", type=int, choices=range(5), help="only one seed of the claim, nothing is recorded")
    run.add_argument("--threads", type=_positive, help="threads per notebook; the cores are shared out by default")

    books = add("notebooks", _notebooks, "generate the notebooks from notebooks/src")
    books.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="number or name; all without any")
    what = books.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; list every notebook that is stale")
    what.add_argument("--execute", action="store_true", help="also run profile quick and keep its outputs")

    fetch = add("fetch", _fetch, "fetch models and texts into the cache")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="assets; what the notebooks need without any")
    fetch.add_argument("--all", action="store_true", help="every asset there is")

    add("doctor", _doctor, "say what is there and what is missing")


def _classroom_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    bundle = add("bundle", _later("bundle_command"), "make the archive that is handed out")
    bundle.add_argument("who", choices=("student", "instructor", "nbgrader"), help="what it is for")
    bundle.add_argument("--variant", type=_positive, help="another seed and another keyword for one student")
    bundle.add_argument("--out", type=Path, help="file (default build/student.zip or build/instructor.zip)")

    grade = add("grade", _later("grade_command"), "grade notebooks that students handed in")
    grade.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="notebooks, or a folder for each student")
    grade.add_argument("--out", type=Path, default=Path("build/grades"), help="folder (default build/grades)")
    grade.add_argument("--seconds", type=_positive, default=20, help="that one answer may compute (default 20)")
    grade.add_argument("--seed", type=_positive, default=1, help="random numbers of the second look (default 1)")
    grade.add_argument("--jobs", type=_positive, default=2, help="answers at the same time (default 2)")


def _model_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    generate = add("generate", _later("generate_command"), "write sentences that use a keyword, or several")
    asked = generate.add_mutually_exclusive_group(required=True)
    asked.add_argument("--keyword", type=_one_word, metavar="WORD", dest="keywords", help="a word or short phrase")
    asked.add_argument("--keywords", type=_words, metavar="WORD,WORD", help="several, for every sentence")
    generate.add_argument("--prompt", default="", metavar="TEXT", help="how every sentence begins")
    generate.add_argument("--guarantee", action="store_true", help="no sentence is over without its words")
    generate.add_argument("--n", type=_positive, default=5, help="how many sentences (default 5)")
    generate.add_argument("--weight", "--lambda", type=float, default=1.0, help="weight λ of the auxiliary (default 1)")
    generate.add_argument("--temperature", type=_number, default=0.8)
    generate.add_argument("--top-p", type=partial(_number, top=1.0), default=0.95)
    generate.add_argument("--max-new-tokens", type=_positive, default=24)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--checkpoint", type=Path, help="a trained auxiliary; a shipped one by default")
    form = generate.add_mutually_exclusive_group()
    form.add_argument("--jsonl", action="store_true", help="one JSON object a sentence, and nothing else")
    form.add_argument("--stream", action="store_true", help="show each sentence while it is written")

    train = add("train", _later("train_command"), "train what the course ships: an auxiliary, or Storyland's expert")
    trained = ("wordnet-keyword", "wordnet-keywords", "wordnet-length", "storyland-lm", "storyland-lm-600k")
    train.add_argument("what", nargs="?", choices=trained, default=trained[0])
    train.add_argument("--out", type=Path, help="folder for the checkpoint; with profile full the shipped one's")
    train.add_argument("--profile", choices=("quick", "full"), default="quick")
    train.add_argument("--seed", type=int, default=0)

    evaluate = add("evaluate", _later("evaluate_command"), "measure control, fluency and cost of an auxiliary")
    evaluate.add_argument("--checkpoint", type=Path, help="a trained auxiliary; the shipped one by default")
    evaluate.add_argument("--n", type=_positive, default=1000, help="sentences per condition (default 1000)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--out", type=Path, help="JSON file for the results")

    bench = add("bench", _later("bench_command"), "time this machine, beside the frozen model, LoRA and others")
    bench.add_argument("what", choices=("decode", "train", "memory", "reach", "course", "storyland", "all"))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _one_word(text: str) -> list[str]:
    return [text]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _number(text: str, top: float = sys.float_info.max) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= top:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0" + f" and at most {top:g}" * (top < 2))
    return value


def _later(name: str) -> Callable[[argparse.Namespace], int | None]:
    def command(args: argparse.Namespace) -> int | None:
        from auxlib import commands

        return getattr(commands, name)(args)

    return command


def _run(args: argparse.Namespace) -> int:
    if args.experiment:
        return _later("experiment_command")(args)
    from auxlib.assets import fetch
    from auxlib.course.headline import headline
    from auxlib.course.page import as_text, write_page
    from auxlib.course.run import run
    from auxlib.course.table import load_course

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


def _notebooks(args: argparse.Namespace) -> int:
    from auxlib.course.build import build, check
    from auxlib.course.readme import path_of, render
    from auxlib.course.receipts import keep_receipts
    from auxlib.course.run import run
    from auxlib.course.table import load_course

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
        keep_receipts(course, outcomes)
        written = build(course, rows, executed=course.build_dir("quick"))
    path_of(course).write_text(render(course), encoding="utf-8")
    print("\n".join(f"wrote {path.relative_to(course.root)}" for path in [*written, path_of(course)]))
    return 0


def _fetch(args: argparse.Namespace) -> None:
    from auxlib.assets import ASSETS, fetch
    from auxlib.course.table import load_course

    names = list(ASSETS) if args.all else args.names
    for name in names or sorted({need for row in load_course().notebooks for need in row.needs}):
        print(f"{name}: {fetch(name)}")


def _doctor(args: argparse.Namespace) -> int:
    from auxlib.doctor import report

    return report()


if __name__ == "__main__":
    sys.exit(main())
