"""The folders of a workspace."""

from pathlib import Path

import pytest

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.workspace import Workspace, find_workspace

VARIABLES = ("LIFTNET_WORKSPACE", "liftnet_raw", "liftnet_preprocessed", "liftnet_results")


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable set, and a current folder of our own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_order_of_precedence(monkeypatch, tmp_path):
    """Named outright, then the variables of the parts, then LIFTNET_WORKSPACE, then the default."""
    assert find_workspace().raw == Path.cwd() / "liftnet_workspace" / "raw"
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(tmp_path / "env"))
    assert find_workspace().results == tmp_path / "env" / "results"
    monkeypatch.setenv("liftnet_results", str(tmp_path / "fast"))
    assert find_workspace().results == tmp_path / "fast"
    assert find_workspace().raw == tmp_path / "env" / "raw"
    assert find_workspace(tmp_path / "named").results == tmp_path / "named" / "results"
    assert str(tmp_path / "fast") in find_workspace().describe()


def test_one_root_is_named_once(tmp_path):
    """Where the parts lie in one workspace, the line names that; else all three."""
    assert find_workspace(tmp_path).describe() == f"workspace {tmp_path}"
    apart = Workspace(tmp_path / "raw", tmp_path / "fast", tmp_path / "results")
    assert apart.describe().startswith(f"raw {tmp_path / 'raw'}, preprocessed")


def test_dataset_name(tmp_path):
    """The only dataset, an id, or a full name; anything else is refused with the choices."""
    workspace = find_workspace(tmp_path)
    with pytest.raises(DatasetError, match="holds no dataset"):
        workspace.dataset_name()
    (workspace.raw / "Dataset001_Heads").mkdir(parents=True)
    (workspace.raw / "notes").mkdir()
    (workspace.results / "Dataset001_Heads").mkdir(parents=True)
    assert workspace.dataset_name() == "Dataset001_Heads"
    (workspace.preprocessed / "Dataset012_Feet").mkdir(parents=True)
    assert workspace.dataset_name(12) == workspace.dataset_name("12") == "Dataset012_Feet"
    assert workspace.dataset_name("Dataset001_Heads") == "Dataset001_Heads"
    with pytest.raises(DatasetError, match="Several datasets") as caught:
        workspace.dataset_name()
    assert caught.value.remedy == "Choose one with -d: Dataset001_Heads, Dataset012_Feet."
    with pytest.raises(DatasetError, match="No dataset '2'"):
        workspace.dataset_name(2)
    (workspace.raw / "Dataset001_Hands").mkdir()
    with pytest.raises(DatasetError, match="Several datasets") as caught:
        workspace.dataset_name(1)
    assert caught.value.remedy == "Rename one of them: ids must differ."


def test_paths(tmp_path):
    """Every path hangs under its part, and differs by plan where it must."""
    w = find_workspace(tmp_path)
    assert w.plan_file("Dataset001_A", "p").parent == w.store("Dataset001_A", "p").parent
    assert w.plan_file("Dataset001_A", "p") != w.plan_file("Dataset001_A", "q")
    assert w.fingerprint_file("Dataset001_A").parent == w.splits_file("Dataset001_A").parent
    assert w.run_folder("Dataset001_A", "p").is_relative_to(w.results)


BAD = ("", ".", "..", "a/b", "/tmp/x", "a\\b", "a\x1bb", "a\n", " a", "a.", "<b>", "n" * 101)


@pytest.mark.parametrize("name", BAD)
def test_no_name_leads_elsewhere(tmp_path, name):
    """A path is never built from what is not the name of one folder."""
    w = find_workspace(tmp_path)
    for build in (w.plan_file, w.store, w.run_folder):
        with pytest.raises(LiftnetError, match="cannot be the name of a plan"):
            build("Dataset001_A", name)
        with pytest.raises(LiftnetError, match="cannot be the name of a dataset"):
            build(name, "p")
    for build in (w.fingerprint_file, w.splits_file):
        with pytest.raises(LiftnetError, match="cannot be the name of a dataset"):
            build(name)


@pytest.mark.parametrize("name", ["default", "grob 2.5mm", "K\u00f6ln", "a-b_c", "0", "Ko\u0308ln"])
def test_ordinary_names_work(tmp_path, name):
    """Dots, blanks, umlauts in both forms and hyphens are nothing to refuse."""
    w = find_workspace(tmp_path)
    assert w.plan_file(f"Dataset001_{name}", name).parts[-3:-1] == (f"Dataset001_{name}", name)


@pytest.mark.parametrize("name", ["fingerprint.json", "splits.json"])
def test_a_plan_does_not_take_the_place_of_a_file(tmp_path, name):
    """Plans lie beside these."""
    with pytest.raises(LiftnetError, match="is a file of the dataset"):
        find_workspace(tmp_path).plan_file("Dataset001_A", name)


def test_commands_that_can_be_copied(tmp_path, monkeypatch):
    """The number, the plan and the workspace are in them, as far as they are not the default."""
    w = find_workspace(tmp_path / "my space")
    told = w.command("liftnet_train", "Dataset012_A")
    assert told == f"liftnet_train -d 12 --workspace '{tmp_path / 'my space'}'"
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(tmp_path / "my space"))
    assert w.command("liftnet_train", "Dataset012_A", "b c") == "liftnet_train -d 12 -p 'b c'"
