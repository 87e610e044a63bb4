"""Boxes that a network may see, and how often it halves them."""

from itertools import pairwise
from math import prod

import pytest

from liftnet.planning.boxes import boxes, step_of, strides_of

SHAPES = [(128, 160, 128), (155, 192, 160), (10, 32, 40), (24, 256, 256), (1, 64, 64), (3, 5, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_shrink_from_the_whole(shape):
    """Each is a multiple of the step and within the one before; none is smaller than asked for."""
    step = step_of(shape)
    found = boxes(shape, step, 16)
    assert all(side >= n > side - s for side, n, s in zip(found[0], shape, step, strict=True))
    for before, box in pairwise(found):
        assert sum(a - b for a, b in zip(before, box, strict=True)) in step
        assert all(a >= b for a, b in zip(before, box, strict=True))
    for box in found:
        assert all(side % s == 0 for side, s in zip(box, step, strict=True))
    assert all(a < 16 + s or a == b for a, b, s in zip(found[-1], found[0], step, strict=True))
    assert all(a >= min(16, b) for a, b in zip(found[-1], found[0], strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 1.0, 1.0), (1.0, 2.5, 1.0)])
def test_halvings_fit_every_box(shape, spacing):
    """Sides divide, edges of 4 stay, and fewer voxels are never halved more often."""
    levels = []
    for box in boxes(shape, step_of(shape), 16):
        strides = strides_of(box, spacing, 5)
        levels.append(len(strides))
        for n, axis in zip(box, zip((1, 1, 1), *strides, strict=True), strict=True):
            assert n % prod(axis) == 0 and (prod(axis) == 1 or n // prod(axis) >= 4)
    assert levels == sorted(levels, reverse=True) and max(levels) <= 5


def test_the_published_levels():
    """nnU-Net's for BraTS: five halvings; thick slices wait until their sides have come near."""
    assert strides_of((128, 160, 128), (1.0, 1.0, 1.0), 5) == ((2, 2, 2),) * 5
    assert strides_of((24, 64, 64), (5.0, 1.0, 1.0), 5) == (
        (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)
    )  # fmt: skip
