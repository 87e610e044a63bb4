"""Grids, axis orders and placements, against the closed form and numpy."""

import dataclasses
import itertools

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd, insert_crop_into_image

from liftnet.core.geometry import (
    SLICE_AXES,
    AxisOrder,
    Geometry,
    Placement,
    Volume,
    axis_order,
    turn,
)

SHAPE = (4, 5, 6)
SPACING = (3.0, 2.0, 1.5)
ORIGIN = (10.0, -20.0, 30.0)
EYE = np.eye(3)


def geometry(directions=((0, 0, 1), (0, 1, 0), (1, 0, 0)), shape=SHAPE) -> Geometry:
    """A grid of three different sides and spacings."""
    return Geometry(shape, SPACING, ORIGIN, tuple(tuple(map(float, d)) for d in directions))


def oblique(angle: float = 0.3) -> Geometry:
    """A grid turned about two axes."""
    c, s = np.cos(angle), np.sin(angle)
    a = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    b = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return geometry((a @ b).T[::-1])


def test_world():
    """A voxel's place is the origin plus its steps along each array axis."""
    assert geometry().world((1, 2, 4)) == (10 + 4 * 1.5, -20 + 2 * 2.0, 30 + 1 * 3.0)
    g = oblique()
    matrix = np.array(g.direction).T * SPACING
    np.testing.assert_allclose(g.world((3, 1, 5)), matrix @ [3, 1, 5] + ORIGIN)


@pytest.mark.parametrize("slice_axis", SLICE_AXES)
def test_turn_keeps_every_voxel_in_place(slice_axis):
    """For all 48 voxel orders and an oblique grid, a turned voxel has the same world position."""
    values = np.arange(120.0).reshape(1, *SHAPE)
    grids = [
        geometry([EYE[a] * s for a, s in zip(order, signs, strict=True)])
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    assert len(grids) == 48
    for g in [*grids, oblique()]:
        turned = turn(Volume(values, g), axis_order(g, slice_axis))
        assert turned.voxels.shape[1:] == turned.geometry.shape
        for index in [(0, 0, 0), tuple(n - 1 for n in turned.geometry.shape), (1, 2, 3)]:
            value = turned.voxels[(0, *index)]
            source = np.unravel_index(int(value), SHAPE)
            np.testing.assert_allclose(turned.geometry.world(index), g.world(source), atol=1e-9)
        for axis, world in enumerate(SLICE_AXES[slice_axis]):
            vector = turned.geometry.direction[axis]
            assert vector[world] == max(vector, key=abs) > 0


def test_turn_is_a_view():
    """Turning copies no voxel."""
    g = geometry(-EYE)
    values = np.zeros((2, *SHAPE))
    assert np.shares_memory(values, turn(Volume(values, g), axis_order(g, "axial")).voxels)


def test_to_source_undoes_turn():
    """Placement.to_source puts a turned array back, for every order and flip."""
    values = np.arange(120).reshape(SHAPE)
    g = geometry()
    for order in itertools.permutations(range(3)):
        for flip in itertools.product((False, True), repeat=3):
            axes = AxisOrder(order, flip)
            turned = turn(Volume(values[None], g), axes)
            shape = turned.geometry.shape
            placement = Placement(g, axes, (0, 0, 0), shape, shape)
            assert placement.turned_shape == shape
            np.testing.assert_array_equal(placement.to_source(turned.voxels[0]), values)


def test_box():
    """The box is half-open and in turned order."""
    placement = Placement(
        geometry(), AxisOrder((0, 1, 2), (False,) * 3), (1, 0, 2), (3, 5, 6), SHAPE
    )
    assert np.zeros(SHAPE)[placement.box].shape == (2, 5, 4)
    assert placement.bounds == [[1, 3], [0, 5], [2, 6]]


def test_a_box_may_lie_outside():
    """Only what box and grid share is exchanged, place by place."""
    d, h, w = SHAPE
    start, stop = (-2, 1, -1), (d - 1, h + 3, w + 1)
    placement = Placement(
        geometry(), AxisOrder((0, 1, 2), (False,) * 3), start, stop, (d + 1, h + 2, w + 2)
    )
    values = np.arange(d * h * w).reshape(SHAPE)
    padded = np.pad(values, ((2, 0), (0, 3), (1, 1)), constant_values=-1)[: d + 1, 1:]
    assert padded.shape == placement.shape
    np.testing.assert_array_equal(crop_and_pad_nd(values, placement.bounds, -1), padded)
    assert values[placement.box].size == (padded >= 0).sum() == (d - 1) * (h - 1) * w
    back = insert_crop_into_image(np.full(SHAPE, -5), padded, placement.bounds)
    np.testing.assert_array_equal(back[placement.box], values[placement.box])
    assert (back == -5).sum() == values.size - (padded >= 0).sum()


def test_same_grids_do_not_differ():
    """Rounding as converters do it is no difference."""
    g = oblique()
    rounded = Geometry(
        g.shape,
        tuple(float(np.float32(s)) * (1 + 1e-4) for s in g.spacing_mm),
        tuple(round(x, 3) for x in g.origin_mm),
        tuple(tuple(round(c, 5) for c in d) for d in g.direction),
    )
    assert g.differs(g) is None
    assert g.differs(rounded) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape": (4, 5, 7)}, "shape (4, 5, 6) and (4, 5, 7)"),
        ({"spacing_mm": (3.0, 2.0, 1.6)}, "spacing (3, 2, 1.5) and (3, 2, 1.6) mm"),
        ({"direction": ((0, 0, 1), (0, -1, 0), (1, 0, 0))}, "direction"),
        ({"origin_mm": (10.0, -20.0, 30.5)}, "position (0.50 mm apart)"),
    ],
)
def test_differences_are_named(change, text):
    """Each kind of difference is said in words."""
    assert geometry().differs(dataclasses.replace(geometry(), **change)) == text


def test_small_differences_that_add_up():
    """A spacing error below 1 % that moves the far corner by a tenth of a voxel is a difference."""
    g = geometry(shape=(4, 5, 200))
    other = dataclasses.replace(g, spacing_mm=(3.0, 2.0, 1.504))
    assert g.differs(other) == "position (0.80 mm apart)"


def test_spacing_of_a_placement():
    """The source's spacing is turned and stretched as its voxels are."""
    source = Geometry((30, 40, 50), (3.0, 1.0, 2.0), (0.0, 0.0, 0.0), np.eye(3).tolist())
    axes = AxisOrder(order=(2, 0, 1), flip=(False, True, False))
    placement = Placement(source, axes, (5, 0, -4), (45, 30, 36), (20, 30, 80))
    assert placement.spacing_mm == (4.0, 3.0, 0.5)
