"""Obfuscated exercise modules for students: the checks work, and the reference solutions are not in plain sight.

This is no encryption. The checks need the references, so anyone who wants to decode a module can.
"""

from __future__ import annotations

import base64
import textwrap
import zlib

MODULE = '''"""Exercises with their reference solutions, obfuscated. The instructor's archive has the readable file."""

from course.exercises.obfuscate import deobfuscate

exec(
    deobfuscate("""
{text}
""")
)
'''


def obfuscate(source: str) -> str:
    """Return a module that executes ``source`` without showing it."""
    text = base64.b85encode(zlib.compress(source.encode(), 9)).decode()
    return MODULE.format(text=textwrap.fill(text, 118))


def deobfuscate(text: str) -> str:
    """Return the source from the text that `obfuscate` put into a module."""
    return zlib.decompress(base64.b85decode("".join(text.split()))).decode()
