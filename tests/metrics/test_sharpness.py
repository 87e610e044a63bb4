"""Sharpness against numbers that are known: other code, sinusoids, and what a blur leaves."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from image_pairs import pair_of
from scipy import ndimage, signal

from liftnet.core.scores import Comparison
from liftnet.metrics.protocols import ct_protocols, mr_protocols
from liftnet.metrics.sharpness import (
    METRICS,
    gradient_energy,
    high_frequency_fraction,
    known_means,
    plane_power,
    sharpness_in_plane,
)

REFERENCE = runpy.run_path(str(Path(__file__).with_name("ct_reference.py")))["sharpness"]
SHAPE = (26, 40, 34)
SHARPNESS = tuple(metric.name for metric in METRICS)


def measure_sharpness(
    predicted: np.ndarray, reference: np.ndarray, region: np.ndarray, *, axis: int
) -> dict[str, float]:
    """The three numbers, those that there are."""
    pair = pair_of(predicted, reference, region, axis=axis)
    found = {metric.name: metric.measure(pair, "") for metric in METRICS}
    return {name: value for name, value in found.items() if value is not None}


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """White noise (D, H, W)."""
    return np.random.default_rng(seed).standard_normal(shape)


def ball(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """An ellipsoid (D, H, W) that leaves out a border."""
    grids = np.meshgrid(*(np.linspace(-1.15, 1.15, side) for side in shape), indexing="ij")
    return np.asarray(sum(g * g for g in grids) < 1)


def by_loops(image: np.ndarray, region: np.ndarray, axes: tuple[int, ...]) -> float:
    """The gradient energy, one voxel after another."""
    steps = []
    for place in zip(*np.nonzero(region), strict=True):
        for axis in axes:
            other = list(place)
            other[axis] += 1
            if other[axis] < image.shape[axis] and region[tuple(other)]:
                steps.append((image[tuple(other)] - image[place]) ** 2)
    return float(np.mean(steps))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradients_are_those_of_loops(axis):
    """In plane and through plane, inside the region without its rim, for any slice axis."""
    shape = (7, 10, 9)
    reference, region = noise(0, shape), ball(shape)
    predicted = 0.5 * reference + 0.2 * noise(1, shape)
    inner = region.copy()
    for along in range(3):
        for step in (-1, 1):
            inner &= np.roll(region, step, along)
    assert 0 < inner.sum() < region.sum()
    other = tuple(k for k in range(3) if k != axis)
    found = measure_sharpness(predicted, reference, region, axis=axis)
    assert found == pytest.approx(REFERENCE(predicted, reference, region, axis), rel=1e-9)
    for name, axes in (("sharpness_in_plane", other), ("sharpness_through_plane", (axis,))):
        wanted = by_loops(predicted, inner, axes) / by_loops(reference, inner, axes)
        assert found[name] == pytest.approx(wanted, rel=1e-9)
    alone = sharpness_in_plane(predicted, reference, region, axis=axis)
    assert alone == found["sharpness_in_plane"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_is_as_sharp_as_itself(axis):
    """Exactly 1; scale and offset of both do not count, scale of one counts as its square."""
    image, region = noise(2).astype(np.float32), ball()
    assert measure_sharpness(image, image, region, axis=axis) == dict.fromkeys(SHARPNESS, 1.0)
    scaled = measure_sharpness(3 * image + 40, 3 * image + 40, region, axis=axis)
    assert scaled == dict.fromkeys(SHARPNESS, 1.0)
    half = measure_sharpness(image / 2 + 7, image, region, axis=axis)
    assert half == pytest.approx(dict.fromkeys(SHARPNESS, 0.25), rel=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_lies_outside_and_at_the_rim_does_not_count(axis):
    """Whatever stands there, the numbers are the same."""
    image, smooth = noise(3), ndimage.gaussian_filter(noise(3), 0.7)
    region = ball()
    inner = ndimage.binary_erosion(region)
    changed = np.where(inner, smooth, 50 * noise(4))
    found = measure_sharpness(changed, image, region, axis=axis)
    assert found == pytest.approx(measure_sharpness(smooth, image, region, axis=axis), rel=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_blur_leaves_what_theory_says(axis):
    """Of white noise: by the transfer function of the Gaussian, in every direction alike."""
    image, region = noise(5, (60, 52, 64)), np.ones((60, 52, 64), bool)
    blurred = ndimage.gaussian_filter(image, 1.0, mode="wrap", truncate=6)
    found = measure_sharpness(blurred, image, region, axis=axis)
    # The kernel's autocorrelation r: a difference has 2 (r(0) - r(1)), where noise has 2.
    kernel = ndimage.gaussian_filter1d(np.eye(1, 61, 30)[0], 1.0, truncate=6)
    own = np.convolve(kernel, kernel)
    step = own[60] ** 2 * (own[60] - own[61])
    assert found["sharpness_in_plane"] == pytest.approx(step, rel=0.03)
    assert found["sharpness_through_plane"] == pytest.approx(step, rel=0.03)
    frequencies = np.fft.fftfreq(512)
    response = np.exp(-((2 * np.pi * frequencies) ** 2))  # the square of the transfer function
    plane, high = np.outer(response, response), np.hypot.outer(frequencies, frequencies) > 0.25
    across = response.mean()  # power that is left in the direction across the slices
    wanted = across * plane[high].mean()
    assert found["high_frequency_power"] == pytest.approx(wanted, rel=0.1)


def test_the_cutoff_is_half_of_nyquist():
    """A wave of 5 voxels is below, one of 3.5 above, in any direction of the plane, not across."""
    region = np.ones((12, 70, 70), bool)
    z, y, x = np.meshgrid(*map(np.arange, region.shape), indexing="ij")
    for along, length, fine in (
        (x, 5.0, False), (x, 3.5, True), (y, 5.0, False), (y, 3.5, True), (z, 2.0, False),
        ((x + y) / math.sqrt(2), 5.0, False), ((x + y) / math.sqrt(2), 3.5, True),
    ):  # fmt: skip
        wave = np.sin(2 * np.pi * along / length + 0.3)
        high, every = plane_power(wave, region, 0)
        if along is z:
            assert every == pytest.approx(0, abs=1e-12)
            continue
        assert (high / every > 0.98) if fine else (high / every < 0.02)
        assert high_frequency_fraction(wave, region) == pytest.approx(high / every)


def test_the_power_of_a_wave():
    """Half its squared amplitude times the squared window, by the window of scipy."""
    region = np.ones((2, 64, 48), bool)
    wave = 0.7 * np.sin(2 * np.pi * np.arange(48) / 3)
    image = np.broadcast_to(wave, region.shape)
    window = [np.ones(side) for side in (64, 48)]
    rise = signal.windows.hann(9)[1:5]  # 0 outside, 1 at the fourth voxel
    for one in window:
        one[:4], one[-4:] = rise, rise[::-1]
    squared = np.minimum.outer(*window) ** 2
    wanted = 2 * 0.7**2 / 2 * squared.sum()
    assert plane_power(image, region, 0)[0] == pytest.approx(wanted, rel=0.02)


def test_a_network_that_smooths_and_one_that_adds_noise():
    """Below 1 and above 1, in all three numbers, and the more so the more it does."""
    image, region = ndimage.gaussian_filter(noise(6), 0.8), ball()
    image /= image.std()
    found = [
        measure_sharpness(one, image, region, axis=0)
        for one in (
            ndimage.gaussian_filter(image, 1.0),
            ndimage.gaussian_filter(image, 0.5),
            image,
            image + 0.1 * noise(7),
            image + 0.3 * noise(7),
        )
    ]
    for name in SHARPNESS:
        values = [one[name] for one in found]
        assert values == sorted(values) and values[1] < values[2] == 1 < values[3]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_reference_without_detail_has_no_number(axis):
    """Constant: none; constant slices: through plane only; a small region: none."""
    image, region = noise(8), ball()
    flat = np.full(SHAPE, np.float32(0.3))
    assert measure_sharpness(image, flat, region, axis=axis) == {}
    assert math.isnan(sharpness_in_plane(image, flat, region, axis=axis))
    stairs = flat + np.arange(SHAPE[axis]).reshape([-1 if k == axis else 1 for k in range(3)])
    assert measure_sharpness(image, stairs, region, axis=axis).keys() == {SHARPNESS[1]}
    assert measure_sharpness(flat, image, region, axis=axis) == pytest.approx(
        dict.fromkeys(SHARPNESS, 0.0), abs=1e-20
    )
    small = np.zeros(SHAPE, bool)
    small[4:6, 5:8, 6:8] = True
    assert measure_sharpness(image, image, small, axis=axis) == {}
    assert high_frequency_fraction(flat, region) == 0.0
    assert gradient_energy(image, np.zeros(SHAPE, bool), [0, 1]) == 0.0


def test_the_fraction_needs_no_unit():
    """About 1 - pi / 16 of white noise; the same in HU as in network units."""
    image, region = noise(9), ball()
    found = high_frequency_fraction(image, region)
    assert found == pytest.approx(1 - np.pi / 16, abs=0.02)
    assert high_frequency_fraction(1500 * image - 400, region) == pytest.approx(found, rel=1e-9)


def test_means_of_what_is_known():
    """NaN does not count; a name without a number is left out."""
    found = known_means({"a": [0.2, math.nan, 0.4], "b": [math.nan], "c": [1.0]})
    assert found == {"a": pytest.approx(0.3), "c": 1.0}


def compare(module, protocol: str, predicted: np.ndarray, reference: np.ndarray, axis: str):
    """The score of a pair under a protocol."""
    pair = Comparison(
        case="p1",
        channel="t1",
        predicted=predicted.astype(np.float32),
        reference=reference.astype(np.float32),
        subject=reference > 0,
        subject_note="above 0",
        slice_axis=axis,
        spacing_mm=(1.0, 1.0, 1.0),
        mask=reference > -500,
        written_range=tuple(np.percentile(reference, (0.1, 99.9)))
        if module is mr_protocols
        else None,
    )
    return module.PROTOCOLS[protocol].score_case(pair)


def test_protocols_take_the_subject_and_the_slice_axis():
    """MR in the brain, CT in the body, through plane along the axis that is named."""
    region = ball()
    image = np.where(region, 0.5 + 0.05 * noise(10), 0)
    smooth = np.where(region, ndimage.gaussian_filter1d(image, 1.0, axis=2), 0)
    found = compare(mr_protocols, "liftnet", smooth, image, "sagittal").metrics
    wanted = measure_sharpness(smooth, image, region, axis=2)
    assert {k: found[k] for k in SHARPNESS} == pytest.approx(wanted, rel=0.02)
    assert found["sharpness_through_plane"] < 0.5 * found["sharpness_in_plane"]
    ct = np.where(region, 400 * image, -1000.0)
    made = np.where(region, 400 * smooth, -1000.0)
    found = compare(ct_protocols, "lift", made, ct, "sagittal").metrics
    assert {k: found[k] for k in SHARPNESS} == pytest.approx(wanted, rel=1e-3)


def test_a_constant_reference_is_left_out_with_a_note():
    """The other metrics stay, and the note names those that are not there."""
    region = ball()
    flat = np.where(region, -20.0, -1000.0)
    score = compare(ct_protocols, "liftnet", flat + 5 * region * noise(11), flat, "axial")
    assert not set(SHARPNESS) & score.metrics.keys() and "mae" in score.metrics
    assert score.notes["left_out"] == (
        "sharpness_in_plane, sharpness_through_plane, high_frequency_power: "
        "the reference is constant there"
    )


def test_wrong_calls():
    """Shapes must agree, and the axis must be one of a volume."""
    image, region = noise(12), ball()
    for wrong in (image[1:], region[None]):
        with pytest.raises(ValueError, match="expected three volumes of one shape"):
            sharpness_in_plane(wrong, image, region, axis=0)
    with pytest.raises(ValueError, match="and axis 3"):
        sharpness_in_plane(image, image, region, axis=3)
