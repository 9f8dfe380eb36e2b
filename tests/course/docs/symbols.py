r"""The symbols of a formula: letters, Greek letters, operators of our own, and names that stand in code.

``symbols(r"\mathrm{KL}(q \,\|\, p_{\text{data}})")`` is ``["KL", "q", "p"]``. A subscript in words belongs to its
letter and is no symbol. Every command that is not known as general mathematics or as layout counts as a symbol, so a
new one cannot slip through.
"""

from __future__ import annotations

import re

# what a reader brings along, and how a formula is set
GENERAL = set(
    "frac tfrac sqrt sum prod log ln exp max min partial infty cdot cdots dots times to approx in notin ne le ge mid "
    "propto underbrace mathbf langle rangle lVert rVert Vert lvert rvert big Big left right qquad quad".split()
)
WORD = re.compile(r"\\(?:mathrm|operatorname|mathbb|mathsf|textit)\s*(?:\{(\w+)\}|(\w))")
IN_CODE = re.compile(r"\\texttt\{([^}]*)\}")
SUBSCRIPT = re.compile(r"_\{dev\}|\\text\{[^}]*\}")  # words, not letters
DERIVATIVE = re.compile(r"\\frac\{d\}\{d")
TOKEN = re.compile(r"⟦(\w+)⟧|\\([A-Za-z]+)|([A-Za-z])")
TRANSPOSED = re.compile(r"\^\s*(?:\{\\mathsf T\}|\\top|\\mathsf T)")


def symbols(formula: str) -> list[str]:
    """Return the symbols of a formula in order: ``x``, ``\\lambda``, ``KL``, ``lm_logits``."""
    text = IN_CODE.sub(lambda found: f"⟦{found[1].replace(chr(92), '')}⟧", formula)
    text = DERIVATIVE.sub("{", TRANSPOSED.sub("", SUBSCRIPT.sub("", text)))
    text = WORD.sub(lambda found: f"⟦{found[1] or found[2]}⟧", text)
    found = [(word or letter or f"\\{command}", command) for word, command, letter in TOKEN.findall(text)]
    return [symbol for symbol, command in found if command not in GENERAL]
