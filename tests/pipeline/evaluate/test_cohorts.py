"""Evaluation of one cohort against another: every number, and what is written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_folders import (
    LENGTH,
    OWN,
    PROJECTION,
    brain,
    folders,
    save,
    score,
    table,
)
from scipy import linalg
from scipy.spatial.distance import cdist, pdist
from tiny_generation import DATASET, NAME, SHAPE
from torch import nn

from liftnet.core.errors import (
    CheckpointError,
    PlanError,
)
from liftnet.core.scores import read_cohort_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.metrics.cohort import depth_order, depth_reference
from liftnet.metrics.distribution import precision_recall_coverage
from liftnet.metrics.protocols import cohort_protocols
from liftnet.ops.ssim import ms_ssim
from liftnet.pipeline.evaluate import cohort_distances
from liftnet.pipeline.evaluate import cohorts as evaluate_cohort
from liftnet.pipeline.evaluate.cohort_measures import choose_control


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Path]:
    """Folders of three cohorts, and a workspace with a trained task."""
    with folders(tmp_path) as root:
        yield root


def volumes(seeds: range) -> np.ndarray:
    """What prepare makes of these brains, in [0, 1], by numpy."""
    found = []
    for seed in seeds:
        image = brain(seed).astype(np.float64)
        low, high = np.quantile(image[image > 0], (0.001, 0.999))
        found.append(np.clip((image - low) / (high - low), 0, 1))
    return np.stack(found)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The textbook form, with a matrix square root."""
    covariances = [np.cov(x, rowvar=False) for x in (first, second)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(shift @ shift + np.trace(sum(covariances) - 2 * root))


def similarity(cohort: np.ndarray) -> float:
    """The mean MS-SSIM of all pairs."""
    images = torch.tensor(cohort, dtype=torch.float32)[:, None]
    one, other = np.triu_indices(len(cohort), 1)
    return float(ms_ssim(images[one], images[other], data_range=1.0, window_size=7).mean())


def steps(cohort: np.ndarray) -> np.ndarray:
    """Mean absolute differences of neighbouring slices (N, D - 1)."""
    return np.abs(np.diff(cohort, axis=1)).mean(axis=(2, 3))


def test_every_number_against_numpy(space, monkeypatch):
    """With a training cohort, all columns are what scipy and numpy find for those volumes."""
    monkeypatch.setattr(cohort_distances, "BLOCK_NUMBERS", 2000)  # several blocks
    scores = score(space, training=True)
    got = table(scores)
    made = np.concatenate([volumes(range(6)), volumes(range(44, 45))])
    real, known = volumes(range(20, 29)), volumes(range(40, 51))
    chosen = choose_control(7, 9, 11)
    assert chosen.cohort == "training"
    control = known[chosen.standing]
    assert len(set(chosen.standing)) == 7
    features = [
        (2 * x.reshape(len(x), -1) - 1) @ PROJECTION.double().numpy().T
        for x in (made, real, control)
    ]
    for column, one in enumerate((features[0], features[2])):
        close = {"rtol": 5e-3, "err_msg": str(column)}
        np.testing.assert_allclose(
            got["f:frechet_distance"][column], frechet(one, features[1]), **close
        )
        spreads = [pdist(x).mean() for x in (one, features[1])]
        np.testing.assert_allclose(
            got["f:diversity_ratio"][column], spreads[0] / spreads[1], **close
        )
        for name, value in precision_recall_coverage(one, features[1], k=5).items():
            assert got[f"f:{name}"][column] == value
    for column, one in enumerate((made, control)):
        ratio = steps(one).mean() / steps(real).mean()
        np.testing.assert_allclose(got["delta_z_ratio"][column], ratio, rtol=1e-3)
        spreads = [pdist(x.reshape(len(x), -1)).mean() for x in (one, real)]
        np.testing.assert_allclose(
            got["diversity_ratio"][column], spreads[0] / spreads[1], rtol=1e-3
        )
        traces = [x.var(axis=0, ddof=1).sum() for x in (one, real)]
        np.testing.assert_allclose(got["trace_ratio"][column], traces[0] / traces[1], rtol=1e-3)
    for column, one in enumerate((made, real)):
        np.testing.assert_allclose(got["ms_ssim"][column], similarity(one), atol=2e-4)
        flat = [2 * x.reshape(len(x), -1) for x in (one, known)]
        nearest = cdist(*flat, "cityblock").min(axis=1) / flat[0].shape[1]
        np.testing.assert_allclose(got["nearest_mean"][column], nearest.mean(), atol=2e-4)
        np.testing.assert_allclose(got["nearest_min"][column], nearest.min(), atol=2e-4)
    assert got["copied_fraction"] == (1 / 7, None)
    assert got["depth_order"][0] > 0.9
    assert got["depth_order"][1] > 0.9
    pair = scores.closest[0]
    assert (pair.cohort, pair.volume, pair.neighbour) == ("generated", "sample_0006", "training-04")
    assert pair.distance < 1e-3
    assert scores.closest[1].cohort == "real"
    assert scores.closest[1].volume.startswith("real-")
    assert scores.closest[1].distance == got["nearest_min"][1]


def test_without_training_the_real_cohort_is_halved(space):
    """Distances between the halves, nearest and depth order from the other real volumes."""
    scores = score(space)
    got = table(scores)
    real = volumes(range(20, 29))
    control = choose_control(7, 9, 0)
    assert control.cohort == "real"
    assert sorted([*control.standing, *control.against]) == list(range(9))
    halves = [real[control.standing], real[control.against]]
    assert [len(half) for half in halves] == [4, 5]
    features = [(2 * x.reshape(len(x), -1) - 1) @ PROJECTION.double().numpy().T for x in halves]
    expected = np.square(features[0].mean(axis=0) - features[1].mean(axis=0)).sum()
    assert got["f:frechet_distance"][1] > expected
    np.testing.assert_allclose(
        got["f:trace_ratio"][1],
        features[0].var(axis=0, ddof=1).sum() / features[1].var(axis=0, ddof=1).sum(),
        rtol=5e-3,
    )
    np.testing.assert_allclose(
        got["delta_z_ratio"][1], steps(halves[0]).mean() / steps(halves[1]).mean(), rtol=1e-3
    )
    among = cdist(*[2 * real.reshape(9, -1)] * 2, "cityblock") / real[0].size
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(got["nearest_mean"][1], among.min(axis=1).mean(), atol=2e-4)
    assert scores.closest[1].volume != scores.closest[1].neighbour
    orders = [depth_order([real[i]], depth_reference(np.delete(real, i, 0))) for i in range(9)]
    np.testing.assert_allclose(got["depth_order"][1], np.mean(orders), rtol=1e-3)
    assert 0.9 < np.mean(orders) < 1


def test_shuffled_slices_are_seen(space):
    """Slices in another order lose their depth order and step too far; real ones do not."""
    for path in (space / "made").glob("*.nii.gz"):
        number = int(path.name[7:11])
        order = np.random.default_rng(number).permutation(SHAPE[0])
        save(space / "made", path.name[:11], brain(number)[order])
    got = table(score(space, training=True))
    assert got["depth_order"][0] < 0.6 < got["depth_order"][1]
    assert got["delta_z_distance"][0] > 2 * got["delta_z_distance"][1]


def test_what_is_written_and_printed(space, capsys):
    """The file holds what is returned; the table names features, sizes, roles and pairs."""
    first = score(space, training=True, output=space / "out")
    path = space / "out" / "cohort_scores.json"
    assert read_cohort_scores(path) == first
    assert not (space / "made" / "cohort_scores.json").exists()
    assert (first.task, first.dataset, first.plan, first.channel) == (
        NAME,
        DATASET,
        "default",
        "t1n",
    )
    assert (first.num_generated, first.num_real, first.num_training) == (7, 9, 11)
    assert first.features == {OWN: LENGTH}
    assert first.shape == SHAPE
    printed = capsys.readouterr().out
    assert "generated  real" in printed.replace("   ", "  ")
    assert f"\n{OWN}, F = 12\n  frechet_distance" in printed
    assert "\nvoxels\n  ms_ssim" in printed
    assert "n = 7 generated and 9 real volumes, F = 12: the Fréchet distance is biased" in printed
    assert (
        "column real: 7 training volumes in the place of generated ones, against the 9" in printed
    )
    assert "closest generated volume: sample_0006, " in printed
    again = score(space, training=True, output=space / "out")
    assert replace(again, made=first.made) == first
    assert first.made.seconds > 0 and first.made.hardware
    write_json(path, {"version": 0})
    with pytest.raises(PlanError, match="The scores have version 0, this liftnet reads 1"):
        read_cohort_scores(path)


def test_without_a_trained_model(space, capsys):
    """Everything but the features is there, and it is said why they are not."""
    (space / "w" / "results").rename(space / "elsewhere")
    scores = score(space)
    assert {row.group for row in scores.rows} == {"voxels"}
    assert scores.features == {}
    assert len(scores.rows) == 9
    assert "no distances of them: Nothing is trained yet" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="fold_3 is not trained"):
        score(space, fold=3)


def small_medicalnet(path: Path) -> nn.Module:
    """A network in place of MedicalNet: means of the eighths of a volume."""
    assert path == Path("weights.pth")

    class Means(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.shape[:2] == (1, 1)
            assert 0 <= images.min() <= images.max() <= 1
            return nn.functional.adaptive_avg_pool3d(images, 2).flatten(1)

    return Means()


def test_medicalnet_beside_the_own_encoder(space, monkeypatch):
    """Its features are a group of their own, with the distance times 1000 as papers print it."""
    monkeypatch.setattr(evaluate_cohort, "load_medicalnet", small_medicalnet)
    scores = score(space, medicalnet="weights.pth")
    other = "MedicalNet ResNet-50, [0, 1] on the plan's grid"
    assert scores.features == {OWN: LENGTH, other: 8}
    values = {row.metric: row.generated for row in scores.rows if row.group == other}
    np.testing.assert_allclose(
        values["frechet_distance_x1000"], 1000 * values["frechet_distance"], rtol=1e-12
    )
    assert not [r for r in scores.rows if r.group == OWN and r.metric == "frechet_distance_x1000"]


def test_wdm(space, monkeypatch, capsys):
    """Needs no plan and no training; without weights there is no Fréchet distance."""
    monkeypatch.setattr(cohort_protocols, "WDM_SIDE", 32)
    monkeypatch.setattr(evaluate_cohort, "load_medicalnet", small_medicalnet)
    for part in ("results", "preprocessed"):
        (space / "w" / part).rename(space / part)
    scores = score(space, protocol="wdm", medicalnet="weights.pth", pairs=3)
    assert scores.shape == (16, 16, 16)
    assert scores.features == {"MedicalNet ResNet-50, protocol wdm": 8}
    assert (scores.plan, scores.channel) == ("", "t1n")
    assert "ms_ssim: 3 pairs of generated, 3 of real volumes" in scores.notes
    assert 0 < table(scores)["ms_ssim"][0] < 1
    capsys.readouterr()
    scores = score(space, protocol="wdm")
    assert {row.group for row in scores.rows} == {"voxels"}
    assert "whose weights --medicalnet names" in capsys.readouterr().out
