"""Similarity metrics against scikit-image, scipy and numpy."""

import math

import numpy as np
import pytest
from image_pairs import pair_of
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from liftnet.metrics import similarity
from liftnet.metrics.similarity import PLANES, mae, ncc, plane_ssim, psnr, rmse, ssim

SHAPE = (13, 22, 17)
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def volumes(shape=SHAPE):
    """A prediction, its reference in [0, 1], and a mask."""
    rng = np.random.default_rng(0)
    reference = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    predicted = reference + 0.1 * rng.standard_normal(shape)
    mask = ndimage.gaussian_filter(rng.random(shape), 3) > 0.5
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


def test_ssim_is_that_of_skimage():
    """Wang's definition, of the range of possible values."""
    predicted, reference, _ = volumes()
    expected = structural_similarity(predicted, reference, data_range=1.5, **WANG)
    found = ssim(pair_of(predicted / 1.5, reference / 1.5), "")
    assert found == pytest.approx(expected, abs=1e-5)
    found = ssim(pair_of(predicted * 2 - 7, reference * 2 - 7, limits=(-7, -4)), "")
    assert found == pytest.approx(expected, abs=1e-5)


def test_ssim_in_a_region_is_the_mean_of_the_map_there():
    """With full borders every voxel of it counts, with valid ones those with a whole window."""
    predicted, reference, mask = volumes()
    _, full = structural_similarity(predicted, reference, data_range=1.0, full=True, **WANG)
    inside = tuple(slice(5, n - 5) for n in SHAPE)
    found = ssim(pair_of(predicted, reference, mask), "brain")
    assert found == pytest.approx(full[inside][mask[inside]].mean(), abs=1e-5)
    padded, other = (np.pad(image, 5, mode="reflect") for image in (predicted, reference))
    mirrored = pair_of(predicted, reference, mask, border="reflect")
    around = pair_of(padded, other, np.pad(mask, 5))
    assert ssim(mirrored, "brain") == pytest.approx(ssim(around, "brain"), abs=1e-6)
    whole = pair_of(predicted, reference)
    assert ssim(whole, "brain") == pytest.approx(ssim(whole, ""), abs=1e-6)
    corner = np.zeros_like(mask)
    corner[0, 0, 0] = True
    assert ssim(pair_of(predicted, reference, corner), "brain") is None


def test_ssim_takes_views_and_other_types():
    """Turned, read-only and float64 arrays give the same number."""
    predicted, reference, _ = volumes()
    expected = ssim(pair_of(predicted, reference), "")
    predicted.setflags(write=False)
    assert ssim(pair_of(predicted, reference), "") == expected
    turned = [np.ascontiguousarray(v.astype(np.float64)[:, ::-1].T) for v in (predicted, reference)]
    assert ssim(pair_of(*turned), "") == pytest.approx(expected, abs=1e-6)


def test_ssim_names_a_side_that_is_too_short():
    """The message names the function that finds a window."""
    volume = np.zeros((9, 20, 20), dtype=np.float32)
    with pytest.raises(ValueError, match=r"got \(9, 20, 20\); fit_window"):
        ssim(pair_of(volume, volume), "")


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


def in_planes(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The SSIM of every plane."""
    pair = pair_of(predicted, reference)
    return {plane: plane_ssim(pair, plane) for plane in PLANES}


@pytest.mark.parametrize("shape", [SHAPE, (40, 12, 15)])
def test_plane_ssim_is_the_mean_over_slices_by_skimage(shape):
    """Each plane by name, slice by slice, also with more slices than one batch holds."""
    predicted, reference, _ = volumes(shape)
    got = in_planes(predicted, reference)
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
    expected = in_planes(predicted, reference)
    monkeypatch.setattr(similarity, "SLICES_AT_ONCE", 1)
    assert in_planes(predicted, reference) == pytest.approx(expected, abs=1e-6)


def test_plane_ssim_shrinks_the_window_where_it_must():
    """With 6 slices the axial plane keeps window 11, the others have window 5."""
    predicted, reference, _ = volumes((6, 14, 19))
    got = in_planes(predicted, reference)
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


def test_plane_ssim_of_equal_volumes_is_one():
    """Also for all-zero volumes."""
    reference = volumes()[1]
    for volume in (reference, np.zeros_like(reference)):
        for value in in_planes(volume, volume).values():
            assert value == pytest.approx(1)
