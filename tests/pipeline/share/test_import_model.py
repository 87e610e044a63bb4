"""Nothing gets in that is not exactly a model; what is one predicts here as it did there."""

import hashlib
import os
import random
import re
import shutil
import tracemalloc
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import tiny_generation
import torch
import trained_folds
from head_pairs import NAME as PAIRS
from local_server import serving
from model_files import KINDS, papers
from small_generation import make_plan, make_recipe
from tiny_generation import DATASET, add_fold, installed, store_fold

import liftnet
from liftnet.core.errors import CheckpointError, LiftnetError
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.scores import (
    COHORT_SCORES_VERSION,
    ClosestPair,
    CohortRow,
    CohortScores,
    Origin,
    Protocol,
    read_cohort_scores,
)
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import find_workspace
from liftnet.host.lock import hold
from liftnet.methods import load_method
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint, weights_digest
from liftnet.pipeline.models.model_file import read_model_file
from liftnet.pipeline.models.runs import BEST
from liftnet.pipeline.plan import load_plan, load_recipe, read_recipe
from liftnet.pipeline.share import fetch as import_fetch
from liftnet.pipeline.share import import_model as step
from liftnet.pipeline.share import place as import_place

PACKAGE = Path(__file__).parents[3] / "liftnet"
MAX_BYTES = 30 * 2**20  # while a file is refused; the bombs are of 64 MiB and 4 GiB


@pytest.fixture(scope="module", autouse=True)
def _task() -> Iterator[None]:
    with installed():
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A model file of two folds."""
    root = tmp_path_factory.mktemp("good")
    add_fold(root / "w", "0", 1)
    add_fold(root / "w", "1", 2)
    return liftnet.export(root / "model.safetensors", licence="CC0", workspace=root / "w")


def tree(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    found = sorted(root.rglob("*")) if root.exists() else []
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in found}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused(kind, good, tmp_path, monkeypatch):
    """Each with a message of its own, a way out, little memory, and no trace anywhere."""
    make, message = KINDS[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(make(good.read_bytes()))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    before = tree(tmp_path)
    tracemalloc.start()
    with pytest.raises(LiftnetError, match=message) as caught:
        liftnet.import_model(path, workspace=tmp_path / "workspace")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_BYTES
    assert caught.value.remedy and str(path) in str(caught.value.where)
    assert str(caught.value).replace("\n", "").isprintable()
    assert tree(tmp_path) == before


def test_table_of_what_is_refused(good, tmp_path):
    """`pytest -s -k table` shows it; there are many kinds, and no message serves for all."""
    path, messages = tmp_path / "model.safetensors", []
    for make, _ in KINDS.values():
        path.write_bytes(make(good.read_bytes()))
        with pytest.raises(LiftnetError) as caught:
            liftnet.import_model(path, workspace=tmp_path / "w")
        messages.append(caught.value.problem)
    for kind, message in zip(KINDS, messages, strict=True):
        print(f"{kind:<34}{message}")
    assert len(set(messages)) > 40
    assert not (tmp_path / "w").exists()


def test_changed_bytes_are_seen(good, tmp_path):
    """A bit changed anywhere is an error, or changes nothing of what is read."""
    content, path = good.read_bytes(), tmp_path / "model.safetensors"
    whole = read_model_file(good)
    rng = random.Random(0)
    refused = 0
    for place in [*range(20), *rng.sample(range(len(content)), 250), *range(-30, 0)]:
        other = bytearray(content)
        other[place] ^= 1 << rng.randrange(8)
        path.write_bytes(other)
        try:
            found = read_model_file(path)
        except LiftnetError:
            refused += 1
        else:
            assert found.papers == whole.papers, place
            assert weights_digest(found.tensors.values()) == whole.papers.manifest.model
    assert refused > 280


def test_folds_in_any_order(good, tmp_path):
    """Folds that are named are exported once each, in the order in which prediction finds them."""
    named = liftnet.export(
        tmp_path / "m.safetensors", fold=[1, 0, "1"], licence="CC0", workspace=good.parent / "w"
    )
    assert named.read_bytes() == good.read_bytes()
    one = liftnet.export(tmp_path / "one.safetensors", fold=[1], workspace=good.parent / "w")
    run = liftnet.import_model(one, workspace=tmp_path / "w")
    assert [folder.name for folder in (run / tiny_generation.NAME).iterdir()] == ["fold_1"]


def test_scores_of_a_cohort(good, tmp_path):
    """They go along without folders and volumes, and are in the card."""
    folder = "/home/Mustermann"
    scores = CohortScores(
        version=COHORT_SCORES_VERSION,
        protocol=Protocol("cohort", "as two cohorts"),
        task=tiny_generation.NAME,
        dataset=DATASET,
        plan="default",
        channel="t1n",
        generated_folder=folder,
        real_folder=folder,
        training_folder=folder,
        num_generated=8,
        num_real=9,
        num_training=0,
        shape=(6, 9, 8),
        features={},
        rows=(CohortRow("voxels", "ms_ssim", 0.75, 0.625, "near that of real volumes"),),
        closest=(ClosestPair("generated", "sample_0003", "Mustermann-1", 0.5),),
        notes=("8 generated, 9 real",),
        warnings=(f"no features: {folder}/m.pth is not there",),
        liftnet="0",
        made=Origin(command="liftnet_evaluate -i Mustermann"),
    )
    write_json(tmp_path / "cohort_scores.json", scores)
    options = {"scores": tmp_path, "workspace": good.parent / "w"}
    path = liftnet.export(tmp_path / "m.safetensors", **options)
    assert b"Mustermann" not in path.read_bytes()
    run = liftnet.import_model(path, workspace=tmp_path / "w")
    kept = read_cohort_scores(run / "model_card" / "cohort_scores.json")
    assert kept.rows == scores.rows and kept.notes == scores.notes
    card = (run / "model_card" / "README.md").read_text(encoding="utf-8")
    assert "8 generated volumes of t1n against 9 real ones." in card
    assert "| 0.75 | 0.625 | near that of real volumes |" in card
    assert "It is not known which weights made the images" in card


@pytest.mark.parametrize("name", ["lift", "no_mapper"])
def test_with_context_and_without(name, pairs, tmp_path, capsys):
    """Each method has its own folder; the command that predicts names what is not the default."""
    space, method = find_workspace(pairs), load_method(name)
    plan = load_plan(space, PAIRS, "default")
    recipe = load_recipe(space, plan, method)
    stage = method.stages(plan, recipe)[-1]
    folder = pairs / "results" / PAIRS / "default" / name / "fold_all"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    state = {"network": stage.build(None).state_dict()}
    save_checkpoint(folder / stage.name / BEST, state, {"step": 1})
    path = liftnet.export(tmp_path / "m.safetensors", method=name, workspace=pairs)
    run = liftnet.import_model(path, workspace=tmp_path / "w")
    assert ("--method no_mapper" in capsys.readouterr().out) == (name == "no_mapper")
    (imported,) = run.glob(f"{name}/fold_all/*/*.safetensors")
    assert read_recipe(imported.parents[1] / "recipe.json", plan, method) == recipe
    assert imported.parent.name == stage.name
    weights = load_checkpoint(imported).groups["network"]
    assert all(torch.equal(weights[name], tensor) for name, tensor in state["network"].items())


@pytest.mark.parametrize(
    ("name", "other", "problem"),
    [
        ("lift", "no_mapper", "there is a mixer, which is method lift"),
        ("no_mapper", "lift", "mixer is null, which is method no_mapper"),
    ],
)
def test_a_model_under_the_name_of_another_method(name, other, problem, workspace, tmp_path):
    """What has the same kind of recipe is told apart by what is in it."""
    trained_folds.add_fold(workspace, "0", 0, method=name)
    path = liftnet.export(tmp_path / "m.safetensors", method=name, workspace=workspace)
    path.write_bytes(papers("manifest", method=other)(path.read_bytes()))
    with pytest.raises(LiftnetError, match=problem):
        liftnet.import_model(path, workspace=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_generates_the_same_elsewhere(good, tmp_path):
    """Every fold gives the same bytes in a clean workspace as where it was trained."""
    run = liftnet.import_model(good, workspace=tmp_path / "w")
    assert run == tmp_path / "w" / "results" / DATASET / "default"
    for space, name in ((good.parent / "w", "here"), (tmp_path / "w", "there")):
        options = {"workspace": space, "device": "cpu"}
        liftnet.generate(2, tmp_path / name, fold=1, **options)
    here, there = tree(tmp_path / "here"), tree(tmp_path / "there")
    images = [name for name in here if name.endswith(".nii.gz")]
    assert len(images) == 2
    assert all(here[name] == there[name] for name in images)


@pytest.mark.parametrize("features", ["own", "given"])
def test_the_real_generator(features, tmp_path):
    """Its network, which has parts that are not used, fits its recipe; no path leaves."""
    plan, recipe = make_plan(), make_recipe()
    if features == "given":
        given = ResNetSpec("/home/somebody/resnet.pth", "0" * 64)
        recipe = make_recipe(features=given, slice_features=None)
    network = load_method("lift_u").stages(plan, recipe)[-1].build()
    store_fold(tmp_path / "w", "0", plan, recipe, network)
    path = liftnet.export(tmp_path / "m.safetensors", workspace=tmp_path / "w")
    assert b"/home/somebody" not in path.read_bytes()
    run = liftnet.import_model(path, workspace=tmp_path / "v")
    assert (run / "lift_u" / "fold_0" / "depth_mapping").is_dir()


def test_nothing_is_overwritten_untold(good, tmp_path):
    """Not a plan, not a model; with --overwrite it is replaced as a whole."""
    space = tmp_path / "w"
    run = liftnet.import_model(good, workspace=space)
    (run / "mine.txt").write_text("mine")
    before = tree(space)
    with pytest.raises(LiftnetError, match="has a plan 'default' already"):
        liftnet.import_model(good, workspace=space)
    assert tree(space) == before
    liftnet.import_model(good, plan_name="other", workspace=space)
    with pytest.raises(LiftnetError, match="has a plan 'other' already"):
        liftnet.import_model(good, plan_name="other", workspace=space)
    liftnet.import_model(good, overwrite=True, workspace=space)
    assert not (run / "mine.txt").exists()
    assert not [name for name in tree(space) if name.startswith("results/.")]
    shutil.rmtree(run)
    write_json(space / "preprocessed" / DATASET / "default" / "plan.json", {"mine": 1})
    with pytest.raises(LiftnetError, match="has a plan 'default' already"):
        liftnet.import_model(good, workspace=space)


def test_training_does_not_replace_imported_weights(good, tmp_path):
    """What was imported stays; the way on is a plan of its own with --pretrained."""
    target = liftnet.import_model(good, workspace=tmp_path)
    before = tree(target)
    for restart in (False, True):
        with pytest.raises(CheckpointError, match="were imported; training would replace"):
            liftnet.train(8, workspace=tmp_path, restart=restart, device="cpu")
    assert tree(target) == before


def test_numbers_and_names(good, tmp_path):
    """Another number or name; not one that another dataset has, and none that is a path."""
    space = tmp_path / "w"
    (space / "raw" / "Dataset008_Mine").mkdir(parents=True)
    with pytest.raises(LiftnetError, match="another dataset with the number") as caught:
        liftnet.import_model(good, workspace=space)
    assert "-d 1" in str(caught.value.remedy)
    assert liftnet.import_model(good, 1, workspace=space).parent.name == "Dataset001_Tiny"
    named = liftnet.import_model(good, "Dataset003_Other", plan_name="p", workspace=space)
    assert named == space / "results" / "Dataset003_Other" / "p"
    for wrong in ("../x", "Dataset004_../x", "0", "1000", "Other", "Dataset004_"):
        with pytest.raises(LiftnetError, match="cannot be the name of a dataset"):
            liftnet.import_model(good, wrong, workspace=space)
    for wrong in ("a/b", "..", "p" * 300):
        with pytest.raises(LiftnetError, match="cannot be the name of a plan"):
            liftnet.import_model(good, plan_name=wrong, workspace=space)


def test_a_dataset_with_other_channels(good, tmp_path):
    """A model is not put beside images that it was not made for."""
    raw = tmp_path / "raw" / DATASET
    own = {"name": "Tiny", "task": tiny_generation.NAME, "channels": {"0": {"name": "flair"}}}
    write_json(raw / "dataset.json", own)
    with pytest.raises(LiftnetError, match="is another dataset: it has flair"):
        liftnet.import_model(good, workspace=tmp_path)
    write_json(raw / "dataset.json", own | {"channels": {"0": {"name": "t1n"}}})
    liftnet.import_model(good, workspace=tmp_path)


@pytest.mark.parametrize("place", [(step, "write_text"), (import_place, "write_sealed")])
def test_a_failure_leaves_everything_as_it_was(place, good, tmp_path, monkeypatch):
    """A full disk in the middle, in an empty workspace and with a model to be replaced."""
    space = tmp_path / "w"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(LiftnetError, match="disk is full"):
            liftnet.import_model(good, workspace=space)
    assert set(tree(space)) <= {"results"}
    liftnet.import_model(good, workspace=space)
    planned = space / "preprocessed" / DATASET / "default"
    write_json(planned / "plan.json", {"mine": 1})
    write_json(planned / "recipes" / "tiny.json", {"mine": 1})
    before = tree(space)
    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        with pytest.raises(LiftnetError, match="disk is full"):
            liftnet.import_model(good, overwrite=True, workspace=space)
    assert tree(space) == before


def test_recipes_go_with_their_plan(good, tmp_path):
    """Those of the plan that is replaced would be trained with; those of the same plan stay."""
    planned = tmp_path / "preprocessed" / DATASET / "default"
    recipe = planned / "recipes" / "tiny.json"
    write_json(planned / "plan.json", {"mine": 1})
    write_json(recipe, {"mine": 1})
    liftnet.import_model(good, overwrite=True, workspace=tmp_path)
    assert not recipe.exists()
    write_json(recipe, {"of": "this plan"})
    liftnet.import_model(good, overwrite=True, workspace=tmp_path)
    assert read_json(recipe) == {"of": "this plan"}


def test_an_import_that_was_killed(good, tmp_path, monkeypatch):
    """Before its last step it has left nothing that counts; the same command completes it."""
    space = tmp_path / "w"
    whole = tree(liftnet.import_model(good, workspace=tmp_path / "other"))
    real = Path.rename

    class Killed(BaseException):
        pass

    def killed(self: Path, target: Path) -> Path:
        if self.name.startswith(".import"):
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr(import_place, "_undo", lambda *_: None)
        patch.setattr(import_place.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            liftnet.import_model(good, workspace=space)
    with pytest.raises(LiftnetError, match="Nothing is trained yet"):
        liftnet.generate(1, tmp_path / "o", workspace=space)
    assert tree(liftnet.import_model(good, workspace=space)) == whole
    assert not list((space / "results").glob(".*"))


def test_a_model_in_use(good, tmp_path):
    """A run that works in the folder is not pulled from under its feet."""
    run = liftnet.import_model(good, workspace=tmp_path)
    with (
        hold(run / tiny_generation.NAME / "fold_0", "liftnet_train"),
        pytest.raises(LiftnetError, match="Another run works here: liftnet_train"),
    ):
        liftnet.import_model(good, overwrite=True, workspace=tmp_path)
    liftnet.import_model(good, overwrite=True, workspace=tmp_path)


class Answers(BaseHTTPRequestHandler):
    """Answers by path: a model, part of one, a redirect, nothing."""

    def __init__(self, content: bytes, *arguments: object) -> None:
        self.content = content
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.partition("?")[0]
        if name == "/away":
            self.send_response(302)
            self.send_header("Location", "http://model.example/model.safetensors")
        elif name == "/home":
            self.send_response(302)
            self.send_header("Location", "/model.safetensors")
        elif name in ("/model.safetensors", "/part.safetensors", "/endless.safetensors"):
            self.send_response(200)
            if name != "/endless.safetensors":
                self.send_header("Content-Length", str(len(self.content)))
        else:
            self.send_response(404)
        self.end_headers()
        if name.endswith(".safetensors"):
            self.wfile.write(self.content[: 1000 if name == "/part.safetensors" else None])

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def address(good) -> Iterator[str]:
    """Where a server of this machine offers the model."""
    with serving(partial(Answers, good.read_bytes())) as address:
        yield address


def test_from_an_address(good, address, tmp_path, capsys):
    """Fetched, also over a redirect to a safe address; secrets in the address are not printed."""
    digest = hashlib.sha256(good.read_bytes()).hexdigest().upper()
    liftnet.import_model(
        f"{address}/model.safetensors?token=secret", sha256=digest, workspace=tmp_path
    )
    liftnet.import_model(f"{address}/home", plan_name="p", workspace=tmp_path)
    printed = capsys.readouterr().out
    assert f"Fetched {good.stat().st_size:,} bytes" in printed
    assert "secret" not in printed


REFUSED = {
    "/away": "by https only, not by http",
    "/part.safetensors": "cannot be fetched",
    "/nothing": "cannot be fetched: Not Found",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_address_must_not_do(name, address, tmp_path):
    """Send elsewhere by http, end early, have nothing."""
    with pytest.raises(LiftnetError, match=REFUSED[name]):
        liftnet.import_model(address + name, workspace=tmp_path / "w")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", ["/model.safetensors", "/endless.safetensors"])
def test_too_much_from_an_address(name, address, tmp_path, monkeypatch):
    """Whether the server says so or not."""
    monkeypatch.setattr(import_fetch, "MAX_BYTES", 1000)
    with pytest.raises(LiftnetError, match="more than 1,000 bytes"):
        liftnet.import_model(address + name, workspace=tmp_path / "w")


@pytest.mark.parametrize(
    "url",
    [
        "http://model.example/m.safetensors",
        "http://localhost@model.example/m.safetensors",
        "file:///etc/passwd",
        "ftp://localhost/m.safetensors",
        "https:///m.safetensors",
    ],
)
def test_addresses_that_are_refused(url, tmp_path):
    """Without asking anybody; user names in them are not repeated."""
    with pytest.raises(LiftnetError, match="by https only") as caught:
        liftnet.import_model(url, workspace=tmp_path / "w")
    assert "@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://[::1", "https://a:b/m.safetensors", "https://[x]/m.safetensors"]
)
def test_what_is_no_address(url, tmp_path):
    """An error, not a traceback of the library that reads it."""
    with pytest.raises(LiftnetError, match="This is no address") as caught:
        liftnet.import_model(url, workspace=tmp_path / "w")
    assert caught.value.where == url


def test_the_wrong_file(good, tmp_path):
    """Another SHA-256 than the sender names; no file at all; a folder."""
    with pytest.raises(LiftnetError, match=f"has SHA-256 [0-9a-f]{{64}}, not {'0' * 64}"):
        liftnet.import_model(good, sha256="0" * 64, workspace=tmp_path / "w")
    os.mkfifo(tmp_path / "pipe")
    kinds = {"none.safetensors": "File not found", "": "This is a folder", "pipe": "This is a pipe"}
    for name, words in kinds.items():
        with pytest.raises(LiftnetError, match=words):
            liftnet.import_model(tmp_path / name, workspace=tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_imported_files_are_plain(good, tmp_path):
    """Nothing can be executed, whatever the file may be; papers lie beside the folds."""
    path = tmp_path / "m.safetensors"
    shutil.copy(good, path)
    path.chmod(0o777)
    run = liftnet.import_model(path, workspace=tmp_path / "w")
    assert not [p for p in run.rglob("*") if p.is_file() and p.stat().st_mode & 0o7111]
    assert sorted(p.name for p in (run / "model_card").iterdir()) == ["README.md", "manifest.json"]
    assert read_json(run / "model_card" / "manifest.json")["licence"] == "CC0"
    folds = sorted(p.name for p in (run / "tiny" / "fold_1").iterdir())
    assert folds == ["plan.json", "recipe.json", tiny_generation.STAGE]


def test_a_card_is_shown(good, address, tmp_path, capsys):
    """Of a file or an address, and nothing is imported; a damaged file shows nothing."""
    capsys.readouterr()
    space = tmp_path / "w"
    assert liftnet.import_model(good, show=True, workspace=space) is None
    card = capsys.readouterr().out
    assert card.strip() == read_model_file(good).papers.card.strip()
    assert card.startswith(f"# Model card: {DATASET}, plan default")
    liftnet.import_model(f"{address}/model.safetensors", show=True, workspace=space)
    assert card in capsys.readouterr().out
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(good.read_bytes()[:-1])
    with pytest.raises(LiftnetError, match="damaged or cut off"):
        liftnet.import_model(path, show=True, workspace=space)
    assert capsys.readouterr().out == "" and not space.exists()


def test_older_statistics_are_no_obstacle(good, tmp_path):
    """Whether an image is compared with those of training is decided where they are read."""
    known = {"plan": "of another name", "cases": {"1": {"t1n": {"bright": 0.5}}}, "version": 2}
    path = tmp_path / "m.safetensors"
    path.write_bytes(papers("folds", "0", plausibility=known)(good.read_bytes()))
    run = liftnet.import_model(path, workspace=tmp_path / "w")
    kept = read_json(run / "tiny" / "fold_0" / "plausibility.json")
    assert kept["version"] == 2 and kept["cases"] == known["cases"]


def test_nothing_that_runs_is_loaded():
    """No file of the package unpickles or evaluates what it reads."""
    forbidden = re.compile(
        r"weights_only\s*=\s*False|pickle\.loads?\b|Unpickler|allow_pickle\s*=\s*True"
        r"|(?<![\w.'-])(?:eval|exec)\(|\bmarshal\b|\bshelve\b|\bjoblib\b|yaml\.load"
    )
    assert forbidden.search("x = eval(text)") and forbidden.search("np.load(p, allow_pickle=True)")
    assert not forbidden.search("network.eval()")
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    for path in files:
        found = forbidden.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(PACKAGE)}: {found[0] if found else ''}"
