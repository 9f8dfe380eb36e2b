"""Tables of results: rows of formatted cells, as markdown or as aligned text.

A system that failed keeps its row; its error stands in the first column of figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, str]


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a markdown table, the first column left-aligned; its columns are those of the longest row.

    Cells are not padded, unlike those of ``tabulate`` and ``DataFrame.to_markdown``: README and notebooks compare these
    tables to the letter, and a padded table changes in every line when one cell grows.
    """
    longest = max(rows, key=len)
    names = list(longest)
    lines = ["| " + " | ".join(names) + " |", "|---" + "|--:" * (len(names) - 1) + "|"]
    lines += ["| " + " | ".join(row.get(name, "").replace("|", r"\|") for name in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def as_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows in aligned columns under their keys, for a terminal; an empty text without rows.

    Cells are shown as they are written: a notebook's number ``02`` is not read as the number 2.

    Args:
        columns: the keys to show, in this order; all of them by default. A missing cell is left empty.
    """
    from tabulate import tabulate

    chosen = rows if columns is None else [{name: row.get(name, "") for name in columns} for row in rows]
    return tabulate(chosen, headers="keys", tablefmt="plain", disable_numparse=True)


def failure_row(system: Mapping[str, Any], column: str = "keyword") -> Row:
    """Return the row of a system that failed with every seed: its label, and the error on one line."""
    return {"system": system["label"], column: f"FAILED: {' '.join(system['error'].split())}"}


def label_of(system: Mapping[str, Any]) -> str:
    """Return a system's label with the seeds in which it failed."""
    failed = f" (seed {', '.join(map(str, system['failed_seeds']))} FAILED)" if system["failed_seeds"] else ""
    return system["label"] + failed
