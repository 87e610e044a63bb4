"""One thin case among whole ones: it has a slab of its own, and costs the others nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cases import drawn

from liftnet.core.plan import Plan
from liftnet.data.store import Store, write_case
from liftnet.methods import load_method
from liftnet.methods.base import Stage
from liftnet.pipeline.plan import read_plan, read_recipe
from liftnet.pipeline.train.feed import draw_step, slab_limits
from liftnet.pipeline.train.train import train
from liftnet.tasks import load_task


def thin_case(workspace: Path, dataset: str, slices: int) -> tuple[Store, list[str]]:
    """The store, in which the first case has lost all but some of its slices."""
    store = Store(workspace / "preprocessed" / dataset / "default" / "cases")
    names = list(store.identifiers())
    case = store.describe(names[0])
    voxels = np.array(store.voxels(names[0])[:, :slices])
    mask = store.folder / f"{names[0]}.mask.npy"
    inside = np.array(np.load(mask)[:slices]) if mask.is_file() else None
    write_case(store.folder, voxels, replace(case, shape=voxels.shape[1:]), mask=inside)
    return Store(store.folder), names


def stages_of(store: Store) -> tuple[Plan, Sequence[Stage]]:
    """The plan of a store, and the stages of lift under it."""
    folder, method = store.folder.parent, load_method("lift")
    plan = read_plan(folder / "plan.json")
    return plan, method.stages(plan, read_recipe(folder / "recipes" / "lift.json", plan, method))


@pytest.mark.parametrize(
    ("depths", "decoded", "expected"),
    [
        ([30, 28, 31], 48, [28, 28, 28]),
        ([30, 1, 28], 48, [28, 1, 28]),
        ([155, 155, 20], 8, [20, 20, 20]),  # all have more than the slab
        ([1, 1, 1], 4, [1, 1, 1]),
        ([40, 19, 20], 40, [20, 19, 20]),
    ],
)
def test_limits(depths, decoded, expected):
    """Volumes of about one depth share the least of them; a much thinner one stands alone."""
    assert list(slab_limits(dict(enumerate(depths)), decoded).values()) == expected


def test_others_keep_their_slabs(workspace):
    """Slabs of whole volumes are as thick as without the thin one."""
    store, names = thin_case(workspace, "Dataset007_Phantom", 1)
    plan, stages = stages_of(store)
    task, stage = load_task(plan.task), stages[-1]
    seen = [one for step in range(6) for one in draw_step(task, plan, stage, store, names, step)]
    counts = {example.case: set() for example in seen}
    for example in seen:
        counts[example.case].add(example.count)
    assert counts.pop(names[0]) == {1}
    assert set.union(*counts.values()) == {stage.schedule.decoded_slices}


@pytest.fixture
def places(request: pytest.FixtureRequest) -> Callable[[str], tuple[Path, str]]:
    """A workspace and its dataset by the name of its fixture."""
    names = {"workspace": "Dataset007_Phantom", "pairs": "Dataset009_Heads"}
    return lambda name: (request.getfixturevalue(name), names[name])


@pytest.mark.parametrize("name", ["workspace", "pairs"])
def test_terms_are_the_mean_over_volumes(places, name):
    """A step of two thick and a thin volume: what each gives alone, averaged; every stage."""
    workspace, dataset = places(name)
    store, names = thin_case(workspace, dataset, 1)
    plan, stages = stages_of(store)
    compared = []
    for stage in stages:
        torch.manual_seed(0)
        network = stage.build().eval()
        batch = [
            drawn(plan, stage, store, [case], [3, i], thinnest=limit)[0]
            for i, (case, limit) in enumerate([(names[0], 1), (names[1], 3), (names[0], 1)])
        ]
        if len({example.count for example in batch}) == 1:  # a stage of single slices
            continue
        compared.append(stage.name)
        generator = torch.Generator()
        with torch.no_grad():
            together = stage.loss(network, None, batch, generator)
            thin = stage.loss(network, None, [batch[0], batch[2]], generator)
            thick = stage.loss(network, None, batch[1:2], generator)
        assert together.keys() == thin.keys() == thick.keys()
        for term, value in together.items():
            expected = (2 * thin[term] + thick[term]) / 3
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)
        if "delta_z" in together:
            assert thin["delta_z"] == 0 and together["delta_z"] > 0
    assert compared


@pytest.mark.parametrize("name", ["workspace", "pairs"])
def test_training_goes_through(places, name):
    """A dataset with a single slice among volumes trains to its end."""
    workspace, dataset = places(name)
    thin_case(workspace, dataset, 1)
    (folder,) = train(workspace=workspace, fold=("all",), device="cpu")
    assert list(folder.glob("*/checkpoint_latest.safetensors"))
