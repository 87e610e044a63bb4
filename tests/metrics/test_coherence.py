"""Through-plane metrics against numpy, scipy and scikit-image."""

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.metrics import structural_similarity

from liftnet.metrics import coherence
from liftnet.metrics.coherence import delta_z_correlation, delta_z_mae, plane_ssim

SHAPE = (13, 23, 17)


def volumes(shape=SHAPE):
    """A prediction with noisy slices, its reference, and a mask."""
    rng = np.random.default_rng(0)
    reference = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    predicted = reference + 0.05 * rng.standard_normal(shape)
    predicted *= 1 + 0.3 * rng.standard_normal((shape[0], 1, 1))
    mask = ndimage.gaussian_filter(rng.random(shape), 2) > 0.5
    return predicted.astype(np.float32), reference.astype(np.float32), mask


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("use_mask", [False, True], ids=["whole", "masked"])
def test_delta_z_metrics_are_those_of_numpy_and_scipy(axis, use_mask):
    """Differences by numpy's diff; one counts if the mask's minimum over its two voxels is set."""
    predicted, reference, mask = volumes()
    p, r = (np.diff(volume.astype(float), axis=axis) for volume in (predicted, reference))
    pairs = np.lib.stride_tricks.sliding_window_view(mask, 2, axis=axis).all(-1)
    chosen = pairs if use_mask else np.ones_like(pairs)
    given = mask if use_mask else None
    expected = np.abs(p - r)[chosen].mean()
    assert delta_z_mae(predicted, reference, given, axis) == pytest.approx(expected)
    expected = stats.pearsonr(p[chosen], r[chosen]).statistic
    assert delta_z_correlation(predicted, reference, given, axis) == pytest.approx(expected)


def test_a_ramp_along_z_costs_its_slope():
    """The default axis is D; a constant gradient has no correlation."""
    reference = volumes()[1]
    ramp = np.arange(SHAPE[0], dtype=np.float32)[:, None, None]
    assert delta_z_mae(reference + 0.5 * ramp, reference) == pytest.approx(0.5, abs=1e-5)
    assert delta_z_mae(reference + 7, reference) == pytest.approx(0, abs=1e-5)
    assert delta_z_correlation(np.broadcast_to(ramp, SHAPE), reference) == 0


def test_a_mask_without_neighbours_is_an_error():
    """Single voxels hold no difference."""
    predicted, reference, _ = volumes()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[::2] = True
    for metric in (delta_z_mae, delta_z_correlation):
        with pytest.raises(ValueError, match="got an empty one"):
            metric(predicted, reference, mask)
        with pytest.raises(ValueError, match=r"at least 2 slices along axis 0, got \(1, 23, 17\)"):
            metric(predicted[:1], reference[:1])
        with pytest.raises(ValueError, match=r"of shape \(13, 23, 17\) .* got \(12, 23, 17\)"):
            metric(predicted, reference, mask[1:])


@pytest.mark.parametrize("shape", [SHAPE, (40, 12, 15)])
def test_plane_ssim_is_the_mean_over_slices_by_skimage(shape):
    """Each plane by name, slice by slice, also with more slices than one batch holds."""
    predicted, reference, _ = volumes(shape)
    got = plane_ssim(predicted, reference, data_range=1.0)
    assert list(got) == ["axial", "coronal", "sagittal"]
    for axis, plane in enumerate(got):
        expected = [
            structural_similarity(
                *(predicted.take(k, axis), reference.take(k, axis)),
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for k in range(shape[axis])
        ]
        assert got[plane] == pytest.approx(np.mean(expected), abs=1e-5)
    assert len({round(value, 3) for value in got.values()}) == 3


def test_plane_ssim_does_not_depend_on_the_batch(monkeypatch):
    """One slice at a time gives the same numbers."""
    predicted, reference, _ = volumes()
    expected = plane_ssim(predicted, reference, data_range=1.0)
    monkeypatch.setattr(coherence, "SLICES_AT_ONCE", 1)
    assert plane_ssim(predicted, reference, data_range=1.0) == pytest.approx(expected, abs=1e-6)


def test_plane_ssim_shrinks_the_window_where_it_must():
    """With 6 slices the axial plane keeps window 11, the others have window 5."""
    predicted, reference, _ = volumes((6, 14, 19))
    got = plane_ssim(predicted, reference, data_range=1.0)
    for axis, (plane, size) in enumerate([("axial", 11), ("coronal", 5), ("sagittal", 5)]):
        expected = windowed_ssim(predicted, reference, axis, size)
        assert got[plane] == pytest.approx(expected, abs=1e-5)


def windowed_ssim(predicted, reference, axis, size):
    """The mean SSIM of slices with a truncated Gaussian window, by scipy in float64."""
    values = []
    for k in range(predicted.shape[axis]):
        x, y = (volume.take(k, axis).astype(float) for volume in (predicted, reference))
        mx, my, xx, yy, xy = (
            ndimage.gaussian_filter(m, 1.5, radius=size // 2) for m in (x, y, x * x, y * y, x * y)
        )
        similarity = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        similarity *= (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)
        margin = size // 2
        values.append(similarity[margin:-margin, margin:-margin].mean())
    return np.mean(values)


def test_plane_ssim_of_equal_volumes_is_one_and_shapes_must_match():
    """Also for all-zero volumes."""
    reference = volumes()[1]
    for volume in (reference, np.zeros_like(reference)):
        for value in plane_ssim(volume, volume, data_range=1.0).values():
            assert value == pytest.approx(1)
    with pytest.raises(ValueError, match=r"one shape \(D, H, W\), got"):
        plane_ssim(reference, reference[1:], data_range=1.0)
