"""A model in one file: it predicts elsewhere what it does here, and nobody's name is inside."""

import gzip
import json
import shutil
import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import telltale
from safetensors.torch import load_file
from small_generation import make_plan, make_recipe

import liftnet
from liftnet.core.errors import LiftnetError
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.host.lock import hold
from liftnet.imageio import read_image
from liftnet.pipeline.models.model_file import Papers, read_model_file
from liftnet.pipeline.share import export as step
from liftnet.pipeline.share.contents import fold_papers, portable_plan, portable_recipe

CHANGING = ("seconds", "peak_memory_gib", "hardware", "command")  # of the JSON beside an image


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_raw):
    """Folder of everything, workspace, new cases, predictions with scores, and the model."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("USER", "LOGNAME"):
            patch.setenv(name, telltale.USER)
        patch.setattr(socket, "gethostname", lambda: telltale.HOST)
        space, new = telltale.train_telltale(root, write_raw)
        predicted = root / telltale.FOLDER / "predicted"
        liftnet.predict(new, predicted, device="cpu", workspace=space)
        raw = space / "raw" / telltale.NAME / "imagesTr"
        liftnet.evaluate(predicted, raw, workspace=space)
        path = liftnet.export(root / "model.safetensors", scores=predicted, workspace=space)
    return root, space, new, predicted, path


def contents(path: Path) -> Papers:
    """Everything in a model file but weights."""
    return read_model_file(path).papers


def found(content: bytes, texts: list[str]) -> list[str]:
    """The texts that occur in a file, which may be compressed."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return [text for text in texts if text.lower().encode() in content.lower()]


def test_the_search_finds(trained):
    """What is searched for is where it is allowed: else the next test would say nothing."""
    _, space, new, *_ = trained
    image = next(new.iterdir()).read_bytes()
    assert found(image, telltale.secrets()) == [text for _, text in telltale.HEADER.values()]
    splits = space / "preprocessed" / telltale.NAME / "splits.json"
    assert found(splits.read_bytes(), telltale.secrets()) == [telltale.PERSON]


def test_nobody_is_in_the_file(trained):
    """No name of a case, path, user, host or text of a header; in none of its bytes."""
    path = trained[-1]
    assert found(path.read_bytes(), [*telltale.secrets(), str(trained[0])]) == []


def test_headers_leave_no_trace_in_the_workspace(trained):
    """Texts of headers, user and host are in no file that any step wrote; names where needed."""
    root, space, _, predicted, _ = trained
    texts = [telltale.USER, telltale.HOST, *(text for _, text in telltale.HEADER.values())]
    places = [space / "preprocessed", space / "results", predicted]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert found(path.read_bytes(), texts) == [], path.relative_to(root)
    for path in (space / "results").rglob("*.safetensors*"):
        assert found(path.read_bytes(), telltale.secrets()) == [], path.name
    for path in (space / "results").rglob("*.json*"):
        if path.name != "plausibility.json":  # which cases it has
            assert found(path.read_bytes(), telltale.secrets()) == [], path.name
    for path in predicted.glob("*.nii.gz"):
        assert found(path.read_bytes(), telltale.secrets()) == [], path.name


def test_what_is_inside(trained):
    """Files, statistics without cases, scores without cases, and numbers without names."""
    _, space, _, predicted, path = trained
    inside = contents(path)
    parts = inside.parts()
    assert list(parts) == [
        "manifest", "card", "plan", "recipe", "fingerprint", "scores", "fold_0",
    ]  # fmt: skip
    own = read_json(space / "preprocessed" / telltale.NAME / "fingerprint.json")
    assert own["cases"]
    left = parts["fingerprint"]
    assert left["channels"] == own["channels"]
    assert left["num_cases"] == len(own["cases"])
    assert set(left) == {"kind", "version", "dataset", "foreground", "num_cases", "channels"}
    assert inside.scores["summary"] == read_json(predicted / "scores.json")["summary"]
    assert inside.scores["cases"] == [] and inside.scores["predicted_folder"] == ""
    folder = space / "results" / telltale.NAME / "default" / "lift" / "fold_0"
    numbers = read_json(folder / "plausibility.json")["cases"]
    anonymous = parts["fold_0"]["plausibility"]["cases"]
    assert sorted(map(json.dumps, numbers.values())) == list(map(json.dumps, anonymous.values()))
    assert list(anonymous) == [str(i + 1) for i in range(len(numbers))]
    assert parts["fold_0"]["training_facts"]["cases"] == parts["fold_0"]["training_cases"] > 0
    assert {name.partition("/")[0] for name in load_file(path)} == {"fold_0"}


def test_the_same_model_gives_the_same_bytes(trained, tmp_path, capsys):
    """Two exports are equal; every part is listed with its size, and the digest is printed."""
    _, space, _, predicted, path = trained
    again = liftnet.export(tmp_path / "again.safetensors", scores=predicted, workspace=space)
    assert again.read_bytes() == path.read_bytes()
    printed = capsys.readouterr().out
    for name, part in contents(path).parts().items():
        size = len(json.dumps(part))
        assert any(f"{size:,} bytes  {name}" in line for line in printed.splitlines()), name
        assert name == "card" or f"| {name} | {size:,} |" in contents(path).card
    size = sum(tensor.nbytes for tensor in load_file(path).values())
    assert f"{size:,} bytes  fold_0, weights" in printed
    assert "Not in it: images, names of cases, paths" in printed
    assert "warning" not in printed
    liftnet.import_model(again, sha256=printed.split("--sha256 ")[1][:64], workspace=tmp_path / "w")


def test_predicts_the_same_elsewhere(trained, tmp_path):
    """In a clean workspace: the same bytes of images, and the same facts beside them."""
    _, _, new, predicted, path = trained
    liftnet.import_model(path, workspace=tmp_path / "clean")
    output = tmp_path / "predicted"
    liftnet.predict(new, output, device="cpu", workspace=tmp_path / "clean")
    image = next(predicted.glob("*.nii.gz"))
    assert (output / image.name).read_bytes() == image.read_bytes()
    here, there = (read_image(folder / image.name)[0] for folder in (predicted, output))
    np.testing.assert_array_equal(here, there)
    assert here.std() > 0
    name = image.name.replace(".nii.gz", ".json")
    first, second = read_json(predicted / name), read_json(output / name)
    assert first["plausibility"]["training_cases"] >= 3
    for facts in (first, second):
        for key in CHANGING:
            facts.pop(key)
        facts["made_from"].pop("folder")  # the way to the same input from another output
    assert first == second


def test_another_name(trained, tmp_path):
    """Number and plan can be changed; the model is the same and is still judged."""
    _, _, new, predicted, path = trained
    run = liftnet.import_model(path, 12, plan_name="theirs", workspace=tmp_path)
    assert run == tmp_path / "results" / "Dataset012_Phantom" / "theirs"
    options = {"plan_name": "theirs", "device": "cpu", "workspace": tmp_path}
    liftnet.predict(new, tmp_path / "out", 12, **options)
    image = next(predicted.glob("*.nii.gz"))
    assert (tmp_path / "out" / image.name).read_bytes() == image.read_bytes()
    facts = read_json(tmp_path / "out" / image.name.replace(".nii.gz", ".json"))
    assert (facts["dataset"], facts["plan"]) == ("Dataset012_Phantom", "theirs")
    assert facts["plausibility"]["training_cases"] >= 3


def test_an_imported_model_goes_on(trained, tmp_path):
    """It can be exported again, with the texts, statistics and weights that it came with."""
    _, space, _, _, path = trained
    texts = {"data": "phantoms", "licence": "CC0", "intended_use": "tests <b>only</b>"}
    first = liftnet.export(tmp_path / "first.safetensors", workspace=space, **texts)
    liftnet.import_model(first, workspace=tmp_path / "w")
    second = liftnet.export(tmp_path / "second.safetensors", workspace=tmp_path / "w")
    assert second.read_bytes() == first.read_bytes()
    card = contents(second).card
    assert "tests &lt;b>only&lt;/b>" in card and "CC0" in card and "phantoms" in card
    assert first.read_bytes() != path.read_bytes()


def test_the_model_card(trained):
    """It says what a stranger must know, and that what was not stated is not stated."""
    _, _, _, predicted, path = trained
    card = contents(path).card
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == [
        "What it does",
        "How to use it",
        "Training data",
        "Licence",
        "Intended use",
        "What it must not be used for",
        "Scores",
        "Training",
        "What is in the file, and what is not",
    ]
    assert card.count("Not stated by the person who exported the model") == 3
    scores = read_scores(predicted / "scores.json")
    assert scores.protocol.description in card
    assert f"| MAE | {scores.summary['b']['mae'].mean:.4g} |" in card
    model = contents(path).manifest.model
    assert f"Of images that these weights (`{model}`) have made." in card
    assert "liftnet_predict -d 7 -p default -i new_cases -o predicted" in card


def test_the_model_card_says_what_was_learned(trained, tmp_path, capsys):
    """Training cases among the scored ones, few cases, sizes, training cases, memory, and names."""
    _, space, _, predicted, path = trained
    card = contents(path).card
    case = f"{telltale.PERSON}-p1"
    splits = space / "preprocessed" / telltale.NAME / "splits.json"
    [first, *_] = before = read_json(splits)
    assert f"| 0 | {len(first['train'])} | 2 |" in card
    assert "Few cases: see the intervals (b n = 1)." in card and "| b, n = 1 |" in card
    assert "of memory, beside the program itself." in card and "one stage" not in card
    assert "`-d` and `-p` are those of the export; if you gave `liftnet_import` others" in card
    recipe = read_json(space / "preprocessed" / telltale.NAME / "default/recipes/lift.json")
    widths = ",".join(map(str, recipe["translator"]["widths"]))
    assert f"`lift.translator.widths=[{widths}] lift.mixer.hidden_size=8`" in card
    seen = "1 of the 1 scored cases was a training case of this fold: what is measured on them"
    none = "None of the 1 scored cases was used for training these folds."
    assert (seen in card, none in card) == (case in first["train"], case not in first["train"])
    others = sorted(set(first["train"] + first["validation"]) - {case})
    for train, validation, text in (([case], others, seen), (others, [case], none)):
        write_json(splits, [{"train": train, "validation": validation}])
        again = liftnet.export(
            tmp_path / f"{text[0]}.safetensors", scores=predicted, workspace=space
        )
        assert f"**{text}" in contents(again).card
        assert f"scores: {text}" in capsys.readouterr().out
    splits.unlink()
    again = liftnet.export(tmp_path / "unknown.safetensors", scores=predicted, workspace=space)
    write_json(splits, before)
    card = contents(again).card
    assert "**It is not known whether any of the 1 scored" in card and "| 0 | not known | 2" in card


def test_texts_of_the_user_are_looked_at(trained, tmp_path):
    """The name of a case, a path, the user: the option is named and nothing is written."""
    _, space, _, _, _ = trained
    texts = {"data": f"but {telltale.PERSON}-p2", "licence": str(space), "intended_use": "/srv/x"}
    for option, text in texts.items():
        with pytest.raises(LiftnetError, match=f"^--{option} holds"):
            liftnet.export(tmp_path / "m.safetensors", workspace=space, **{option: text})
    assert not list(tmp_path.iterdir())


def test_scores_of_other_weights(trained, tmp_path, capsys):
    """They go along, but card and report say whose they are."""
    _, space, _, predicted, _ = trained
    shutil.copytree(predicted, tmp_path / "others")
    for path in (tmp_path / "others").glob("*_0001.json"):
        write_json(path, read_json(path) | {"model": "0123456789abcdef"})
    scores = read_json(tmp_path / "others" / "scores.json")
    scores["predicted_folder"] = str(tmp_path / "others")
    write_json(tmp_path / "others" / "scores.json", scores)
    path = liftnet.export(tmp_path / "m.safetensors", scores=tmp_path / "others", workspace=space)
    assert "of images made by 0123456789abcdef, not by these" in capsys.readouterr().out
    assert "Of images that other weights have made: `0123456789abcdef`" in (contents(path).card)
    write_json(tmp_path / "others" / "scores.json", scores | {"dataset": "Dataset001_Other"})
    with pytest.raises(LiftnetError, match="The scores are of task"):
        liftnet.export(tmp_path / "n.safetensors", scores=tmp_path / "others", workspace=space)
    with pytest.raises(LiftnetError, match="neither scores"):
        liftnet.export(tmp_path / "n.safetensors", scores=tmp_path, workspace=space)


@pytest.mark.parametrize("name", ["plan", "recipe"])
def test_a_name_in_a_decision_is_refused(name, trained, tmp_path):
    """What somebody has written into these files by hand is looked at too."""
    _, space, *_ = trained
    shutil.copytree(space, tmp_path / "space")
    file = tmp_path / "space" / "results" / telltale.NAME / "default/lift/fold_0" / f"{name}.json"
    reasons = {
        "seed": f"as for {telltale.PERSON}-p2",
        "second line": f"as\n{telltale.PERSON}-p2",
        "grid": f"see {tmp_path}/space/notes",
    }
    for key, text in reasons.items():
        write_json(file, read_json(file) | {"reasons": {key: text}})
        with pytest.raises(LiftnetError, match=f"The {name} would hold"):
            liftnet.export(tmp_path / "m.safetensors", workspace=tmp_path / "space")
    assert not (tmp_path / "m.safetensors").exists()


def test_refusals(trained, tmp_path):
    """A file that is there, a folder, and a fold that is not trained."""
    _, space, *_ = trained
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(LiftnetError, match="there already"):
        liftnet.export(path, workspace=space)
    assert path.read_bytes() == b"mine"
    liftnet.export(path, overwrite=True, workspace=space)
    assert contents(path).scores is None
    for name in ("", "n.zip"):
        with pytest.raises(LiftnetError, match="A model is written as one"):
            liftnet.export(tmp_path / name, workspace=space)
    with pytest.raises(LiftnetError, match="fold_3 is not trained"):
        liftnet.export(tmp_path / "n.safetensors", fold=[3], workspace=space)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("faster", [True, False])
def test_of_two_exports_at_once_one_is_refused(faster, trained, tmp_path, monkeypatch):
    """Whether the other one has just ended or is still writing; its file stays."""
    _, space, *_ = trained
    path = tmp_path / "m.safetensors"

    def collect(*arguments):
        if faster:
            path.write_bytes(b"theirs")
        return fold_papers(*arguments)

    monkeypatch.setattr(step, "fold_papers", collect)
    other = hold(tmp_path, "liftnet_export", part="m.safetensors")
    with nullcontext() if faster else other, pytest.raises(LiftnetError) as caught:
        liftnet.export(path, workspace=space)
    words = "The file is there already" if faster else "Another run works here: liftnet_export"
    assert words in caught.value.problem
    assert path.exists() == faster and (not faster or path.read_bytes() == b"theirs")


def test_the_path_of_a_feature_file_stays():
    """Plan and recipe that name a file of weights keep its name and lose its folders."""
    weights = "/home/somebody/weights/resnet.pth"
    plan, recipe = make_plan(), make_recipe()
    named = make_plan(budget=replace(plan.budget, feature_weights=weights))
    assert portable_plan(named).budget.feature_weights == "resnet.pth"
    given = portable_recipe(make_recipe(features=ResNetSpec(weights, "00")))
    assert given.features == ResNetSpec("resnet.pth", "00")
    assert portable_plan(plan) == plan and portable_recipe(recipe) == recipe
