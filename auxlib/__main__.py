"""The command line: ``python -m auxlib COMMAND``.

The library's own commands are in `auxlib.commands`. Those of the course and of the experiments need a clone of the
repository, which holds both packages beside this one; without it they say what is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from auxlib.commands import Command, add_commands
from auxlib.errors import AuxlibError, RepositoryMissing

BESIDE = {  # modules of the repository, and their commands
    "course.commands": {
        "run": "execute the notebooks and write a page of them",
        "notebooks": "generate the notebooks from notebooks/src",
        "bundle": "make the archive that is handed out",
        "grade": "grade notebooks that students handed in",
    },
    "course.doctor": {"doctor": "report what is there and what is missing"},
    "experiments.pretrained": {"train": "train what the course ships: an auxiliary, or Storyland's expert"},
    "experiments.commands": {
        "evaluate": "measure control, fluency and cost of an auxiliary",
        "bench": "time this machine, beside the frozen model, LoRA and others",
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 something failed and was reported, 2 a bad argument or a missing part.
    """
    args, unknown = _parser().parse_known_args(argv)
    try:
        if unknown and not getattr(args, "takes_anything", False):
            _parser().error(f"unrecognized arguments: {' '.join(unknown)}")
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

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    for module, names in BESIDE.items():
        package = module.partition(".")[0]
        try:
            import_module(module).add_commands(add)
        except ModuleNotFoundError as error:
            if error.name not in (package, module):
                raise
            for name, text in names.items():
                add(name, _missing(package, name), text).set_defaults(takes_anything=True)
    add_commands(add)
    return parser


def _missing(package: str, name: str) -> Callable[[argparse.Namespace], int]:
    def command(args: argparse.Namespace) -> int:
        raise RepositoryMissing(
            f"`{name}` needs the package `{package}`, which is not part of the installed library. Run it in a clone of "
            "the course's repository, with `python -m pip install -e '.[course]'`."
        )

    return command


if __name__ == "__main__":
    sys.exit(main())
