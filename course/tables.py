"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows in aligned columns under their keys; an empty text without rows.

    Cells are shown as they are written: a notebook's number ``02`` is not read as the number 2.
    """
    return tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True)
