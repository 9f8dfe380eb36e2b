"""Judging one submitted answer in a restricted process of its own.

An answer is judged twice: with the random numbers of the learner's own check, and with others, which only a correct
answer survives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from course.classroom.sandbox import restrict_process
from course.exercises.exercise import Exercise, Verdict, load_exercise

READS_REFERENCE = re.compile(r"course\s*\.\s*exercises|load_exercise|exercises_of|\.reference\b|notebook_\d\d")
NOT_ATTEMPTED = Verdict(False, False, "not attempted yet.")


@dataclass(frozen=True)
class Task:
    """One exercise of one student, as text, so that it can be sent to another process.

    Attributes:
        id: of the exercise.
        name: of its function.
        answers: sources that define the function, the one that counts first; a stub gives way to the next.
        context: for each answer, the sources that it needs.
    """

    id: str
    name: str
    answers: list[str]
    context: list[list[str]]


@dataclass(frozen=True)
class Limits:
    """Resources of one answer: CPU seconds and memory; ``seed`` sets the random numbers of the second look."""

    seconds: int = 20
    memory_mb: int = 2000
    seed: int = 1


def workers(modules: Sequence[str]) -> Any:
    """Return a multiprocessing context: a fork server that has imported torch and ``modules``, where there is one."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "auxlib.collator", "torch.nn.functional", *modules])
    return context


def examine(task: Task, limits: Limits, context: Any) -> Verdict:
    """Judge a task in a process of its own; a process that fails or exceeds its limits becomes a verdict as well."""
    if not task.answers:
        return NOT_ATTEMPTED
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        process = context.Process(target=_judge_task, args=(task, limits, Path(folder), sender), daemon=True)
        process.start()
        sender.close()
        late = not receiver.poll(2 * limits.seconds)
        try:
            verdict = None if late else receiver.recv()
        except EOFError:
            verdict = None
        process.kill()
        process.join()
    if verdict is not None:
        return verdict
    if late or process.exitcode in (-24, -9):  # SIGXCPU, and the kernel's own kill
        return Verdict(False, True, f"it had not come to an end after {limits.seconds} seconds of computing.")
    return Verdict(False, True, f"it ended the process it ran in (exit code {process.exitcode}).")


def _judge_task(task: Task, limits: Limits, folder: Path, result: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    exercise = load_exercise(task.id)  # before the restrictions: it reads files
    restrict_process(folder, limits.seconds, limits.memory_mb)
    verdict = NOT_ATTEMPTED
    for answer, context in zip(task.answers, task.context, strict=True):
        verdict = judge_source(exercise, task.name, answer, context, limits.seed)
        if verdict.attempted:
            break
    result.send(verdict)


def judge_source(exercise: Exercise, name: str, answer: str, context: Sequence[str], seed: int) -> Verdict:
    """Judge the function ``name`` that the source ``answer`` defines, in this process."""
    if READS_REFERENCE.search(answer):
        return Verdict(False, True, "it asks for the reference solution in place of solving the exercise.")
    names: dict[str, Any] = {"__name__": "handed_in"}
    try:
        for source in [*context, answer]:
            exec(compile(source, "<handed in>", "exec"), names)
    except BaseException as error:  # a student's SystemExit and KeyboardInterrupt must not stop the grading either
        return Verdict(False, True, f"`{source.splitlines()[0]}` raised {type(error).__name__}: {error}")
    first = exercise.judge(names[name])
    if not first.passed:
        return first
    second = exercise.judge(names[name], seed)
    return first if second.passed else Verdict(False, True, f"right on the check's own examples only: {second.says}")
