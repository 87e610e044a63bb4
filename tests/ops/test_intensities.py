"""Which intensities are refused or named, and which are not."""

import numpy as np
import pytest
from simple_heads import HU, SHAPE, T1N, T2W, scan, stripped, tissues, turned

from liftnet.ops.intensities import bright_end, check_intensities, clip_extremes, negative_share

LABELS = tissues()
BRAIN = LABELS >= 3


def zscored() -> np.ndarray:
    """Stripped MR with mean 0 and spread 1 in the brain, and background 0."""
    image = stripped(LABELS, T1N)
    image[BRAIN] = (image[BRAIN] - image[BRAIN].mean()) / image[BRAIN].std()
    return image


def wrapped(share: float) -> np.ndarray:
    """Unsigned 16-bit numbers read as signed; this share of the brain is too bright for them."""
    image = stripped(LABELS, T1N)
    image *= 32767 / np.quantile(image[BRAIN], 1 - share)
    return image.round().clip(0, 65535).astype(np.uint16).view(np.int16).astype(np.float32)


def with_hot(image: np.ndarray, count: int) -> np.ndarray:
    """The image with some voxels of 60000."""
    image = image.copy()
    image.reshape(-1)[np.random.default_rng(1).integers(0, image.size, count)] = 60000
    return image


GOOD_MR = {
    "stripped": stripped(LABELS, T1N),
    "whole head": scan(LABELS, T1N),
    "blurred edge": turned(stripped(LABELS, T1N), 1),
    "ringing": turned(stripped(LABELS, T2W), 3),
    "low signal to noise": scan(LABELS, T1N, noise=60),
    "a few negatives of a bias field correction": stripped(LABELS, T1N)
    - np.where(np.random.default_rng(0).random(SHAPE) < 0.002, 30, 0).astype(np.float32),
    "contrast agent": stripped(LABELS, T1N) + np.where(tissues(9) == 3, 900, 0) * (LABELS == 5),
}
BAD_MR = {
    "z-score": (zscored(), "error", "intensity is below 0, down to -"),
    "z-score of a whole head": (scan(LABELS, T1N) - 180, "error", "intensity is below 0"),
    "[-1, 1]": (stripped(LABELS, T1N) / 300 - 1, "error", "intensity is below 0"),
    "wrapped": (wrapped(0.3), "error", "unsigned 16-bit"),
    "a little wrapped": (wrapped(0.004), "warning", "unsigned 16-bit"),
    "padded": (np.where(LABELS > 0, stripped(LABELS, T1N), -1024), "error", "'not scanned'"),
    "denormal": (stripped(LABELS, T1N) * 1e-42, "error", "float32 cannot calculate"),
    "huge": (stripped(LABELS, T1N) * 1e30, "error", "float32 cannot calculate"),
    "hot": (with_hot(stripped(LABELS, T1N), 5), "warning", "5 voxels are far brighter"),
    "hot head": (with_hot(scan(LABELS, T1N), 40), "warning", "40 voxels are far brighter"),
}


@pytest.mark.parametrize("name", GOOD_MR)
def test_good_mr_says_nothing(name):
    """Neither interpolation nor noise nor bright tissue is a reason for a message."""
    assert check_intensities(GOOD_MR[name], ct=False) == []


@pytest.mark.parametrize("name", BAD_MR)
def test_bad_mr_is_named(name):
    """With what it looks like, and as an error where signal would be lost."""
    image, severity, words = BAD_MR[name]
    (found,) = check_intensities(image.astype(np.float32), ct=False)
    assert words in found.text
    assert found.severity == severity and found.remedy


def ct(**options) -> np.ndarray:
    """A CT with air down to -1024."""
    return np.maximum(scan(LABELS, HU, **options), -1024).round()


def band(value: float) -> np.ndarray:
    """A CT of which a quarter was not scanned."""
    image = ct()
    image[:, 33:] = value
    return image


LUNGS = np.where(LABELS >= 4, -850, ct()).astype(np.float32)
BONE = np.where(LABELS == 2, np.random.default_rng(2).uniform(200, 1800, SHAPE), ct())
BOX = BONE[10:23, 13:31, 12:26]  # inside the head: no air at all
CYLINDER = ct()
CYLINDER[:, np.hypot(*np.indices(SHAPE[1:]) - np.array([21, 18])[:, None, None]) > 22] = 0
GOOD_CT = {
    "head": ct(),
    "noisy": ct(noise=60),
    "clipped": np.clip(ct(), -1000, 400),
    "padded with -3024": np.where(tissues(0, SHAPE) == 0, -3024, ct()),
    "metal": np.where(np.arange(ct().size).reshape(SHAPE) % 2000 == 7, 3071 * 8, ct()),
    "lungs": LUNGS,
    "quarter of air": band(-1024),
}
BAD_CT = {
    "1024 added": (np.maximum(ct() + 1024, 0), "error", "soft tissue lies at 10"),
    "1000 added": (ct() + 1000, "error", "as if 1024 had been added"),
    "bytes": (((ct().clip(-1000, 1000) + 1000) / 2000 * 255).round(), "error", "grey levels"),
    "[-1, 1]": (ct().clip(-1000, 1000) / 1000, "error", "values run from -1 to"),
    "[0, 1]": ((ct() + 1024) / 4000, "error", "values run from"),
    "attenuation": (0.0195 * (1 + ct() / 1000), "error", "values run from"),
    "16 bits": ((ct() + 1024) * 16, "error", "values run from"),
    "no air": (BOX, "warning", "No air: the lowest value is"),
    "a band of water": (band(0), "warning", "11 of 44 slices along y are 0 HU throughout"),
    "a band of tissue": (band(40), "warning", "11 of 44 slices along y are 40 HU throughout"),
    "a cylinder masked with 0": (CYLINDER, "warning", "exactly 0 HU"),
    "masked with 0": (np.where(LABELS > 0, LUNGS, 0), "warning", "0 HU"),
}


@pytest.mark.parametrize("name", GOOD_CT)
def test_good_ct_says_nothing(name):
    """Padding below air, metal and lungs are usual."""
    assert check_intensities(GOOD_CT[name].astype(np.float32), ct=True) == []


@pytest.mark.parametrize("name", BAD_CT)
def test_bad_ct_is_named(name):
    """Each with its number; what cannot be Hounsfield units is an error."""
    image, severity, words = BAD_CT[name]
    (found,) = check_intensities(image.astype(np.float32), ct=True)
    assert words in found.text
    assert found.severity == severity and found.remedy


def test_a_brain_cut_out_of_a_ct_is_named_twice_and_not_refused():
    """It has no air, and zeros where air was; its values could be those of a byte."""
    found = check_intensities(np.where(BRAIN, ct().clip(0), 0).astype(np.float32), ct=True)
    assert [one.severity for one in found] == ["warning", "warning"]
    assert found[0].text.startswith("No air") and "0 HU" in found[1].text


def test_the_share_below_zero():
    """Of the summed magnitude; 0 of an image of zeros."""
    image = np.array([[[3.0, -1.0, 0.0, 6.0]]], np.float32)
    assert negative_share(image) == pytest.approx(0.1)
    assert negative_share(np.zeros((2, 3, 4), np.float32)) == 0


def test_the_bright_end_is_that_of_the_others():
    """Hot voxels do not move it, and are clipped to it; a few bright voxels alone are the end."""
    image = scan(LABELS, T1N)
    hot = with_hot(image, 60)
    assert bright_end(hot) == pytest.approx(np.quantile(image, 0.995), rel=0.03)
    assert clip_extremes(hot, ct=False).max() == np.float32(bright_end(hot))
    few = np.zeros((5, 7, 90), np.float32)
    few[2, 3, 4] = 12
    assert bright_end(few) == 12
    assert bright_end(-few) == 0
    assert (
        clip_extremes(ct() - 2000, ct=True).min(),
        clip_extremes(ct() + 3000, ct=True).max(),
    ) == (-1000, 2000)
