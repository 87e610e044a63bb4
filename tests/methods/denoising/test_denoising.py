"""Diffusions, flows and bridges: sizes, what their stage compares, and what a seed decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from peak_bytes import PeakBytes

from liftnet.core.errors import PlanError
from liftnet.core.recipe import Sampling
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.crops import whole
from liftnet.data.example import joined
from liftnet.data.scaling import to_unit
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Publishes, Surveys
from liftnet.methods.denoising.spaces import Bands, Slices
from liftnet.methods.denoising.training import Denoiser
from liftnet.ops.chunks import Chunk
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.pipeline.plan import explain, load_plan
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.cost import synthesis_flops, training_gib
from liftnet.planning.memory import GIB
from liftnet.tasks import load_task

DATASET = "Dataset007_Phantom"
VOLUMES = ("cwdm", "fast_cwdm", "wavelet_flow", "wavelet_regression")
NAMES = (*VOLUMES, "flow2d", "bridge")


@pytest.fixture
def plan(workspace):
    """That of the phantom dataset, with little memory."""
    found = load_plan(find_workspace(workspace), DATASET, "default")
    return replace(found, budget=replace(found.budget, memory_gib=0.1))


@pytest.fixture(params=NAMES)
def made(request, workspace, plan):
    """Method, small recipe, stage and store of the phantom dataset."""
    return small(request.param, workspace, plan)


def small(name: str, workspace, plan):
    """The same of one method."""
    method = load_method(name)
    recipe = method.sizes(plan)[-1]
    if recipe.sampling:
        recipe = replace(recipe, sampling=replace(recipe.sampling, num_steps=2))
    recipe = replace(recipe, network=replace(recipe.network, width=8, blocks=1))
    method.refresh(plan, recipe, estimate=False)
    (stage,) = method.stages(plan, recipe)
    return method, recipe, stage, Store(find_workspace(workspace).store(DATASET, "default"))


def example_of(plan, store: Store, seed: int = 3):
    """A whole case that lacks its second contrast."""
    target = plan.targets[1]
    described = store.describe("p1")
    request = Request(tuple(name for name in plan.sources if name != target), (target,))
    voxels = torch.from_numpy(np.asarray(store.voxels("p1"), np.float32))
    return whole(plan, request, voxels, described.ranges, "p1", seed=seed)


def brats(plan, memory_gib: float):
    """The plan on the grid of BraTS cropped to the brain, in float32, under a budget."""
    grid = replace(plan.grid, num_slices=155, in_plane=(192, 160), spacing_mm=(1.0, 1.0, 1.0))
    budget = replace(plan.budget, memory_gib=memory_gib, bytes_per_number=4, num_steps=None)
    return replace(plan, grid=grid, budget=budget)


@pytest.mark.parametrize(
    ("gib", "width", "crop", "recompute", "said"),
    [
        (24, 64, (160, 192, 160), False, "as published: width 64, whole volumes"),
        (4, 64, (128, 128, 160), True, "blocks recomputed, to fit 4 GiB"),
        (0.4, 16, (96, 96, 96), True, "here width 16"),
    ],
)
def test_sizes_follow_the_memory(plan, gib, width, crop, recompute, said):
    """Blocks are recomputed before boxes get smaller, boxes before the network gets narrower."""
    recipe = load_method("cwdm").decide(brats(plan, gib), None, squeeze=False)
    found = (recipe.network.width, recipe.crop, recipe.recompute)
    assert found == (width, crop, recompute)
    assert recipe.memory.training_gib <= 0.9 * gib
    assert said in recipe.reasons["size"]
    assert f"cwdm.size\n    {recipe.reasons['size']}\n" in explain(recipe, prefix="cwdm.") + "\n"


@pytest.mark.parametrize("name", ["cwdm", "flow2d"])
def test_from_the_third_size_on_none_needs_more(plan, name):
    """What the search for the largest rests on."""
    method, wanted = load_method(name), brats(plan, 1.0)
    sizes = method.sizes(wanted)[:: 3 if name == "cwdm" else 1]
    needed = [training_gib(wanted, r, method.stages(wanted, r)) for r in sizes]
    assert needed == sorted(needed, reverse=True)


def test_the_estimate_is_near_the_peak(workspace, plan):
    """Of a real step, within a quarter."""
    _, recipe, stage, store = small("cwdm", workspace, plan)
    recipe = replace(recipe, network=replace(recipe.network, width=16))
    stage = replace(stage, recipe=recipe)
    network = stage.build()
    run = Run(network, stage.build(), make_optimizer(network, stage.schedule), recent=[])
    take_step(run, plan, recipe, stage, None, drawn(plan, stage, store, ["p1"]), torch.Generator())
    batch = drawn(plan, stage, store, ["p1"])
    with PeakBytes() as peak:
        take_step(run, plan, recipe, stage, None, batch, torch.Generator())
    weights = 4 * sum(p.numel() for p in network.parameters())
    expected = training_gib(plan, recipe, [stage]) * GIB
    assert expected == pytest.approx(peak.peak + 4 * weights, rel=0.35)


def test_training_learns(made, plan):
    """Some steps on one case bring the error down."""
    _, recipe, stage, store = made
    torch.manual_seed(0)
    network = stage.build()
    schedule = replace(stage.schedule, decay="none", warmup_steps=1, learning_rates={"unet": 3e-3})
    stage = replace(stage, recipe=replace(recipe, denoising=schedule))
    run = Run(network, network, make_optimizer(network, schedule), recent=[])
    batch, values = drawn(plan, stage, store, ["p1", "p5"]), []
    still = replace(stage.recipe, augmentation=None)
    for _ in range(25):
        done = take_step(run, plan, still, stage, None, batch, torch.Generator())
        values.append(float(done.values[0]))
    assert values[-1] < 0.7 * values[0]


def test_targets_that_are_not_asked_for_do_not_count(made, plan):
    """Whatever they hold, the loss is the same; and each item learns one that is asked for."""
    _, _, stage, store = made
    network = stage.build()
    torch.nn.init.normal_(network.unet.leave.weight, std=0.1)
    batch = drawn(plan, stage, store, ["p1", "p2", "p3"])
    other, wrong = [], []
    for example in batch:
        target = example.target.clone()
        target[:, ~example.made[0]] = 0.7
        other.append(replace(example, target=target))
        wrong.append(replace(example, target=torch.full_like(target, 0.7)))
    loss = stage.loss(network, None, batch, torch.Generator())["mse"]
    assert torch.equal(loss, stage.loss(network, None, other, torch.Generator())["mse"])
    assert not torch.equal(loss, stage.loss(network, None, wrong, torch.Generator())["mse"])


def test_a_batch_is_the_mean_of_its_items(made, plan):
    """All that is random about an item follows from its own seed."""
    _, _, stage, store = made
    network = stage.build()
    torch.nn.init.normal_(network.unet.leave.weight, std=0.1)
    batch = drawn(plan, stage, store, ["p1", "p2"])
    together = stage.loss(network, None, batch, torch.Generator())["mse"]
    each = [stage.loss(network, None, [one], torch.Generator())["mse"] for one in batch]
    torch.testing.assert_close(together, sum(each) / 2, rtol=2e-2, atol=0)


def trained_a_little(stage, seed: int = 0) -> Denoiser:
    """A network whose answer depends on all that it is told."""
    torch.manual_seed(seed)
    network = stage.build().eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def test_a_seed_decides(made, plan):
    """The same one gives the same bytes, however slices are taken; another one another image."""
    method, recipe, stage, store = made
    network = trained_a_little(stage)
    of = Training(load_task(plan.task), method, plan, recipe)

    def volume(seed: int, size: int) -> torch.Tensor:
        chunk = Chunk(size)
        return make_volumes(of, [network], example_of(plan, store, seed=seed), chunk)

    first = volume(3, 8)
    assert torch.equal(first, volume(3, 8)) and torch.equal(first, volume(3, 5))
    assert torch.equal(first, volume(4, 8)) == (not recipe.draws)
    wanted = 1
    assert first[wanted].any() and first.isfinite().all()


@pytest.mark.parametrize("name", ["fast_cwdm", "bridge"])
def test_several_samples_are_averaged(workspace, plan, name):
    """The first is the sample that one alone would be; the mean lies between the others."""
    method, recipe, stage, store = small(name, workspace, plan)
    network, example = trained_a_little(stage), None
    example = example_of(plan, store)
    task = load_task(plan.task)

    def mean_of(samples: int) -> torch.Tensor:
        own = replace(recipe, sampling=replace(recipe.sampling, samples=samples))
        shares: list[float] = []
        chunk = Chunk(8, watch=shares.append)
        made = make_volumes(Training(task, method, plan, own), [network], example, chunk)
        assert shares[-1] == pytest.approx(1) and shares == sorted(shares)
        return made

    one, two, three = mean_of(1), mean_of(2), mean_of(3)
    second, third = 2 * two - one, 3 * three - 2 * two
    assert not torch.equal(one, second) and not torch.allclose(second, third)


def test_operations_follow_steps_and_targets(workspace, plan):
    """Exactly: what ten steps take is counted, not what two take; each target is made by itself."""
    method, recipe, stage, _ = small("fast_cwdm", workspace, plan)

    def count(steps: int, targets: int) -> int:
        own = replace(recipe, sampling=replace(recipe.sampling, num_steps=steps))
        return synthesis_flops(plan, own, stage, method.synthesize, targets)

    assert count(10, 1) == 10 * count(1, 1) == 5 * count(2, 1)
    assert count(2, 3) == 3 * count(2, 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "flow2d"])
def test_what_others_publish(plan, name):
    """Their rates, no average of weights but for I2SB, the last weights; sizes stay."""
    method, wanted = load_method(name), brats(plan, 2.0)
    recipe = method.sizes(wanted)[-1]
    assert isinstance(method, Publishes)
    found = method.published(wanted, recipe)
    rate = 5e-5 if name == "bridge" else 1e-5
    assert found.denoising.learning_rates == {"unet": rate}
    assert found.denoising.keep == "last" and found.augmentation is None
    assert found.denoising.ema_half_life == (69 if name == "bridge" else 0)
    assert (found.network, found.sampling) == (recipe.network, recipe.sampling)
    steps = {"cwdm": 1_200_000, "fast_cwdm": 5000, "wavelet_flow": 50_000, "bridge": 1_000_000}
    assert found.denoising.num_steps == steps.get(name, 1_200_000)
    fewer = replace(wanted, budget=replace(wanted.budget, num_steps=7))
    assert method.published(fewer, recipe).denoising.num_steps == 7
    method.refresh(wanted, found, estimate=False)


@pytest.mark.parametrize(
    ("name", "changed", "problem"),
    [
        ("cwdm", {"objective": "flow"}, "which has euler and heun"),
        ("cwdm", {"sampling": None}, "sampling is null for objective regression"),
        ("cwdm", {"levels": 1, "sampling": Sampling("ddim", 1)}, "levels 1 must be 2 to 1000"),
        ("cwdm", {"sampling": Sampling("ddim", 1000), "levels": 10}, "and there are 10"),
        ("cwdm", {"crop": (41, 64, 64)}, "is not of multiples of"),
        ("cwdm", {"losses": {"l1": 1.0}}, "losses are l1"),
        ("wavelet_flow", {"sampling": Sampling("euler", 2, samples=5)}, "a case has one result"),
        ("wavelet_flow", {"sampling": Sampling("ddim", 2)}, "sampler ddim does not go with"),
        ("flow2d", {"sampling": Sampling("heun", 0)}, "must be 1 or more"),
        ("wavelet_regression", {"sampling": Sampling("ddim", 1)}, "sampling is null"),
    ],
)
def test_what_contradicts_itself_is_refused(plan, name, changed, problem):
    """With the first contradiction."""
    method = load_method(name)
    recipe = replace(method.sizes(plan)[-1], **changed)
    with pytest.raises(PlanError, match="recipe contradicts itself") as caught:
        method.refresh(plan, recipe, estimate=False)
    assert problem in caught.value.problem


def test_networks_fit_the_channels(plan):
    """A lone target that is a source is never given; where all is fixed there is no code."""
    cwdm = load_method("cwdm")
    alone = replace(plan, targets=plan.targets[1:2])
    assert cwdm.sizes(plan)[0].network.inputs == 8 * (len(plan.sources) + 1)
    assert cwdm.sizes(alone)[0].network.inputs == 8 * len(plan.sources)
    fixed = replace(alone, source_dropout=0.0)
    assert cwdm.sizes(fixed)[0].network.condition_size == 0
    assert cwdm.sizes(alone)[0].network.condition_size == len(plan.sources)


def test_scaled_bands_have_one_deviation(workspace, plan, tmp_path):
    """In the training cases, once the stage has looked at them; LLL / 3 is what is published."""
    _, recipe, stage, store = small("wavelet_regression", workspace, plan)
    assert stage.build().scales.tolist() == [3.0] + 7 * [1.0]
    method = load_method("wavelet_regression")
    (scaled,) = method.stages(plan, replace(recipe, bands="scaled"))
    network, cases = scaled.build(), store.identifiers()
    assert isinstance(scaled, Surveys)
    scaled.survey(network, store, cases, tmp_path)
    space, seen = network.space(), []
    for case in cases:
        voxels = torch.from_numpy(np.asarray(store.voxels(case), np.float32))
        even = voxels[None, :, *(slice(n // 2 * 2) for n in voxels.shape[1:])]
        present = [name in store.describe(case).present for name in plan.targets]
        bands = space.enter(to_unit(plan, even)).unflatten(1, (-1, 8))[0][present]
        seen += [band.flatten(1).var(dim=1) for band in bands]
    torch.testing.assert_close(torch.stack(seen).mean(0), torch.ones(8), rtol=1e-3, atol=0)


@pytest.mark.parametrize("space", [Slices(), Bands(Bands.published())], ids=["slices", "bands"])
def test_spaces_go_there_and_back(space):
    """And bound intensities where they are images."""
    volume = 3 * torch.randn(1, 1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    seen = space.enter(volume)
    torch.testing.assert_close(space.leave(seen), volume, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        space.leave(space.bounded(seen)), volume.clamp(-1, 1), atol=1e-5, rtol=0
    )


def test_missing_sources_are_zero_in_bands(workspace, plan):
    """As cWDM has them, whatever their voxels were."""
    _, _, stage, store = small("cwdm", workspace, plan)
    items = joined(drawn(plan, stage, store, ["p1"]))
    space = Bands(Bands.published())
    seen = space.enter(torch.rand_like(items.source), items.given).unflatten(1, (-1, 8))
    for row, given in enumerate(items.given[0].tolist()):
        assert bool(seen[0, row].any()) == bool(given)
