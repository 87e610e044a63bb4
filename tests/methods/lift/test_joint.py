"""The training stage: what is drawn, compared and validated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from liftnet.tasks.missing_modality.synthesis import synthesize
from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.data.store import Store
from liftnet.methods.lift.joint import (
    SLICE_STAGE,
    STAGE,
    ContextTranslation,
    slab_loss,
)
from liftnet.ops.in_plane import fit_in_plane
from liftnet.pipeline.plan import apply_setting, read_plan
from liftnet.tasks.missing_modality import TASK

AIR = (0.0, 0.0, 0.0)


@pytest.fixture
def plan(workspace: Path) -> Plan:
    """The plan of the phantom dataset."""
    return read_plan(workspace / "preprocessed" / "Dataset007_Phantom" / "default" / "plan.json")


@pytest.fixture
def store(workspace: Path) -> Store:
    """Its preprocessed cases."""
    return Store(workspace / "preprocessed" / "Dataset007_Phantom" / "default" / "cases")


def test_hidden_contrasts(plan):
    """Always a target is hidden and a source kept; each contrast and number gets its share."""
    rng = np.random.default_rng(0)

    def hidden(plan: Plan, present: tuple[str, ...]) -> set[str]:
        request = TASK.draw_request(plan, present, rng)
        assert request.given and request.made
        found = set(present) - set(request.given)
        assert request.made == tuple(name for name in plan.targets if name in found)
        return found

    draws = [hidden(plan, ("a", "b", "c")) for _ in range(3000)]
    assert {len(d) for d in draws} == {1, 2}
    # A quarter of the draws hide more, and with three contrasts that is always one more.
    share = plan.source_dropout
    assert share == 0.25
    assert np.mean([len(d) == 2 for d in draws]) == pytest.approx(share, abs=0.04)
    for name in "abc":
        assert np.mean([name in d for d in draws]) == pytest.approx((1 + share) / 3, abs=0.04)
    assert all(len(hidden(plan, ("a", "c"))) == 1 for _ in range(50))
    fixed = apply_setting(plan, 'targets=["c"]')
    assert all("c" in hidden(fixed, ("a", "b", "c")) for _ in range(50))
    alone = apply_setting(plan, "source_dropout=0")
    assert all(len(hidden(alone, ("a", "b", "c"))) == 1 for _ in range(50))


def test_what_is_drawn(plan, store):
    """The stored voxels, a slab that lies inside, outer slices too; nothing given is made."""
    stage = ContextTranslation(plan, True)
    depth = store.describe("p6").shape[0]
    starts, seeds = set(), set()
    for seed in range(60):
        (example,) = drawn(plan, stage, store, ["p6"], seed)
        assert example.source.shape == (1, 3, depth, *plan.grid.in_plane)
        assert torch.equal(example.target, example.source) and example.mask.shape[1] == 0
        (start,) = example.windows
        assert 0 <= start <= depth - example.count
        starts.add(start)
        given, made = example.given[0].bool(), example.made[0]
        assert not given[1] and not made[1]  # p6 lacks b
        assert given.any() and made.any() and not (given & made).any()
        seeds.add(int(example.seeds))
    assert starts == set(range(depth - example.count + 1)) and len(seeds) == 60
    (thin,) = drawn(plan, stage, store, ["p6"], thinnest=2)
    assert thin.count == 2 and thin.source.shape[2] == depth
    stored = np.asarray(store.voxels("p6"), np.float32)
    assert float(example.source.sum()) == pytest.approx(float(stored.sum()), rel=1e-3)


def test_without_context_the_slab_is_enough(plan, store):
    """Of the ablation, and of the first part of a short training, nothing else is read."""
    first = replace(plan, stages={SLICE_STAGE: plan.stages[STAGE]})
    for stage in (ContextTranslation(plan, False), ContextTranslation(first, True, SLICE_STAGE)):
        (example,) = drawn(stage.plan, stage, store, ["p1"])
        assert example.source.shape[2] == example.count == 4 and example.windows == (0,)


def test_loss_is_over_the_slab_and_the_hidden_contrasts(plan, store):
    """The terms are those of Eq. 9 on the mean over volumes; unsupervised outputs do not count."""
    stage = ContextTranslation(plan, True)
    torch.manual_seed(0)
    network = stage.build()
    batch = [drawn(plan, stage, store, [case], i)[0] for i, case in enumerate(("p1", "p5"))]
    terms = stage.loss(network, batch, torch.Generator())
    assert set(terms) == {"l1", "ms_ssim", "delta_z"}
    singles = [stage.loss(network, [one], torch.Generator()) for one in batch]
    for name, term in terms.items():
        mean = (singles[0][name] + singles[1][name]) / 2
        torch.testing.assert_close(term, mean, atol=1e-2, rtol=1e-2)  # bfloat16 on some CPUs
    torch.stack(list(terms.values())).sum().backward()
    used = {i for example in batch for i in range(3) if example.made[0, i]}
    gradient = network.translator.head.weight.grad.abs().sum((1, 2, 3))
    assert {i for i in range(3) if gradient[i] > 0} == used


def test_slab_loss_weights():
    """Each term is weighted; a weight of zero, or a single slice, leaves its term out."""
    a, b = torch.rand(1, 2, 3, 16, 24), torch.rand(1, 2, 3, 16, 24)
    one = slab_loss(a, b, {"l1": 1.0, "ms_ssim": 1.0, "delta_z": 1.0})
    two = slab_loss(a, b, {"l1": 2.0, "ms_ssim": 0.0, "delta_z": 0.5})
    assert set(two) == {"l1", "delta_z"}
    torch.testing.assert_close(two["l1"], 2 * (a - b).abs().mean())
    torch.testing.assert_close(two["delta_z"], 0.5 * (a.diff(dim=2) - b.diff(dim=2)).abs().mean())
    torch.testing.assert_close(two["delta_z"], 0.5 * one["delta_z"])
    single = slab_loss(a[:, :, :1], b[:, :, :1], {"l1": 1.0, "ms_ssim": 0, "delta_z": 1})
    assert single["delta_z"] == 0  # no neighbours; named all the same, as in other processes


def test_accepts_cases_with_a_target_and_a_source(plan):
    """A fixed target rules out the cases that lack it."""
    fixed = apply_setting(plan, 'targets=["b"]')
    assert TASK.accepts(fixed, ("a", "b", "c"))
    assert not TASK.accepts(fixed, ("a", "c"))
    assert TASK.accepts(plan, ("a", "c"))
    assert not TASK.accepts(plan, ("a",))


def test_validation_is_minus_psnr(plan, store):
    """The score is minus the mean over contrasts of the PSNR over whole stored volumes."""
    stage = ContextTranslation(plan, True)
    torch.manual_seed(0)
    network = stage.build()
    with torch.no_grad():
        network.translator.head.weight.zero_()
        network.translator.head.bias.zero_()
    result = stage.validate(network, store, ["p1", "p6"])
    expected = {}
    for i, name in enumerate("abc"):
        values = [
            -10 * np.log10(np.mean(np.square(np.asarray(store.voxels(case)[i], np.float64))))
            for case in ("p1", "p6")
            if name in store.describe(case).present
        ]
        expected[name] = np.mean(values)
    assert result.details == pytest.approx(expected, rel=1e-5)
    assert result.score == pytest.approx(-np.mean(list(expected.values())), rel=1e-5)
    assert list(result.images) == ["b", "c", "a predicted", "a reference"]


def test_validation_says_how_sharp_images_are(plan, store, monkeypatch):
    """Half the contrast is a quarter of the energy; of no prediction it is 0; b of p6 is absent."""

    def halved(plan, networks, source, request, background):
        return 0.5 * source[[plan.channel_names.index(name) for name in request.made]]

    stage = ContextTranslation(plan, True)
    assert stage.validate(filled(plan, 0.0), store, ["p6"]).sharpness == {"a": 0.0, "c": 0.0}
    monkeypatch.setattr("liftnet.methods.lift.joint.synthesize", halved)
    found = stage.validate(filled(plan, 0.0), store, ["p1", "p6"]).sharpness
    assert found == {name: pytest.approx(0.25, rel=1e-5) for name in "abc"}


def filled(plan: Plan, value: float):
    """A network that predicts one value everywhere."""
    torch.manual_seed(3)
    network = ContextTranslation(plan, True).build()
    with torch.no_grad():
        network.translator.head.weight.zero_()
        network.translator.head.bias.fill_(value)
    return network


def test_synthesis_masks_clips_and_averages(plan):
    """Zero where all sources are zero, clipped to [0, 1], the mean over networks."""
    source = torch.rand(3, 5, 13, 17)
    source[:, 1, 2:4] = 0
    source[0, 2, 3, 4], source[1:, 2, 3, 4] = 1.0, 0.0
    request = Request(("b", "c"), ("a",))
    got = synthesize(plan, [filled(plan, 0.25), filled(plan, 7.0)], source, request, AIR)
    assert got.shape == (1, 5, 13, 17)
    inside = (source[1:] > 0).any(0)  # a is not given, so it may not help
    torch.testing.assert_close(got[0], torch.where(inside, 0.625, 0.0))


def test_absent_sources_are_not_seen(plan):
    """What lies in the channels that are not sources does not matter."""
    torch.manual_seed(1)
    network = ContextTranslation(plan, True).build()
    source = torch.rand(3, 5, 13, 17)
    other = source.clone()
    other[0] = torch.rand(5, 13, 17)
    request = Request(("b", "c"), ("a",))
    first, second = (synthesize(plan, [network], s, request, AIR) for s in (source, other))
    torch.testing.assert_close(first, second)


@torch.no_grad()
def test_synthesis_sees_slices_as_training_does(plan):
    """A cropped case gives what it gives on the canvas of training slices, cropped."""
    torch.manual_seed(1)
    network = ContextTranslation(plan, True).build()
    for layer in network.mixer.inject:
        nn.init.normal_(layer.weight, std=0.1)
    source = torch.rand(3, 5, 13, 17)
    canvas = fit_in_plane(source, plan.grid.in_plane, [0] * 3)
    request = Request(("a", "b"), ("c",))
    inner, whole = (synthesize(plan, [network], s, request, AIR) for s in (source, canvas))
    expected = fit_in_plane(inner, plan.grid.in_plane, [0]).numpy()
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_requests(plan):
    """Absent targets by default, wanted ones otherwise; what cannot be done is refused."""
    assert TASK.request(plan, ["c", "a"], None) == Request(("a", "c"), ("b",))
    assert TASK.request(plan, ["a", "b", "c"], ["c"]) == Request(("a", "b"), ("c",))
    assert TASK.request(plan, ["b"], None) == Request(("b",), ("a", "c"))
    with pytest.raises(Exception, match="No contrast is missing: a, b, c"):
        TASK.request(plan, ["a", "b", "c"], None)
    with pytest.raises(Exception, match="No source contrast is left"):
        TASK.request(plan, ["a"], ["a"])
    with pytest.raises(Exception, match="No channel 'd'"):
        TASK.request(plan, ["a"], ["d"])
