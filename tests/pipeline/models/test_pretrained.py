"""Training that begins with the weights of another one."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_generation import make_plan, make_recipe, write_volumes
from torch import nn

from liftnet.core.errors import CheckpointError, LiftnetError
from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.methods import load_method
from liftnet.methods.lift.joint import ContextTranslation
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.methods.lift_u.slice_generation import GeneratorNetwork
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.pretrained import (
    begin_from,
    how_to_fit,
    pretrained_origins,
    read_pretrained,
)
from liftnet.pipeline.models.pretrained_match import differences, fit, match_tensors
from liftnet.pipeline.models.runs import BEST, LATEST, read_run
from liftnet.pipeline.plan import apply_setting, read_plan, read_recipe
from liftnet.pipeline.share.export import export
from liftnet.pipeline.train.start import prepare_
from liftnet.pipeline.train.train import train

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    """Leave out the picture, which takes longer than the training here."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)


@pytest.fixture(scope="module")
def trained(_prepared, tmp_path_factory) -> Path:
    """The folder of a trained fold."""
    space = tmp_path_factory.mktemp("source") / "workspace"
    shutil.copytree(_prepared, space)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
        [folder] = train(workspace=space, device="cpu")
    return folder


@pytest.fixture(scope="module")
def begun(_prepared, trained, tmp_path_factory) -> Path:
    """The folder of a fold that began with those weights and was never stopped."""
    space = tmp_path_factory.mktemp("fine") / "workspace"
    shutil.copytree(_prepared, space)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
        [folder] = train(workspace=space, device="cpu", pretrained=trained)
    return folder


def rows(folder: Path) -> list[dict]:
    """The log of the stage without times."""
    lines = (folder / STAGE / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(s).items() if not k.endswith("_per_step")} for s in lines]


def other_channels(plan: Plan, names: tuple[str, ...]) -> Plan:
    """The plan with other channels; those that it lacks are like its first."""
    known = {channel.name: channel for channel in plan.channels}
    channels = tuple(known.get(n, replace(plan.channels[0], name=n)) for n in names)
    return replace(plan, channels=channels, sources=names, targets=names)


def new_network(recipe: JointRecipe) -> nn.Module:
    """A network of a recipe with random weights."""
    return ContextTranslation(recipe).build()


def test_an_equal_plan_begins_with_the_score_of_the_source(trained, begun, capsys):
    """Step 0 has the source's best score; everything is matched, and written down."""
    best = load_checkpoint(trained / STAGE / BEST)
    first = rows(begun)[0]
    assert first["step"] == 0
    assert first["validation"] == best.facts["score"]
    assert first["validation_psnr"] == best.facts["details"]
    note = read_json(begun / "pretrained.json")
    assert (note["file"], note["dataset"], note["fold"]) == ("fold_0", DATASET, "fold_0")
    assert note["differences"] == note["unused"] == []
    stage = note["stages"][STAGE]
    assert stage["matched"] == {
        "tensors": len(best.groups["network"]),
        "parameters": sum(t.numel() for t in best.groups["network"].values()),
        "share": 1.0,
    }
    assert stage["reshaped"]["tensors"] == stage["new"]["tensors"] == 0
    moved = load_checkpoint(begun / STAGE / LATEST).groups["network"]
    assert any(not torch.equal(moved[n], t) for n, t in best.groups["network"].items())
    score = load_checkpoint(begun / STAGE / BEST).facts["score"]
    assert score <= best.facts["score"]  # the start counts: the best is never worse than it


def test_another_fold_of_the_dataset_is_pointed_at(workspace, trained, capsys):
    """Its weights have seen the validation cases; what fits is printed."""
    train(workspace=workspace, fold=(1,), device="cpu", pretrained=trained / STAGE / BEST)
    said = capsys.readouterr().out
    assert "warning: the weights are of fold_0, whose training cases validate here" in said
    assert f"Begins with {BEST}: {DATASET}, fold_0" in said
    assert "matched (100 %), 0 reshaped (0 %), 0 new (0 %)" in said


@pytest.mark.parametrize("stop_at", [1, 4])
def test_stopped_and_continued(workspace, trained, begun, monkeypatch, stop_at):
    """The same command ends as an unbroken run, to the last bit."""
    loss = ContextTranslation.loss
    calls = []

    def stopping(self, network, memory, batch, generator):
        if batch[0].source.is_meta:  # its operations are counted
            return loss(self, network, memory, batch, generator)
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, network, memory, batch, generator)

    monkeypatch.setattr(ContextTranslation, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(workspace=workspace, device="cpu", pretrained=trained)
    # The weights are only for the start: a run that has begun needs them no more.
    again = trained if stop_at == 4 else None
    [folder] = train(workspace=workspace, device="cpu", pretrained=again)
    assert len(calls) == 6
    assert rows(folder) == rows(begun)
    for name in (LATEST, BEST):
        one, two = (load_checkpoint(f / STAGE / name) for f in (folder, begun))
        assert one.facts == two.facts
        for group, tensors in one.groups.items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, two.groups[group][key]), (name, group, key)


def test_a_begun_run_takes_no_other_weights(workspace, trained, begun, tmp_path):
    """Neither one that began with others nor one that began with random ones; restart does."""
    other = tmp_path / "lift" / "fold_0"
    shutil.copytree(trained, other)
    path = other / STAGE / BEST
    state = load_checkpoint(path)
    state.groups["network"]["translator.head.bias"] += 1
    save_checkpoint(path, state.groups, state.facts)
    run = workspace / "results" / DATASET / "default" / "lift" / "fold_0"
    shutil.copytree(begun, run)
    with pytest.raises(CheckpointError, match="began with fold_0, not with the weights of fold_0"):
        train(workspace=workspace, device="cpu", pretrained=other)
    shutil.rmtree(run)
    shutil.copytree(trained, run)
    with pytest.raises(CheckpointError, match="began with random weights") as caught:
        train(workspace=workspace, device="cpu", pretrained=other)
    assert "--restart" in caught.value.remedy
    train(workspace=workspace, device="cpu", pretrained=other, restart=True)
    assert read_json(run / "pretrained.json")["digest"] == read_pretrained(other, "").digest
    train(workspace=workspace, device="cpu", restart=True)
    assert not (run / "pretrained.json").exists()


def test_a_refused_file_costs_nothing(workspace, trained, tmp_path):
    """With --restart, what was trained before is thrown away only for weights that fit."""
    run = workspace / "results" / DATASET / "default" / "lift" / "fold_0"
    shutil.copytree(trained, run)
    before = (run / STAGE / LATEST).read_bytes()
    with pytest.raises(CheckpointError, match="There is no such file of weights"):
        train(
            workspace=workspace,
            device="cpu",
            pretrained=tmp_path / "absent.safetensors",
            restart=True,
        )
    assert (run / STAGE / LATEST).read_bytes() == before


def test_predictions_say_what_their_networks_began_with(trained, begun):
    """File and digest by fold; nothing where training began at random."""
    digest = read_pretrained(trained, "fold_0").digest
    assert pretrained_origins([begun, trained]) == {"fold_0": f"fold_0 ({digest})"}
    assert pretrained_origins([trained]) == {}


def test_a_stage_that_has_not_begun_needs_them_again(trained, begun, tmp_path):
    """Its first weights would be others than its note says."""
    plan, method, recipe = read_run(trained)
    stages = method.stages(plan, recipe)
    later = replace(stages[0], name="later")
    with pytest.raises(CheckpointError, match="which its next stage needs"):
        begin_from(None, plan, recipe, (stages[0], later), begun)
    assert begin_from(None, plan, recipe, stages, begun) is None


def test_channels_are_matched_by_name(trained):
    """Entries of b, d, a are those of b and a in the source, and for d the new network's own."""
    source_plan, _, recipe = read_run(trained)
    assert source_plan.channel_names == ("a", "b", "c")
    pretrained = read_pretrained(trained / STAGE / BEST, "fold_0")
    old = pretrained.tensors
    plan = other_channels(source_plan, ("b", "d", "a"))
    own = new_network(recipe).state_dict()
    matches = match_tensors(own, plan, old, source_plan)
    new = fit(own, old, matches)
    by_name = {match.name: match for match in matches}
    first = "translator.encoder.0.convolutions.0.weight"
    assert torch.equal(new[first][:, 0], old[first][:, 1])
    assert torch.equal(new[first][:, 1], own[first][:, 1])
    assert torch.equal(new[first][:, 2], old[first][:, 0])
    assert by_name[first].note == "taken source b, source a; new source d"
    assert by_name[first].taken == 2 * old[first][:, 0].numel()
    for name in ("translator.head.weight", "translator.head.bias"):
        assert torch.equal(new[name][[0, 2]], old[name][[1, 0]])
        assert torch.equal(new[name][1], own[name][1])
    name = "translator.decoder.0.modulation.weight"
    assert torch.equal(new[name][:, [0, 2]], old[name][:, [1, 0]])
    reshaped = {match.name for match in matches if match.how == "reshaped"}
    modulated = {n for n in own if n.endswith("modulation.weight") and n.startswith("translator")}
    assert reshaped == {first, "translator.head.weight", "translator.head.bias"} | modulated
    for match in matches:
        if match.how == "matched":
            assert torch.equal(new[match.name], old[match.name])
    assert not any(match.how == "new" for match in matches)


def test_other_names_are_new(trained):
    """With no channel in common the first convolution and the head start anew, no more."""
    source_plan, _, recipe = read_run(trained)
    old = read_pretrained(trained, "fold_0").tensors
    plan = other_channels(source_plan, ("x", "y", "z"))
    own = new_network(recipe).state_dict()
    matches = match_tensors(own, plan, old, source_plan)
    new = {match.name for match in matches if match.how == "new"}
    first = "translator.encoder.0.convolutions.0.weight"
    assert {first, "translator.head.weight", "translator.head.bias"} <= new
    assert all("modulation.weight" in n for n in new if n.count(".") > 2 and n != first)


def test_the_order_of_a_residual_head(trained):
    """Its first layer sees targets, sources and maps, in this order."""
    translator = TranslatorSpec(2, 1, 2, (8, 16), 1, "none")
    mixer = MixerSpec("mean", "bottleneck", 8, 1, 2, "none", 0)
    base = read_plan(trained / "plan.json")
    old_plan = replace(base, sources=("a", "b"), targets=("c",))
    new_plan = replace(base, sources=("b", "a", "d"), targets=("c",))
    old = ResidualTranslator(translator, mixer, ResidualSpec(8, 1, 1)).state_dict()
    wider = replace(translator, source_channels=3, condition_size=3)
    own = ResidualTranslator(wider, mixer, ResidualSpec(8, 1, 1)).state_dict()
    new = fit(own, old, match_tensors(own, new_plan, old, old_plan))
    name = "residual.enter.weight"
    assert torch.equal(new[name][:, [0, 1, 2]], old[name][:, [0, 2, 1]])
    assert torch.equal(new[name][:, 3], own[name][:, 3])
    assert torch.equal(new[name][:, 4:], old[name][:, 3:])


def test_what_does_not_fit_is_named(workspace, trained):
    """A mixer of another size starts anew, whole; the translator is taken."""
    folder = workspace / "preprocessed" / DATASET / "default"
    path, plan = folder / "recipes" / "lift.json", read_plan(folder / "plan.json")
    recipe = read_recipe(path, plan, load_method("lift"))
    write_json(path, replace(recipe, mixer=replace(recipe.mixer, hidden_size=16)))
    [folder] = train(workspace=workspace, device="cpu", pretrained=trained)
    note = read_json(folder / "pretrained.json")
    facts = note["stages"][STAGE]
    names = facts["new"]["names"]
    assert "its shape is [48" in names["mixer.gru.weight_ih_l0"]
    assert all(n.startswith(("mixer.gru", "mixer.inject")) for n in names)
    assert set(note["unused"]) == set(names)
    assert names["mixer.inject.0.bias"] == "another tensor of its layer does not fit"
    counted = [facts[how]["parameters"] for how in ("matched", "reshaped", "new")]
    assert sum(counted) == facts["parameters"]
    assert 0 < facts["matched"]["share"] < 1


def test_another_kind_of_network_is_refused(workspace, tmp_path):
    """Weights that generate volumes have nothing for a translator."""
    plan, recipe = make_plan(), make_recipe()
    stage = load_method("lift_u").stages(plan, recipe)[-1]
    folder = tmp_path / "lift_u" / "fold_all"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    network = stage.build()
    save_checkpoint(folder / stage.name / BEST, {"network": network.state_dict()}, {"step": 1})
    with pytest.raises(CheckpointError, match="Nothing of fold_all fits this plan") as caught:
        train(workspace=workspace, device="cpu", pretrained=folder)
    assert "task unconditional" in caught.value.where
    assert "these are of lift_u" in caught.value.remedy
    run = workspace / "results" / DATASET / "default" / "lift" / "fold_0"
    assert not (run / "pretrained.json").exists() and not (run / STAGE).exists()


def test_other_widths_are_named(trained):
    """The way out is the sizes that the weights have, as liftnet_plan takes them."""
    _, _, recipe = read_run(trained)
    translator = recipe.translator
    wider = replace(translator, widths=tuple(2 * w for w in translator.widths))
    wide = replace(recipe, translator=wider)
    text = how_to_fit("lift", wide, read_pretrained(trained, "fold_0"))
    widths = str(list(translator.widths)).replace(" ", "")
    assert text.endswith(f"liftnet_plan -p NAME --set 'lift.translator.widths={widths}'")
    assert apply_setting(wide, f"translator.widths={widths}").translator == translator


def test_files_that_are_none(tmp_path, trained):
    """A missing file, a folder without a fold and a checkpoint without its plan are refused."""
    for path, message in (
        (tmp_path / "absent.safetensors", "There is no such file of weights"),
        (tmp_path, "The folder holds no trained fold"),
        (trained / "plan.json", "A model is one safetensors file; this is something else"),
    ):
        with pytest.raises(LiftnetError, match=message):
            read_pretrained(path, "fold_0")
    with pytest.raises(CheckpointError) as caught:
        read_pretrained(Path("https://example.org/model.safetensors"), "fold_0")
    assert "liftnet_import" in caught.value.remedy
    alone = tmp_path / "deep" / "er" / BEST
    alone.parent.mkdir(parents=True)
    shutil.copy(trained / STAGE / BEST, alone)
    with pytest.raises(CheckpointError, match="The plan of these weights is not beside them"):
        read_pretrained(alone, "fold_0")


def test_a_generator_keeps_its_components(tmp_path):
    """The survey finds no new ones: the refiner was trained with codes of the old ones."""
    plan, recipe = make_plan(), make_recipe()
    stages = load_method("lift_u").stages(plan, recipe)
    source = stages[-1].build()
    generator = torch.Generator().manual_seed(5)
    for tensor in source.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
    folder = tmp_path / "lift_u" / "fold_0"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    weights = source.state_dict()
    save_checkpoint(folder / stages[-1].name / BEST, {"network": weights}, {"step": 1})
    begin = begin_from(folder, plan, recipe, stages, tmp_path / "run" / "fold_0")
    store = write_volumes(tmp_path / "cases")
    stage = stages[1]
    network = stage.build(stages[0].build())
    assert isinstance(network, GeneratorNetwork)
    features = network.features.state_dict()
    before = {name: tensor.clone() for name, tensor in features.items()}
    cases = store.identifiers()
    run = tmp_path / "run" / "x"
    found = prepare_(stage, network, stages[0].build(), store, cases, run, begin)
    for name, tensor in network.generator.state_dict().items():
        assert torch.equal(tensor, weights[f"generator.{name}"])
    for name, tensor in network.features.state_dict().items():
        assert torch.equal(tensor, before[name])  # stage 0 has trained them
    volume = torch.from_numpy(store.voxels(cases[0])[0].astype("float32"))
    codes = network.generator.encode(volume[:, None])
    assert torch.equal(found[0], codes)


def test_what_is_done_otherwise_is_said(trained):
    """Task, slice axis, spacing and normalization; what each dataset measures is left out."""
    plan = read_plan(trained / "plan.json")
    assert differences(plan, plan) == []
    rule = plan.channel("b").normalization
    measured = replace(plan.channels[1], normalization=replace(rule, typical_high=3.0))
    assert differences(replace(plan, channels=(measured,)), plan) == []
    otherwise = replace(plan.channels[1], normalization=replace(rule, upper=0.9))
    d, h, w = plan.grid.spacing_mm
    grid = replace(plan.grid, slice_axis="sagittal", spacing_mm=(d, h, 2 * w))
    found = differences(replace(plan, task="x", grid=grid, channels=(otherwise,)), plan)
    assert [sentence.split(" was")[0].split(" were")[0] for sentence in found] == [
        "the task", "slices", "the spacing", "b",
    ]  # fmt: skip


def test_an_exported_model(trained, tmp_path, capsys):
    """The model gives what the fold's folder gives; a file that runs code is refused."""
    path = tmp_path / "model.safetensors"
    export(path, fold=(0,), workspace=trained.parents[4], data="simulated", licence="CC0-1.0")
    exported, plain = read_pretrained(path, "fold_3"), read_pretrained(trained, "fold_3")
    assert (exported.name, exported.fold, exported.digest) == (
        "model.safetensors",
        "fold_0",
        plain.digest,
    )
    assert exported.tensors.keys() == plain.tensors.keys()
    assert all(torch.equal(tensor, plain.tensors[n]) for n, tensor in exported.tensors.items())
    assert exported.plan.channel_names == plain.plan.channel_names
    bad = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(3)}, bad)
    with pytest.raises(LiftnetError, match=r"this is a pickle, .* which can run code"):
        read_pretrained(bad, "fold_0")
