"""The peak of live tensors, counted without values."""

import pytest
import torch
from peak_bytes import PeakBytes

from liftnet.ops.compute.precision import in_meta_autocast
from liftnet.planning.memory import LiveBytes, OneStepRecurrence


def a_bit_of_everything(device: str) -> torch.Tensor:
    """In place and not, comparisons, broadcasting, views, a product, a convolution, a gradient."""
    maps = torch.ones(2, 3, 8, 8, device=device, requires_grad=True)
    scaled = torch.addcmul(maps.new_ones(1, 3, 1, 1), maps, maps.new_ones(2, 1, 8, 8))
    near = torch.where(scaled > 1, scaled.clamp(min=0.5), scaled.square())
    near = near.add_(1).flatten(2) @ near.new_ones(64, 5)
    weights = torch.ones(4, 3, 3, 3, device=device)
    loss = near.mean() + torch.nn.functional.conv2d(scaled, weights).relu().mean()
    (gradient,) = torch.autograd.grad(loss, maps)
    return gradient


def test_shapes_types_and_peak_are_those_of_real_tensors():
    """The same operations on numbers make the same tensors, and have as much alive."""
    with PeakBytes() as measured:
        real = a_bit_of_everything("cpu")
    with LiveBytes() as live:
        found = a_bit_of_everything("meta")
    assert (found.shape, found.dtype) == (real.shape, real.dtype)
    assert live.peak == pytest.approx(measured.peak, rel=0.02)
    del found
    assert live.now == 0


def test_autocast_takes_fewer_bytes():
    """What is made in it has the device's bytes per number; what is made outside, four."""
    with LiveBytes(2) as live:
        first = torch.empty(10, device="meta")
        with in_meta_autocast(True):
            second = first * 2
    assert live.now == 40 + 20 and second.dtype == torch.float32


def test_a_recurrence_has_its_shapes_in_one_operation():
    """Both directions; the operations of every step are left out."""
    with torch.device("meta"):
        gru = torch.nn.GRU(6, 4, batch_first=True, bidirectional=True)
        with OneStepRecurrence(), LiveBytes() as live:
            made, _ = gru(torch.empty(2, 1000, 6))
    assert made.shape == (2, 1000, 8)
    assert live.peak < 4 * 2 * 1000 * 30


def test_numbers_on_the_processor_stay_numbers():
    """Which targets are made is read there."""
    with LiveBytes():
        assert torch.ones(3).add_(1).sum().item() == 6
