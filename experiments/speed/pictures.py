"""Roofline plot: work and time under a machine's peak (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

from collections.abc import Mapping

from auxlib.plot import Picture, curves
from experiments.speed.roofline import Peak, Work


def roofline(peak: Peak, pieces: Mapping[str, tuple[Work, float]], title: str) -> Picture:
    """Plot the roofline, and for each piece of work a line from the speed at its floor down to the measured one."""
    at = {name: work.flops / work.bytes for name, (work, _) in pieces.items()}
    turn = peak.flops / peak.bandwidth
    ends = [min(turn, *at.values()) / 2, turn, 2 * max(turn, *at.values())]
    lines = {"the roof": (ends, [min(peak.flops, x * peak.bandwidth) / 1e9 for x in ends])}
    for name, (work, seconds) in pieces.items():
        lines[name] = [at[name]] * 2, [work.flops / time / 1e9 for time in (work.floor(peak), seconds)]
    return curves(lines, "operations for each byte", "GFLOP a second", title, log_x=True, log_y=True)
