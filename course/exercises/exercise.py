"""An exercise: a reference solution, three hints of increasing detail, and an examiner.

The examiner is a function that receives the learner's function, asserts its properties with `expect`, and returns a
sentence about what a correct answer has shown. A function whose body is empty counts as not attempted.
"""

from __future__ import annotations

import dis
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor

from auxlib.errors import CourseError

Answer: TypeAlias = Callable[..., Any]
Examiner: TypeAlias = Callable[[Answer], str]

RETURNS_NONE = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}  # all that an empty body compiles to


class Wrong(Exception):
    """The answer violates a property; the message for the learner names it and the observed value."""


class NotAttempted(Exception):
    """The answer is still the stub."""


@dataclass(frozen=True)
class Verdict:
    """Result of judging an answer; ``says`` is a sentence for the learner."""

    passed: bool
    attempted: bool
    says: str


class Exercise:
    """One exercise, made by the `exercise` decorator on its reference and completed by ``@name.examiner``."""

    def __init__(self, id: str, hints: tuple[str, str, str], reference: Answer) -> None:
        self.id, self.hints, self.reference = id, hints, reference
        self.examine: Examiner | None = None
        self.__doc__ = reference.__doc__

    @property
    def name(self) -> str:
        """Name of the function to write."""
        return self.reference.__name__

    def examiner(self, examine: Examiner) -> Examiner:
        """Register the examiner; for use as a decorator."""
        self.examine = examine
        return examine

    def judge(self, answer: Answer, seed: int = 0) -> Verdict:
        """Judge an answer with random numbers from ``seed``; the state of the learner's generators is preserved.

        Raises:
            CourseError: the exercise has no examiner.
        """
        if self.examine is None:
            raise CourseError(f"exercise {self.id} has no examiner yet.")
        try:
            with _seeded(seed):
                return Verdict(True, True, self.examine(_guarded(answer)))
        except NotAttempted:
            return Verdict(False, False, "not attempted yet.")
        except Wrong as wrong:
            return Verdict(False, True, str(wrong))
        except Exception as error:  # a result of a kind that the examiner does not expect
            return Verdict(False, True, f"your result could not be read: {_in_short(error)}")


def exercise(id: str, hints: tuple[str, str, str]) -> Callable[[Answer], Exercise]:
    """Return a decorator that turns a reference solution into its exercise."""
    return lambda reference: Exercise(id, hints, reference)


def load_exercise(id: str) -> Exercise:
    """Load an exercise by its id, such as ``"2.1"``.

    Raises:
        CourseError: there is no such exercise.
    """
    exercises = exercises_of(id.partition(".")[0])
    if id not in exercises:
        raise CourseError(f"there is no exercise {id!r}; that notebook has {', '.join(exercises) or 'none'}.")
    return exercises[id]


def exercises_of(number: str | int) -> dict[str, Exercise]:
    """Return the exercises of one notebook by id, in the order of their ids; empty when it has none."""
    name = f"{__package__}.notebook_{int(number):02d}" if str(number).isdigit() else ""
    try:
        module = import_module(name) if name else None
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        module = None
    items = [item for item in vars(module).values() if isinstance(item, Exercise)] if module else []
    return {item.id: item for item in sorted(items, key=lambda item: item.id)}


def expect(condition: object, says: str) -> None:
    """Raise `Wrong` with this sentence for the learner unless the condition holds."""
    if not bool(condition):
        raise Wrong(says)


def expect_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """Expect a tensor of this shape without NaN; return it in float64, detached."""
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} must be a tensor {list(shape)}; you returned {type(value).__name__}.")
    expect(tuple(value.shape) == shape, f"{what} must have the shape {list(shape)}; yours is {list(value.shape)}.")
    expect(not value.isnan().any(), f"{what} holds NaN, “not a number”.")
    return value.detach().double()


def expect_number(value: Any, what: str) -> float:
    """Expect one number, plain or as a tensor, and not NaN; return it as a float."""
    value = value.detach() if isinstance(value, Tensor) else value  # a loss with a graph warns when it becomes a number
    single = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, (int, float))
    if not single or isinstance(value, bool):
        raise Wrong(f"{what} must be one number; you returned {_describe(value)}.")
    expect(float(value) == float(value), f"{what} is NaN, “not a number”.")
    return float(value)


def gap(a: Tensor, b: Tensor) -> float:
    """Return the largest difference between two tensors; equal infinities do not differ, NaN differs infinitely."""
    same = a == b
    return float(torch.where(same, 0.0, (a - b).abs().nan_to_num(torch.inf)).max()) if a.numel() else 0.0


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch and Python, and restore their states afterwards."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed every GPU
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)


def _guarded(answer: Answer) -> Answer:
    """Wrap the learner's function: a missing result and an exception become `NotAttempted` or `Wrong`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        shapes = ", ".join(map(_describe, [*args, *kwargs.values()]))  # before the call, which may change them
        try:
            result = answer(*args, **kwargs)
        except NotImplementedError as error:
            raise NotAttempted from error
        except (Exception, SystemExit) as error:
            raise Wrong(f"called with ({shapes}) it raised {_in_short(error)}") from error
        if result is None and _is_stub(answer):
            raise NotAttempted
        expect(result is not None, f"called with ({shapes}) it returned None; does every path end in a `return`?")
        return result

    return call


def _is_stub(answer: Answer) -> bool:
    """Return whether the body holds nothing but a docstring, ``...`` or ``pass``."""
    code = getattr(answer, "__code__", None)
    return code is not None and {step.opname for step in dis.get_instructions(code)} <= RETURNS_NONE


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor {list(value.shape)}"
    return repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
