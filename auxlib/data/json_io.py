"""How is a small result kept? As JSON that is there whole, or not at all, and says what it lacks."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from auxlib.errors import CourseError

Record = dict[str, Any]


def read_json(path: Path, needed: Set[str], again: str) -> Record | None:
    """Read JSON that `write_json_atomic` has written, or None where there is none.

    Raises:
        CourseError: it is damaged, or lacks one of the names; ``again`` is the command that makes it.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also what is cut within a character
        raise CourseError(f"{path} is damaged or truncated ({error}); make it again: {again}") from error
    if missing := needed - set(found):
        raise CourseError(f"{path} lacks {', '.join(sorted(missing))}; make it again: {again}")
    return found


def write_json_atomic(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    scratch.replace(path)
