"""What a training step sees: windows, air, masks, hidden sources; and the losses on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.plan import (
    AugmentationSpec,
    ChannelPlan,
    ClipAndScale,
    PercentileScale,
    Plan,
    ZScore,
)
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.ops.ssim import ms_ssim
from liftnet.pipeline.plan import read_plan
from liftnet.planning.augmentation import plan_augmentation
from liftnet.tasks.translation.batches import augmented, draw_present, draw_windows, take_windows
from liftnet.tasks.translation.losses import residual_loss, slice_loss, voxel_weights
from liftnet.tasks.translation.slice_translation import joined

NAMES = ("t1", "t2", "ct", "t3")
SHAPE = (9, 21, 17)
ALWAYS = {
    k: (1.0, 1.0, 1.0) if isinstance(v, tuple) else 1.0
    for k, v in vars(plan_augmentation("axial")).items()
    if k.endswith("probability")
}


def still() -> AugmentationSpec:
    """No augmentation."""
    never = {k: (0.0, 0.0, 0.0) if isinstance(v, tuple) else 0.0 for k, v in ALWAYS.items()}
    return replace(plan_augmentation("axial"), **never)


@pytest.fixture
def plan(pairs) -> Plan:
    """Two MR sources, a CT and an MR target, on slices of 16 x 24."""
    path = pairs / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json"
    decided = read_plan(path)
    rules = {
        "t1": ZScore("foreground", 0.0, 1.0),
        "t2": ZScore("foreground", 0.0, 1.0),
        "ct": ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0)),
        "t3": PercentileScale("grid", 0.001, 0.999, 0.0, 800.0),
    }
    channels = tuple(ChannelPlan(n, "CT" if n == "ct" else "MR", r) for n, r in rules.items())
    return replace(
        decided,
        channels=channels,
        sources=NAMES[:2],
        targets=NAMES[2:],
        source_dropout=0.5,
        grid=replace(decided.grid, in_plane=(16, 24)),
        augmentation=still(),
    )


RANGES = {"t1": (300.0, 420.0), "t2": (90.0, 140.0), "ct": (500.0, 2000.0), "t3": (0.0, 700.0)}


def store_case(folder, present: tuple[str, ...] = NAMES, air_rows: int = 3) -> Store:
    """A stored case whose first rows are air, and whose mask is all but these."""
    rng = np.random.default_rng(0)
    air = [-2.5, -1.8, -1.0, 0.0]
    voxels = np.zeros((4, *SHAPE), dtype=np.float32)
    for i, name in enumerate(NAMES):
        if name in present:
            voxels[i] = rng.uniform(0.1, 0.9, SHAPE)
            voxels[i, :, :air_rows] = air[i]
    mask = np.ones(SHAPE, dtype=bool)
    mask[:, :air_rows] = False
    grid = Geometry(SHAPE, (2.5, 1.0, 1.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    order = AxisOrder((0, 1, 2), (False, False, False))
    ranges = {name: RANGES[name] for name in present}
    case = StoredCase(
        "x", "key", present, SHAPE, ranges, Placement(grid, order, (0, 0, 0), SHAPE, SHAPE)
    )
    write_case(folder, voxels, case, mask=mask)
    return Store(folder)


def draw(plan: Plan, store: Store, seed: int, **options):
    """A drawn batch."""
    options = {"windows": 5, "count": 3, "whole": True, **options}
    return draw_windows(plan, store, "x", np.random.default_rng(seed), **options)


def test_windows_lie_inside_and_reach_the_ends(plan, tmp_path):
    """Every start is drawn, none beyond an end; outer slices are not rarer than inner ones."""
    store = store_case(tmp_path / "s")
    starts = [s for seed in range(200) for s in draw(plan, store, seed).starts]
    assert set(starts) == set(range(7))
    seen = np.bincount([s + i for s in starts for i in range(3)], minlength=9)
    assert seen.min() > 0.5 * seen.mean()
    deep = draw(plan, store, 0, count=40)
    assert deep.starts == (0,) * 5


def test_a_slab_is_the_volume_there(plan, tmp_path):
    """Without `whole` only the window is there, with the voxels of its height."""
    store = store_case(tmp_path / "s")
    stored = np.asarray(store.voxels("x"), np.float32)
    heights = set()
    for seed in range(40):
        batch = draw(plan, store, seed, windows=1, count=2, whole=False)
        assert batch.source.shape == (1, 2, 2, 16, 24) and batch.starts == (0,)
        row = batch.source[0, 0, :, 5, 12].float().numpy()
        found = np.argwhere((stored[0, :-1] == row[0]) & (stored[0, 1:] == row[1]))
        assert len(found) == 1
        heights.add(int(found[0, 0]))
    assert heights == set(range(8))


def test_crops_move_everything_alike(plan, tmp_path):
    """Sources, targets and mask are cut at one random row and padded with air and no mask."""
    store = store_case(tmp_path / "s")
    stored = np.asarray(store.voxels("x"), np.float32)
    rows = set()
    for seed in range(40):
        batch = draw(plan, store, seed)
        both = torch.cat([batch.source, batch.target], 1)[0].float().numpy()
        # 21 rows become 16 at a random place; 17 columns stay, in the middle of 24.
        left = (24 - 17 + 1) // 2
        (row,) = [
            r for r in range(6) if np.array_equal(both[..., left:-3], stored[:, :, r : r + 16])
        ]
        rows.add(row)
        mask = np.zeros(SHAPE)
        mask[:, 3:] = 1
        np.testing.assert_array_equal(batch.mask[0, 0, ..., left:-3], mask[:, row : row + 16])
        padding = [both[i][..., :left] for i in range(4)]
        expected = (-2.5, -1.8, -1.0, 0.0)
        for i, values in enumerate(padding):
            assert np.allclose(values, expected[i], atol=2e-3) and np.ptp(values) == 0
            assert values.flat[0] == float(batch.air[0, i])
        assert not batch.mask[..., :left].any()
    assert rows == set(range(6))


def test_air_stays_air(plan, tmp_path):
    """Under every augmentation at once, what is air, or comes in from outside, has air's value."""
    store = store_case(tmp_path / "s", air_rows=8)
    plan = replace(
        plan, source_dropout=0.0, augmentation=replace(plan_augmentation("axial"), **ALWAYS)
    )
    batch = draw(plan, store, 1).to(torch.device("cpu"))
    for seed in range(5):
        source, target, mask = augmented(replace(batch, seeds=torch.tensor([seed])), plan)
        both = torch.cat([source, target], 1)
        for i, air in enumerate(batch.air[0].tolist()):
            share = float((both[0, i] == air).float().mean())
            assert share > 0.2, NAMES[i]
            # Between air and tissue linear interpolation may mix; nothing lies below air.
            assert float(both[0, i].min()) >= air - (0.6 if i < 2 else 1e-5)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert not torch.equal(source, batch.source)


def test_geometry_is_shared(plan, tmp_path):
    """A target that repeats its source still does after flips, turns, bends and zooms."""
    store = store_case(tmp_path / "s")
    names = ("flip", "rotation", "scale", "shear", "elastic")
    moves = {f"{name}_probability": ALWAYS[f"{name}_probability"] for name in names}
    plan = replace(plan, source_dropout=0.0, augmentation=replace(still(), **moves))
    batch = draw(plan, store, 1).to(torch.device("cpu"))
    batch = replace(batch, target=batch.source.clone(), air=batch.air[:, [0, 1, 0, 1]])
    source, target, _ = augmented(replace(batch, seeds=torch.tensor([3])), plan)
    torch.testing.assert_close(source, target, atol=1e-5, rtol=0)
    assert (source - batch.source).abs().max() > 0.1


def test_items_of_a_joined_batch_keep_their_own(plan, tmp_path):
    """Slabs of several volumes: air, availability and seed stay with their item."""
    store = store_case(tmp_path / "s")
    one = draw(plan, store, 1, windows=1, count=3, whole=False)
    two = replace(
        draw(plan, store, 2, windows=1, count=9, whole=False, thinnest=3),
        air=torch.tensor([[9.0, 8.0, 7.0, 6.0]]),
        given=torch.tensor([[0.0, 1.0]]),
        source=one.source + 5,
    )
    both = joined([one, two]).to(torch.device("cpu"))
    assert both.source.shape == (2, 2, 3, 16, 24) and both.mask.shape == (2, 1, 3, 16, 24)
    source, _, _ = augmented(both, plan)
    for row, batch in enumerate((one, two)):
        expected = batch.source[0].float() * batch.given[0, :, None, None, None]
        torch.testing.assert_close(source[row], expected, atol=1e-5, rtol=1e-5)
    strong = replace(plan, augmentation=replace(plan_augmentation("axial"), **ALWAYS))
    source, _, _ = augmented(both, strong)
    for row, batch in enumerate((one, two)):
        alone, _, _ = augmented(batch.to(torch.device("cpu")), strong)
        torch.testing.assert_close(source[row], alone[0], atol=1e-5, rtol=1e-5)


def test_hidden_sources(plan):
    """One is always kept; half of the draws hide one; a lone source is never hidden."""
    rng = np.random.default_rng(0)
    draws = [draw_present(plan, NAMES, rng) for _ in range(2000)]
    assert all(any(given) for given in draws)
    assert np.mean([sum(given) == 1 for given in draws]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([given[0] for given in draws]) == pytest.approx(0.75, abs=0.05)
    assert {draw_present(plan, ("t2", "ct"), rng) for _ in range(50)} == {(False, True)}
    always = replace(plan, source_dropout=0.0)
    assert {draw_present(always, NAMES, rng) for _ in range(50)} == {(True, True)}


def test_what_is_not_given_is_zero(plan, tmp_path):
    """Absent and hidden sources reach the network as zeros; absent targets are not supervised."""
    store = store_case(tmp_path / "s", present=("t2", "t3"))
    batch = draw(plan, store, 0).to(torch.device("cpu"))
    assert (batch.given.tolist(), batch.supervised.tolist()) == ([[0, 1]], [[0, 1]])
    strong = replace(plan, augmentation=replace(plan_augmentation("axial"), **ALWAYS))
    assert not augmented(batch, strong)[0][:, 0].any()
    whole = store_case(tmp_path / "t")
    hidden = [draw(plan, whole, seed).to(torch.device("cpu")) for seed in range(20)]
    assert {int(batch.given.sum()) for batch in hidden} == {1, 2}
    for batch in hidden:
        source = augmented(batch, strong)[0]
        assert [bool(source[:, i].any()) for i in range(2)] == batch.given[0].bool().tolist()


def test_take_windows():
    """Windows in the order of their starts."""
    volume = torch.arange(7.0).view(1, 1, 7, 1, 1)
    assert take_windows(volume, [4, 0], 3).flatten().tolist() == [4, 5, 6, 0, 1, 2]


def volumes(seed: int, items: int = 2) -> torch.Tensor:
    """Two targets of some items in network units."""
    rand = torch.rand(items, 2, 3, 16, 24, generator=torch.Generator().manual_seed(seed))
    return torch.stack([2 * rand[:, 0] - 1, rand[:, 1]], 1)


MASK = (torch.rand(2, 1, 3, 16, 24, generator=torch.Generator().manual_seed(9)) < 0.6).float()
EACH = torch.tensor([[True, True], [False, True]])


def test_voxel_weights(plan):
    """1 inside, `outside_mask` outside, 0 for a target that the case lacks."""
    plan = replace(plan, losses={**plan.losses, "outside_mask": 0.25})
    weights = voxel_weights(MASK, EACH, plan)
    assert weights.shape == (2, 2, 3, 16, 24)
    np.testing.assert_allclose(weights[0, 1], np.where(MASK[0, 0] > 0, 1, 0.25))
    assert not weights[1, 0].any() and weights[1, 1].any()


def test_slice_loss_by_hand(plan):
    """Weighted L1, and 1 - MS-SSIM in [0, 1] of images that agree outside the mask."""
    losses = {**plan.losses, "l1": 2.0, "ms_ssim": 0.5, "outside_mask": 0.25}
    plan = replace(plan, losses=losses)
    a, b = volumes(1), volumes(2)
    weights = voxel_weights(MASK, torch.ones(2, 2, dtype=torch.bool), plan)
    got = slice_loss(a, b, weights, plan)
    assert set(got) == {"l1", "ms_ssim"}
    error = (weights * (a - b).abs()).sum() / weights.sum()
    torch.testing.assert_close(got["l1"], 2 * error)
    unit = [torch.stack([(v[:, 0] + 1) / 2, v[:, 1]], 1) for v in (torch.where(MASK > 0, a, b), b)]
    slices = [v.transpose(1, 2).flatten(0, 1) for v in unit]
    expected = 0.5 * (1 - ms_ssim(*slices, data_range=1.0).mean())
    torch.testing.assert_close(got["ms_ssim"], expected)
    alone = slice_loss(a, b, weights, replace(plan, losses={**losses, "ms_ssim": 0.0}))
    assert set(alone) == {"l1"}


def test_residual_loss_by_hand(plan):
    """Charbonnier, magnitude of the correction, and gradients, each with its weight."""
    losses = {**plan.losses, "charbonnier": 2.0, "residual": 0.5, "gradient": 0.25}
    baseline, correction, target = volumes(1), 0.1 * volumes(2), volumes(3)
    got = residual_loss(
        baseline, correction, target, torch.ones_like(target), replace(plan, losses=losses)
    )
    error = (baseline + correction - target).double()
    torch.testing.assert_close(got["charbonnier"].double(), 2 * (error**2 + 1e-6).sqrt().mean())
    torch.testing.assert_close(got["residual"], 0.5 * correction.square().mean())
    steps = torch.stack([error.diff(dim=d).abs().mean() for d in (2, 3, 4)]).mean()
    torch.testing.assert_close(got["gradient"].double(), 0.25 * steps)


@pytest.mark.parametrize("stage", ["slices", "residual"])
def test_unsupervised_targets_have_no_gradient(plan, stage):
    """What a case lacks pulls on nothing; nor does what lies outside a mask of weight 0."""
    plan = replace(plan, losses={**plan.losses, "outside_mask": 0.0})
    weights = voxel_weights(MASK, EACH, plan)
    predicted = volumes(1).requires_grad_()
    if stage == "slices":
        terms = slice_loss(predicted, volumes(2), weights, plan)
    else:
        terms = residual_loss(volumes(3), predicted, volumes(2), weights, plan)
    sum(terms.values()).backward()
    gradient = predicted.grad
    assert not gradient[1, 0].any() and gradient[1, 1].any() and gradient[0, 0].any()
    outside = (MASK == 0).expand_as(gradient)
    assert not gradient[outside].any()
