"""The range and grid of protocol wdm."""

import numpy as np
import pytest

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry, Volume
from liftnet.metrics.protocols import cohort_protocols
from liftnet.metrics.protocols.cohort_protocols import PROTOCOLS, wdm_volume

CANONICAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def image(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Positive noise in a box, zeros around it, and some ringing below zero."""
    voxels = np.random.default_rng(seed).gamma(4.0, 100.0, shape).astype(np.float32)
    voxels[:2] = 0
    voxels[0, 0, :5] = -40
    return voxels


def volume(voxels: np.ndarray, spacing: tuple[float, float, float]) -> Volume:
    """It as a canonical volume."""
    return Volume(
        voxels[None], Geometry(voxels.shape, spacing, (1.0, 2.0, 3.0), CANONICAL)
    )  # shape (D, H, W)


def reference(voxels: np.ndarray) -> np.ndarray:
    """WDM's loader in numpy: range, a cube of 256 about the centre, the mean of each 2^3 block."""
    positive = np.clip(voxels.astype(np.float64), 0, None)
    low, high = np.quantile(positive, (0.001, 0.999))
    scaled = (np.clip(positive, low, high) - low) / (high - low)
    cube = np.zeros((256, 256, 256))
    starts = [(256 - n) // 2 for n in scaled.shape]
    cube[tuple(slice(a, a + n) for a, n in zip(starts, scaled.shape, strict=True))] = scaled
    parts = [cube[i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return np.mean(parts, axis=0)


def test_one_millimetre_is_as_wdm_does():
    """BraTS-like volumes are padded and averaged, in any storage order, and never resampled."""
    voxels = image((31, 48, 55))
    got = wdm_volume(volume(voxels, (1.0, 1.005, 0.99)))
    assert got.shape == (128, 128, 128)
    assert got.dtype == np.float32
    expected = reference(voxels)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    stored = np.ascontiguousarray(voxels.transpose(2, 0, 1)[:, ::-1])
    turned = Geometry(
        stored.shape,
        (0.99, 1.0, 1.005),
        (1.0, 2.0, 33.0),
        (CANONICAL[2], (0, 0, -1.0), (0, 1.0, 0)),
    )
    np.testing.assert_array_equal(wdm_volume(Volume(stored[None], turned)), got)


def test_margins_are_those_of_wdm():
    """A volume of 240x240x155 lies where WDM's loader puts it: [50:-51, 8:-8, 8:-8]."""
    voxels = image((155, 240, 240))
    got = wdm_volume(volume(voxels, (1.0, 1.0, 1.0)))
    inside = np.argwhere(got > 0)
    assert inside.min(axis=0).tolist() == [26, 4, 4]  # the first two slices are empty
    assert inside.max(axis=0).tolist() == [(256 - 51 - 1) // 2, 123, 123]


def test_two_millimetres_are_not_interpolated(monkeypatch):
    """What already has WDM's voxels is padded or cut to the cube as it is."""
    monkeypatch.setattr(cohort_protocols, "WDM_SIDE", 32)
    voxels = image((9, 16, 21))
    got = wdm_volume(volume(voxels, (2.0, 2.0, 2.0)))
    low, high = np.quantile(np.clip(voxels, 0, None).astype(np.float64), (0.001, 0.999))
    scaled = np.clip((voxels - low) / (high - low), 0, 1)
    assert got.shape == (16, 16, 16)
    np.testing.assert_allclose(got[3:12], scaled[:, :, 2:18], atol=1e-6)
    assert not got[:3].any()
    assert not got[12:].any()


def test_other_spacings_are_resampled(monkeypatch):
    """A ramp in mm stays that ramp, whatever the spacing of its slices."""
    monkeypatch.setattr(cohort_protocols, "WDM_SIDE", 32)
    ramps = []
    for step in (1.0, 3.0):
        count = round(24 / step)
        depth = (np.arange(count) + 0.5) * step
        voxels = np.broadcast_to(depth[:, None, None], (count, 32, 32)).astype(np.float32)
        ramps.append(wdm_volume(volume(voxels, (step, 1.0, 1.0)))[:, 8, 8])
    fine, coarse = ramps
    assert np.flatnonzero(coarse).tolist() == list(range(3, 14))  # the first slice is 0
    # Each is scaled between its own first and last slice.
    np.testing.assert_allclose(23 * fine[4:12] + 0.5, 21 * coarse[4:12] + 1.5, atol=0.05)


def test_an_empty_image_is_refused():
    """Zeros have no range."""
    with pytest.raises(DatasetError, match=r"0.1 and 99.9 percentiles are both 0"):
        wdm_volume(volume(np.zeros((8, 9, 10), np.float32), (1.0, 1.0, 1.0)))


def test_each_protocol_says_what_it_does():
    """The two there are, under their own names."""
    assert list(PROTOCOLS) == ["liftnet", "wdm"]
    assert all(PROTOCOLS[name].stated.name == name for name in PROTOCOLS)
    assert "256^3" in PROTOCOLS["wdm"].stated.description
