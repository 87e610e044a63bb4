"""The memory estimate against the peak of live tensors in a real step."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from peak_bytes import PeakBytes

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, ClipAndScale, Grid, Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.core.request import Request
from liftnet.data.crops import whole
from liftnet.losses.slabs import slab_loss
from liftnet.methods import load_method
from liftnet.methods.lift.joint import ContextTranslation
from liftnet.methods.lift.joint_rules import stages_of
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.methods.lift.synthesis import synthesize
from liftnet.networks.blocks import set_recompute
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.planning import cost
from liftnet.planning.augmentation import plan_augmentation
from liftnet.planning.memory import GIB
from liftnet.planning.sizing import plan_inference, plan_mixer, plan_translator
from liftnet.tasks import load_task

WIDTHS = (16, 32, 64, 128)


def make_plan() -> Plan:
    """Three contrasts of 12 slices."""
    return Plan(
        version=PLAN_VERSION,
        task="missing_modality",
        dataset="d",
        name="n",
        channels=tuple(ChannelPlan(c, "CT", ClipAndScale(0.0, 1.0, (0.0, 1.0))) for c in "abc"),
        sources=("a", "b", "c"),
        targets=("a", "b", "c"),
        source_dropout=0.5,
        grid=Grid(
            "axial", (1.0, 1.0, 1.0), (48, 64), 12, "nonzero", True, True, False, "none", None
        ),
        seed=0,
        reasons={},
        budget=Budget(1.0, 4, None),
    )


def make_recipe(*, volumes: int = 1, kernel: int = 0, bytes_per_number: int = 4) -> JointRecipe:
    """A middling network."""
    slices = 12 // volumes
    return JointRecipe(
        augmentation=plan_augmentation("axial"),
        inference=Inference(4, "one"),
        memory=MemoryEstimate(1.0, bytes_per_number, 0.0, 0.0),
        reasons={},
        translator=TranslatorSpec(3, 3, 3, WIDTHS, 2, "group"),
        mixer=MixerSpec("mean", "bottleneck", 32, 1, 4, "bottleneck", kernel),
        losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5},
        slice_translation=None,
        context_translation=Schedule(
            9, volumes, 1, slices, {"translator": 1e-3}, 0.0, (0.9, 0.99), 1, 1.0, 1.0, 1, 1, 1,
            1.0, 0,
        ),
    )  # fmt: skip


def training_gib(plan: Plan, recipe: JointRecipe) -> float:
    """What the hungriest stage is estimated to take."""
    return cost.training_gib(plan, recipe, stages_of(recipe))


def synthesis_gib(plan: Plan, recipe: JointRecipe) -> float:
    """What a volume is estimated to take."""
    return cost.synthesis_gib(plan, recipe, ContextTranslation(recipe), synthesize)


def network_of(recipe: JointRecipe) -> VolumeTranslator:
    """The network of the last stage, with random weights."""
    network = ContextTranslation(recipe).build()
    assert isinstance(network, VolumeTranslator)
    return network


def volume_of(plan: Plan) -> torch.Tensor:
    """A source of the plan's size."""
    return torch.rand(1, len(plan.channels), plan.grid.num_slices, *plan.grid.in_plane)


def peak_of_two_steps(recipe: JointRecipe, sources: list[torch.Tensor], *, count: int) -> float:
    """GiB of the tensors of a training that has begun; volumes and targets are part of it."""
    with PeakBytes() as measured:
        network = network_of(recipe)
        average = deepcopy(network)
        optimizer = torch.optim.AdamW(network.parameters())
        sources = [source.clone() for source in sources]
        targets = [source.clone() for source in sources]
        for _ in range(2):
            decoded = network(
                sources,
                torch.ones(len(sources), 3),
                starts=[0] * len(sources),
                count=count,
                slice_batch=4,
            )
            predicted = decoded[:, :1]
            terms = slab_loss(predicted, torch.rand_like(predicted), recipe.losses)
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            del decoded, predicted, terms
    assert len(targets) == len(sources) and average is not network  # alive until here
    return measured.peak / GIB


@pytest.mark.parametrize(("volumes", "kernel"), [(1, 0), (3, 0), (1, 3)])
def test_training_estimate_is_within_a_quarter(volumes, kernel):
    """Weights, moments, average, inputs and all kept maps: estimated as they are in two steps."""
    plan, recipe = make_plan(), make_recipe(volumes=volumes, kernel=kernel)
    sources = [volume_of(plan) for _ in range(volumes)]
    peak = peak_of_two_steps(recipe, sources, count=12 // volumes)
    assert training_gib(plan, recipe) == pytest.approx(peak, rel=0.25)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("slice_batch", [1, 3, 64])
@pytest.mark.parametrize("mixer", ["paper", "decoder", None])
def test_synthesis_estimate_is_within_a_quarter(passes, slice_batch, mixer, monkeypatch):
    """The features that one pass keeps, the maps of a batch, slices that wait, the volumes."""
    monkeypatch.setattr("liftnet.networks.synthesis.autocast", lambda _: nullcontext())
    plan, recipe = make_plan(), replace(make_recipe(), inference=Inference(slice_batch, passes))
    if mixer != "paper":
        recipe = replace(recipe, mixer=None if mixer is None else plan_mixer(WIDTHS, mixer))
    of = Training(load_task(plan.task), load_method("lift"), plan, recipe)
    with PeakBytes() as measured:
        network, request = network_of(recipe), Request(("a", "b"), ("c",))
        ranges = dict.fromkeys("abc", (0.0, 1.0))
        make_volumes(of, [network], whole(plan, request, volume_of(plan)[0], ranges, "x", seed=0))
    assert synthesis_gib(plan, recipe) == pytest.approx(measured.peak / GIB, rel=0.25)


def test_two_passes_do_not_grow_with_the_depth():
    """Twice the slices take no more beyond the volumes themselves; in one pass they do."""
    peaks = {}
    for passes in ("one", "two"):
        for depth in (12, 24):
            network = network_of(make_recipe(kernel=3))
            source = torch.rand(1, 3, depth, 48, 64)
            with PeakBytes() as measured:
                network.synthesize(
                    source, torch.ones(1, 3), slice_batch=4, keep_features=passes == "one"
                )
            peaks[passes, depth] = measured.peak
    added = 2 * 12 * 3 * 48 * 64 * 4  # source and target volume
    assert peaks["two", 24] - peaks["two", 12] < 1.1 * added
    assert peaks["one", 24] - peaks["one", 12] > 3 * added


def test_paper_size_in_a_gibibyte_and_a_half():
    """The largest network takes two passes there, several slices at a time."""
    widths = (64, 128, 256, 512, 512, 512)
    plan = make_plan()
    plan = replace(
        plan,
        channels=(*plan.channels, replace(plan.channels[0], name="d")),
        sources=tuple("abcd"),
        targets=tuple("abcd"),
        grid=replace(plan.grid, in_plane=(192, 160), num_slices=145),
    )
    recipe = replace(
        make_recipe(),
        translator=plan_translator(4, 4, widths),
        mixer=plan_mixer(widths, "decoder"),
    )

    def chosen(gib: float) -> JointRecipe:
        budgeted = replace(plan, budget=Budget(gib, 2, None))
        given = replace(recipe, memory=MemoryEstimate(gib, 2, 0.0, 0.0))
        return plan_inference(budgeted, given, needed=partial(synthesis_gib, budgeted))

    small = chosen(1.5)
    assert small.inference == Inference(32, "two")
    assert synthesis_gib(plan, small) < 1.35
    assert chosen(24.0).inference == Inference(32, "one")


def test_what_the_estimate_depends_on():
    """Half the bytes per number save nearly half, the ablation needs less, more slices more."""
    plan, recipe = make_plan(), make_recipe()
    whole_gib = training_gib(plan, recipe)
    assert training_gib(plan, make_recipe(bytes_per_number=2)) < 0.75 * whole_gib
    assert training_gib(plan, replace(recipe, mixer=None)) < whole_gib
    fewer = replace(recipe.context_translation, decoded_slices=6)
    assert training_gib(plan, replace(recipe, context_translation=fewer)) < 0.75 * whole_gib


def test_the_larger_stage_counts():
    """The first stage takes more slices than a thin volume has; it is measured like the others."""
    plan, recipe = make_plan(), make_recipe()
    wide = replace(recipe.context_translation, volumes_per_step=8, decoded_slices=6)
    both = replace(recipe, slice_translation=wide)
    alone = replace(recipe, mixer=None, context_translation=wide)
    assert training_gib(plan, both) == training_gib(plan, alone)
    assert training_gib(plan, both) > 2 * training_gib(plan, recipe)
    sources = [volume_of(plan)[:, :, :6] for _ in range(8)]
    peak = peak_of_two_steps(alone, sources, count=6)
    assert training_gib(plan, both) == pytest.approx(peak, rel=0.25)


def test_recomputing_is_estimated_too():
    """Without kept maps of blocks a step takes as much less as the estimate says."""
    plan, recipe = make_plan(), make_recipe()
    peaks = []
    for recompute in (False, True):
        changed = replace(recipe, recompute=recompute)
        with PeakBytes() as measured:
            network = network_of(changed)
            set_recompute(network, recompute)
            average = deepcopy(network)
            optimizer = torch.optim.AdamW(network.parameters())
            source = volume_of(plan)
            target = source.clone()
            for _ in range(2):
                decoded = network([source], torch.ones(1, 3), starts=[0], count=12, slice_batch=4)
                terms = slab_loss(decoded[:, :1], target[:, :1], recipe.losses)
                optimizer.zero_grad()
                sum(terms.values()).backward()
                optimizer.step()
                del decoded, terms
        assert average is not network
        peaks.append(measured.peak / GIB)
        assert training_gib(plan, changed) == pytest.approx(peaks[-1], rel=0.25)
    assert peaks[1] < 0.75 * peaks[0]
    assert training_gib(plan, changed) < 0.75 * training_gib(plan, recipe)
