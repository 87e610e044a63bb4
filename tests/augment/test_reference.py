"""The whole augmentation against numpy and scipy in double precision, over many items."""

import dataclasses
from functools import partial
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.interpolate import BPoly

from liftnet.augment import apply, ranges, spatial
from liftnet.augment.apply import augment
from liftnet.core.recipe import AugmentationSpec

ITEMS, SIZE = 120, (2, 13, 18)  # D, H, W
SEEDS = torch.arange(ITEMS) + 7
GEOMETRY = ("flip", "rotation", "scale", "shear", "elastic")
CHANGES = ("gamma", "contrast", "brightness", "bias_field", "blur", "low_resolution", "noise")

Drawn = TypeVar("Drawn", ranges.SpatialParameters, ranges.IntensityParameters)
ALL = (*GEOMETRY, *CHANGES)


def spec_of(everything: AugmentationSpec, names: tuple[str, ...], p: float) -> AugmentationSpec:
    """Returns a plan of these transforms, each with probability p and the others never."""
    chance = {f"{name}_probability": p * (name in names) for name in (*GEOMETRY, *CHANGES)[1:]}
    flips = (p * ("flip" in names),) * 3
    return dataclasses.replace(everything, flip_probability=flips, **chance)


def slabs() -> torch.Tensor:
    """Returns skull-stripped items of two source channels and a target: noise in an ellipse."""
    image = 0.1 + 0.9 * torch.rand((ITEMS, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    h, w = (torch.linspace(-1.2, 1.3, size) for size in SIZE[1:])
    return image * (h[:, None] ** 2 + w**2 < 1)


def moved(volumes: np.ndarray, given: ranges.SpatialParameters, order: int) -> np.ndarray:
    """Returns the channels (C, D, H, W) of one item flipped, then turned about the centre."""
    axes = [axis for axis in range(3) if given.flip[0, axis]]
    volumes = np.flip(volumes, [1 + axis for axis in axes])
    if not spatial.is_turned(given).item():
        return volumes
    angle, scale, shear = (float(v) for v in (given.angle, given.scale, given.shear))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.array([[1, 0], [shear, 1]]) * scale)
    size = np.array(SIZE[1:])[:, None, None]
    where = np.einsum("ij,jhw->ihw", inverse, np.indices(SIZE[1:]) - (size - 1) / 2)
    where += (size - 1) / 2
    if given.control_points is not None:
        points = given.control_points.double()
        field = F.interpolate(points, SIZE[1:], mode="bicubic", align_corners=True)[0]
        where += field.numpy() * size
    result = np.zeros_like(volumes)
    for c, d in np.ndindex(volumes.shape[:2]):
        result[c, d] = ndimage.map_coordinates(
            volumes[c, d], where, order=order, mode="grid-constant"
        )
    return np.where(np.abs(result) > spatial.FAINT, result, 0) if order else result


def softened(channel: np.ndarray, sigma: float, zoom: float) -> np.ndarray:
    """Returns a channel (D, H, W) blurred, then lowered."""
    if sigma > 0:
        smooth = partial(
            ndimage.gaussian_filter, sigma=(0, sigma, sigma), mode="constant", truncate=8
        )
        channel = smooth(channel) / smooth(np.ones_like(channel))
    if zoom != 1:
        small = [max(1, round(size * zoom)) for size in SIZE[1:]]
        low = F.interpolate(torch.from_numpy(channel)[None], small, mode="nearest-exact")
        channel = F.interpolate(low, SIZE[1:], mode="bilinear")[0].numpy()
    return channel


def one(drawn: Drawn, item: int) -> Drawn:
    """Returns the parameters of one item as a batch of one."""
    values = {
        name: value[item : item + 1] for name, value in vars(drawn).items() if value is not None
    }
    return dataclasses.replace(drawn, **values)


def changed(
    image: np.ndarray, given: ranges.IntensityParameters, bends: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Returns the source (C, D, H, W) of one item changed, zeros kept."""
    image, inside = image.copy(), image != 0
    for c, mask in enumerate(inside):
        x = image[c]
        peak = max(np.abs(x).max(), 1e-12)
        x = peak * np.abs(x / peak) ** float(given.gamma[0, c])
        if mask.any():
            low, high, mean = x[mask].min(), x[mask].max(), x[mask].mean()
            x = np.clip(mean + float(given.contrast[0, c]) * (x - mean), low, high) * mask
        x = x * float(given.brightness[0, c])
        if given.bias_strength[0, c] > 0:
            bases = [
                np.stack(
                    [BPoly(k[:, None], [0, 1])((np.arange(n) + 0.5) / n) for k in np.eye(m)], 1
                )
                for n, m in zip(SIZE, bends[c].shape, strict=True)
            ]
            field = np.einsum("ijk,di,hj,wk->dhw", bends[c], *bases)
            x = x * np.exp(float(given.bias_strength[0, c]) * field / np.abs(field).max())
        x = softened(x, float(given.blur_sigma[0, c]), float(given.zoom[0, c])) * mask
        image[c] = x + float(given.noise_std[0]) * noise[c] * (x != 0)
    return image


@pytest.mark.parametrize("names", [*((name,) for name in ALL), ALL], ids="+".join)
def test_equals_the_reference(everything, names, monkeypatch):
    """Each transform alone and all in their order, item by item and all items at once."""
    spec = spec_of(everything, names, 1.0 if len(names) == 1 and names != ("flip",) else 0.5)
    image = slabs()
    mask = (image[:, :1] != 0).float()
    source, target, weight = augment(image[:, :2], image[:, 2:], spec, SEEDS, weight=mask)
    geometries, changes = ranges.draw_spatial(spec, SEEDS), ranges.draw_intensity(spec, SEEDS, 2)
    bends = ranges.draw_bias_points(SEEDS, 2).double().numpy()
    noise = ranges.draw_noise(SEEDS, (2, *SIZE)).double().numpy()
    for item in range(ITEMS):
        geometry = one(geometries, item)
        whole = moved(image[item].double().numpy(), geometry, 1)
        expected = changed(whole[:2], one(changes, item), bends[item], noise[item])
        np.testing.assert_allclose(target[item].numpy(), whole[2:], atol=2e-5)
        np.testing.assert_array_equal(source[item].numpy() == 0, expected == 0)
        np.testing.assert_allclose(source[item].numpy(), expected, atol=1e-4, err_msg=f"{item}")
        nearest = moved(mask[item].double().numpy(), geometry, 0)
        np.testing.assert_array_equal(weight[item].numpy(), nearest)
    monkeypatch.setitem(apply.AT_ONCE, "cpu", ITEMS)
    together = augment(image[:, :2], image[:, 2:], spec, SEEDS, weight=mask)
    torch.testing.assert_close(together[0], source, rtol=0, atol=1e-6)
    assert torch.equal(together[0] == 0, source == 0)
    assert torch.equal(together[1], target) and torch.equal(together[2], weight)
