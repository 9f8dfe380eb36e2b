"""The floor under a time: two numbers of a piece of work, two of a machine."""

from __future__ import annotations

import pytest
import torch

from auxlib.frozen import Expert
from experiments.speed.roofline import Peak, Work, decoding_work, measure_peak

PEAK = Peak(flops=100.0, bandwidth=10.0)


@pytest.mark.parametrize(
    ("work", "seconds", "bound"),
    [
        (Work(flops=200.0, bytes=1.0), 2.0, "operations"),
        (Work(flops=1.0, bytes=50.0), 5.0, "bytes"),
        (Work(flops=100.0, bytes=10.0), 1.0, "bytes"),
    ],
)
def test_the_slower_of_the_two_is_the_floor(work: Work, seconds: float, bound: str) -> None:
    assert work.floor(PEAK) == seconds
    assert work.bound_by(PEAK) == bound


def test_reading_moves_each_weight_once_and_uses_it_for_every_row(expert: Expert) -> None:
    count = expert.model.num_parameters()  # tied ones once
    one, many = decoding_work(expert.model, 1), decoding_work(expert.model, 8)
    assert one == Work(2.0 * count, 4.0 * count)
    assert many.flops == 8 * one.flops
    assert many.bytes == one.bytes
    assert decoding_work(expert.model.to(torch.float32), 1).bytes == one.bytes


def test_a_machine_has_a_peak() -> None:
    peak = measure_peak(rounds=1)
    assert peak.flops > 1e8
    assert peak.bandwidth > 1e8
