"""A probe of several channels, and of training volumes among themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import save
from probe_folders import SIZE, fill, head, only, out_of, run
from scipy.spatial.distance import cdist
from tiny_generation import SPACING

import liftnet
from liftnet.core.errors import DatasetError
from liftnet.core.probe import COPIES, NO_COPY, TOO_FEW, read_probe
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import read_image
from liftnet.metrics.memorization import descriptor
from liftnet.pipeline.probe.volumes import find_frame, find_grid, on_grid


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """The folders of `probe_folders`."""
    return fill(tmp_path)


def head_of(path: Path) -> np.ndarray:
    """The voxels of a file."""
    return read_image(path)[0]


def test_training_volumes_among_themselves(space, capsys):
    """Nearest other training volumes by hand; ratios to their mean; equal ones are warned of."""
    found = run(space, task="missing_modality")
    distances = only(found)[1]
    folders = {what: sorted((space / what).iterdir()) for what in ("training", "held", "query")}
    frames = {p: find_frame(head_of(p), SPACING, "MR") for own in folders.values() for p in own}
    grid = find_grid(*([frames[p] for p in folders[what]] for what in ("training", "held")))
    rows = {
        what: [descriptor(on_grid(head_of(p), frames[p], grid)) for p in own]
        for what, own in folders.items()
    }
    among = 4 * cdist(rows["training"], rows["training"], "sqeuclidean") / 2048
    np.fill_diagonal(among, np.inf)
    least = among.min(axis=1)
    assert distances.training.n == len(distances.training.volumes) == 12
    assert distances.training.mean == pytest.approx(least.mean(), rel=0.01)
    assert distances.training.minimum == pytest.approx(least.min(), rel=0.01)
    for one in distances.training.volumes:
        assert one.nearest == f"training-{among[int(one.volume[-2:])].argmin():02d}"
    for what, ratio in (
        ("query", distances.predicted_by_training),
        ("held", distances.held_out_by_training),
    ):
        own = 4 * cdist(rows[what], rows["training"], "sqeuclidean").min(axis=1) / 2048
        assert ratio == pytest.approx(own.mean() / least.mean(), rel=0.01)
    printed = out_of(capsys)
    ratios = (distances.predicted_by_training, distances.held_out_by_training)
    assert "mean / that of training {:.3f} {:.3f}".format(*ratios) in printed
    assert "block means, in [-1, 1]; of a training volume, to the nearest other one" in printed
    save(space / "training", "twin", 2 * head(4))
    warnings = only(run(space, task="missing_modality"))[0].warnings
    assert [text.split(": ")[0] for text in warnings[1:]] == [
        "training volumes training-04 and twin are unusually near to each other"
    ]


def test_channels_are_probed_apart(space, capsys):
    """A copy in one, too few in another, none in a third; each against training of its channel."""
    rng = np.random.default_rng(0)
    for folder, first, count in (("training", 60, 11), ("held", 80, 10), ("query", 90, 2)):
        for i in range(count):
            save(space / folder, f"{folder}-{i:02d}", head(first + i), "0002")
    noisy = head(3) + rng.normal(0, 4, SIZE)  # a training volume of 0000, not of 0002
    save(space / "query", "planted", noisy.astype("f4"), "0000")
    save(space / "query", "planted", noisy.astype("f4"), "0002")
    save(space / "query", "other", head(99), "0003")
    save(space / "query", "other", head(98), "0005")
    save(space / "training", "training-00", head(97), "0005")
    for i in range(4):
        save(space / "held", f"held-{i:02d}", head(100 + i), "0003")
        save(space / "training", f"training-{i:02d}", head(110 + i), "0003")
    found = run(space, task="missing_modality")
    assert found.verdict == COPIES
    assert [own.channel for own in found.channels] == ["0000", "0002", "0003", "0005"]
    assert [own.verdict for own in found.channels] == [COPIES, NO_COPY, TOO_FEW, TOO_FEW]
    assert [own.copies for own in found.channels] == [("planted",), (), (), ()]
    assert [own.num_predicted for own in found.channels] == [5, 3, 1, 1]
    assert [own.num_held_out for own in found.channels] == [10, 10, 4, 0]
    assert [own.num_training for own in found.channels] == [12, 11, 4, 1]
    assert [own.distances is None for own in found.channels] == [False, False, False, True]
    assert read_probe(space / "out" / "probe.json") == found
    pictures = [f"closest_pair_{digits}.png" for digits in ("0000", "0002", "0003")]
    assert {p.name for p in (space / "out").iterdir()} == {"probe.json", *pictures}
    assert [own.distances.picture for own in found.channels[:3]] == pictures
    printed = out_of(capsys)
    assert (
        "Verdict, 0000: copies found: planted (of training-03). Look at closest_pair_0" in printed
    )
    assert "Verdict, 0002: no copy found among 3 predicted volumes." in printed
    assert "Verdict, 0003: too few to conclude: 4 held-out and 4 training volumes, 10" in printed
    assert "Verdict, 0005: too few to conclude: 0 held-out and 1 training volume, 10" in printed
    rule = found.channels[1].distances.rule
    assert (
        f"a copy: nearest distance below {rule.distance_limit:.4g}, or ratio below "
        f"{rule.ratio_limit:.3f}; grid: {'x'.join(map(str, found.channels[1].distances.shape))} v"
    ) in printed
    # A channel alone is found as it was among others, save for the name of its picture.
    distances = only(run(space, task="missing_modality", channel="2"))[1]
    assert replace(distances, picture=pictures[1]) == found.channels[1].distances
    for path in (space / "query").glob("planted*"):
        path.unlink()
    assert run(space, task="missing_modality").verdict == TOO_FEW


@pytest.mark.parametrize(
    ("known", "held_out", "option"), [("images", "targets", "-t"), ("targets", "images", "-r")]
)
def test_sources_in_the_place_of_targets_are_refused(space, known, held_out, option):
    """Sources have the numbers of targets, and are no baseline for them."""
    raw = space / "Dataset002_X"
    described = {
        "name": "X",
        "task": "translation",
        "channels": {"0": {"name": "t1", "modality": "MR"}},
        "targets": {"0": {"name": "ct", "modality": "CT"}},
        "file_ending": ".nii.gz",
        "licence": "",
        "reference": "",
    }
    write_json(raw / "dataset.json", described)
    for old, new in (("training", f"{known}Tr"), ("held", f"{held_out}Ts")):
        (space / old).rename(raw / new)
    match = (
        rf"images(Tr|Ts) holds the sources of task translation(.|\n)*Name targetsT. with {option}"
    )
    with pytest.raises(DatasetError, match=match):
        liftnet.probe(
            space / "query", raw / f"{known}Tr", raw / f"{held_out}Ts", space / "out",
            workspace=space / "w",
        )  # fmt: skip
