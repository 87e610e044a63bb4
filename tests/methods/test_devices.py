"""One step of every stage away from the CPU, on "meta": shapes and devices without values.

What a step makes on the CPU and uses beside tensors of its device ends it with an error there, as
it does on CUDA.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from drawn_cases import drawn
from head_pairs import NAME
from small_generation import make_plan, write_volumes

from liftnet.core.plan import Plan
from liftnet.core.recipe import AugmentationSpec
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage
from liftnet.pipeline.doctor.trial import _train
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.train.augmented import augmented
from liftnet.tasks import load_task

META = torch.device("meta")


def always(spec: AugmentationSpec) -> AugmentationSpec:
    """Everything happens to every item."""
    chances = [f.name for f in fields(spec) if f.name.endswith("_probability")]
    changed = dict.fromkeys(chances, 1.0) | {"flip_probability": (0.5, 0.5, 0.5)}
    return replace(spec, **changed)


def on_meta(plan: Plan, stage: Stage, batch: Sequence[Example]) -> list[Example]:
    """The step's examples there, augmented where the loop does; what stays is on the processor."""
    moved = [example.to(META) for example in batch]
    moved = augmented(moved, plan) if stage.augmented else moved
    assert {tensor.device for example in moved for tensor in example.tensors()} == {META}
    assert {t.device.type for example in moved for t in (example.made, example.seeds)} == {"cpu"}
    return moved


def one_step(plan: Plan, store: Store, *, mapper: bool) -> dict[str, set[str]]:
    """Stage -> the devices of its loss terms, after a gradient."""
    found = {}
    for stage in load_task(plan.task).stages(plan, mapper=mapper):
        network = stage.build().to(META)
        cases = store.identifiers()[:2]
        thinnest = min(store.describe(case).shape[0] for case in cases)
        batch = on_meta(plan, stage, drawn(plan, stage, store, cases, thinnest=thinnest))
        terms = stage.loss(network, batch, torch.Generator())
        sum(terms.values()).backward()
        assert any(p.grad is not None for p in network.parameters())
        found[stage.name] = {term.device.type for term in terms.values()}
    return found


@pytest.mark.parametrize("mapper", [True, False])
@pytest.mark.parametrize("kind", ["workspace", "pairs"])
def test_a_step_stays_on_its_device(kind, mapper, request):
    """Batches, augmentation, networks, context and losses of both paired tasks."""
    space = find_workspace(request.getfixturevalue(kind))
    name = space.dataset_name()
    plan = load_plan(space, name, "default")
    plan = replace(plan, augmentation=always(plan.augmentation))
    found = one_step(plan, Store(space.store(name, "default")), mapper=mapper)
    assert found and all(devices == {"meta"} for devices in found.values())


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("mapper", [True, False])
def test_synthesis_stays_on_its_device(pairs, passes, mapper):
    """A whole volume of the translation, with and without its second stage."""
    plan = load_plan(find_workspace(pairs), NAME, "default")
    plan = replace(plan, inference=replace(plan.inference, passes=passes))
    task, network = load_task(plan.task), None
    for stage in task.stages(plan, mapper=mapper):
        network = stage.build(network)
    size = (len(plan.sources), 9, *plan.grid.in_plane)
    made = task.synthesize(
        plan,
        [network.to(META).eval()],
        torch.empty(size, device=META),
        Request(plan.sources, plan.targets),
        [0.0] * len(plan.sources),
    )
    assert made.device == META and made.shape == (len(plan.targets), *size[1:])


def test_slices_of_generation_stay_on_their_device(tmp_path):
    """The masked autoencoder, the slice generator and its critic."""
    plan, store = make_plan(), write_volumes(tmp_path / "cases")
    network = None
    for stage in load_task(plan.task).stages(plan, mapper=True)[:2]:
        network = stage.build(network)
        stage.survey(network, store, store.identifiers(), tmp_path / stage.name)
        if getattr(stage, "codes", None) is not None:
            stage.codes = stage.codes.to(META)
        batch = on_meta(plan, stage, drawn(plan, stage, store, store.identifiers()[:2]))
        terms = stage.loss(deepcopy(network).to(META), batch, torch.Generator())
        sum(terms.values()).backward()
        assert {term.device for term in terms.values()} == {META}


def test_the_doctors_trial_stays_on_its_device():
    """It ends where a value is asked for, not before."""
    with pytest.raises(RuntimeError, match="meta"):
        _train(META)
