"""How are exercises handed out without their answers in plain sight? As text that programs read and people do not.

It hides a solution from eyes that pass by, no more: the checks need the reference, so whoever wants to can open it.
"""

from __future__ import annotations

import base64
import textwrap
import zlib

ROOM = '''"""Exercises, sealed: their reference solutions are in here. Whoever teaches has the readable file."""

from course.exercises.obfuscate import opened

exec(
    opened("""
{text}
""")
)
'''


def obfuscate(source: str) -> str:
    """A module that does what ``source`` does, and does not show it."""
    text = base64.b85encode(zlib.compress(source.encode(), 9)).decode()
    return ROOM.format(text=textwrap.fill(text, 118))


def opened(text: str) -> str:
    """The source again."""
    return zlib.decompress(base64.b85decode("".join(text.split()))).decode()
