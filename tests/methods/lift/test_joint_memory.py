"""The memory estimate against the peak of live tensors in a real step."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from liftnet.tasks.missing_modality.synthesis import synthesize
from peak_bytes import PeakBytes

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import ChannelPlan, ClipAndScale, Grid, Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.core.request import Request
from liftnet.methods.lift.joint import (
    SLICE_STAGE,
    STAGE,
    build_network,
    slab_loss,
)
from liftnet.methods.lift.joint_memory import (
    synthesis_gib,
    training_gib,
)
from liftnet.networks.blocks import set_recompute
from liftnet.planning.augmentation import plan_augmentation
from liftnet.planning.memory import GIB
from liftnet.planning.sizing import plan_inference, plan_mixer, plan_translator


def make_plan(*, volumes: int = 1, kernel: int = 0, bytes_per_number: int = 4) -> Plan:
    """A middling network on 12 slices."""
    widths = (16, 32, 64, 128)
    slices = 12 // volumes
    schedule = Schedule(
        9, volumes, 1, slices, {"translator": 1e-3}, 0.0, (0.9, 0.99), 1, 1.0, 1.0, 1, 1, 1, 1.0, 0
    )
    inference = Inference(4, "one")
    return Plan(
        version=1,
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
        networks={
            "translator": TranslatorSpec(3, 3, 3, widths, 2, "group"),
            "mixer": MixerSpec("mean", "bottleneck", 32, 1, 4, "bottleneck", kernel),
        },
        losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5},
        augmentation=plan_augmentation("axial"),
        stages={STAGE: schedule},
        inference=inference,
        memory=MemoryEstimate(1.0, bytes_per_number, 0.0, 0.0),
        seed=0,
        reasons={},
    )


def volume_of(plan: Plan) -> torch.Tensor:
    """A source of the plan's size."""
    return torch.rand(1, len(plan.channels), plan.grid.num_slices, *plan.grid.in_plane)


def peak_of_two_steps(
    plan: Plan, sources: list[torch.Tensor], *, count: int, mapper: bool = True
) -> float:
    """GiB of the tensors of a training that has begun; volumes and targets are part of it."""
    with PeakBytes() as measured:
        network = build_network(plan, mapper=mapper)
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
            terms = slab_loss(predicted, torch.rand_like(predicted), plan.losses)
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            del decoded, predicted, terms
    assert len(targets) == len(sources) and average is not network  # alive until here
    return measured.peak / GIB


@pytest.mark.parametrize(("volumes", "kernel"), [(1, 0), (3, 0), (1, 3)])
def test_training_estimate_is_within_a_quarter(volumes, kernel):
    """Weights, moments, average, inputs and all kept maps: estimated as they are in two steps."""
    plan = make_plan(volumes=volumes, kernel=kernel)
    sources = [volume_of(plan) for _ in range(volumes)]
    peak = peak_of_two_steps(plan, sources, count=12 // volumes)
    assert training_gib(plan) == pytest.approx(peak, rel=0.25)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("slice_batch", [1, 3, 64])
@pytest.mark.parametrize("mixer", ["paper", "decoder", None])
def test_synthesis_estimate_is_within_a_quarter(passes, slice_batch, mixer, monkeypatch):
    """The features that one pass keeps, the maps of a batch, slices that wait, the volumes."""
    monkeypatch.setattr("liftnet.networks.synthesis.autocast", lambda _: nullcontext())
    plan = replace(make_plan(), inference=Inference(slice_batch, passes))
    if mixer == "decoder":
        widths = plan.networks["translator"].widths
        plan = replace(plan, networks=plan.networks | {"mixer": plan_mixer(widths, "decoder")})
    with PeakBytes() as measured:
        network = build_network(plan, mapper=mixer is not None)
        source = volume_of(plan)[0]
        synthesize(plan, [network], source, Request(("a", "b"), ("c",)), [0.0] * 3)
    expected = measured.peak / GIB
    assert synthesis_gib(plan, mapper=mixer is not None) == pytest.approx(expected, rel=0.25)


def test_two_passes_do_not_grow_with_the_depth():
    """Twice the slices take no more beyond the volumes themselves; in one pass they do."""
    peaks = {}
    for passes in ("one", "two"):
        for depth in (12, 24):
            network = build_network(make_plan(kernel=3), mapper=True)
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
    networks = {
        "translator": plan_translator(4, 4, widths),
        "mixer": plan_mixer(widths, "decoder"),
    }
    plan = make_plan()
    plan = replace(
        plan,
        networks=networks,
        channels=(*plan.channels, replace(plan.channels[0], name="d")),
        sources=tuple("abcd"),
        targets=tuple("abcd"),
        grid=replace(plan.grid, in_plane=(192, 160), num_slices=145),
        memory=MemoryEstimate(1.5, 2, 0.0, 0.0),
    )
    chosen = plan_inference(plan, {}, synthesis_gib=synthesis_gib)
    assert chosen.inference == Inference(32, "two")
    assert synthesis_gib(chosen) < 1.35
    roomy = replace(plan, memory=MemoryEstimate(24.0, 2, 0.0, 0.0))
    assert plan_inference(roomy, {}, synthesis_gib=synthesis_gib).inference == Inference(32, "one")


def test_what_the_estimate_depends_on():
    """Half the bytes per number save nearly half, the ablation needs less, more slices more."""
    plan = make_plan()
    assert training_gib(make_plan(bytes_per_number=2)) < 0.75 * training_gib(plan)
    alone = replace(plan, stages={SLICE_STAGE: plan.stages[STAGE]})  # without context
    assert training_gib(alone) < training_gib(plan)
    deeper = replace(plan, stages={STAGE: replace(plan.stages[STAGE], decoded_slices=6)})
    assert training_gib(deeper) < 0.75 * training_gib(plan)


def test_the_larger_stage_counts():
    """The first stage takes more slices than a thin volume has; it is measured like the others."""
    plan = make_plan()
    wide = replace(plan.stages[STAGE], volumes_per_step=8, decoded_slices=6)
    both = replace(plan, stages={SLICE_STAGE: wide, STAGE: plan.stages[STAGE]})
    assert training_gib(both) == training_gib(replace(plan, stages={SLICE_STAGE: wide}))
    assert training_gib(both) > 2 * training_gib(plan)
    sources = [volume_of(plan)[:, :, :6] for _ in range(8)]
    peak = peak_of_two_steps(plan, sources, count=6, method="no_mapper")
    assert training_gib(both) == pytest.approx(peak, rel=0.25)


def test_recomputing_is_estimated_too():
    """Without kept maps of blocks a step takes as much less as the estimate says."""
    plan = make_plan()
    assert training_gib(replace(plan, recompute=True)) < 0.75 * training_gib(plan)
    peaks = []
    for recompute in (False, True):
        with PeakBytes() as measured:
            network = build_network(plan, mapper=True)
            set_recompute(network, recompute)
            average = deepcopy(network)
            optimizer = torch.optim.AdamW(network.parameters())
            source = volume_of(plan)
            target = source.clone()
            for _ in range(2):
                decoded = network([source], torch.ones(1, 3), starts=[0], count=12, slice_batch=4)
                terms = slab_loss(decoded[:, :1], target[:, :1], plan.losses)
                optimizer.zero_grad()
                sum(terms.values()).backward()
                optimizer.step()
                del decoded, terms
        assert average is not network
        peaks.append(measured.peak / GIB)
        estimate = training_gib(replace(plan, recompute=recompute))
        assert estimate == pytest.approx(peaks[-1], rel=0.25)
    assert peaks[1] < 0.75 * peaks[0]
