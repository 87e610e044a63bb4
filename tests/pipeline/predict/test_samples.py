"""The latent, the grid and the units of one generated volume."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_generation import SHAPE, SPACING

from liftnet.core.geometry import SLICE_AXES, Volume, axis_order, turn
from liftnet.core.plan import ChannelPlan, ClipAndScale, PercentileScale, ZScore
from liftnet.pipeline.predict.samples import centred, great_circle, list_samples, to_file_units

MR = ChannelPlan("t1n", "MR", PercentileScale("foreground", 0.001, 0.999, 3.75, 903.75, (-1, 1)))
CT = ChannelPlan("ct", "CT", ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0)))


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """The angle between two directions, from their difference."""
    difference = a.double() / a.double().norm() - b.double() / b.double().norm()
    return 2 * math.asin(float(difference.norm()) / 2)


def test_the_great_circle():
    """Equal weights are equal angles, at the ends' common length; the ends are exact."""
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(7, generator=generator) for _ in range(2))
    b = b * a.norm() / b.norm()
    for weight in (0.0, 0.2, 0.5, 0.9, 1.0):
        between = great_circle(a, b, weight)
        assert between.dtype == torch.float32
        assert angle(a, between) == pytest.approx(weight * angle(a, b), abs=1e-6)
        assert angle(between, b) == pytest.approx((1 - weight) * angle(a, b), abs=1e-6)
        assert float(between.norm()) == pytest.approx(float(a.norm()), rel=1e-6)
    assert torch.equal(great_circle(a, 3 * b, 0.0), a)
    assert torch.equal(great_circle(a, 3 * b, 1.0), 3 * b)


def test_no_great_circle():
    """Latents of one direction or of opposite ones are joined by a line."""
    a = torch.tensor([1.0, -2.0, 0.5])
    for b in (a, 2 * a, -a):
        expected = 0.75 * a + 0.25 * b
        torch.testing.assert_close(great_circle(a, b, 0.25), expected)


def test_names_and_weights():
    """Numbers count from the first; an interpolation goes from 0 to 1 under other names."""
    samples = list_samples(3, 5, 9998, 1.5, 0.5, None)
    assert [s.name for s in samples] == ["sample_9998", "sample_9999", "sample_10000"]
    assert [s.number for s in samples] == [9998, 9999, 10000]
    assert {(s.seed, s.temperature, s.sigma_z, s.interpolation) for s in samples} == {
        (5, 1.5, 0.5, None)
    }
    between = list_samples(5, 5, 0, 1.0, 0.0, (7, 2))
    assert [s.name for s in between[::4]] == ["between_0007_0002_0000", "between_0007_0002_0004"]
    assert [s.interpolation["weight"] for s in between] == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("slice_axis", sorted(SLICE_AXES))
def test_the_grid_is_centred(slice_axis):
    """Array axes point along the plan's world axes; opposite corners are opposite in the world."""
    grid = centred(np.zeros(SHAPE), SPACING, slice_axis)
    order = axis_order(grid, slice_axis)
    assert (order.order, order.flip) == ((0, 1, 2), (False, False, False))
    assert (grid.shape, grid.spacing_mm) == (SHAPE, SPACING)
    last = grid.world(tuple(n - 1.0 for n in SHAPE))
    assert grid.origin_mm == tuple(-x for x in last)
    half = [(n - 1) / 2 * s for n, s in zip(SHAPE, SPACING, strict=True)]
    expected = dict(zip(SLICE_AXES[slice_axis], half, strict=True))
    assert last == tuple(expected[k] for k in range(3))
    stored = turn(Volume(np.zeros((1, *SHAPE)), grid), axis_order(grid, "axial")).geometry
    assert stored.direction == ((0, 0, 1), (0, 1, 0), (1, 0, 0))


def test_integers_have_a_clean_background():
    """Within half a grey level of air is air, the rest is linear; nothing else is cut."""
    level = 1 / 450  # of 900 grey levels between -1 and 1, in network units
    made = np.array([[[-1.0, -1 + 0.4 * level, -1 + 0.6 * level, 0.0, 0.5, 1.0]]], np.float32)
    image = to_file_units(made, MR, "int16", normalized=False)
    expected = [3.75, 3.75, 3.75 + 0.6, 453.75, 678.75, 903.75]
    np.testing.assert_allclose(image[0, 0], expected, rtol=1e-5)
    assert image[0, 0, 1] == np.float32(3.75)
    hu = to_file_units(made, CT, "int16", normalized=False)
    np.testing.assert_allclose(hu[0, 0, [0, 3, 4, 5]], [-1000, 500, 1250, 2000])


@pytest.mark.parametrize("normalized", [False, True])
def test_floats_have_a_clean_background(normalized):
    """In float32 a grey level is one of 255, in file units as in the network's."""
    rule = replace(MR.normalization, typical_low=0.0, typical_high=2.0)
    channel = replace(MR, normalization=rule)
    level = 2 / 255
    made = np.array([[[-1.0, -1 + 0.45 * level, -1 + 0.55 * level, 0.5]]], np.float32)
    image = to_file_units(made, channel, "float32", normalized=normalized)
    expected = np.array([-1.0, -1.0, -1 + 0.55 * level, 0.5]) + (0 if normalized else 1)
    np.testing.assert_allclose(image[0, 0], expected, atol=1e-6)
    assert image[0, 0, 1] == image[0, 0, 0]


def test_air_of_a_z_score():
    """Where air is an intensity of 0, that is written, whatever network value it has."""
    channel = ChannelPlan("t1n", "MR", ZScore("foreground", 400.0, 100.0))
    made = np.array([[[-4.0, -3.9985, -3.99, 0.0, 2.5]]], np.float32)
    image = to_file_units(made, channel, "int16", normalized=False)
    np.testing.assert_allclose(image[0, 0], [0, 0, 1, 400, 650], atol=1e-4)
    assert image[0, 0, 1] == 0
    units = to_file_units(made, channel, "float32", normalized=True)
    np.testing.assert_allclose(units[0, 0], [-4.0, -4.0, -3.99, 0.0, 2.5])
