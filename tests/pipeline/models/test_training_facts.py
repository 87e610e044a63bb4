"""What a fold's training cases had: written, told, and kept to at prediction."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from trained_folds import DATASET, STAGE, add_fold

from liftnet.core.errors import DatasetError
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.data.store import Store
from liftnet.imageio import read_image
from liftnet.pipeline.models.runs import plan_digest
from liftnet.pipeline.models.training_facts import (
    FACTS,
    TrainingFacts,
    load_facts,
    note_facts,
    servable,
    shares,
)
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.train.train import train


def facts(plan: str = "x", **channels: int) -> TrainingFacts:
    """Of a fold of 5 cases on one grid."""
    spacing = ((4.0, 4.0), (2.4, 2.4), (2.1, 2.1))
    return TrainingFacts(plan, 5, channels, spacing, (8, 11), {})


def test_what_a_fold_can_do():
    """Only what was in training cases is made or used; what is unknown counts as seen."""
    folds = [facts(a=5, b=5, c=0), None]
    request = Request(("a",), ("b", "c"))
    assert shares(folds, request) == [Request(("a",), ("b",)), request]
    assert servable(folds, request, asked=True) == request
    assert servable(folds[:1], request, asked=False) == Request(("a",), ("b",))
    assert servable(folds[:1], Request(("a", "c"), ("b",)), asked=True) == Request(("a",), ("b",))
    with pytest.raises(DatasetError, match="No training case had c: it cannot be made") as caught:
        servable(folds[:1], request, asked=True)
    assert caught.value.remedy is not None and "liftnet_train -f all" in caught.value.remedy
    with pytest.raises(DatasetError, match="No training case had c: it cannot"):
        servable(folds[:1], Request(("a", "b"), ("c",)), asked=False)
    with pytest.raises(DatasetError, match="No training case had c: nothing is known to start"):
        servable(folds[:1], Request(("c",), ("a",)), asked=True)
    apart = [facts(a=1, b=0, c=1), facts(a=0, b=1, c=1)]
    with pytest.raises(DatasetError, match="No fold has learned both"):
        servable(apart, Request(("a",), ("b",)), asked=True)


def test_counts_spacings_and_pairs(workspace, tmp_path, capsys):
    """The file says what the stored cases have; a rare contrast is told when training begins."""
    folder = workspace / "preprocessed" / DATASET / "default"
    plan, store = read_plan(folder / "plan.json"), Store(folder / "cases")
    run = tmp_path / "fold_0"
    note_facts(store, plan, ["p3", "p4", "p6"], run)
    (found,) = load_facts([run], plan)
    assert found is not None
    assert (found.cases, found.channels) == (3, {"a": 3, "b": 2, "c": 3})
    expected = ((4.0, 4.0), (2.0, 2.4), (2.1, 2.1))
    np.testing.assert_allclose(found.spacing_mm, expected, rtol=1e-6)
    assert found.slices == (10, 11)
    assert set(found.pairs) == {"a and b", "a and c", "b and c"}
    assert all(0.3 < share < 1 for share in found.pairs.values())  # functions of each other
    assert capsys.readouterr().out == ""
    note_facts(store, plan, ["p6"], run)
    assert "no training case of fold_0 has b: it is not learned" in capsys.readouterr().out
    note_facts(store, plan, ["p5", "p6"], run)
    assert "only 1 training case of fold_0 has b" in capsys.readouterr().out
    assert "p5" not in (run / FACTS).read_text()
    assert load_facts([run], replace(plan, seed=1)) == [None]
    assert load_facts([tmp_path], plan) == [None]


def test_a_fold_that_never_saw_a_contrast(workspace, capsys):
    """It says so when it begins; it neither makes the contrast nor uses it; others do."""
    for case in ("p2", "p3", "p4", "p5"):
        (workspace / "raw" / DATASET / "imagesTr" / f"{case}_0001.nii.gz").unlink()
    store = Store(workspace / "preprocessed" / DATASET / "default" / "cases")
    for case in ("p2", "p3", "p4", "p5"):
        path = store.folder / f"{case}.json"
        write_json(path, {**read_json(path), "present": ["a", "c"]})
    rest = ["p2", "p3", "p4", "p5", "p6"]
    folds = [
        {"train": rest, "validation": ["p1"]},
        {"train": ["p1", *rest[1:]], "validation": ["p2"]},
    ]
    write_json(workspace / "preprocessed" / DATASET / "splits.json", folds)
    train(workspace=workspace, fold=(0,), device="cpu")
    assert "warning: no training case of fold_0 has b" in capsys.readouterr().out
    new = workspace / "new"
    new.mkdir()
    for name in ("p1_0000", "p1_0002", "p2_0000"):
        shutil.copy(workspace / "raw" / DATASET / "imagesTr" / f"{name}.nii.gz", new)
    options = {"workspace": workspace, "device": "cpu", "num_processes": 1}
    failures = predict(new, workspace / "out", **options)
    assert [failure.case for failure in failures] == ["p1"]  # lacks b alone
    assert "No training case had b: it cannot be made" in str(failures[0].error)
    assert sorted(p.name for p in (workspace / "out").glob("*.nii.gz")) == ["p2_0002.nii.gz"]
    assert "warning: no training case had b: it is neither made" in capsys.readouterr().out

    other = add_fold(workspace, "1", 3)
    write_json(other / FACTS, facts(plan_digest(read_plan(other / "plan.json")), a=5, b=1, c=5))
    assert predict(new, workspace / "both", **options) == []
    assert "b was in training cases of 1 of 2 folds only" in capsys.readouterr().out
    assert predict(new, workspace / "one", fold=(1,), **options) == []
    both, one = (read_image(workspace / part / "p1_0001.nii.gz")[0] for part in ("both", "one"))
    np.testing.assert_array_equal(both, one)
    said = {
        name: json.loads((workspace / "both" / f"{name}.json").read_text())["folds"]
        for name in ("p1_0001", "p2_0002")
    }
    assert said == {"p1_0001": ["fold_1"], "p2_0002": ["fold_0", "fold_1"]}
    averaged = read_image(workspace / "both" / "p2_0002.nii.gz")[0]
    assert not np.array_equal(averaged, read_image(workspace / "one" / "p2_0002.nii.gz")[0])
    assert (other / STAGE).is_dir()


def test_the_file_does_not_depend_on_which_case_is_ready_first(workspace, tmp_path, monkeypatch):
    """Numbers are added up in the order of the cases: the same file, byte for byte."""
    folder = workspace / "preprocessed" / DATASET / "default"
    plan, store = read_plan(folder / "plan.json"), Store(folder / "cases")
    written = []
    for order in (1, -1):

        def in_turn(work, items, workers, order=order):
            return [(item, work(item)) for item in items[::order]]

        monkeypatch.setattr("liftnet.pipeline.models.training_facts.in_parallel", in_turn)
        run = tmp_path / f"fold_{order}"
        note_facts(store, plan, store.identifiers(), run)
        written.append((run / FACTS).read_bytes())
    assert written[0] == written[1]
