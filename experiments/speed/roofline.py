"""How fast could it be? Two numbers of a piece of work, two of a machine, and the floor that follows.

A piece of work has to do so many operations and to move so many bytes. A machine does so many operations a second and
moves so many bytes a second. It can do both at once, so that the slower of the two is the least time there is
(Williams, Waterman and Patterson 2009). A measured time over this floor says how much is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from auxlib.benchmarking import paired_seconds


@dataclass(frozen=True)
class Peak:
    """What a machine has been seen to do at best.

    Attributes:
        flops: operations a second in a large matrix product.
        bandwidth: bytes a second, read from memory once.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """What has to be done: ``flops`` operations on ``bytes`` that have to be moved."""

    flops: float
    bytes: float

    def floor(self, peak: Peak) -> float:
        """The least seconds there are."""
        return max(self.flops / peak.flops, self.bytes / peak.bandwidth)

    def bound_by(self, peak: Peak) -> str:
        """Which of the two takes longer: "operations" or "bytes"."""
        return "operations" if self.flops / peak.flops > self.bytes / peak.bandwidth else "bytes"


def reading(model: nn.Module, rows: int) -> Work:
    """One new token for each of so many rows: each weight is moved once, and used for every row."""
    weights = {weight.data_ptr(): weight for weight in model.parameters()}.values()  # tied ones once
    return Work(2.0 * rows * sum(w.numel() for w in weights), float(sum(w.nbytes for w in weights)))


def measure_peak(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, rounds: int = 7) -> Peak:
    """Multiply a large matrix by another, and by a vector, and take the middle of some rounds."""
    side = 2048 if torch.device(device).type == "cpu" else 8192
    square = torch.randn(side, side, device=device, dtype=dtype)
    tall = torch.randn(16 * side, side, device=device, dtype=dtype)  # larger than any cache
    product, single = map(median, paired_seconds(lambda: square @ square, lambda: tall @ square[0], rounds=rounds))
    return Peak(2.0 * side**3 / product, tall.nbytes / single)
