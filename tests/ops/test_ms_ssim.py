"""MS-SSIM against MONAI and an independent version by scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from liftnet.ops import ssim as ops_ssim
from liftnet.ops.ssim import WANG_WEIGHTS, ms_ssim, ssim


def pair(shape, seed=0, noise=0.15):
    """A smooth image in [0, 1] with a flat corner, and the same with noise."""
    rng = np.random.default_rng(seed)
    reference = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    reference[tuple(slice(n // 3) for n in shape)] = 0
    predicted = reference + noise * rng.standard_normal(shape)
    return predicted.astype(np.float32), reference.astype(np.float32)


def tensors(*images):
    """Images as tensors (1, 1, ...)."""
    return [torch.from_numpy(image)[None, None] for image in images]


def numpy_maps(predicted, reference):
    """Luminance and contrast of every voxel by scipy, for a data range of 1, in float64."""
    x, y = predicted.astype(np.float64), reference.astype(np.float64)
    mx, my, xx, yy, xy = (
        ndimage.gaussian_filter(m, 1.5, radius=5) for m in (x, y, x * x, y * y, x * y)
    )
    luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
    contrast = (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)
    return luminance, contrast


def numpy_ms_ssim(predicted, reference, num_scales):
    """MS-SSIM with window 11 by scipy; weights of unused scales go to the others."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    weights = weights[:num_scales] / weights[:num_scales].sum() * weights.sum()
    result = 1.0
    for scale, weight in enumerate(weights):
        luminance, contrast = numpy_maps(predicted, reference)
        last = scale == num_scales - 1
        values = luminance * contrast if last else contrast
        inside = values[tuple(slice(5, n - 5) for n in values.shape)]
        result *= max(inside.mean(), 0) ** weight
        predicted, reference = halve(predicted), halve(reference)
    return result


def halve(image):
    """Means of blocks of 2 voxels per axis; an odd last voxel is dropped."""
    for axis in range(image.ndim):
        image = np.moveaxis(image, axis, 0)
        even = len(image) // 2 * 2
        image = np.moveaxis((image[:even:2] + image[1:even:2]) / 2, 0, axis)
    return image


@pytest.mark.parametrize(
    ("shape", "num_scales"),
    [((21, 40), 1), ((22, 41), 2), ((47, 90), 3), ((100, 95), 4), ((23, 31, 26), 2)],
)
def test_ms_ssim_uses_the_scales_that_fit(shape, num_scales):
    """The value is that of an independent version with as many scales as the shortest side has."""
    predicted, reference = pair(shape)
    expected = numpy_ms_ssim(predicted, reference, num_scales)
    got = ms_ssim(*tensors(predicted, reference), data_range=1.0)
    assert got.item() == pytest.approx(expected, abs=1e-5)
    if num_scales > 1:
        assert abs(numpy_ms_ssim(predicted, reference, num_scales - 1) - expected) > 1e-3


def test_ms_ssim_with_five_scales_is_that_of_monai():
    """At sides of 176 and more nothing is adapted: MONAI's published definition."""
    regression = pytest.importorskip("monai.metrics.regression")
    predicted, reference = tensors(*pair((176, 185)))
    expected = regression.compute_ms_ssim(predicted, reference, spatial_dims=2, data_range=1.0)
    got = ms_ssim(predicted, reference, data_range=1.0)
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)


def test_ms_ssim_window_7_in_3d_is_that_of_monai():
    """Window 7, as WDM uses it, with two scales in 3D and two weights."""
    regression = pytest.importorskip("monai.metrics.regression")
    predicted, reference = tensors(*pair((15, 19, 24)))
    weights = np.array(WANG_WEIGHTS[:2]) * sum(WANG_WEIGHTS) / sum(WANG_WEIGHTS[:2])
    expected = regression.compute_ms_ssim(
        predicted, reference, spatial_dims=3, data_range=1.0, kernel_size=7, weights=weights
    )
    got = ms_ssim(predicted, reference, data_range=1.0, window_size=7)
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)


def test_ms_ssim_shrinks_the_window_where_not_one_scale_fits():
    """A side of 8 is compared at one scale with window 7, which is plain SSIM to the power 1.0001.

    Wang's published weights sum to 1.0001.
    """
    images = tensors(*pair((8, 30)))
    expected = ssim(*images, data_range=1.0, window_size=7) ** sum(WANG_WEIGHTS)
    torch.testing.assert_close(ms_ssim(*images, data_range=1.0), expected)


def test_opposite_images_score_zero():
    """Negative contrast counts as 0, and the gradient there is finite."""
    _, reference = tensors(*pair((24, 31)))
    predicted = (1 - reference).requires_grad_()
    value = ms_ssim(predicted, reference, data_range=1.0)
    assert value.item() == 0
    value.sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_the_slope_stays_finite_where_the_contrast_vanishes(monkeypatch):
    """At an SSIM just above 0, x ** 0.05 has a slope of 1e9; the line below 1e-4 has 6310."""
    reference = torch.from_numpy(pair((11, 14))[1].astype(np.float64))[None, None]
    low, high = 0.0, 0.5
    for _ in range(60):
        share = (low + high) / 2
        image = share * reference + (1 - share) * (1 - reference)
        low, high = (low, share) if ssim(image, reference, data_range=1.0) > 0 else (share, high)
    image = high * reference + (1 - high) * (1 - reference)
    plain, steep = image.clone().requires_grad_(), image.clone().requires_grad_()
    value = ssim(plain, reference, data_range=1.0)
    assert 0 < value.item() < 1e-10
    value.sum().backward()
    monkeypatch.setattr(ops_ssim, "WANG_WEIGHTS", (0.05,))
    ms_ssim(steep, reference, data_range=1.0).sum().backward()
    torch.testing.assert_close(steep.grad, plain.grad * 1e-4**-0.95)
