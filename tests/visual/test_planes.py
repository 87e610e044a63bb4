"""Slices for people: orientation, windows that compare, square pixels."""

import numpy as np
import pytest

from liftnet.visual.planes import (
    MAX_PIXELS,
    fullest_slices,
    grey_planes,
    shared_windows,
    three_planes,
)

SHAPE = (6, 9, 8)


def test_three_planes_turn_the_marked_corner():
    """The superior, posterior, left corner appears where a radiologist expects it."""
    volume = np.zeros(SHAPE)
    volume[-1, -1, -1] = 1
    axial, coronal, sagittal = three_planes(volume, at=(5, 8, 7))
    assert axial.shape == (9, 8) and axial[-1, -1] == 1  # posterior at the bottom, left at right
    assert coronal.shape == (6, 8) and coronal[0, -1] == 1  # superior at the top, left at right
    assert sagittal.shape == (6, 9) and sagittal[0, -1] == 1  # posterior on the right
    assert axial.sum() == coronal.sum() == sagittal.sum() == 1


def test_three_planes_take_the_centre_by_default():
    """Without an index the slices pass through the central voxel."""
    volume = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    centre = volume[3, 4, 4]
    axial, coronal, sagittal = three_planes(volume)
    assert axial[4, 4] == centre and coronal[-1 - 3, 4] == centre and sagittal[-1 - 3, 4] == centre


def test_three_planes_refuse_wrong_calls():
    """A channel axis or an index outside is named in the message."""
    with pytest.raises(
        ValueError, match=r"expected a \(D, H, W\) volume, got shape \(1, 6, 9, 8\)"
    ):
        three_planes(np.zeros((1, *SHAPE)))
    with pytest.raises(ValueError, match=r"expected slices inside shape \(6, 9, 8\), got"):
        three_planes(np.zeros(SHAPE), at=(0, 0, 8))


def test_fullest_slices_find_the_lesion():
    """Every axis gets the slice with most lesion, and no lesion gives none."""
    lesion = np.zeros(SHAPE, np.uint8)
    assert fullest_slices(lesion) is None
    lesion[4, 2:5, 6] = 2
    lesion[1, 3, 6] = 1
    assert fullest_slices(lesion) == (4, 3, 6)


def test_compared_volumes_share_a_window():
    """Predicted takes its own reference's window, generated the real one's; sources their own."""
    flat = np.ones(SHAPE)
    images = (
        ("t1n", 5 * flat),
        ("ct predicted", 3 * flat),
        ("ct reference", 2 * flat),
        ("t2w predicted", 7 * flat),
        ("ct |error|", 0.5 * flat),
    )
    assert shared_windows(images) == [(0, 5), (0, 2), (0, 2), (0, 7), (0, 0.5)]
    assert shared_windows((("generated 0", 3 * flat), ("real", 4 * flat))) == [(0, 4), (0, 4)]
    assert shared_windows((("generated 0", 3 * flat),)) == [(0, 3)]


def test_grey_planes_have_square_pixels():
    """Thick slices are repeated; the planes stand side by side, the lower ones in the middle."""
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    picture = grey_planes(volume, (2.0, 1.0, 1.0), (0.0, 1.0))
    axial, coronal, sagittal = three_planes(volume)
    assert picture.shape == (12, 8 + 8 + 9) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[1:10, :8], (255 * axial).round())
    assert not picture[0, :8].any() and not picture[10:, :8].any()
    np.testing.assert_array_equal(picture[::2, 8:16], (255 * coronal).round())
    np.testing.assert_array_equal(picture[1::2, 16:], (255 * sagittal).round())


def test_grey_planes_survive_odd_values_and_sizes():
    """Values outside the window are cut, those that are not finite black; no side is huge."""
    volume = np.full(SHAPE, 0.5)
    volume[3, 0, :4] = np.nan, np.inf, -np.inf, 2.0
    picture = grey_planes(volume, (1.0, 1.0, 1.0), (0.0, 1.0))
    assert picture[0, :5].tolist() == [0, 255, 0, 255, 128]
    long = grey_planes(np.ones((3, 1500, 4)), (1.0, 0.5, 0.5), (0.0, 1.0))
    assert long.shape[0] == MAX_PIXELS
