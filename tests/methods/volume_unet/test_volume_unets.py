"""3D U-Nets: sizes under a budget, what their stage compares, windows, operations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from peak_bytes import PeakBytes

from liftnet.core.errors import PlanError
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.crops import whole
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Publishes
from liftnet.ops.chunks import Chunk
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.cost import flops_of, training_gib
from liftnet.planning.memory import GIB

DATASET = "Dataset007_Phantom"
NAMES = ("unet3d", "cbam_unet3d")


@pytest.fixture
def plan(workspace):
    """That of the phantom dataset."""
    return load_plan(find_workspace(workspace), DATASET, "default")


@pytest.fixture(params=NAMES)
def made(request, workspace, plan):
    """Method, recipe, stage and store of the phantom dataset."""
    space, method = find_workspace(workspace), load_method(request.param)
    recipe = load_recipe(space, plan, method)
    (stage,) = method.stages(plan, recipe)
    return method, recipe, stage, Store(space.store(DATASET, "default"))


def brats(plan, memory_gib: float):
    """The plan on the grid of BraTS cropped to the brain, in float32, under a budget."""
    grid = replace(plan.grid, num_slices=155, in_plane=(192, 160), spacing_mm=(1.0, 1.0, 1.0))
    budget = replace(plan.budget, memory_gib=memory_gib, bytes_per_number=4)
    return replace(plan, grid=grid, budget=budget)


@pytest.mark.parametrize(
    ("name", "gib", "widths", "patch", "recompute", "here"),
    [
        ("unet3d", 24, (32, 64, 128, 256, 320, 320), (128, 160, 128), False,
         "published: width 32, boxes of 128x160x128; here width 32, boxes of 128x160x128"),
        ("unet3d", 0.6, (16, 32, 64, 128, 256), (64, 64, 64), True,
         "; here width 16, boxes of 64x64x64, blocks recomputed, to fit 0.6 GiB"),
        ("cbam_unet3d", 12, (32, 64, 128, 256, 512), (128, 128, 128), False,
         "; here width 32, boxes of 128x128x128"),
    ],
)  # fmt: skip
def test_sizes_follow_the_memory(plan, name, gib, widths, patch, recompute, here):
    """The published ones where they fit; else a sentence says what was changed."""
    recipe = load_method(name).decide(brats(plan, gib), None, squeeze=False)
    assert (recipe.widths, recipe.patch, recipe.recompute) == (widths, patch, recompute)
    assert recipe.memory.training_gib <= 0.9 * gib
    assert recipe.reasons["size"].endswith(here)


@pytest.mark.parametrize(
    ("name", "depth", "spacing", "first"),
    [("unet3d", 96, 1.0, (2, 2, 2)), ("cbam_unet3d", 24, 5.0, (1, 2, 2))],
)
def test_from_the_third_size_on_none_needs_more(plan, name, depth, spacing, first):
    """What the search for the largest rests on; thick slices are halved less often."""
    method, wanted = load_method(name), brats(plan, 1.0)
    grid = replace(
        wanted.grid, num_slices=depth, in_plane=(96, 128), spacing_mm=(spacing, 1.0, 1.0)
    )
    wanted = replace(wanted, grid=grid)
    recipes = method.sizes(wanted)
    needed = [training_gib(wanted, r, method.stages(wanted, r)) for r in recipes]
    assert needed[0] > needed[1] and needed[1:] == sorted(needed[1:], reverse=True)
    assert needed[-1] < 0.1 and recipes[0].strides[0] == first


@pytest.mark.parametrize(
    ("name", "sources", "shape", "gflop"),
    [("unet3d", 4, (128, 160, 128), 1207), ("cbam_unet3d", 1, (128, 128, 128), 955)],
)
def test_published_operations(plan, name, sources, shape, gflop):
    """Of a forward pass, within 2 % of what their own networks take."""
    method, wanted = load_method(name), brats(plan, 24)
    (stage,) = method.stages(wanted, method.sizes(wanted)[0])
    network = torch.empty(1, 2 * len(plan.sources), *shape, device="meta")
    count = flops_of(stage, lambda built: built["unet"](network))
    entering = 2 * 27 * 32 * (2 * len(plan.sources) - sources) * np.prod(shape)
    leaving = 2 * 32 * (len(plan.targets) - 1) * np.prod(shape)
    assert (count - entering - leaving) / 1e9 == pytest.approx(gflop, rel=0.02)


def test_targets_that_are_not_asked_for_do_not_count(made, plan):
    """Whatever they hold, the terms are the same."""
    _, recipe, stage, store = made
    recipe = replace(recipe, losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5})
    stage = replace(stage, recipe=recipe)
    torch.manual_seed(0)
    network = stage.build()
    batch = drawn(plan, stage, store, ["p1", "p2", "p3"])
    other = []
    for example in batch:
        target = example.target.clone()
        target[:, ~example.made[0]] = 0.7
        other.append(replace(example, target=target))
    terms = stage.loss(network, None, batch, torch.Generator())
    again = stage.loss(network, None, other, torch.Generator())
    assert set(terms) == {"l1", "ms_ssim", "delta_z"}
    for name, term in terms.items():
        assert torch.equal(term, again[name]), name


def test_what_lies_outside_the_mask_counts_less(made, plan):
    """By `outside_mask`; nothing of it at 0."""
    _, recipe, stage, store = made
    torch.manual_seed(0)
    network = stage.build()
    (example,) = drawn(plan, stage, store, ["p1"])
    mask = torch.zeros_like(example.target[:, :1])
    mask[..., : mask.shape[-1] // 2] = 1
    example = replace(example, mask=mask)
    target = torch.where(mask > 0, example.target, 0.9)
    for outside, alike in ((0.0, True), (0.1, False)):
        own = replace(stage, recipe=replace(recipe, outside_mask=outside))
        one, two = (
            own.loss(network, None, [e], torch.Generator())["l1"]
            for e in (example, replace(example, target=target))
        )
        assert torch.equal(one, two) == alike


def test_training_learns(made, plan):
    """Some steps on two boxes bring the L1 down."""
    _, recipe, stage, store = made
    torch.manual_seed(0)
    network = stage.build()
    assert (network["unet"].head.bias == -1).all()  # air
    schedule = replace(stage.schedule, learning_rates={"unet": 3e-3})
    run = Run(network, network, make_optimizer(network, schedule), recent=[])
    batch, values = drawn(plan, stage, store, ["p1", "p5"]), []
    still = replace(recipe, augmentation=None)
    for _ in range(40):
        result = take_step(run, plan, still, stage, None, batch, torch.Generator())
        values.append(float(result.values[result.names.index("l1")]))
    assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5])


@pytest.mark.parametrize("patch", [(8, 16, 16), (16, 48, 48)])
def test_windows_at_a_time_change_no_bit(made, plan, patch):
    """One window or many; a volume that is smaller than a window is padded, and cut again."""
    method, recipe, _, store = made
    recipe = replace(recipe, patch=patch, strides=((2, 2, 2),) * 2, widths=(8, 16, 32))
    (stage,) = method.stages(plan, recipe)
    torch.manual_seed(0)
    network = stage.build().eval()
    voxels = torch.from_numpy(np.asarray(store.voxels("p1"), np.float32))
    request = Request(plan.sources[:2], plan.targets[2:])
    ranges = store.describe("p1").ranges
    example = whole(plan, request, voxels, ranges, "p1", seed=0)
    volumes = []
    with torch.no_grad():
        for size in (1, 2, 7, 64):
            chunk = Chunk(size)
            generator = torch.Generator()
            volumes.append(method.synthesize(plan, recipe, network, example, generator, chunk))
    assert volumes[0].shape == (3, *voxels.shape[1:]) and volumes[0].std() > 0
    assert all(torch.equal(volumes[0], other) for other in volumes[1:])


def test_the_memory_estimate_is_within_a_quarter(made, plan):
    """Of the peak of live tensors in two steps."""
    method, recipe, stage, store = made
    cases, volumes = store.identifiers(), stage.schedule.volumes_per_step
    with PeakBytes() as measured:
        network, average = stage.build(), stage.build()
        run = Run(network, average, make_optimizer(network, stage.schedule), recent=[])
        for _ in range(2):
            batch = drawn(plan, stage, store, cases[:volumes])
            take_step(run, plan, recipe, stage, None, batch, torch.Generator())
    estimate = method.refresh(plan, recipe).memory.training_gib
    assert estimate == pytest.approx(measured.peak / GIB, rel=0.25)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"strides": ()}, "widths and 0 strides"),
        ({"patch": (9, 9, 9)}, "is not a multiple of"),
        ({"widths": (0,)}, "widths must be 1 or more"),
        ({"strides": (), "widths": (8,), "patch": (1, 1, 1)}, "leaves a single voxel"),
        ({"losses": {"l1": 1.0}}, "losses are l1; expected l1, ms_ssim, delta_z"),
        ({"losses": {"l1": 0.0, "ms_ssim": 0.0, "delta_z": 1.0}}, "leave the intensities free"),
    ],
)
def test_contradictions_are_refused(made, plan, changed, problem):
    """Each in one sentence."""
    method, recipe, _, _ = made
    with pytest.raises(PlanError, match=problem):
        method.refresh(plan, replace(recipe, **changed), estimate=False)


def test_what_others_publish(made, plan):
    """nnU-Net's without augmentation and average; of the other one only its rate is taken."""
    method, recipe, _, _ = made
    assert isinstance(method, Publishes)
    found = method.published(plan, recipe)
    method.refresh(plan, found, estimate=False)
    before, schedule = recipe.patch_translation, found.patch_translation
    assert (found.widths, found.patch) == (recipe.widths, recipe.patch)
    assert schedule.num_steps == before.num_steps == plan.budget.num_steps
    if method.attention:
        assert schedule == replace(before, learning_rates={"unet": 1e-4})
        return
    assert found.augmentation is None and found.outside_mask == 1.0
    assert (schedule.volumes_per_step, schedule.ema_half_life, schedule.keep) == (2, 0, "last")
    assert (schedule.decay, schedule.decay_from, schedule.final_rate) == ("linear", 0.0, 0.0)
    assert "SGD" in found.reasons["patch_translation.learning_rates"]
