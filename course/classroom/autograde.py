"""What is one answer worth? Each is looked at in a process of its own, behind a fence, and twice: as the learner's own
check looks at it, and once more with other random numbers, which only a right answer survives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from course.classroom import sandbox as fence
from course.exercises.exercise import Verdict, load_exercise

READS_IT = re.compile(r"auxlib\s*\.\s*check|load_exercise|exercises_of|\.reference\b|notebook_\d\d")
BLANK = Verdict(False, False, "not attempted yet.")


@dataclass(frozen=True)
class Task:
    """One exercise of one student, as text, so that it can be sent to another process.

    Attributes:
        answers: sources that define the function, the one that counts first; a stub gives way to the next.
        context: of each answer, the sources that it needs.
    """

    id: str
    name: str
    answers: list[str]
    context: list[list[str]]


@dataclass(frozen=True)
class Limits:
    """What one answer may take. ``seed`` is that of the second look."""

    seconds: int = 20
    memory_mb: int = 2000
    seed: int = 1


def workers(rooms: Sequence[str]) -> Any:
    """Where processes come from: a server that has imported torch and these modules once, where there can be one."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "auxlib.collator", "torch.nn.functional", *rooms])
    return context


def examine(task: Task, limits: Limits, context: Any) -> Verdict:
    """Look at a task in a process of its own. Whatever happens there, a verdict comes back."""
    if not task.answers:
        return BLANK
    ours, theirs = context.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        process = context.Process(target=_alone, args=(task, limits, Path(folder), theirs), daemon=True)
        process.start()
        theirs.close()
        late = not ours.poll(2 * limits.seconds)
        try:
            found = None if late else ours.recv()
        except EOFError:
            found = None
        process.kill()
        process.join()
    if found is not None:
        return found
    if late or process.exitcode in (-24, -9):  # SIGXCPU, and the kernel's own kill
        return Verdict(False, True, f"it had not come to an end after {limits.seconds} seconds of computing.")
    return Verdict(False, True, f"it ended the process it ran in (exit code {process.exitcode}).")


def _alone(task: Task, limits: Limits, folder: Path, result: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    exercise = load_exercise(task.id)  # before the fence: it reads files
    fence.restrict_process(folder, limits.seconds, limits.memory_mb)
    verdict = BLANK
    for answer, context in zip(task.answers, task.context, strict=True):
        verdict = judge_source(exercise, task.name, answer, context, limits.seed)
        if verdict.attempted:
            break
    result.send(verdict)


def judge_source(exercise: Any, name: str, answer: str, context: Sequence[str], seed: int) -> Verdict:
    """The verdict on one source, in this process."""
    if READS_IT.search(answer):
        return Verdict(False, True, "it asks for the reference solution in place of solving the exercise.")
    names: dict[str, Any] = {"__name__": "handed_in"}
    try:
        for source in [*context, answer]:
            exec(compile(source, "<handed in>", "exec"), names)
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a student's are no reasons to stop grading
        return Verdict(False, True, f"`{source.splitlines()[0]}` raised {type(error).__name__}: {error}")
    first = exercise.judge(names[name])
    if not first.passed:
        return first
    second = exercise.judge(names[name], seed)
    return first if second.passed else Verdict(False, True, f"right on the check's own examples only: {second.says}")
