"""Tests of the augmentation of a whole batch."""

import dataclasses

import pytest
import torch
from torch import Tensor

from liftnet.augment import intensity, ranges, spatial
from liftnet.augment.apply import augment
from liftnet.core.plan import AugmentationSpec

SIZE = (5, 22, 30)  # D, H, W
INTENSITY = ("noise", "blur", "brightness", "contrast", "gamma", "low_resolution", "bias_field")
SPATIAL = ("rotation", "scale", "shear", "elastic")


def generator(seed: int = 0) -> torch.Generator:
    """Returns a seeded generator."""
    return torch.Generator().manual_seed(seed)


def without(spec: AugmentationSpec, names: tuple[str, ...]) -> AugmentationSpec:
    """Returns `spec` with the named probabilities at zero."""
    return dataclasses.replace(spec, **{f"{name}_probability": 0.0 for name in names})


def still(spec: AugmentationSpec) -> AugmentationSpec:
    """Returns `spec` without any geometry."""
    return dataclasses.replace(without(spec, SPATIAL), flip_probability=(0.0, 0.0, 0.0))


def batch(size: int = 3, channels: int = 2) -> Tensor:
    """Returns skull-stripped slabs: an off-centre box of noise on exact zeros."""
    image = torch.zeros(size, channels, *SIZE)
    image[..., 4:19, 6:25] = 0.1 + 0.9 * torch.rand(
        (size, channels, 5, 15, 19), generator=generator()
    )
    return image


def test_source_and_target_stay_aligned(everything):
    """With geometry alone, a target equal to the source stays equal to it, and both have moved."""
    source = batch()
    moved_source, moved_target = augment(
        source, source.clone(), without(everything, INTENSITY), generator()
    )
    assert torch.equal(moved_source, moved_target)
    assert not torch.allclose(moved_source, source, atol=0.1)


def test_target_sees_geometry_only(everything):
    """The target is the same whether or not the source's intensities change."""
    source, target = batch(), batch(channels=1)
    plain_source, plain_target = augment(
        source, target, without(everything, INTENSITY), generator()
    )
    changed_source, changed_target = augment(source, target, everything, generator())
    assert torch.equal(plain_target, changed_target)
    assert not torch.allclose(plain_source, changed_source, atol=0.02)


def test_weight_follows_the_geometry(everything):
    """A mask is 1 where the moved image of it is surely 1, and 0 where it is surely 0."""
    image = (batch(channels=1) > 0).float()
    source, _, weight = augment(
        image, image, without(everything, INTENSITY), generator(), weight=image
    )
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    assert (weight[source > 0.999] == 1).all() and (weight[source < 0.001] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_weight_keeps_its_dtype(everything, dtype):
    """Masks may be boolean or integer."""
    mask = (batch(channels=1) > 0).to(dtype)
    assert augment(batch(), batch(), everything, generator(), weight=mask)[2].dtype == dtype


def test_background_stays_zero(everything):
    """Where the moved source is zero, the changed source is zero, whatever else happens."""
    source = batch()
    moved, _ = augment(source, source, without(everything, INTENSITY), generator())
    changed, _ = augment(source, source, everything, generator())
    assert (moved == 0).float().mean() > 0.2
    assert (changed[moved == 0] == 0).all()
    assert changed.isfinite().all()


def test_same_seed_same_result(everything):
    """The generator decides everything, and another seed gives another result."""
    source, target = batch(), batch(channels=1)
    first = augment(source, target, everything, generator(4))
    second = augment(source, target, everything, generator(4))
    other = augment(source, target, everything, generator(5))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_items_get_different_parameters(everything):
    """Equal items come out different, in the target too."""
    one = batch(size=1)
    source, target = augment(
        one.repeat(3, 1, 1, 1, 1), one.repeat(3, 1, 1, 1, 1), everything, generator()
    )
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(source[first], source[second], atol=0.05)
        assert not torch.allclose(target[first], target[second], atol=0.05)


def test_equals_the_transforms_in_their_order(everything):
    """The whole is geometry, gamma, contrast, brightness, bias field, resolution, noise."""
    source, target = batch(), batch(channels=1)
    result, _ = augment(source, target, everything, generator(7))
    draws = generator(7)
    moved = spatial.transform(source, ranges.draw_spatial(everything, 3, draws))
    given = ranges.draw_intensity(everything, 3, 2, draws)
    expected = intensity.change_gamma(moved, given.gamma)
    expected = intensity.change_contrast(expected, given.contrast)
    expected = intensity.change_brightness(expected, given.brightness)
    expected = intensity.apply_bias_field(expected, given.bias_strength, given.bias_control_points)
    expected = intensity.soften(expected, given.blur_sigma, given.zoom)
    noise = torch.randn(source.shape, generator=draws)
    expected = intensity.add_noise(expected, given.noise_std, noise)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", INTENSITY)
def test_each_intensity_transform_is_switched_on_by_its_probability(everything, name):
    """One probability alone changes the source and leaves the target."""
    spec = without(still(everything), tuple(other for other in INTENSITY if other != name))
    source = batch()
    changed, target = augment(source, source, spec, generator())
    assert not torch.allclose(changed, source, atol=1e-3)
    assert torch.equal(target, source)


@pytest.mark.parametrize("name", SPATIAL)
def test_each_spatial_transform_is_switched_on_by_its_probability(everything, name):
    """One probability alone moves the target."""
    names = (*INTENSITY, *(other for other in SPATIAL if other != name))
    spec = dataclasses.replace(without(everything, names), flip_probability=(0.0, 0.0, 0.0))
    source = batch()
    assert not torch.allclose(augment(source, source, spec, generator())[1], source, atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_flip_is_switched_on_by_its_probability(everything, axis):
    """A flip probability of one flips D, H or W and nothing else."""
    flips = tuple(float(axis == other) for other in range(3))
    spec = dataclasses.replace(without(everything, (*INTENSITY, *SPATIAL)), flip_probability=flips)
    source = batch()
    _, moved, weight = augment(source, source, spec, generator(), weight=source[:, :1])
    torch.testing.assert_close(moved, source.flip(2 + axis), rtol=0, atol=1e-5)
    assert torch.equal(weight, source[:, :1].flip(2 + axis))


def test_nothing_planned_changes_nothing(everything):
    """A plan without augmentation gives the batch back and does not write into it."""
    source, target = batch(), batch(channels=1)
    spec = without(still(everything), INTENSITY)
    same_source, same_target = augment(source, target, spec, generator())
    assert torch.equal(same_source, source) and torch.equal(same_target, target)


def test_inputs_are_not_written_to(everything):
    """The batch that goes in is the same afterwards."""
    source, target, weight = batch(), batch(channels=1), batch(channels=1)
    augment(source, target, everything, generator(), weight=weight)
    assert torch.equal(source, batch()) and torch.equal(target, batch(channels=1))
    assert torch.equal(weight, batch(channels=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(everything, dtype):
    """Half precision goes in and comes out; the geometry is reckoned in float32 all the same."""
    source = batch().to(dtype)
    changed, target = augment(source, source, everything, generator())
    assert changed.dtype == dtype and target.dtype == dtype
    reference, _ = augment(source.float(), source.float(), everything, generator())
    torch.testing.assert_close(changed.float(), reference, rtol=0.01, atol=0.01)


def test_autocast_does_not_touch_the_result(everything):
    """Under autocast the matrix products stay in float32."""
    source = batch()
    plain, _ = augment(source, source, everything, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under, _ = augment(source, source, everything, generator())
    assert torch.equal(plain, under)


def test_source_without_channels(everything):
    """Unconditional training has no source; the target moves all the same."""
    target = batch(channels=1)
    source, moved = augment(target[:, :0], target, everything, generator())
    assert source.shape == (3, 0, *SIZE)
    assert not torch.allclose(moved, target, atol=0.1)


def test_single_slice(everything):
    """A slice is a slab with D = 1."""
    source = batch()[:, :, :1]
    changed, target = augment(source, source, everything, generator())
    assert changed.shape == source.shape and target.shape == source.shape
    assert changed.isfinite().all()


def test_wrong_calls_say_what_was_expected(everything):
    """Shapes that do not go together are named."""
    image = batch()
    with pytest.raises(ValueError, match=r"expected target of shape \(B, C, D, H, W\), got"):
        augment(image, image[0], everything, generator())
    with pytest.raises(ValueError, match="expected target with the B, D, H, W of source"):
        augment(image, image[..., 1:], everything, generator())
    with pytest.raises(ValueError, match="expected weight with the B, D, H, W of source"):
        augment(image, image, everything, generator(), weight=image[:2])
    with pytest.raises(ValueError, match="expected a generator on the device of source, meta"):
        augment(image.to("meta"), image.to("meta"), everything, generator())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu_without_a_wait(everything):
    """The same parameters give the same slabs on both devices, and nothing waits for the GPU."""

    def to_device(parameters, device):
        values = {
            field.name: getattr(parameters, field.name).to(device)
            for field in dataclasses.fields(parameters)
        }
        return type(parameters)(**values)

    source = batch()
    draws = generator()
    geometry = ranges.draw_spatial(everything, 3, draws)
    given = ranges.draw_intensity(everything, 3, 2, draws)

    def change(image: Tensor, device: str) -> Tensor:
        here = to_device(given, device)
        moved = spatial.transform(image, to_device(geometry, device))
        moved = intensity.change_gamma(moved, here.gamma)
        moved = intensity.change_contrast(moved, here.contrast)
        moved = intensity.apply_bias_field(moved, here.bias_strength, here.bias_control_points)
        return intensity.soften(moved, here.blur_sigma, here.zoom)

    on_cuda = change(source.cuda(), "cuda")
    torch.testing.assert_close(on_cuda.cpu(), change(source, "cpu"), rtol=0, atol=1e-4)

    cuda_source, cuda_generator = source.cuda(), torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(cuda_source, cuda_source, everything, cuda_generator, weight=cuda_source[:, :1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
