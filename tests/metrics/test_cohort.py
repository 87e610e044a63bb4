"""Metrics of whole cohorts on volumes with a known order of slices, against scipy and loops."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from liftnet.metrics.cohort import (
    delta_z_distance,
    delta_z_profile,
    delta_z_profiles,
    delta_z_ratio,
    depth_order,
    depth_reference,
    ms_ssim_among,
)
from liftnet.ops.ssim import ms_ssim

SHAPE = (24, 40, 34)


def anatomy(count: int, *, seed: int) -> list[np.ndarray]:
    """Volumes in [0, 1]: one smooth pattern per depth that all share, deformed and with noise.

    Two slices at each end are empty.
    """
    rng = np.random.default_rng(seed)
    common = ndimage.gaussian_filter(np.random.default_rng(7).standard_normal(SHAPE), (2, 4, 4))
    common = 0.5 + 0.2 * common / common.std()
    volumes = []
    for _ in range(count):
        own = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (2, 4, 4))
        volume = ndimage.shift(common, rng.uniform(-1, 1, 3), order=1, mode="nearest")
        volume = volume + 0.05 * own / own.std() + 0.01 * rng.standard_normal(SHAPE)
        volume[[0, 1, -2, -1]] = 0
        volumes.append(volume.clip(0, 1).astype(np.float32))
    return volumes


def shuffled(volumes: list[np.ndarray]) -> list[np.ndarray]:
    """Each volume with its slices in an order of its own."""
    rng = np.random.default_rng(5)
    return [volume[rng.permutation(len(volume))] for volume in volumes]


def test_ms_ssim_among_is_the_mean_over_pairs():
    """All pairs by a loop; fewer are a subset without repetition, decided by the seed."""
    volumes = [volume[::-1] for volume in anatomy(5, seed=1)]  # a view, as a turned file is
    values = [
        ms_ssim(
            *(torch.from_numpy(v.copy())[None, None] for v in pair), data_range=1.0, window_size=7
        ).item()
        for pair in itertools.combinations(volumes, 2)
    ]
    assert ms_ssim_among(volumes, data_range=1.0, pairs=99, seed=0) == pytest.approx(
        np.mean(values)
    )
    one = [ms_ssim_among(volumes, data_range=1.0, pairs=1, seed=s) for s in range(40)]
    assert {round(v, 6) for v in one} == {round(v, 6) for v in values}
    nine = {round(10 * np.mean(values) - v, 5) for v in values}
    found = [9 * ms_ssim_among(volumes, data_range=1.0, pairs=9, seed=s) for s in range(5)]
    assert {round(v, 5) for v in found} <= nine


def test_ms_ssim_among_ranks_a_collapse_above_and_disorder_below():
    """Copies with noise score about 1, slices in random order less than real volumes."""
    real = anatomy(4, seed=1)
    copies = [real[0] + np.float32(1e-3 * i) for i in range(4)]
    low, middle, high = (
        ms_ssim_among(volumes, data_range=1.0, pairs=6, seed=0)
        for volumes in (shuffled(real), real, copies)
    )
    assert low < middle - 0.1
    assert middle < high
    assert high == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_delta_z_profile_is_that_of_numpy(axis):
    """Along D only: a volume turned on its side has another profile and another length."""
    volume = np.moveaxis(anatomy(1, seed=2)[0], axis, 0)
    expected = np.abs(np.diff(volume.astype(float), axis=0)).mean(axis=(1, 2))
    assert delta_z_profile(volume) == pytest.approx(expected)
    assert delta_z_profile(volume).shape == (SHAPE[axis] - 1,)
    assert delta_z_profiles([volume, 2 * volume]) == pytest.approx(
        np.stack([expected, 2 * expected])
    )


def test_delta_z_distance_is_that_of_scipy():
    """Wasserstein-1 per depth by scipy, for cohorts of different sizes; ties included."""
    rng = np.random.default_rng(0)
    generated, real = rng.gamma(2.0, size=(9, 6)), rng.gamma(3.0, size=(14, 6)).round(1)
    expected = [stats.wasserstein_distance(generated[:, d], real[:, d]) for d in range(6)]
    assert delta_z_distance(generated, real) == pytest.approx(np.mean(expected) / real.mean())
    assert delta_z_ratio(generated, real) == pytest.approx(generated.mean() / real.mean())
    assert delta_z_distance(1.3 * real, real) == pytest.approx(0.3)
    assert delta_z_distance(real[::-1], real) == 0


def test_delta_z_distance_between_halves_is_as_documented():
    """1.7 s / sqrt(N) for normal steps with relative spread s."""
    rng = np.random.default_rng(1)
    steps = 10 + 2 * rng.standard_normal((2, 50, 400))
    assert delta_z_distance(*steps) == pytest.approx(1.7 * 0.2 / 50**0.5, rel=0.1)


def test_delta_z_sees_disorder_blur_and_collapse():
    """Shuffled slices step too far, blurred too little; copies keep the ratio, not the spread."""
    real = delta_z_profiles(anatomy(12, seed=1))
    other = anatomy(12, seed=2)
    same = delta_z_distance(delta_z_profiles(other), real)
    mixed = delta_z_profiles(shuffled(other))
    smooth = delta_z_profiles([ndimage.gaussian_filter(v, (1.5, 0, 0)) for v in other])
    copies = delta_z_profiles(other[:1] * 12)
    assert delta_z_ratio(mixed, real) > 1.2
    assert delta_z_ratio(smooth, real) < 0.9
    for profiles in (mixed, smooth, copies):
        assert delta_z_distance(profiles, real) > 1.5 * same


def test_depth_order_of_real_reversed_and_shuffled_volumes():
    """Near 1 for volumes that the reference has not seen, -1 upside down, about 0 in disorder."""
    reference = depth_reference(anatomy(12, seed=1))
    other = anatomy(20, seed=2)
    assert depth_order(other, reference) > 0.97
    assert depth_order([volume[::-1] for volume in other], reference) < -0.97
    assert abs(depth_order(shuffled(other), reference)) < 0.15
    alike = [np.broadcast_to(volume[10], SHAPE) for volume in other]
    assert depth_order(alike, reference) == 0
    assert depth_order([np.zeros(SHAPE)], reference) == 0


def test_depth_order_is_that_of_a_loop():
    """Grids of at most 32 are not reduced: the best of numpy's correlations, per slice."""
    real, other = ([v[:, :29, :31] for v in anatomy(n, seed=n)] for n in (6, 3))
    used = range(2, SHAPE[0] - 2)

    def pattern(image):
        image = image.astype(float) - image.mean(dtype=float)
        return image / np.sqrt(np.square(image).sum())

    means = {d: np.mean([pattern(v[d]) for v in real], axis=0).ravel() for d in used}
    expected = []
    for volume in other:
        placed = [
            max(used, key=lambda e: np.corrcoef(volume[d].ravel(), means[e])[0, 1]) for d in used
        ]
        expected.append(stats.pearsonr(used, placed).statistic)
    reference = depth_reference(real)
    assert depth_order(other, reference) == pytest.approx(np.mean(expected))
    lengths = [np.linalg.norm(means[d]) for d in used]
    assert np.linalg.norm(reference, axis=1) == pytest.approx([0, 0, *lengths, 0, 0], abs=1e-6)


def test_depth_order_ignores_gain_and_offset():
    """Of a volume and of each slice, in the cohort and in the reference."""
    rng = np.random.default_rng(3)
    real, other = anatomy(6, seed=1), shuffled(anatomy(3, seed=2))
    gains = rng.uniform(0.5, 20, size=(9, SHAPE[0], 1, 1))
    changed = [gain * volume - 3 for gain, volume in zip(gains, [*real, *other], strict=True)]
    expected = depth_order(other, depth_reference(real))
    found = depth_order(changed[6:], depth_reference(changed[:6]))
    assert found == pytest.approx(expected, abs=1e-3)


def test_blank_slices_order_nothing_but_count():
    """A volume that is blank in every other slice scores below the same volume in full."""
    reference = depth_reference(anatomy(12, seed=1))
    volumes = anatomy(4, seed=2)
    gaps = [volume.copy() for volume in volumes]
    for volume in gaps:
        volume[::2] = 1e-7 * np.random.default_rng(0).random(SHAPE)[::2]
    assert 0.4 < depth_order(gaps, reference) < depth_order(volumes, reference) - 0.1


def test_wrong_calls_are_errors():
    """Shapes, empty cohorts and cohorts without structure are named."""
    volumes = anatomy(2, seed=1)
    reference = depth_reference(volumes)
    with pytest.raises(ValueError, match="expected at least two volumes and one pair, got 1 and 5"):
        ms_ssim_among(volumes[:1], data_range=1.0, pairs=5, seed=0)
    with pytest.raises(ValueError, match=r"of at least two slices, got shape \(1, 40, 34\)"):
        delta_z_profile(volumes[0][:1])
    with pytest.raises(ValueError, match=r"one number of slices, got \[20, 24\]"):
        delta_z_profiles([volumes[0], volumes[1][:20]])
    with pytest.raises(ValueError, match=r"of the same D, got shapes \(3, 5\) and \(3, 4\)"):
        delta_z_distance(np.ones((3, 5)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="that change along z"):
        delta_z_ratio(np.ones((3, 5)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="real volumes of one shape"):
        depth_reference([volumes[0], volumes[1][:20]])
    with pytest.raises(ValueError, match=r"patterns \(24, 1024\) as in the reference"):
        depth_order([volumes[0][:20]], reference)
    with pytest.raises(ValueError, match="at least one real volume, got none"):
        depth_reference([])
    with pytest.raises(ValueError, match="at least one volume, got none"):
        depth_order([], reference)
    with pytest.raises(ValueError, match="alike at two depths or more, got none"):
        depth_order(volumes, np.zeros_like(reference))
