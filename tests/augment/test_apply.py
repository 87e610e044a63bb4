"""Tests of the augmentation of a whole batch."""

import dataclasses

import pytest
import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from liftnet.augment import apply, ranges
from liftnet.augment.applied import applied
from liftnet.augment.apply import augment
from liftnet.core.recipe import AugmentationSpec

SIZE = (5, 22, 30)  # D, H, W
INTENSITY = ("noise", "blur", "brightness", "contrast", "gamma", "low_resolution", "bias_field")
SPATIAL = ("rotation", "scale", "shear", "elastic")


SEEDS = torch.tensor([40, -3, 2**50])


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
        (size, channels, 5, 15, 19), generator=torch.Generator().manual_seed(0)
    )
    return image


def test_source_and_target_stay_aligned(everything):
    """With geometry alone, a target equal to the source stays equal to it, and both have moved."""
    source = batch()
    moved_source, moved_target = augment(
        source, source.clone(), without(everything, INTENSITY), SEEDS
    )
    assert torch.equal(moved_source, moved_target)
    assert not torch.allclose(moved_source, source, atol=0.1)


def test_target_sees_geometry_only(everything):
    """The target is the same whether or not the source's intensities change."""
    source, target = batch(), batch(channels=1)
    plain_source, plain_target = augment(source, target, without(everything, INTENSITY), SEEDS)
    changed_source, changed_target = augment(source, target, everything, SEEDS)
    assert torch.equal(plain_target, changed_target)
    assert not torch.allclose(plain_source, changed_source, atol=0.02)


def test_weight_follows_the_geometry(everything):
    """A mask is 1 where the moved image of it is surely 1, and 0 where it is surely 0."""
    image = (batch(channels=1) > 0).float()
    source, _, weight = augment(image, image, without(everything, INTENSITY), SEEDS, weight=image)
    assert set(weight.unique().tolist()) == {0.0, 1.0}
    assert (weight[source > 0.999] == 1).all() and (weight[source < 0.001] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_weight_keeps_its_dtype(everything, dtype):
    """Masks may be boolean or integer."""
    mask = (batch(channels=1) > 0).to(dtype)
    assert augment(batch(), batch(), everything, SEEDS, weight=mask)[2].dtype == dtype


def test_background_stays_zero(everything):
    """Where the moved source is zero, the changed source is zero, whatever else happens."""
    source = batch()
    moved, _ = augment(source, source, without(everything, INTENSITY), SEEDS)
    changed, _ = augment(source, source, everything, SEEDS)
    assert (moved == 0).float().mean() > 0.2
    assert (changed[moved == 0] == 0).all()
    assert changed.isfinite().all()


def test_same_seed_same_result(everything):
    """The seeds decide everything, and others give another result."""
    source, target = batch(), batch(channels=1)
    first = augment(source, target, everything, SEEDS)
    second = augment(source, target, everything, SEEDS)
    other = augment(source, target, everything, SEEDS + 1)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_items_get_different_parameters(everything):
    """Equal items come out different, in the target too."""
    one = batch(size=1)
    source, target = augment(
        one.repeat(3, 1, 1, 1, 1), one.repeat(3, 1, 1, 1, 1), everything, SEEDS
    )
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(source[first], source[second], atol=0.05)
        assert not torch.allclose(target[first], target[second], atol=0.05)


def rare(spec: AugmentationSpec) -> AugmentationSpec:
    """Returns `spec` with all probabilities at 0.4, so that items differ in what happens."""
    names = [field.name for field in dataclasses.fields(spec) if "probability" in field.name]
    values = {**dict.fromkeys(names, 0.4), "flip_probability": (0.4, 0.4, 0.4)}
    return dataclasses.replace(spec, **values)


def test_a_group_equals_its_items(everything, monkeypatch):
    """What a device does at once is what the processor does one by one, and moves the same zeros.

    But for the last bit of logarithms, which vectors of the processor compute in their own way.
    """
    source, target, weight = batch(24), batch(24, channels=1), (batch(24, channels=1) > 0).float()
    seeds = torch.arange(24)
    names = applied(*(draw(rare(everything), seeds) for draw in (ranges.draw_spatial, _two)))
    assert len(set(names)) > 20  # what happens differs from item to item
    one_by_one = augment(source, target, rare(everything), seeds, weight=weight)
    for count in (24, 7):  # also in groups of which the last is smaller
        monkeypatch.setitem(apply.AT_ONCE, "cpu", count)
        at_once = augment(source, target, rare(everything), seeds, weight=weight)
        torch.testing.assert_close(at_once[0], one_by_one[0], rtol=0, atol=1e-6)
        assert torch.equal(at_once[0] == 0, one_by_one[0] == 0)
        assert torch.equal(at_once[1], one_by_one[1]) and torch.equal(at_once[2], one_by_one[2])


def _two(spec: AugmentationSpec, seeds: Tensor) -> ranges.IntensityParameters:
    """Returns the intensity changes of two channels."""
    return ranges.draw_intensity(spec, seeds, 2)


def test_the_batch_does_not_matter(everything):
    """An item comes out the same bit for bit alone, in another order and in another batch."""
    source, target, weight = batch(12), batch(12, channels=1), batch(12, channels=1)
    seeds = torch.arange(12)
    together = augment(source, target, rare(everything), seeds, weight=weight)
    for index in range(12):
        one = slice(index, index + 1)
        alone = augment(source[one], target[one], rare(everything), seeds[one], weight=weight[one])
        assert all(torch.equal(x[one], y) for x, y in zip(together, alone, strict=True))
    order = torch.tensor([5, 0, 11, 3])
    some = augment(
        source[order], target[order], rare(everything), seeds[order], weight=weight[order]
    )
    assert all(torch.equal(x[order], y) for x, y in zip(together, some, strict=True))


def test_single_changes_leave_other_items_alone(everything, monkeypatch):
    """An item to which nothing happens comes out bit for bit, beside others that change."""
    source, target, seeds = batch(40), batch(40, channels=1), torch.arange(40)
    spec = dataclasses.replace(rare(everything), flip_probability=(0.1, 0.1, 0.1))
    spec = dataclasses.replace(
        spec, **{f"{name}_probability": 0.1 for name in (*INTENSITY, *SPATIAL)}
    )
    names = applied(ranges.draw_spatial(spec, seeds), _two(spec, seeds))
    still = [index for index, happens in enumerate(names) if not happens]
    assert 3 < len(still) < 37
    others = [index for index in range(40) if index not in still]
    for count in (1, 40):
        monkeypatch.setitem(apply.AT_ONCE, "cpu", count)
        changed, moved = augment(source, target, spec, seeds)
        assert torch.equal(changed[still], source[still])
        assert torch.equal(moved[still], target[still])
        assert all(
            not torch.equal(changed[i], source[i]) or not torch.equal(moved[i], target[i])
            for i in others
        )


@pytest.mark.parametrize("name", INTENSITY)
def test_each_intensity_transform_is_switched_on_by_its_probability(everything, name):
    """One probability alone changes the source and leaves the target."""
    spec = without(still(everything), tuple(other for other in INTENSITY if other != name))
    source = batch()
    changed, target = augment(source, source, spec, SEEDS)
    assert not torch.allclose(changed, source, atol=1e-3)
    assert torch.equal(target, source)


@pytest.mark.parametrize("name", SPATIAL)
def test_each_spatial_transform_is_switched_on_by_its_probability(everything, name):
    """One probability alone moves the target."""
    names = (*INTENSITY, *(other for other in SPATIAL if other != name))
    spec = dataclasses.replace(without(everything, names), flip_probability=(0.0, 0.0, 0.0))
    source = batch()
    assert not torch.allclose(augment(source, source, spec, SEEDS)[1], source, atol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_flip_is_switched_on_by_its_probability(everything, axis):
    """A flip probability of one flips D, H or W and nothing else."""
    flips = tuple(float(axis == other) for other in range(3))
    spec = dataclasses.replace(without(everything, (*INTENSITY, *SPATIAL)), flip_probability=flips)
    source = batch()
    _, moved, weight = augment(source, source, spec, SEEDS, weight=source[:, :1])
    assert torch.equal(moved, source.flip(2 + axis))
    assert torch.equal(weight, source[:, :1].flip(2 + axis))


def test_nothing_planned_changes_nothing(everything):
    """A plan without augmentation gives a copy of the batch back."""
    source, target = batch(), batch(channels=1)
    spec = without(still(everything), INTENSITY)
    same_source, same_target = augment(source, target, spec, SEEDS)
    assert same_source.data_ptr() != source.data_ptr()
    assert torch.equal(same_source, source) and torch.equal(same_target, target)


def test_inputs_are_not_written_to(everything):
    """The batch that goes in is the same afterwards."""
    source, target, weight = batch(), batch(channels=1), batch(channels=1)
    augment(source, target, everything, SEEDS, weight=weight)
    assert torch.equal(source, batch()) and torch.equal(target, batch(channels=1))
    assert torch.equal(weight, batch(channels=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(everything, dtype):
    """Half precision goes in and comes out; the geometry is reckoned in float32 all the same."""
    source = batch().to(dtype)
    changed, target = augment(source, source, everything, SEEDS)
    assert changed.dtype == dtype and target.dtype == dtype
    reference, _ = augment(source.float(), source.float(), everything, SEEDS)
    torch.testing.assert_close(changed.float(), reference, rtol=0.01, atol=0.01)


def test_autocast_does_not_touch_the_result(everything):
    """Under autocast the matrix products stay in float32."""
    source = batch()
    plain, _ = augment(source, source, everything, SEEDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under, _ = augment(source, source, everything, SEEDS)
    assert torch.equal(plain, under)


def test_source_without_channels(everything):
    """Unconditional training has no source; the target moves all the same."""
    target = batch(channels=1)
    source, moved = augment(target[:, :0], target, everything, SEEDS)
    assert source.shape == (3, 0, *SIZE)
    assert not torch.allclose(moved, target, atol=0.1)


def test_single_slice(everything):
    """A slice is a slab with D = 1."""
    source = batch()[:, :, :1]
    changed, target = augment(source, source, everything, SEEDS)
    assert changed.shape == source.shape and target.shape == source.shape
    assert changed.isfinite().all()


def test_wrong_calls_say_what_was_expected(everything):
    """Shapes that do not go together are named."""
    image = batch()
    with pytest.raises(ValueError, match=r"expected target of shape \(B, C, D, H, W\), got"):
        augment(image, image[0], everything, SEEDS)
    with pytest.raises(ValueError, match="expected target with the B, D, H, W of source"):
        augment(image, image[..., 1:], everything, SEEDS)
    with pytest.raises(ValueError, match="expected weight with the B, D, H, W of source"):
        augment(image, image, everything, SEEDS, weight=image[:2])
    with pytest.raises(ValueError, match="expected target on the device of source, meta, got cpu"):
        augment(image.to("meta"), image, everything, SEEDS)
    with pytest.raises(ValueError, match="expected seeds on the processor, got them on meta"):
        augment(image, image, everything, SEEDS.to("meta"))
    with pytest.raises(ValueError, match=r"expected \(3,\) int64 seeds, got \(2,\) torch.int64"):
        augment(image, image, everything, SEEDS[:2])
    with pytest.raises(ValueError, match=r"expected \(3,\) int64 seeds, got \(3,\) torch.float32"):
        augment(image, image, everything, SEEDS.float())


def test_result_can_be_trained_on(everything):
    """Autograd saves the result for its backward pass, and it may be changed in place."""
    source, target = augment(batch(), batch(channels=1), everything, SEEDS)
    layer = torch.nn.Conv3d(2, 1, 1)
    (layer(source) - target).square().mean().backward()
    assert layer.weight.grad is not None and (layer.weight.grad != 0).any()
    source.mul_(2)


class _NoWait(TorchDispatchMode):
    """Refuses what asks a device for values, or lets it find out how many there are."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Look at what goes in, and run the operation."""
        given = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(tensor.is_meta for tensor in given):
            assert func.overloadpacket not in (
                torch.ops.aten.nonzero,
                torch.ops.aten._local_scalar_dense,
                torch.ops.aten.is_nonzero,
                torch.ops.aten.item,
            ), f"{func} waits for the device"
        result = func(*args, **(kwargs or {}))
        if any(tensor.is_meta for tensor in given):
            made = [x for x in pytree.tree_leaves(result) if isinstance(x, Tensor)]
            assert all(tensor.is_meta for tensor in made), f"{func} leaves the device"
        return result


def test_device_does_not_wait(everything):
    """It runs on tensors without data: no value travels from the device to the processor."""
    source = batch(24).to("meta")
    for spec in (everything, rare(everything)):
        with _NoWait():
            results = augment(source, source[:, :1], spec, torch.arange(24), weight=source[:, :1])
        assert [result.shape[1] for result in results] == [2, 1, 1]
        assert all(result.is_meta for result in results)


def test_a_wait_is_noticed():
    """The test above can fail: values of the device, and their number, are refused."""
    with _NoWait():
        with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
            batch().to("meta").sum().item()
        with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
            batch().to("meta").nonzero()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu_without_a_wait(everything):
    """The same seeds give the same slabs on both devices, and nothing waits for the GPU."""
    source, target, weight = batch(24), batch(24, channels=1), batch(24, channels=1)
    seeds = torch.arange(24)
    here = augment(source, target, rare(everything), seeds, weight=(weight > 0).float())
    given = [image.cuda() for image in (source, target, (weight > 0).float())]
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = augment(given[0], given[1], rare(everything), seeds, weight=given[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for first, second in zip(here[:2], there[:2], strict=True):
        torch.testing.assert_close(first, second.cpu(), rtol=0, atol=1e-4)
    assert (here[2] != there[2].cpu()).float().mean() < 1e-3  # half-way voxels may round either way
