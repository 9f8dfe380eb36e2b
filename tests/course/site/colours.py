"""Contrast and distance of colours, with and without colour vision deficiency.

Contrast as defined by WCAG 2; distance in CIE Lab of 1976 after the simulation of Machado, Oliveira and Fernandes
(2009) at full strength.
"""

from __future__ import annotations

SIMULATED = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)

Triple = tuple[float, float, float]


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio: 1 for equal lightness, 21 for black on white; parts of a figure need 3."""
    dark, light = sorted(_apply(TO_XYZ, _linear(colour))[1] for colour in (a, b))
    return (light + 0.05) / (dark + 0.05)


def distance(a: str, b: str, sight: str) -> float:
    """Return the distance: about 2 is just noticeable side by side; black and white are 100 apart."""
    pair = [_lab(_apply(SIMULATED[sight], _linear(colour))) for colour in (a, b)]
    return sum((one - other) ** 2 for one, other in zip(*pair, strict=True)) ** 0.5


def _linear(colour: str) -> Triple:
    """Convert ``#RRGGBB`` to linear light."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def _apply(matrix: tuple[Triple, ...], light: Triple) -> Triple:
    return tuple(sum(a * b for a, b in zip(row, light, strict=True)) for row in matrix)


def _lab(light: Triple) -> Triple:
    xyz = _apply(TO_XYZ, tuple(min(1.0, max(0.0, part)) for part in light))
    x, y, z = (_root(part / white) for part, white in zip(xyz, WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _root(part: float) -> float:
    return part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116
