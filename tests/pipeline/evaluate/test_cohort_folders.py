"""Evaluation of cohorts: which folders and options are one, what is refused or warned of."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import (
    OWN,
    boxed_plan,
    brain,
    folders,
    save,
    score,
    table,
    tiny_plan,
)
from tiny_generation import DATASET, NAME, SHAPE

from liftnet.core.errors import (
    DatasetError,
    GeometryError,
    LiftnetError,
    PlanError,
)
from liftnet.core.geometry import Geometry
from liftnet.core.plan import ClipAndScale, ZScore
from liftnet.core.scores import CohortScores, Scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.evaluate import cohort_volumes
from liftnet.pipeline.evaluate.evaluate import evaluate


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Path]:
    """Folders of three cohorts, and a workspace with a trained task."""
    with folders(tmp_path) as root:
        yield root


def test_real_volumes_without_json(space):
    """Held-out volumes count as generated where -d names the dataset: the row of reference."""
    options = {"workspace": space / "w", "num_processes": 1}
    scores = evaluate(space / "real", space / "training", dataset=8, **options)
    assert isinstance(scores, CohortScores)
    assert scores.dataset == DATASET
    assert 0.5 < table(scores)["diversity_ratio"][0] < 2
    with pytest.raises(DatasetError, match="No predicted image has a reference"):
        evaluate(space / "real", space / "training", **options)


def test_options_of_the_other_kind_are_refused(space):
    """Each kind of evaluation says which options are not its own."""
    with pytest.raises(LiftnetError, match="-s is only for images that have a reference each"):
        score(space, sources=space / "real")
    paired = space / "paired"
    save(paired, "real-00", brain(1))
    with pytest.raises(LiftnetError, match="--training, --pairs are only for volumes that are gen"):
        evaluate(paired, space / "real", training=space / "training", pairs=3)
    scores = evaluate(paired, space / "real", workspace=space / "w", num_processes=1)
    assert isinstance(scores, Scores)  # as before
    with pytest.raises(PlanError, match=r"Task tiny has no protocol 'cwdm'[^$]*liftnet, wdm"):
        score(space, protocol="cwdm")
    with pytest.raises(LiftnetError, match="pairs is 0"):
        score(space, pairs=0)


def test_folders_that_do_not_fit(space):
    """No common channel, one volume, another size, several models: each is said with its place."""
    other = space / "other"
    save(other, "a", brain(1), digits="0001")
    with pytest.raises(DatasetError, match=r"channel 0000, got generated 0000; real 0001"):
        evaluate(space / "made", other, workspace=space / "w")
    save(other, "a", brain(1))
    with pytest.raises(
        DatasetError, match="at least 2 volumes, the real one has 1 in channel 0000"
    ):
        evaluate(space / "made", other, workspace=space / "w")
    path = save(other, "b", brain(2, (6, 9, 10)))
    with pytest.raises(
        GeometryError, match=r"sizes on the plan's grid: \(6, 9, 8\) and \(6, 9, 10\)"
    ) as e:
        evaluate(space / "made", other, workspace=space / "w", num_processes=1)
    assert e.value.where == str(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LiftnetError) as caught:
        evaluate(space / "made", other, workspace=space / "w", num_processes=1)
    assert caught.value.where == str(path)
    with pytest.raises(DatasetError, match="The folder of real images does not exist"):
        evaluate(space / "made", space / "nowhere", workspace=space / "w")
    save(space / "made", "sample_0099", brain(1), task=NAME, dataset=DATASET, plan="second")
    with pytest.raises(DatasetError, match="made by 2 different plans, datasets or tasks"):
        score(space)


def test_plans_that_do_not_fit(space):
    """CT under wdm, and a normalization without limits."""
    path = space / "w" / "preprocessed" / DATASET / "default" / "plan.json"
    plan = tiny_plan()
    channel = replace(
        plan.channels[0], modality="CT", normalization=ClipAndScale(-1000, 2000, (-1.0, 1.0))
    )
    write_json(path, replace(plan, channels=(channel,)))
    with pytest.raises(DatasetError, match="wdm sets negatives to 0, which CT has everywhere"):
        score(space, protocol="wdm")
    (space / "w" / "results").rename(space / "elsewhere")
    channel = replace(plan.channels[0], normalization=ZScore("grid", 1.0, 2.0))
    write_json(path, replace(plan, channels=(channel,)))
    with pytest.raises(PlanError, match="compared in a fixed range"):
        score(space)


def test_shared_volumes_and_small_cohorts(space):
    """Volumes of two cohorts are warned of; two real volumes cannot be halved."""
    few = space / "few"
    for number in (0, 1):
        save(few, f"c{number}", brain(60 + number))
    options = {"workspace": space / "w", "num_processes": 1}
    scores = evaluate(space / "made", few, **options)
    got = table(scores)
    assert got["f:frechet_distance"][1] is None
    assert got["f:frechet_distance"][0] > 0
    assert got["ms_ssim"][1] is not None
    assert any("too few real volumes to halve" in note for note in scores.notes)
    scores = evaluate(space / "made", few, training=few, **options)
    assert any("2 volumes are both real and training" in text for text in scores.warnings)
    assert table(scores)["nearest_min"][1] == 0


def test_real_volumes_all_alike(space):
    """Copies of one volume have no spread to compare with: said, not divided by."""
    same = space / "same"
    for number in range(4):
        save(same, f"c{number}", brain(60))
    scores = evaluate(space / "made", same, workspace=space / "w", num_processes=1)
    names = {row.metric for row in scores.rows}
    assert "diversity_ratio" not in names
    assert "frechet_distance" not in names
    assert f"all real volumes have the same features: {OWN}" in scores.warnings


def test_a_full_disk_is_told_before_it_is_full(space, monkeypatch):
    """The space for prepared volumes is checked, and how to find more is said."""
    monkeypatch.setattr(
        cohort_volumes.shutil, "disk_usage", lambda path: type("", (), {"free": 99})
    )
    with pytest.raises(DatasetError, match=r"volumes need 0\.0 GiB, 0\.0 GiB are free") as caught:
        score(space)
    assert "TMPDIR" in caught.value.remedy


def test_the_plan_names_the_channel(space):
    """Files of other channels are left aside; without a plan two channels are one too many."""
    for folder in ("made", "real"):
        for number in range(2):
            save(space / folder, f"other-{number}", np.ones(SHAPE), digits="0003")
    scores = score(space)
    assert (scores.num_generated, scores.num_real) == (7, 9)
    (space / "w" / "preprocessed").rename(space / "elsewhere")
    with pytest.raises(DatasetError, match="one channel that all share, got generated 0000, 0003"):
        score(space, protocol="wdm")
    (space / "elsewhere").rename(space / "w" / "preprocessed")
    for path in (space / "made").glob("*_0000.nii.gz"):
        path.unlink()
    with pytest.raises(DatasetError, match="channel 0000, got generated 0003; real 0000, 0003"):
        evaluate(space / "made", space / "real", dataset=DATASET, workspace=space / "w")


def test_the_field_of_view_does_not_matter(space):
    """Where the plan has a box, wider images and other voxel orders give the same numbers."""
    path = space / "w" / "preprocessed" / DATASET / "default" / "plan.json"
    (space / "w" / "results").rename(space / "elsewhere")
    write_json(path, boxed_plan())
    before = score(space)
    for number, file in enumerate(sorted((space / "made").glob("*.nii.gz"))):
        voxels, info = read_image(file)
        wide = np.pad(voxels, ((number, 2), (0, 3), (4, number)))
        wide = np.ascontiguousarray(wide.transpose(2, 0, 1)[:, ::-1])
        d, h, w = info.geometry.spacing_mm
        direction = ((1, 0, 0), (0, 0, -1), (0, 1, 0))
        grid = Geometry(wide.shape, (w, d, h), (0, 0, 9), direction)
        write_image(file, wide, grid, dtype="float32")
    after = score(space)
    assert after.shape == SHAPE
    for name, values in table(before).items():
        np.testing.assert_allclose(table(after)[name][0], values[0], rtol=1e-6, err_msg=name)
