"""Tests of the geometry against scipy."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from liftnet.augment import spatial
from liftnet.augment.ranges import SpatialParameters

SIZE = (3, 23, 34)  # D, H, W: three sizes, one of them odd


def parameters(batch: int = 3, **changes: Tensor) -> SpatialParameters:
    """Returns neutral parameters with some replaced."""
    neutral = SpatialParameters(
        flip=torch.zeros(batch, 3, dtype=torch.bool),
        angle=torch.zeros(batch),
        scale=torch.ones(batch),
        shear=torch.zeros(batch),
        control_points=torch.zeros(batch, 2, 4, 4),
    )
    return dataclasses.replace(neutral, **changes)


def slabs(batch: int = 3, channels: int = 2, seed: int = 0) -> Tensor:
    """Returns rough images, so that a wrong voxel cannot hide."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((batch, channels, *SIZE), generator=generator)


def transform(image: Tensor, given: SpatialParameters, *, mode: str = "bilinear") -> Tensor:
    """Returns `image` resampled as the parameters say."""
    where = spatial.coordinates(*spatial.lines(given, *image.shape[-2:]), given.control_points)
    return spatial.resample(image, where, mode=mode)


def item(all_items: SpatialParameters, index: int) -> SpatialParameters:
    """Returns the parameters of one item as a batch of one."""
    values = {
        field.name: getattr(all_items, field.name)[index : index + 1]
        for field in dataclasses.fields(all_items)
    }
    return SpatialParameters(**values)


def inverse_matrix(given: SpatialParameters, index: int) -> np.ndarray:
    """Returns the in-plane matrix from output to input offsets, by inverting the forward one."""
    angle = given.angle[index].item()
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, 0.0], [given.shear[index].item(), 1.0]])
    scale = np.eye(2) * given.scale[index].item()
    return np.linalg.inv(turn @ shear @ scale)


def by_scipy(image: Tensor, given: SpatialParameters, *, order: int = 1) -> np.ndarray:
    """Returns what scipy makes of the affine part of the parameters, without what is faint."""
    centre = (np.array(SIZE[1:]) - 1) / 2
    result = np.zeros(image.shape, dtype=np.float64)
    for index in range(image.shape[0]):
        matrix = inverse_matrix(given, index)
        for channel in range(image.shape[1]):
            for depth in range(SIZE[0]):
                result[index, channel, depth] = ndimage.affine_transform(
                    image[index, channel, depth].double().numpy(),
                    matrix,
                    offset=centre - matrix @ centre,
                    order=order,
                    mode="grid-constant",
                )
    return clear_faint(result) if order == 1 else result


def clear_faint(values: np.ndarray) -> np.ndarray:
    """Returns `values` with zeros where they are too faint to count."""
    return np.where(np.abs(values) > spatial.FAINT, values, 0.0)


CASES = {
    "rotation": {"angle": torch.tensor([0.3, -0.7, 2.5])},
    "scale": {"scale": torch.tensor([0.7, 1.4, 1.05])},
    "shear": {"shear": torch.tensor([0.2, -0.3, 0.05])},
    "all": {
        "angle": torch.tensor([0.3, -0.7, 2.5]),
        "scale": torch.tensor([0.7, 1.4, 1.05]),
        "shear": torch.tensor([0.2, -0.3, 0.05]),
    },
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_affine_part_equals_scipy(changes):
    """Rotation, scale and shear agree with affine_transform on the same matrix."""
    image, given = slabs(), parameters(**changes)
    moved = transform(image, given)
    np.testing.assert_allclose(moved.numpy(), by_scipy(image, given), atol=2e-5)


def test_nearest_equals_scipy_order_zero():
    """A mask follows the same geometry and keeps its values."""
    mask = (slabs(channels=1) * 4).floor()
    given = parameters(**CASES["all"])
    moved = transform(mask, given, mode="nearest")
    agree = moved.numpy() == by_scipy(mask, given, order=0)
    assert agree.mean() > 0.999  # a coordinate half-way between two voxels may round either way
    assert set(moved.unique().tolist()) <= set(mask.unique().tolist())


def test_positive_angle_turns_h_towards_w():
    """A point at the end of the H axis comes to lie on the W axis after a quarter turn."""
    image = torch.zeros(1, 1, 1, 21, 31)
    image[0, 0, 0, 10 + 8, 15] = 1
    moved = transform(image, parameters(1, angle=torch.tensor([math.pi / 2])))
    assert moved[0, 0, 0, 10, 15 + 8] == pytest.approx(1, abs=1e-4)


def test_scale_above_one_enlarges():
    """A square of side 6 covers about 4 times the area at scale 2."""
    image = torch.zeros(1, 1, 1, 30, 40)
    image[..., 12:18, 17:23] = 1
    moved = transform(image, parameters(1, scale=torch.tensor([2.0])))
    assert moved.sum().item() == pytest.approx(4 * 36, rel=0.01)


def test_elastic_equals_scipy():
    """The elastic field agrees with map_coordinates on the same displacement."""
    image = slabs()
    generator = torch.Generator().manual_seed(1)
    points = 0.06 * (2 * torch.rand((3, 2, 5, 5), generator=generator) - 1)
    given = parameters(control_points=points)
    moved = transform(image, given)
    fraction = spatial.displacement(points, *SIZE[1:]).double().numpy()
    offset = fraction * np.array(SIZE[1:])[:, None, None]
    identity = np.indices(SIZE[1:]).astype(np.float64)
    for index, channel, depth in np.ndindex(3, 2, SIZE[0]):
        expected = ndimage.map_coordinates(
            image[index, channel, depth].double().numpy(),
            identity + offset[index],
            order=1,
            mode="grid-constant",
        )
        found = moved[index, channel, depth].numpy()
        np.testing.assert_allclose(found, clear_faint(expected), atol=2e-5)


def test_displacement_meets_its_control_points():
    """Where a voxel is a control point it moves by the point itself."""
    generator = torch.Generator().manual_seed(2)
    points = torch.randn((2, 2, 4, 4), generator=generator)
    field = spatial.displacement(points, 10, 13)  # points every 3 and every 4 voxels
    torch.testing.assert_close(field[:, :, ::3, ::4], points, rtol=1e-4, atol=1e-4)


def test_displacement_equals_bicubic_interpolation():
    """One axis after the other is torch's interpolation of the field."""
    points = torch.randn((2, 2, 5, 5), generator=torch.Generator().manual_seed(2))
    expected = F.interpolate(points, (20, 31), mode="bicubic", align_corners=True)
    torch.testing.assert_close(spatial.displacement(points, 20, 31), expected, rtol=0, atol=1e-5)


def test_elastic_moves_on_top_of_the_affine_part():
    """Coordinates are the affine ones plus the displacement, as fractions of W and of H."""
    points = torch.full((1, 2, 4, 4), 0.1)
    points[:, 1] = 0.05
    column, row = spatial.lines(parameters(1, angle=torch.tensor([0.4])), 20, 30)
    plain = spatial.coordinates(column, row, None)
    moved = spatial.coordinates(column, row, points)
    torch.testing.assert_close(moved[:, 0] - plain[:, 0], torch.full((1, 20, 30), 2 * 0.05))
    torch.testing.assert_close(moved[:, 1] - plain[:, 1], torch.full((1, 20, 30), 2 * 0.1))


@pytest.mark.parametrize(
    "changes",
    [
        {"angle": torch.tensor([0.1])},
        {"scale": torch.tensor([1.1])},
        {"shear": torch.tensor([0.1])},
        {"control_points": torch.full((1, 2, 4, 4), 0.01)},
    ],
    ids=["angle", "scale", "shear", "control_points"],
)
def test_any_single_change_turns(changes):
    """Every parameter alone counts; flips need no resampling, nor does a plan without a field."""
    assert spatial.is_turned(parameters(1, **changes)).all()
    assert not spatial.is_turned(parameters(1, flip=torch.tensor([[True, True, True]]))).any()
    assert not spatial.is_turned(parameters(1, control_points=None)).any()


def test_identity_grid_resamples_to_the_same_voxels():
    """The detour over normalized coordinates is exact to 1e-5."""
    image = 0.1 + slabs()
    where = spatial.coordinates(*spatial.lines(parameters(), *SIZE[1:]), None)
    still = spatial.resample(image, where)
    torch.testing.assert_close(still, image, rtol=0, atol=1e-5)


def test_outside_is_zero():
    """What comes from outside the slice is zero, not a copy of the border."""
    moved = transform(torch.ones(1, 1, *SIZE), parameters(1, scale=torch.tensor([0.5])))
    assert (moved[..., :4, :] == 0).all() and (moved[..., :, -6:] == 0).all()
    assert moved[0, 0, 0, 11, 17] == pytest.approx(1)


def test_batch_equals_each_item_alone():
    """No item looks at another."""
    image = slabs()
    generator = torch.Generator().manual_seed(3)
    points = 0.05 * torch.randn((3, 2, 4, 4), generator=generator)
    given = parameters(control_points=points, **CASES["all"])
    together = transform(image, given)
    for index in range(3):
        alone = transform(image[index : index + 1], item(given, index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=0)


def test_background_stays_background():
    """A shear moves no voxel along H: rows of zeros beside tissue stay exactly zero."""
    image = slabs()
    image[..., :7, :] = image[..., 16:, :] = 0
    moved = transform(image, parameters(shear=torch.tensor([0.2, -0.3, 0.05])))
    assert (moved[..., :7, :] == 0).all() and (moved[..., 16:, :] == 0).all()
    assert (moved[..., 7:16, 12:22] != 0).all()


def test_faint_values_are_background():
    """Linear interpolation clears what is not above the limit, of either sign; nearest does not."""
    values = torch.tensor([0.5, 1.5, -0.5, -1.5]) * spatial.FAINT
    image = values.view(1, 1, 1, 2, 2)
    still = parameters(1)
    cleared = torch.where(values.abs() > spatial.FAINT, values, 0.0).view_as(image)
    torch.testing.assert_close(transform(image, still), cleared, rtol=1e-4, atol=0)
    assert torch.equal(transform(image, still, mode="nearest"), image)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_blend_is_a_matrix_product_along_one_axis(axis):
    """It agrees with tensordot, for each axis of different length."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand((2, 3, 4, 5, 6), generator=generator)
    weight = torch.rand((7, points.shape[axis]), generator=generator)
    expected = torch.tensordot(points, weight, dims=([axis], [1])).movedim(-1, axis)
    torch.testing.assert_close(spatial.blend(points, weight, axis), expected)
