"""Every protocol of MR scoring against numpy, scipy and scikit-image."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.scores import Comparison
from liftnet.metrics.protocols.mr_protocols import PROTOCOLS
from liftnet.tasks import load_task

sharpness = runpy.run_path(str(Path(__file__).parents[1] / "ct_reference.py"))["sharpness"]
SHAPE = (13, 15, 17)  # (z, y, x)


def head(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Smooth positive voxels in an ellipsoid, zeros and a few negatives outside; file units."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    texture = ndimage.gaussian_filter(rng.random(shape), 1.0)
    texture = (texture - texture.min()) / np.ptp(texture)
    image = np.where((grid**2).sum(0) < 0.8, 100 + 900 * texture, 0.0)
    image[0, 0] = -7.0  # ringing of a skull stripper, more than 0.1 % of the grid
    return image.astype(np.float32)


def in_range(image: np.ndarray, low: float = 0.1, high: float = 99.9) -> np.ndarray:
    """The image between two of its percentiles, negatives as 0, by numpy."""
    values = np.maximum(image, 0).astype(np.float64)
    a, b = np.percentile(values, (low, high))
    return np.clip((values - a) / (b - a), 0, 1)


def noisy(reference: np.ndarray, level: float = 0.1) -> np.ndarray:
    """A prediction in [0, 1]: the reference in range, with noise everywhere."""
    noise = np.random.default_rng(9).normal(0, level, reference.shape)
    return np.clip(in_range(reference) + noise, 0, 1).astype(np.float32)


def compare(predicted: np.ndarray, reference: np.ndarray, **options: object) -> Comparison:
    """A comparison whose brain is larger than the reference's."""
    fields = {
        "case": "a",
        "channel": "t2f",
        "subject": (reference > 0) | (head(5, reference.shape) > 300),
        "subject_note": "",
        "slice_axis": "axial",
        "spacing_mm": (3.0, 2.0, 1.0),
        "written_range": (0.0, 1.0),
    }
    return Comparison(predicted=predicted, reference=reference, **(fields | options))


def expected(
    predicted: np.ndarray, reference: np.ndarray, brain: np.ndarray, axis: int = 0
) -> dict[str, float]:
    """The metrics of volumes (z, y, x) in [0, 1], by numpy and scikit-image."""

    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        return structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )

    def plane(axis: int) -> float:
        pairs = zip(np.moveaxis(predicted, axis, 0), np.moveaxis(reference, axis, 0), strict=True)
        return np.mean([similarity(a, b) for a, b in pairs])

    error = predicted - reference
    steps = np.diff(predicted, axis=axis), np.diff(reference, axis=axis)
    return {
        "mae": np.abs(error).mean(),
        "rmse": np.sqrt((error**2).mean()),
        "psnr": -10 * np.log10((error**2).mean()),
        "ssim": similarity(predicted, reference),
        "ssim_axial": plane(0),
        "ssim_coronal": plane(1),
        "ssim_sagittal": plane(2),
        "delta_z_mae": np.abs(steps[0] - steps[1]).mean(),
        "delta_z_correlation": np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1],
        "psnr_brain": -10 * np.log10((error[brain] ** 2).mean()),
        "mae_brain": np.abs(error[brain]).mean(),
        **sharpness(predicted, reference, brain, axis),
    }


def assert_equal(found: dict[str, float], wanted: dict[str, float], tolerance: float = 2e-5):
    """Every metric of the independent version agrees; test_catalogue.py knows what there is."""
    assert wanted.keys() <= found.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=tolerance, rel=tolerance), name


def test_lower_percentiles():
    """Where the background is not zero, the lower percentile counts: 0.1 or 0.5."""
    reference = np.random.default_rng(3).gamma(4.0, 100.0, SHAPE).astype(np.float32)
    predicted = noisy(reference)
    pair = compare(predicted, reference)
    wanted = expected(predicted.astype("f8"), in_range(reference), pair.subject)
    assert_equal(PROTOCOLS["liftnet"].score_case(pair).metrics, wanted)
    error = in_range(predicted, 0.5, 99.5) - in_range(reference, 0.5, 99.5)
    assert PROTOCOLS["brasyn"].score_case(pair).metrics["mae"] == pytest.approx(
        np.abs(error).mean(), abs=1e-6
    )


@pytest.mark.parametrize(("slice_axis", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_liftnet_takes_the_prediction_as_it_is(slice_axis, axis):
    """Whole grid, the reference's percentiles; only delta_z depends on the slice axis."""
    reference = head(1)
    pair = compare(noisy(reference), reference, slice_axis=slice_axis)
    wanted = expected(noisy(reference).astype("f8"), in_range(reference), pair.subject, axis)
    assert_equal(PROTOCOLS["liftnet"].score_case(pair).metrics, wanted)


def test_lift_zeroes_by_the_target():
    """The paper's protocol sets the prediction to 0 where the reference is, and gains by it."""
    reference = head(1)
    pair = compare(noisy(reference), reference)
    predicted = np.where(reference > 0, noisy(reference), 0).astype("f8")
    found = PROTOCOLS["lift"].score_case(pair)
    assert_equal(found.metrics, expected(predicted, in_range(reference), pair.subject))
    assert found.notes["mask"] == "zeros of the reference"
    assert found.metrics["psnr"] > PROTOCOLS["liftnet"].score_case(pair).metrics["psnr"] + 0.1


def test_brasyn_uses_own_percentiles_and_mirrored_borders():
    """Both images by their own percentiles, the written range unused; SSIM over the whole grid."""
    reference = head(1)
    pair = compare(500 * noisy(reference) + 20, reference, written_range=(0.0, 9.0))
    a, b = in_range(pair.predicted, 0.5, 99.5), in_range(reference, 0.5, 99.5)

    def smooth(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, 1.5, truncate=5 / 1.5, mode="mirror")

    ma, mb = smooth(a), smooth(b)
    va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    similarity = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
    similarity /= (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
    wanted = expected(a, b, pair.subject) | {"ssim": similarity.mean()}
    assert_equal(PROTOCOLS["brasyn"].score_case(pair).metrics, wanted)


def test_cwdm_crops_after_the_range_and_masks_by_the_source():
    """224 of 240 voxels in plane; the percentiles are those of the whole grid."""
    reference = head(1, (11, 240, 240))
    reference[:, :6, :60] = 5000.0  # outside the crop, more than 0.1 % of the grid
    source = head(2, reference.shape)
    source[:, 100:120, 90:130] = -1
    pair = compare(noisy(reference), reference, source=source, source_name="t1n")
    inside = (slice(None), slice(8, 232), slice(8, 232))
    predicted = np.where(source > 0, pair.predicted, 0)[inside].astype("f8")
    found = PROTOCOLS["cwdm"].score_case(pair)
    wanted = expected(predicted, in_range(reference)[inside], pair.subject[inside])
    assert_equal(found.metrics, wanted, tolerance=1e-4)
    assert found.notes["mask"] == "zeros of t1n"


def test_written_range_clips():
    """File units come to [0, 1] by the range that was written, and are clipped there."""
    reference = head(1)
    pair = compare(1000 * noisy(reference) - 100, reference, written_range=(0.0, 800.0))
    predicted = np.clip((1000 * noisy(reference).astype("f8") - 100) / 800, 0, 1)
    wanted = expected(predicted, in_range(reference), pair.subject)
    assert_equal(PROTOCOLS["liftnet"].score_case(pair).metrics, wanted)


def test_without_a_written_range():
    """Values in [0, 1] are taken as they are, others by the image's own percentiles."""
    reference = head(1)
    for scale, note in ((1.0, "as it is"), (400.0, "own 0.1 and 99.9 percentiles")):
        image = scale * 0.7 * noisy(reference)
        found = PROTOCOLS["liftnet"].score_case(compare(image, reference, written_range=None))
        predicted = image.astype("f8") if scale == 1 else in_range(image)
        wanted = expected(predicted, in_range(reference), compare(image, reference).subject)
        assert_equal(found.metrics, wanted)
        assert found.notes["predicted_range"].startswith(note)


def test_equal_images_are_perfect():
    """No error, infinite PSNR, SSIM and correlation 1."""
    reference = head(1)
    found = (
        PROTOCOLS["liftnet"].score_case(compare(reference, reference, written_range=None)).metrics
    )
    assert found["psnr"] == found["psnr_brain"] == math.inf
    assert found["mae"] == found["rmse"] == found["delta_z_mae"] == found["mae_brain"] == 0
    for name in ("ssim", "ssim_axial", "ssim_coronal", "ssim_sagittal", "delta_z_correlation"):
        assert found[name] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("protocol", ["liftnet", "lift", "brasyn"])
def test_more_noise_scores_lower(protocol):
    """PSNR and SSIM fall and errors rise with the noise."""
    rows = [
        PROTOCOLS[protocol].score_case(compare(noisy(head(1), level), head(1))).metrics
        for level in (0.02, 0.05, 0.1, 0.2)
    ]
    signs = {"psnr": -1, "ssim": -1, "ssim_axial": -1, "psnr_brain": -1, "mae": 1, "delta_z_mae": 1}
    for name, sign in signs.items():
        assert (sign * np.diff([row[name] for row in rows]) > 0).all(), name


def test_small_volumes_shrink_the_window_and_say_so():
    """A side below 11 gets the largest window that fits; below 3 there is no SSIM."""
    reference = head(1, (8, 15, 17))
    found = PROTOCOLS["liftnet"].score_case(compare(noisy(reference), reference))
    assert found.notes["ssim_window"] == "7 instead of 11: the volume is small"
    assert 0 < found.metrics["ssim"] < 1
    with pytest.raises(GeometryError, match="at least 3 voxels per axis"):
        PROTOCOLS["liftnet"].score_case(compare(noisy(reference)[:2], reference[:2]))


def test_refusals():
    """An empty reference, a CT channel and a grid that cwdm does not know."""
    reference = head(1)
    with pytest.raises(DatasetError, match="The reference is empty"):
        PROTOCOLS["liftnet"].score_case(compare(reference, np.zeros_like(reference)))
    with pytest.raises(DatasetError, match="Channel t2f is CT"):
        PROTOCOLS["liftnet"].score_case(compare(reference, reference, modality="CT"))
    with pytest.raises(GeometryError, match="this grid has 13 of 15x17"):
        PROTOCOLS["cwdm"].score_case(compare(reference, reference, source=reference))


def test_an_empty_prediction_scores_as_zeros():
    """It has no range of its own, and no error message either: it is a bad prediction."""
    reference = head(1)
    pair = compare(np.zeros_like(reference), reference)
    found = PROTOCOLS["brasyn"].score_case(pair).metrics
    assert found["mae"] == pytest.approx(in_range(reference, 0.5, 99.5).mean(), abs=1e-6)
    assert found["delta_z_correlation"] == 0


def test_every_protocol_has_a_sentence():
    """Names agree, and the task offers them with liftnet among them."""
    assert list(PROTOCOLS) == list(load_task("missing_modality").protocols)
    for name, protocol in PROTOCOLS.items():
        assert protocol.stated.name == name
        assert protocol.stated.description.endswith(".")
        assert protocol.stated.needs_source == (protocol.zeros == "source")
