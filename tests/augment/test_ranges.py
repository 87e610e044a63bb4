"""Tests of the random parameters."""

import dataclasses
import math
from functools import partial

import pytest
import torch
from scipy import stats

from liftnet.augment import ranges
from liftnet.core.recipe import AugmentationSpec

MANY = 4000


def unit(seed: int = 0) -> torch.Tensor:
    """Returns MANY even numbers over [0, 1)."""
    return torch.rand(MANY, generator=torch.Generator().manual_seed(seed))


def with_probability(spec: AugmentationSpec, probability: float) -> AugmentationSpec:
    """Returns `spec` with every probability replaced."""
    names = [field.name for field in dataclasses.fields(spec) if "probability" in field.name]
    values = dict.fromkeys(names, probability)
    return dataclasses.replace(spec, **{**values, "flip_probability": (probability,) * 3})


def test_uniform_is_uniform():
    """Kolmogorov and Smirnov find nothing against the even law."""
    drawn = ranges.to_range(unit(), -2.0, 3.0)
    assert stats.kstest(drawn.numpy(), stats.uniform(-2, 5).cdf).pvalue > 0.01


def test_log_uniform_is_log_uniform():
    """The law agrees with scipy's log-uniform law."""
    drawn = ranges.to_log_range(unit(), 0.7, 1.4)
    assert stats.kstest(drawn.numpy(), stats.loguniform(0.7, 1.4).cdf).pvalue > 0.01


def test_factor_is_below_one_half_of_the_time_and_even_on_each_side():
    """Each side of 1 is even, and both are equally likely although the range is lopsided."""
    drawn = ranges.to_factor(unit(), 0.7, 1.5).numpy()
    below, above = drawn[drawn < 1], drawn[drawn >= 1]
    assert stats.binomtest(len(below), MANY, 0.5).pvalue > 0.01
    assert stats.kstest(below, stats.uniform(0.7, 0.3).cdf).pvalue > 0.01
    assert stats.kstest(above, stats.uniform(1.0, 0.5).cdf).pvalue > 0.01


@pytest.mark.parametrize("limits", [(1.2, 1.6), (0.4, 0.9)])
def test_factor_of_a_one_sided_range_stays_in_it(limits):
    """A range without 1 is drawn evenly."""
    drawn = ranges.to_factor(unit(), *limits)
    law = stats.uniform(limits[0], limits[1] - limits[0])
    assert stats.kstest(drawn.numpy(), law.cdf).pvalue > 0.01


def test_probability_zero_is_neutral(everything):
    """Without any probability every parameter is the neutral one."""
    spec = with_probability(everything, 0.0)
    spatial = ranges.draw_spatial(spec, torch.arange(50))
    assert not spatial.flip.any()
    assert (spatial.angle == 0).all() and (spatial.shear == 0).all()
    assert (spatial.scale == 1).all() and spatial.control_points is None
    change = ranges.draw_intensity(spec, torch.arange(50), 3)
    for neutral_one in (change.gamma, change.contrast, change.brightness, change.zoom):
        assert (neutral_one == 1).all()
    for neutral_zero in (change.bias_strength, change.blur_sigma, change.noise_std):
        assert (neutral_zero == 0).all()


def test_ranges_are_kept_and_filled(everything):
    """What is applied lies in the range of the plan and reaches close to both ends."""
    spatial = ranges.draw_spatial(everything, torch.arange(MANY))
    change = ranges.draw_intensity(everything, torch.arange(MANY), 3)
    limits = [
        (spatial.angle, -math.radians(30), math.radians(30)),
        (spatial.scale, 0.7, 1.4),
        (spatial.shear, -0.2, 0.2),
        (spatial.control_points, -0.03, 0.03),
        (change.gamma, 0.7, 1.5),
        (change.contrast, 0.75, 1.25),
        (change.brightness, 0.75, 1.25),
        (change.bias_strength, 0.0, 0.3),
        (change.blur_sigma[change.blur_sigma > 0], 0.5, 1.0),
        (change.zoom[change.zoom < 1], 0.5, 1.0),
        (change.noise_std, 0.0, 0.1),
    ]
    for drawn, low, high in limits:
        margin = 0.02 * (high - low)
        assert low - 1e-6 <= drawn.min() < low + margin
        assert high - margin < drawn.max() <= high + 1e-6


def test_shapes(everything):
    """Items come first, channels second."""
    spatial = ranges.draw_spatial(everything, torch.arange(4))
    assert spatial.flip.shape == (4, 3) and spatial.angle.shape == (4,)
    assert spatial.scale.shape == (4,) and spatial.shear.shape == (4,)
    assert spatial.control_points.shape == (4, 2, 5, 5)
    change = ranges.draw_intensity(everything, torch.arange(4), 3)
    assert ranges.draw_bias_points(torch.arange(4), 3).shape == (4, 3, *ranges.BIAS_CONTROL_POINTS)
    assert ranges.draw_noise(torch.arange(4), (3, 1, 5, 7)).shape == (4, 3, 1, 5, 7)
    assert change.noise_std.shape == (4,)
    for drawn in (change.gamma, change.contrast, change.brightness, change.bias_strength):
        assert drawn.shape == (4, 3)
    assert change.blur_sigma.shape == (4, 3) and change.zoom.shape == (4, 3)


def test_probabilities_are_met(everything):
    """A transform with probability 0.3 touches 30 % of the items; blur half of their channels."""
    spec = with_probability(everything, 0.3)
    spatial = ranges.draw_spatial(spec, torch.arange(MANY))
    change = ranges.draw_intensity(spec, torch.arange(MANY), 2)
    applied = [
        *spatial.flip.unbind(1),
        spatial.angle != 0,
        spatial.scale != 1,
        spatial.shear != 0,
        (spatial.control_points != 0).flatten(1).any(1),
        (change.gamma != 1).all(1),
        (change.contrast != 1).all(1),
        (change.brightness != 1).all(1),
        (change.bias_strength != 0).all(1),
        change.noise_std != 0,
    ]
    for hits in applied:
        assert stats.binomtest(int(hits.sum()), MANY, 0.3).pvalue > 0.001
    for hits in (change.blur_sigma[:, 0] != 0, change.zoom[:, 1] != 1):
        assert stats.binomtest(int(hits.sum()), MANY, 0.15).pvalue > 0.001


def test_flips_follow_their_own_axis(everything):
    """The three flip probabilities belong to D, H and W in this order."""
    spec = dataclasses.replace(everything, flip_probability=(0.0, 1.0, 0.0))
    flip = ranges.draw_spatial(spec, torch.arange(20)).flip
    assert not flip[:, 0].any() and flip[:, 1].all() and not flip[:, 2].any()


def test_items_and_channels_differ(everything):
    """No two items share a number, nor do two channels of one item."""
    spatial = ranges.draw_spatial(everything, torch.arange(8))
    for drawn in (spatial.angle, spatial.scale, spatial.shear):
        assert len(drawn.unique()) == 8
    change = ranges.draw_intensity(everything, torch.arange(8), 3)
    for drawn in (change.gamma, change.contrast, change.brightness, change.bias_strength):
        assert len(drawn.unique()) == 24
    assert len(change.noise_std.unique()) == 8


def test_an_item_alone_draws_what_it_draws_in_a_batch(everything):
    """Parameters follow from the item's own seed."""
    seeds = torch.tensor([5, 6, 9])
    for draw in (ranges.draw_spatial, partial(ranges.draw_intensity, num_channels=2)):
        together = draw(everything, seeds)
        for index in range(3):
            alone = draw(everything, seeds[index : index + 1])
            for field in dataclasses.fields(alone):
                part = getattr(together, field.name)[index]
                assert torch.equal(part, getattr(alone, field.name)[0]), field.name


def test_parameters_of_one_item_are_unrelated(everything):
    """No two numbers are drawn from the same place: none are correlated over many items."""
    seeds = torch.arange(MANY)
    columns = []
    for drawn in (
        ranges.draw_spatial(everything, seeds),
        ranges.draw_intensity(everything, seeds, 2),
    ):
        for field in dataclasses.fields(drawn):
            columns.extend(getattr(drawn, field.name).reshape(MANY, -1).double().unbind(1))
    columns.extend(ranges.draw_bias_points(seeds, 2).reshape(MANY, -1).double().unbind(1))
    correlation = torch.corrcoef(torch.stack(columns)).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / math.sqrt(MANY)


def test_bias_points_are_even():
    """Over [-1, 1)."""
    points = ranges.draw_bias_points(torch.arange(100), 2).flatten()
    assert stats.kstest(points.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
