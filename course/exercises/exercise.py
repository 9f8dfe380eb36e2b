"""What is an exercise? A reference, three hints that escalate, and an examiner who says what is wrong.

The examiner is called with the learner's function and states what must hold with `expect`; what it returns is what a
right answer has shown. An answer whose body is still empty is a stub, not a mistake.
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
    """The answer breaks an identity; the message says which one, and what was seen."""


class NotAttempted(Exception):
    """The answer is still the stub."""


@dataclass(frozen=True)
class Verdict:
    """What came of one look at an answer. ``says`` is a sentence for the learner."""

    passed: bool
    attempted: bool
    says: str


class Exercise:
    """One exercise. Made by the `exercise` decorator on its reference, completed by ``@name.examiner``."""

    def __init__(self, id: str, hints: tuple[str, str, str], reference: Answer) -> None:
        self.id, self.hints, self.reference = id, hints, reference
        self.examine: Examiner | None = None
        self.__doc__ = reference.__doc__

    @property
    def name(self) -> str:
        """Of the function that is asked for."""
        return self.reference.__name__

    def examiner(self, examine: Examiner) -> Examiner:
        """Register the function that looks at an answer."""
        self.examine = examine
        return examine

    def judge(self, answer: Answer, seed: int = 0) -> Verdict:
        """Look at an answer. The learner's random numbers stay as they are; the examiner's are those of the seed."""
        if self.examine is None:
            raise CourseError(f"exercise {self.id} has no examiner yet.")
        try:
            with _own_chance(seed):
                return Verdict(True, True, self.examine(_guarded(answer)))
        except NotAttempted:
            return Verdict(False, False, "not attempted yet.")
        except Wrong as wrong:
            return Verdict(False, True, str(wrong))
        except Exception as error:  # a result of a kind that the examiner could not even look at
            return Verdict(False, True, f"your result could not be read: {_in_short(error)}")


def exercise(id: str, hints: tuple[str, str, str]) -> Callable[[Answer], Exercise]:
    """Turn a reference solution into the exercise that asks for it."""
    return lambda reference: Exercise(id, hints, reference)


def load_exercise(id: str) -> Exercise:
    """Find an exercise by its id, such as ``"2.1"``. Raises CourseError when there is none."""
    found = exercises_of(id.partition(".")[0])
    if id not in found:
        raise CourseError(f"there is no exercise {id!r}; that notebook has {', '.join(found) or 'none'}.")
    return found[id]


def exercises_of(number: str | int) -> dict[str, Exercise]:
    """The exercises of one notebook by id, in the order of their ids; empty when it has none."""
    name = f"{__package__}.notebook_{int(number):02d}" if str(number).isdigit() else ""
    try:
        room = import_module(name) if name else None
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        room = None
    items = [item for item in vars(room).values() if isinstance(item, Exercise)] if room else []
    return {item.id: item for item in sorted(items, key=lambda item: item.id)}


def expect(condition: object, says: str) -> None:
    """State what must hold; the sentence is what the learner reads when it does not."""
    if not bool(condition):
        raise Wrong(says)


def expect_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """State that the answer is a tensor of this shape and has no NaN; returns it in float64, detached."""
    if not isinstance(value, Tensor):
        raise Wrong(f"{what} must be a tensor {list(shape)}; you returned {type(value).__name__}.")
    expect(tuple(value.shape) == shape, f"{what} must have the shape {list(shape)}; yours is {list(value.shape)}.")
    expect(not value.isnan().any(), f"{what} holds NaN, “not a number”.")
    return value.detach().double()


def expect_number(value: Any, what: str) -> float:
    """State that the answer is one number, plain or as a tensor, and not NaN; returns it as a float."""
    value = value.detach() if isinstance(value, Tensor) else value  # a loss with a graph warns when it becomes a number
    single = value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, (int, float))
    if not single or isinstance(value, bool):
        raise Wrong(f"{what} must be one number; you returned {_describe(value)}.")
    expect(float(value) == float(value), f"{what} is NaN, “not a number”.")
    return float(value)


def gap(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference between two tensors; equal infinities do not differ, NaN differs infinitely."""
    same = ours == theirs
    return float(torch.where(same, 0.0, (ours - theirs).abs().nan_to_num(torch.inf)).max()) if ours.numel() else 0.0


@contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """Random numbers of its own, on the CPU; the learner's generators are put back."""
    before, of_python = torch.get_rng_state(), random.getstate()
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed every GPU
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
        random.setstate(of_python)


def _guarded(answer: Answer) -> Answer:
    """The learner's function; a missing result and an exception become verdicts."""

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
    """Whether nothing but a docstring, ``...`` or ``pass`` stands in the body."""
    code = getattr(answer, "__code__", None)
    return code is not None and {step.opname for step in dis.get_instructions(code)} <= RETURNS_NONE


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor {list(value.shape)}"
    return repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
