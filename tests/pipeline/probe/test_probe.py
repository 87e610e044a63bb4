"""The memorization probe on folders: planted copies are found, held-out volumes are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import CANONICAL, save
from matplotlib import image as images
from probe_folders import SIZE, fill, head, only, out_of, run
from scipy.spatial.distance import cdist
from tiny_generation import DATASET, SPACING
from tiny_generation import tiny_plan as boxed_plan

import liftnet
from liftnet.cli.probe import main
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.probe import COPIES, NO_COPY, TOO_FEW, read_probe
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.pipeline.probe.volumes import find_frame, find_grid, on_grid

FACTS = {"task": "missing_modality", "dataset": "Dataset001_X", "plan": "default"}


def ct(seed: int) -> np.ndarray:
    """The same as CT in HU."""
    return np.where(head(seed) > 0, 2 * head(seed) - 150, -1000).astype(np.float32)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """The folders of `probe_folders`."""
    return fill(tmp_path)


@pytest.mark.parametrize("task", ["unconditional", "missing_modality"])
def test_planted_copy_is_found_and_no_other(space, task, capsys):
    """A copy with noise, gain and shift is named; with it gone, nothing is."""
    assert run(space, task=task).verdict == NO_COPY
    assert "no copy found among 4 predicted volumes" in out_of(capsys)
    rng = np.random.default_rng(0)
    copy = np.roll(1.4 * (head(3) + rng.normal(0, 4, SIZE)), (1, -1, 0), axis=(0, 1, 2))
    save(space / "query", "planted", copy.astype(np.float32))
    found = run(space, task=task)
    channel, distances = only(found)
    assert (channel.verdict, channel.copies) == (COPIES, ("planted",))
    first = distances.predicted.volumes[0]
    assert (first.volume, first.nearest, first.suspect) == ("planted", "training-03", True)
    assert channel.warnings == ("the channel's modality is not known; taken for MR, as in LiFT",)
    assert (channel.num_predicted, channel.num_held_out, channel.num_training) == (5, 10, 12)
    assert read_probe(space / "out" / "probe.json") == found
    assert images.imread(space / "out" / "closest_pair.png").shape[1] > 400
    assert {p.name for p in (space / "out").iterdir()} == {"probe.json", "closest_pair.png"}
    printed = out_of(capsys)
    assert "Channel 0000: 5 predicted, 10 held-out, 12 training volumes" in printed
    assert "Verdict: copies found: planted (of training-03). Look at closest_pair.png" in printed


def test_held_out_volumes_are_no_copies(space):
    """The held-out volumes in the place of predicted ones: ratio 1 and no copy."""
    found = liftnet.probe(
        space / "held", space / "training", space / "held", space / "out", task="unconditional",
        num_processes=1,
    )  # fmt: skip
    channel, distances = only(found)
    assert (channel.verdict, channel.copies) == (NO_COPY, ())
    assert distances.ratio_of_means == distances.ratio_of_minima == 1
    assert not any(one.suspect for one in distances.held_out.volumes)
    assert distances.training is distances.predicted_by_training is None  # by voxels: it costs


def test_hu_distances_by_hand(tmp_path):
    """On equal grids and masks, HU distances are those of numpy; statistics are numpy's."""
    mask = head(0) > 0
    made = {}
    for folder, first, count in (("training", 0, 12), ("held", 20, 10), ("query", 40, 3)):
        for i in range(count):
            made[f"{folder}-{i:02d}"] = np.where(mask, ct(first + i).clip(-100), -1024).astype("f4")
            # the same foreground in every volume: tissue from -100 HU on
            save(tmp_path / folder, f"{folder}-{i:02d}", made[f"{folder}-{i:02d}"])
    channel, found = only(run(tmp_path, task="translation"))
    assert (channel.measure.unit, channel.num_training) == ("HU", 12)
    assert "taken for CT" in channel.warnings[0]
    frames = {name: find_frame(image, SPACING, "CT") for name, image in made.items()}
    grid = find_grid(
        [f for n, f in frames.items() if n.startswith("training")],
        [f for n, f in frames.items() if n.startswith("held")],
    )
    rows = {n: 4000 * on_grid(image, frames[n], grid).ravel() for n, image in made.items()}
    known = [rows[n] for n in sorted(rows) if n.startswith("training")]
    for group, what in ((found.predicted, "query"), (found.held_out, "held")):
        own = [rows[n] for n in sorted(rows) if n.startswith(what)]
        distances = cdist(own, known, "cityblock") / len(known[0])
        least = distances.min(axis=1)
        assert group.n == len(own)
        assert group.mean == pytest.approx(least.mean(), abs=1)
        assert group.minimum == pytest.approx(least.min(), abs=1)
        assert group.percentile_5 == pytest.approx(np.percentile(least, 5), abs=1)
        assert [v.distance for v in group.volumes] == sorted(v.distance for v in group.volumes)
        for one in group.volumes:
            row = distances[int(one.volume[-2:])]
            assert one.nearest == f"training-{row.argmin():02d}"
            assert one.distance == pytest.approx(row.min(), abs=1)
            assert one.second_distance == pytest.approx(np.sort(row)[1], abs=1)
    assert found.ratio_of_means == pytest.approx(found.predicted.mean / found.held_out.mean)
    assert found.ratio_of_minima == pytest.approx(found.predicted.minimum / found.held_out.minimum)


def test_too_few_is_no_verdict(space, capsys):
    """Nine held-out volumes do not suffice; what is suspect is still named."""
    (space / "held" / "held-09_0000.nii.gz").unlink()
    save(space / "query", "planted", head(3))
    found = run(space)
    assert (found.verdict, only(found)[0].copies) == (TOO_FEW, ("planted",))
    printed = out_of(capsys)
    assert "9 held-out and 12 training volumes, 10 of each are the least; suspect: pla" in printed


def test_task_channel_and_dataset_come_from_the_json(space):
    """The JSON beside predictions says whose distance; one of several channels can be named."""
    for i in range(3):
        save(space / "query", f"json-{i}", head(50 + i), **FACTS)
    (space / "query" / "other_0003.nii.gz").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"No predicted volume of channel 't2'(.|\n)*t1n, 0003"):
        run(space, task=None, channel="t2")
    for name in ("t1n", "0", "0000"):
        found = run(space, task=None, channel=name)
        channel, _ = only(found)
        assert (found.task, channel.channel) == ("missing_modality", "t1n")
        assert found.dataset == "Dataset001_X"
        assert channel.measure.name == "pooled_mse"
        assert channel.warnings == ()
    assert only(run(space, channel="t1n"))[0].measure.name == "voxel_l1"  # --task wins
    # Nothing is read of a channel that cannot be compared.
    assert [own.verdict for own in run(space, task=None).channels] == [NO_COPY, TOO_FEW]


def test_generated_volumes_are_compared_on_the_grid_of_their_plan(tmp_path):
    """With the plan of a generation: its grid and normalization, distances by numpy."""
    plan = replace(boxed_plan(), task="unconditional")
    sides = {"num_slices": SIZE[0], "in_plane": SIZE[1:], "box": SIZE}
    grid = replace(plan.grid, spacing_mm=(2.0, 2.0, 2.0), **sides)
    plan = replace(plan, grid=grid)
    write_json(tmp_path / "w" / "preprocessed" / DATASET / "default" / "plan.json", plan)
    facts = {"task": "unconditional", "dataset": DATASET, "plan": "default", "target": "t1n"}
    facts |= {"intensity": {"low": 0, "high": 1}}
    for folder, first, count in (("training", 0, 11), ("held", 20, 10), ("query", 40, 2)):
        for i in range(count):
            path = tmp_path / folder / f"{folder}-{i:02d}_0000.nii.gz"
            cubes = Geometry(SIZE, (2.0, 2.0, 2.0), (0, 0, 0), CANONICAL)
            write_image(path, head(first + i), cubes, dtype="float32")
            if folder == "query":
                write_json(path.with_name(f"{folder}-{i:02d}_0000.json"), facts)
    made = run(tmp_path, task=None)
    assert (made.task, made.dataset) == ("unconditional", DATASET)
    found = only(made)[1]
    assert found.shape == SIZE
    assert found.grid == "that of plan default, prepared as for training: 12x20x16 voxels"

    def unit(seed: int) -> np.ndarray:
        image = head(seed).astype(np.float64)
        low, high = np.quantile(image[image > 0], (0.001, 0.999))
        return 2 * np.clip((image - low) / (high - low), 0, 1).ravel()

    known, own = ([unit(seed) for seed in seeds] for seeds in (range(11), range(40, 42)))
    least = cdist(own, known, "cityblock").min(axis=1) / len(known[0])
    distances = {one.volume: one.distance for one in found.predicted.volumes}
    assert [distances[f"query-{i:02d}"] for i in range(2)] == pytest.approx(least, abs=2e-3)


def test_cases_in_two_folders_are_refused(space):
    """A training case among predictions or held-out volumes, by name, by file or by content."""
    path = save(space / "query", "training-05", head(60))
    with pytest.raises(DatasetError, match=r"both predicted and in training.*: training-05"):
        run(space)
    path.unlink()
    link = space / "held" / "renamed_0000.nii.gz"
    link.symlink_to(space / "training" / "training-02_0000.nii.gz")
    with pytest.raises(DatasetError, match=r"both held out and in training.*: renamed"):
        run(space)
    link.unlink()
    save(space / "held", "again", head(2))
    with pytest.raises(DatasetError, match="Held-out volume again equals training volume train"):
        run(space)


def test_leak_into_held_out_is_warned_of(space):
    """A noisy copy of a training volume among the held-out ones is named."""
    rng = np.random.default_rng(0)
    save(space / "held", "leak", (head(2) + rng.normal(0, 3, SIZE)).astype(np.float32))
    channel, distances = only(run(space))
    assert [one.volume for one in distances.held_out.volumes if one.suspect] == ["leak"]
    assert "held-out volume leak is unusually near to training volume training-02" in str(
        channel.warnings
    )


def test_what_cannot_be_compared_is_explained(space):
    """No task, an unknown task, one training volume, an unreadable file."""
    with pytest.raises(DatasetError, match=r"not known which task(.|\n)*--task: missing_modality"):
        run(space, task=None)
    with pytest.raises(PlanError, match="There is no distance for task 'denoising'"):
        run(space, task="denoising")
    save(space / "alone", "one", head(1))
    with pytest.raises(DatasetError, match="at least 2 training volumes"):
        liftnet.probe(
            space / "query", space / "alone", space / "held", space / "out", task="unconditional"
        )
    for folder in ("training", "held"):
        for path in (space / folder).iterdir():
            path.rename(path.with_name(path.name.replace("_0000", "_0001")))
    with pytest.raises(DatasetError, match=r"CASE_0000 as (.|\n)*0000: 0 training, 0 held out"):
        run(space)
    for folder in ("training", "held"):
        for path in (space / folder).iterdir():
            path.rename(path.with_name(path.name.replace("_0001", "_0000")))
    save(space / "query", "empty", np.zeros(SIZE, dtype=np.float32))
    with pytest.raises(DatasetError, match=r"The image is empty(.|\n)*empty_0000.nii.gz"):
        run(space)
    assert not (space / "out").exists()


def test_command_ends_with_0_and_errors_with_1(space, monkeypatch, capsys):
    """Copies are a finding, not a failure; a missing folder is one."""
    save(space / "query", "planted", head(3))
    words = ["liftnet_probe", "-i", "query", "-t", "training", "-r", "held", "-o", "out"]
    monkeypatch.chdir(space)
    monkeypatch.setattr("sys.argv", [*words, "--task", "unconditional", "-np", "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert read_probe(space / "out" / "probe.json").verdict == COPIES
    monkeypatch.setattr("sys.argv", [*words, "-t", "nowhere", "--task", "unconditional"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "folder of training images does not exist" in capsys.readouterr().err
