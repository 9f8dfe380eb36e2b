"""The roofline model: the least time of a piece of work on a machine (Williams, Waterman and Patterson 2009).

A piece of work is a number of operations and a number of bytes to move; a machine has a peak rate of each. It can do
both at once, so the longer of the two times is the floor. Measured time over floor is what is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from experiments.benchmarking import paired_seconds


@dataclass(frozen=True)
class Peak:
    """Measured peak rates of a machine.

    Attributes:
        flops: operations a second in a large matrix product.
        bandwidth: bytes a second, each read from memory once.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """A piece of work: ``flops`` operations, and ``bytes`` to move."""

    flops: float
    bytes: float

    def floor(self, peak: Peak) -> float:
        """Return the least time, in seconds."""
        return max(self.flops / peak.flops, self.bytes / peak.bandwidth)

    def bound_by(self, peak: Peak) -> str:
        """Return the one that takes longer: "operations" or "bytes"."""
        return "operations" if self.flops / peak.flops > self.bytes / peak.bandwidth else "bytes"


def decoding_work(model: nn.Module, rows: int) -> Work:
    """Return the work of one decoding step: each weight is moved once and used for every row."""
    weights = {weight.data_ptr(): weight for weight in model.parameters()}.values()  # tied ones once
    return Work(2.0 * rows * sum(w.numel() for w in weights), float(sum(w.nbytes for w in weights)))


def measure_peak(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, rounds: int = 7) -> Peak:
    """Measure a large matrix product and a matrix-vector product, the median of some rounds."""
    side = 2048 if torch.device(device).type == "cpu" else 8192
    square = torch.randn(side, side, device=device, dtype=dtype)
    tall = torch.randn(16 * side, side, device=device, dtype=dtype)  # larger than any cache
    product, single = map(median, paired_seconds(lambda: square @ square, lambda: tall @ square[0], rounds=rounds))
    return Peak(2.0 * side**3 / product, tall.nbytes / single)
