"""Every protocol of CT scoring against numpy, scipy and scikit-image."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from simple_heads import HU, scan, tissues

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.scores import Comparison
from liftnet.metrics.protocols.ct_protocols import PROTOCOLS
from liftnet.tasks.translation import TASK

REFERENCE = runpy.run_path(str(Path(__file__).parents[1] / "ct_reference.py"))
SHAPE = (17, 23, 29)  # (z, y, x)
SPACING = (10.0, 7.0, 5.0)  # mm; 128 mm are 13, 18 and 26 voxels


def ct(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A CT with soft tissue, bone, closed air, and values beyond every window of clipping."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    tissue = np.maximum(40 + 4000 * texture, -300)
    image = np.where((grid**2).sum(0) < 0.8, tissue, -1024.0)
    centre = tuple(slice(n // 2 - 2, n // 2 + 2) for n in shape)
    image[centre] = -980
    image[shape[0] // 2, 3:5, shape[2] // 2] = 3500  # metal
    image[0, 0, :4] = -2000
    return image.astype(np.float32)


def worse(reference: np.ndarray, noise: float = 80.0, blur: float = 0.7) -> np.ndarray:
    """A prediction: blurred, biased and noisy."""
    error = np.random.default_rng(9).normal(25, noise, reference.shape)
    return (ndimage.gaussian_filter(reference, blur) + error).astype(np.float32)


def lopsided(shape: tuple[int, int, int]) -> np.ndarray:
    """A mask that touches two faces of the volume and has a hole."""
    grid = np.indices(shape)
    mask = (grid[0] + grid[1] < 0.7 * shape[1] + shape[0] / 2) & (grid[2] > 2)
    mask[shape[0] // 2, shape[1] // 3, shape[2] // 2 :] = False
    return mask


def compare(predicted: np.ndarray, reference: np.ndarray, **options: object) -> Comparison:
    """A comparison of two CTs."""
    fields = {
        "case": "a",
        "channel": "ct",
        "subject": reference > 0,
        "subject_note": "",
        "slice_axis": "axial",
        "spacing_mm": SPACING,
        "modality": "CT",
    }
    return Comparison(predicted=predicted, reference=reference, **(fields | options))


def assert_equal(found: dict[str, float], wanted: dict[str, float], tolerance: float):
    """Every metric of the independent version, each up to a relative difference."""
    assert wanted.keys() <= found.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=tolerance), name


@pytest.mark.parametrize(("slice_axis", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_the_papers_protocol(slice_axis, axis):
    """All metrics and regions, of the whole and in the box; delta_z follows the slice axis."""
    pair = compare(worse(ct()), ct(), slice_axis=slice_axis, mask=lopsided(SHAPE))
    found = PROTOCOLS["liftnet"].score_case(pair)
    assert len(found.metrics) == 32
    assert_equal(found.metrics, REFERENCE["lift"](pair.predicted, pair.reference, axis), 2e-5)
    notes = {"unit": "HU", "regions": "from the reference, inside its body"}
    assert found.notes == notes
    box = REFERENCE["paper_box"](pair.mask, SPACING)
    boxed = PROTOCOLS["lift"].score_case(pair)
    wanted = REFERENCE["lift"](pair.predicted[box], pair.reference[box], axis)
    assert_equal(boxed.metrics, wanted, 2e-5)
    assert boxed.metrics.keys() == found.metrics.keys()
    for name in ("mae", "psnr", "ssim", "ncc_body", "delta_z_mae_bone", "mae_boundary"):
        assert boxed.metrics[name] != pytest.approx(found.metrics[name], rel=1e-4), name
    assert boxed.notes == notes | {
        "box": "13x18x26 voxels from 2, 2, 3 (z, y, x); voxels of 10 x 7 x 5 mm",
        "mask": "the case's mask file",
    }


@pytest.mark.parametrize(
    ("spacing", "sides", "said"),
    [
        ((1.0, 1.0, 1.0), (12, 20, 128), "12x20x128 voxels from 0, 0, 13 (z, y, x)"),
        ((1.0, 1.0, 0.99), (12, 20, 128), "12x20x128 voxels from 0, 0, 13 (z, y, x)"),
        ((10.0, 8.0, 1.5), (12, 16, 85), "12x16x85 voxels from 0, 4, 35 (z, y, x)"),
    ],
)
def test_the_papers_box(spacing, sides, said):
    """128 voxels of 1 mm, else as many as 128 mm hold; pushed inside and cut where it ends."""
    shape = (12, 20, 141)
    mask = np.zeros(shape, dtype=bool)
    mask[2:9, 6:19, 60:95] = True
    reference = ct(3, shape)
    pair = compare(worse(reference), reference, mask=mask, spacing_mm=spacing)
    box = REFERENCE["paper_box"](mask, spacing)
    assert tuple(part.stop - part.start for part in box) == sides
    found = PROTOCOLS["lift"].score_case(pair)
    wanted = REFERENCE["lift"](pair.predicted[box], reference[box])
    assert_equal(found.metrics, wanted, 2e-5)
    assert found.notes["box"].startswith(said)
    assert found.notes["box"].endswith("; pushed inside the image, or cut to it")
    assert ("voxels of 10 x 8 x 1.5 mm" in found.notes["box"]) == (spacing[2] == 1.5)


def test_regions_end_where_the_box_does():
    """Air that only the crop opens to the outside is in the body of the whole, not of the box."""
    reference = np.full(SHAPE, -1000, "f4")
    inner = tuple(n - 2 for n in SHAPE)
    reference[1:-1, 1:-1, 1:-1] = np.random.default_rng(4).uniform(-90, 190, inner)
    reference[6:9, 9:12, 3:20] = -950  # begins outside the box, ends in it
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, :, 10:] = True
    pair = compare(worse(reference), reference, mask=mask, spacing_mm=(10.0, 7.0, 9.0))
    assert "mae_air" in PROTOCOLS["liftnet"].score_case(pair).metrics
    found = PROTOCOLS["lift"].score_case(pair)
    assert found.notes["absent_regions"] == "bone, air, boundary"
    box = REFERENCE["paper_box"](mask, pair.spacing_mm)
    assert box[2].start > 3
    assert_equal(found.metrics, REFERENCE["lift"](pair.predicted[box], reference[box]), 2e-5)


@pytest.mark.parametrize("shape", [SHAPE, (9, 41, 12)])
@pytest.mark.parametrize("protocol", ["synthrad2023", "synthrad2025"])
def test_synthrad(protocol, shape):
    """Inside the given mask, at two shapes; all sides are continued to 97 for MS-SSIM."""
    pair = compare(worse(ct(1, shape)), ct(1, shape), mask=lopsided(shape))
    found = PROTOCOLS[protocol].score_case(pair)
    wanted = REFERENCE[protocol](pair.predicted, pair.reference, pair.mask)
    assert_equal(found.metrics, wanted, 1e-6)
    assert found.notes == {"unit": "HU", "mask": "the case's mask file"}


def test_synthrad2025_with_a_side_longer_than_97():
    """Sides of 97 and more are not continued; here one is, one even, one odd."""
    shape = (98, 11, 101)
    mask = np.ones(shape, dtype=bool)
    mask[:, :2] = False
    mask[:20, :, 40:] = False
    pair = compare(worse(ct(2, shape)), ct(2, shape), mask=mask)
    wanted = REFERENCE["synthrad2025"](pair.predicted, pair.reference, mask)
    assert_equal(PROTOCOLS["synthrad2025"].score_case(pair).metrics, wanted, 1e-6)


def test_outside_of_the_mask_does_not_count():
    """SynthRAD's numbers do not change with what is predicted outside."""
    mask = lopsided(SHAPE)
    pair = compare(worse(ct()), ct(), mask=mask)
    other = compare(np.where(mask, pair.predicted, 700).astype("f4"), ct(), mask=mask)
    for protocol in ("synthrad2023", "synthrad2025"):
        assert (
            PROTOCOLS[protocol].score_case(pair).metrics
            == PROTOCOLS[protocol].score_case(other).metrics
        )
    assert PROTOCOLS["lift"].score_case(pair).metrics != PROTOCOLS["lift"].score_case(other).metrics


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_images_are_perfect_and_noise_is_worse(protocol):
    """No error, infinite PSNR, similarity 1; with more noise everything is worse."""
    mask = lopsided(SHAPE)
    rows = [PROTOCOLS[protocol].score_case(compare(ct(), ct(), mask=mask)).metrics]
    rows += [
        PROTOCOLS[protocol].score_case(compare(worse(ct(), n, 0), ct(), mask=mask)).metrics
        for n in (20, 100, 300)
    ]
    for name, value in rows[0].items():
        if name.startswith("psnr"):
            assert value == math.inf
            rows[0][name] = 99.0
        else:
            exact = 0 if name.startswith("me") or "mae" in name else 1
            assert value == pytest.approx(exact, abs=1e-6), name
            if name.startswith("me"):
                continue  # noise has no side; see test_the_sign_of_the_mean_error
        rougher = name.startswith(("sharpness", "high"))
        sign = 1 if "mae" in name or rougher else -1
        assert (sign * np.diff([row[name] for row in rows]) > 0).all(), name


def test_the_sign_of_the_mean_error():
    """Too dense is above 0, too thin below; a region has its own."""
    reference = np.clip(ct(), -900, 1800)
    denser = PROTOCOLS["liftnet"].score_case(compare(reference + 40, reference)).metrics
    thinner = PROTOCOLS["liftnet"].score_case(compare(reference - 40, reference)).metrics
    names = [name for name in denser if name.startswith("me")]
    assert {"me", "me_body", "me_soft", "me_bone", "me_air"} <= set(names)
    for name in names:
        assert denser[name] == pytest.approx(40, abs=1e-3), name
        assert thinner[name] == pytest.approx(-40, abs=1e-3), name


def test_regions_that_a_case_lacks_are_left_out():
    """Water has no bone, air or boundary; one voxel of bone has an error but no step."""
    water = np.full(SHAPE, -1000, "f4")
    water[4:12, 5:16, 6:20] = np.random.default_rng(4).uniform(-90, 190, (8, 11, 14))
    found = PROTOCOLS["liftnet"].score_case(compare(worse(water), water))
    assert found.notes["absent_regions"] == "bone, air, boundary"
    assert not any(name.endswith(("bone", "air", "boundary")) for name in found.metrics)
    assert_equal(found.metrics, REFERENCE["lift"](worse(water), water), 2e-5)
    water[8, 9, 9] = 900
    found = PROTOCOLS["liftnet"].score_case(compare(worse(water), water)).metrics
    assert "mae_bone" in found
    assert "delta_z_mae_bone" not in found
    assert_equal(found, REFERENCE["lift"](worse(water), water), 2e-5)


def test_a_mask_near_the_border_has_no_window():
    """Without a window centred in the mask SSIM is left out, and the notes say so."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:3] = True
    pair = compare(worse(ct()), ct(), mask=mask)
    found = PROTOCOLS["synthrad2023"].score_case(pair)
    assert list(found.metrics) == ["mae", "psnr"]
    assert found.notes["left_out"].startswith("ssim: no window centred in the mask")
    found = PROTOCOLS["synthrad2025"].score_case(compare(worse(ct()), ct(), mask=mask[::-1]))
    assert ("ms_ssim" in found.metrics) != ("left_out" in found.notes)


def test_small_volumes_shrink_the_window_and_say_so():
    """A side below 11 gets the largest window that fits; below 3 there is no SSIM."""
    found = PROTOCOLS["liftnet"].score_case(compare(worse(ct()[:8]), ct()[:8]))
    assert found.notes["ssim_window"] == "7 instead of 11: the volume is small"
    with pytest.raises(GeometryError, match="at least 3 voxels per axis"):
        PROTOCOLS["liftnet"].score_case(compare(ct()[:2], ct()[:2]))


def test_refusals():
    """Protocols of MR, an empty mask, an image of air, a reference with 1024 added."""
    pair = compare(ct(), ct(), mask=np.zeros(SHAPE, dtype=bool))
    for protocol in ("cwdm", "brasyn"):
        with pytest.raises(
            DatasetError, match=f"ct is CT, protocol {protocol} is for MR"
        ) as caught:
            TASK.protocols[protocol].score_case(pair)
        assert "liftnet, lift, synthrad2023, synthrad2025" in str(caught.value)
    for protocol in ("lift", "synthrad2023", "synthrad2025"):
        with pytest.raises(DatasetError, match="The mask is empty"):
            PROTOCOLS[protocol].score_case(pair)
        with pytest.raises(DatasetError, match="needs a mask, and this case has none") as caught:
            PROTOCOLS[protocol].score_case(compare(ct(), ct()))
        assert "Put a.nii.gz into the folder of masks" in caught.value.remedy
        assert "--protocol liftnet" in caught.value.remedy
    with pytest.raises(DatasetError, match="values run from -1000 to -1000"):
        PROTOCOLS["lift"].score_case(compare(ct(), np.full(SHAPE, -1000, "f4")))
    head = scan(tissues(0, SHAPE), HU)
    shifted = compare(head, head + 1024, mask=lopsided(SHAPE))
    for protocol in PROTOCOLS:
        with pytest.raises(DatasetError, match=r"The reference: Not in .* 1024 had been added"):
            PROTOCOLS[protocol].score_case(shifted)
    named = PROTOCOLS["liftnet"].score_case(compare(head + 1024, head)).notes["intensities"]
    assert named.startswith("predicted image: Not in Hounsfield units")


def test_the_task_dispatches_by_modality():
    """CT in HU, MR in [0, 1]; what is not known is CT if SynthRAD is asked or air is in it."""
    pair = compare(worse(ct()), ct(), mask=lopsided(SHAPE))
    unknown = compare(worse(ct()), ct(), mask=lopsided(SHAPE), modality=None)
    for protocol in PROTOCOLS:
        wanted = PROTOCOLS[protocol].score_case(pair)
        assert TASK.protocols[protocol].score_case(pair) == wanted
        assert TASK.protocols[protocol].score_case(unknown).metrics == wanted.metrics
        assert (
            TASK.protocols[protocol].score_case(unknown).notes["modality"].endswith("taken for CT")
        )
    image = np.clip(ct() + 1000, 0, None) / 2000
    for modality in ("MR", None):
        mr = compare(image, image, modality=modality)
        for protocol in ("liftnet", "lift"):  # without a mask
            assert "mae_brain" in TASK.protocols[protocol].score_case(mr).metrics
    with pytest.raises(DatasetError, match="ct is MR, protocol synthrad2023 is for CT"):
        TASK.protocols["synthrad2023"].score_case(compare(image, image, modality="MR"))


def test_the_task_has_every_protocol_with_a_sentence():
    """Names, what they need, and descriptions for both kinds of target."""
    names = ["liftnet", "lift", "cwdm", "brasyn", "synthrad2023", "synthrad2025"]
    assert list(TASK.protocols) == names
    for name, protocol in TASK.protocols.items():
        assert protocol.stated.name == name
        assert protocol.stated.description.endswith(".")
        assert protocol.stated.needs_source == (name == "cwdm")
        assert protocol.stated.needs_mask == (name == "lift" or name.startswith("synthrad"))
    assert "CT: HU clipped" in TASK.protocols["lift"].stated.description
    assert "MR: [0, 1] between" in TASK.protocols["lift"].stated.description
