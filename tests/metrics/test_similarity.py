"""Similarity metrics against scikit-image, scipy and numpy."""

import math

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from liftnet.metrics.similarity import mae, ncc, psnr, rmse, ssim_3d

SHAPE = (13, 22, 17)
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def volumes():
    """A prediction, its reference in [0, 1], and a mask."""
    rng = np.random.default_rng(0)
    reference = ndimage.gaussian_filter(rng.random(SHAPE), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    predicted = reference + 0.1 * rng.standard_normal(SHAPE)
    mask = ndimage.gaussian_filter(rng.random(SHAPE), 3) > 0.5
    return predicted.astype(np.float32), reference.astype(np.float32), mask


@pytest.mark.parametrize("use_mask", [False, True], ids=["whole", "masked"])
def test_errors_are_those_of_the_references(use_mask):
    """MAE and RMSE by numpy, PSNR by scikit-image, NCC by scipy."""
    predicted, reference, mask = volumes()
    chosen = mask if use_mask else np.ones(SHAPE, dtype=bool)
    p, r = predicted[chosen].astype(float), reference[chosen].astype(float)
    given = mask if use_mask else None
    assert mae(predicted, reference, given) == pytest.approx(np.abs(p - r).mean())
    assert rmse(predicted, reference, given) == pytest.approx(np.sqrt(((p - r) ** 2).mean()))
    expected = peak_signal_noise_ratio(r, p, data_range=2.0)
    assert psnr(predicted, reference, data_range=2.0, mask=given) == pytest.approx(expected)
    assert ncc(predicted, reference, given) == pytest.approx(stats.pearsonr(p, r).statistic)


def test_psnr_of_a_known_error():
    """An error of a tenth of the range is 20 dB; equal images are inf."""
    reference = volumes()[1]
    assert psnr(reference + 300, reference, data_range=3000) == pytest.approx(20, abs=1e-4)
    assert psnr(reference, reference, data_range=1.0) == math.inf
    with pytest.raises(ValueError, match="positive data_range, got 0"):
        psnr(reference, reference, data_range=0)


def test_ncc_ignores_gain_and_offset_and_is_zero_for_a_constant():
    """Pearson's invariances, and the stated value where it is undefined."""
    predicted, reference, _ = volumes()
    assert ncc(3 * reference - 2, reference) == pytest.approx(1)
    assert ncc(-reference, reference) == pytest.approx(-1)
    assert ncc(np.full_like(predicted, 0.1), reference) == 0


def test_ssim_3d_is_that_of_skimage():
    """Wang's definition by default; scikit-image's own default by option."""
    predicted, reference, _ = volumes()
    expected = structural_similarity(predicted, reference, data_range=1.5, **WANG)
    assert ssim_3d(predicted, reference, data_range=1.5) == pytest.approx(expected, abs=1e-5)
    expected = structural_similarity(predicted, reference, data_range=1.5)
    got = ssim_3d(
        *(predicted, reference),
        data_range=1.5,
        window="uniform",
        window_size=7,
        covariance="sample",
    )
    assert got == pytest.approx(expected, abs=1e-5)


def test_ssim_3d_in_a_mask_is_the_mean_of_the_map_there():
    """With full borders every masked voxel counts, with valid ones those with a whole window."""
    predicted, reference, mask = volumes()
    _, full = structural_similarity(predicted, reference, data_range=1.0, full=True, **WANG)
    got = ssim_3d(predicted, reference, data_range=1.0, mask=mask, border="symmetric")
    assert got == pytest.approx(full[mask].mean(), abs=1e-5)
    inside = tuple(slice(5, n - 5) for n in SHAPE)
    got = ssim_3d(predicted, reference, data_range=1.0, mask=mask)
    assert got == pytest.approx(full[inside][mask[inside]].mean(), abs=1e-5)
    everywhere = ssim_3d(predicted, reference, data_range=1.0)
    assert ssim_3d(predicted, reference, data_range=1.0, mask=np.ones_like(mask)) == pytest.approx(
        everywhere, abs=1e-6
    )
    corner = np.zeros_like(mask)
    corner[0, 0, 0] = True
    with pytest.raises(ValueError, match="voxels a window can be centred on, got none"):
        ssim_3d(predicted, reference, data_range=1.0, mask=corner)


def test_ssim_3d_takes_views_and_other_types():
    """Turned, read-only and float64 arrays give the same number."""
    predicted, reference, _ = volumes()
    expected = ssim_3d(predicted, reference, data_range=1.0)
    predicted.setflags(write=False)
    assert ssim_3d(predicted, reference, data_range=1.0) == expected
    turned = [volume.astype(np.float64)[:, ::-1].T for volume in (predicted, reference)]
    assert ssim_3d(*turned, data_range=1.0) == pytest.approx(expected, abs=1e-6)


def test_ssim_3d_names_a_side_that_is_too_short():
    """The message names the function that finds a window."""
    volume = np.zeros((9, 20, 20), dtype=np.float32)
    with pytest.raises(ValueError, match=r"got \(9, 20, 20\); fit_window"):
        ssim_3d(volume, volume, data_range=1.0)


@pytest.mark.parametrize("metric", [mae, rmse, ncc])
def test_wrong_inputs_are_named(metric):
    """Shapes must be equal, masks of bool, of that shape and not empty."""
    predicted, reference, mask = volumes()
    with pytest.raises(ValueError, match=r"one shape, got \(13, 22, 17\) and \(1, 22, 17\)"):
        metric(predicted, reference[:1])
    with pytest.raises(ValueError, match=r"mask of bool with shape .* got uint8"):
        metric(predicted, reference, mask.astype(np.uint8))
    with pytest.raises(ValueError, match=r"mask of bool with shape .* got bool \(22, 17\)"):
        metric(predicted, reference, mask[0])
    with pytest.raises(ValueError, match="got an empty one"):
        metric(predicted, reference, np.zeros_like(mask))
