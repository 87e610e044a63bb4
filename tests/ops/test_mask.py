"""Foreground, Otsu, boxes."""

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.bounding_boxes import get_bbox_from_mask
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from simple_heads import HU, SHAPE, T1N, T2W, scan, stripped, tissues, turned
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import closing, diamond, octahedron

from liftnet.ops import intensities
from liftnet.ops.intensities import otsu_threshold
from liftnet.ops.mask import (
    body,
    bounding_box,
    box_about,
    foreground,
    has_zero_background,
    largest_component,
)


def two_classes(seed: int = 0) -> np.ndarray:
    """An image with dark background and a bright box."""
    rng = np.random.default_rng(seed)
    image = rng.normal(20, 8, (7, 11, 13))
    image[2:5, 3:9, 4:11] += 90
    return image.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_otsu_equals_skimage(seed):
    """The threshold is scikit-image's, to float32."""
    image = two_classes(seed)
    assert otsu_threshold(image) == pytest.approx(threshold_otsu(image), rel=1e-5)


def test_otsu_of_a_large_image_is_sampled(monkeypatch):
    """From every n-th voxel the threshold stays between the classes."""
    image = two_classes()
    monkeypatch.setattr(intensities, "SAMPLE", 300)
    assert abs(otsu_threshold(image) - threshold_otsu(image)) < 0.1 * np.ptp(image)


def test_otsu_of_a_constant_image_finds_nothing():
    """No voxel of a constant image is foreground."""
    image = np.full((1, 3, 4, 5), 7.0, dtype=np.float32)
    assert not foreground(image, "otsu").any()


def test_foreground_is_the_union_of_channels():
    """Any channel counts; negatives do not; an unknown rule is refused."""
    voxels = np.zeros((2, 3, 4, 5), dtype=np.float32)
    voxels[0, 1, 1, 1], voxels[1, 2, 3, 4], voxels[1, 0, 0, 0] = 1, 2, -3
    assert np.argwhere(foreground(voxels, "nonzero")).tolist() == [[1, 1, 1], [2, 3, 4]]
    both = np.stack([two_classes(), np.roll(two_classes(1), 2, axis=2)])
    expected = np.zeros(both.shape[1:], dtype=bool)
    for image in both:
        steady = np.minimum(image, np.quantile(image, 0.995))
        expected |= image > threshold_otsu(steady)
    np.testing.assert_array_equal(foreground(both, "otsu"), expected)
    with pytest.raises(ValueError, match="expected the rule 'nonzero' or 'otsu', got 'brain'"):
        foreground(voxels, "brain")


def test_bounding_box():
    """The smallest half-open box; the whole grid if nothing is inside."""
    inside = np.zeros((4, 6, 8), dtype=bool)
    assert bounding_box(inside) == [[0, 4], [0, 6], [0, 8]]
    inside[1, 2, 3] = inside[2, 5, 3] = True
    assert bounding_box(inside) == [[1, 3], [2, 6], [3, 4]]


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=7)))
def test_bounding_box_equals_acvl_utils(inside):
    """Their slower function gives the same box, of empty masks and sides of one voxel too."""
    assert bounding_box(inside) == get_bbox_from_mask(inside)


def test_box_about():
    """The centre of the mask's box, as near as whole voxels allow; inside, and no larger."""
    inside = np.zeros((9, 12, 20), dtype=bool)
    inside[2:5, 4:6, 6:13] = True  # centres 3.5, 5, 9.5
    assert box_about(inside, (3, 4, 7)) == [[2, 5], [3, 7], [6, 13]]
    assert box_about(inside, (2, 3, 6)) == [[2, 4], [3, 6], [6, 12]]
    assert box_about(inside, (8, 99, 20)) == [[0, 8], [0, 12], [0, 20]]
    assert box_about(inside[::-1], (8, 0, 19)) == [[1, 9], [4, 5], [0, 19]]


def balls(*centres: tuple[float, float, float, float]) -> np.ndarray:
    """Balls (d, h, w, radius) in a grid of three different sides."""
    grid = np.indices((17, 21, 25))
    mask = np.zeros(grid.shape[1:], dtype=bool)
    for *centre, radius in centres:
        offset = grid - np.array(centre)[:, None, None, None]
        mask |= (offset**2).sum(0) < radius**2
    return mask


LARGE, SMALL = (8, 10, 9, 6.5), (8, 10, 23, 1.6)


def test_largest_component_equals_skimage():
    """The piece with most voxels, neighbours sharing a face; none and one are left as they are."""
    noise = np.random.default_rng(0).random((9, 11, 13)) < 0.3
    labels = label(noise, connectivity=1)
    expected = labels == np.bincount(labels[labels > 0]).argmax()
    np.testing.assert_array_equal(largest_component(noise), expected)
    assert labels.max() > 1 and expected.sum() < noise.sum()
    for whole in (np.zeros((2, 3, 4), dtype=bool), balls(LARGE)):
        np.testing.assert_array_equal(largest_component(whole), whole)


@pytest.mark.parametrize("rule", ["nonzero", "otsu"])
def test_body_is_one_piece_without_holes(rule):
    """A hollow ball is filled, a second ball goes; the image itself is not changed."""
    hollow = balls(LARGE) & ~balls((8, 9, 8, 3.0))
    image = np.where(hollow | balls(SMALL), 500.0, 0.0).astype(np.float32)
    if rule == "otsu":
        image += np.random.default_rng(0).normal(60, 5, image.shape).astype(np.float32)
    before = image.copy()
    found = body(image[None], rule)
    expected = ndimage.binary_fill_holes(closing(hollow, octahedron(2)))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == bool and found.sum() > hollow.sum()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_body_fills_airways(axis):
    """A channel that opens to the outside is a hole in the slices across it."""
    ball = balls(LARGE)
    drilled = ball.copy()
    place: list[slice | int] = [8, 10, 9]
    place[axis] = slice(None)
    drilled[tuple(place)] = False
    np.testing.assert_array_equal(ndimage.binary_fill_holes(drilled), drilled)  # not a 3D hole
    found = body(drilled[None].astype(np.float32), "nonzero")
    core = balls((8, 10, 9, 5.0))  # the channel's very mouth may stay a dimple
    assert found[core].all() and not found[~closing(ball, octahedron(2))].any()


def test_body_reaches_through_a_broken_shell():
    """A thin shell with gaps, as a scalp around a dark skull, still encloses what is inside."""
    shell = balls(LARGE) & ~balls((8, 10, 9, 4.0))
    shell[:, 10, :] = False
    shell[:, :, 9] = False
    found = body(shell[None].astype(np.float32), "nonzero")
    assert found[8, 10, 9] and found.sum() > 0.9 * balls(LARGE).sum()


def test_body_touches_the_edge_of_the_image():
    """Closing does not eat what the field of view cuts."""
    half = balls((0, 10, 9, 6.5))
    np.testing.assert_array_equal(
        body(half[None].astype(np.float32), "nonzero")[0], closing(half[0], diamond(2))
    )


def test_body_of_nothing():
    """An empty image has an empty body."""
    assert not body(np.zeros((2, 3, 4, 5), dtype=np.float32), "nonzero").any()


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """How well two masks agree, 0 to 1."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def not_scanned(image: np.ndarray) -> np.ndarray:
    """The image with zeros where an MR was not scanned: the first and last slices."""
    image = image.copy()
    image[:4] = image[-4:] = 0
    return image


LABELS = tissues()
BRAIN, HEAD = LABELS >= 3, LABELS > 0
SPECKS = np.where(np.random.default_rng(3).random(SHAPE) < 0.01, 20, 0).astype(np.float32)
NOISE = np.abs(np.random.default_rng(4).normal(0, 5, SHAPE)).astype(np.float32)
PLAIN = stripped(LABELS, T1N)
LEFT_OVER = {  # what is left in a background -> is it a zero background?
    "nothing": (PLAIN, True),
    "a tiny offset": (PLAIN + np.float32(1e-8), True),
    "half a percent": (np.where(BRAIN, PLAIN, 2.5).astype(np.float32), True),
    "specks": (np.where(BRAIN, PLAIN, SPECKS), True),
    "noise": (np.where(BRAIN, PLAIN, NOISE), False),
}


@pytest.mark.parametrize("name", LEFT_OVER)
def test_what_is_left_in_a_zero_background_is_no_subject(name):
    """The brain is found, and next to nothing else, whatever a tool has left around it."""
    image, zero = LEFT_OVER[name]
    found = foreground(image[None], "nonzero")
    assert dice(found, BRAIN) > 0.998
    assert has_zero_background(image[None]) == zero


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ringing_is_no_subject(order):
    """After a rotation with splines, the brain is what a rotation of its mask is."""
    found = foreground(turned(PLAIN, order)[None], "nonzero")
    assert has_zero_background(turned(PLAIN, order)[None])
    assert dice(found, turned(BRAIN.astype(np.float32), 1) > 0.02) > 0.98


def test_two_pieces_stay_two():
    """Both legs of a scan are the subject; so are both halves beside noise."""
    legs = np.zeros((17, 30, 60), np.float32)
    legs[:, 8:22, 6:22] = legs[:, 8:22, 36:50] = 300
    noise = np.abs(np.random.default_rng(0).normal(0, 9, legs.shape)).astype(np.float32)
    for background in (0, noise):
        found = foreground(np.where(legs > 0, legs, background)[None], "nonzero")
        assert dice(found, legs > 0) > 0.995


def test_dark_tissue_far_from_bright_tissue_is_subject():
    """What is too bright for air is no background, however far from what Otsu finds."""
    image = np.full((20, 40, 44), 200, np.float32)
    image[:, :, :12] = 900
    assert has_zero_background(image[None])
    assert foreground(image[None], "nonzero").all()


def test_zero_where_it_was_not_scanned_is_no_zero_background():
    """An MR with noise in the air of its field of view is found by its grey values."""
    padded = not_scanned(scan(LABELS, T1N))
    assert not has_zero_background(padded[None])
    assert dice(body(padded[None], "otsu"), HEAD & (not_scanned(np.ones(SHAPE)) > 0)) > 0.99


def test_hot_voxels_do_not_move_a_body():
    """Twenty voxels of 60000 leave Otsu's body as it is."""
    image = scan(LABELS, T2W)
    hot = image.copy()
    hot.reshape(-1)[np.random.default_rng(2).integers(0, hot.size, 20)] = 60000
    assert dice(body(hot[None], "otsu"), body(image[None], "otsu")) > 0.995


def test_a_cylinder_of_a_cone_beam_ct_is_no_body():
    """What was not scanned is -3024; the body is the head, not the field of view."""
    image = scan(LABELS, HU)
    rows, columns = np.indices(SHAPE[1:])
    outside = np.hypot(rows - 21.5, columns - 18.5) > 18
    image[:, outside] = -3024
    expected = HEAD & ~outside
    assert dice(body(image[None], "otsu", [True]), expected) > 0.99
    assert dice(body(image[None], "nonzero", [True]), expected) > 0.99  # CT has no zero background


@pytest.mark.parametrize(("low", "high"), [(0, 1e-43), (1e7, 1e7 + 1), (3e38, 3e38)])
def test_numbers_that_float32_hardly_tells_apart_have_no_threshold(low, high):
    """Values that a histogram cannot divide: nothing is above the largest."""
    image = np.full((3, 4, 5), high, np.float32)
    image[0] = low
    assert not (image > otsu_threshold(image)).any()
