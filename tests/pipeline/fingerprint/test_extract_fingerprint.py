"""What is measured on a raw dataset."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import AxisOrder, Geometry, Volume, turn
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.fingerprint.extract_fingerprint import (
    extract_fingerprint,
    grid_percentiles,
    measure,
    read_fingerprint,
)
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess

DATASET = "Dataset007_Phantom"
GRID = Geometry((8, 10, 13), (4.0, 2.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def voxels() -> np.ndarray:
    """Two related images in a box, zeros and a few negatives outside."""
    rng = np.random.default_rng(0)
    image = np.zeros((2, 8, 10, 13), dtype=np.float32)
    image[0, 1:7, 2:9, 3:11] = 50 + 100 * rng.random((6, 7, 8))
    image[1] = np.where(image[0] > 0, 300 - image[0], 0)
    image[:, 0, 0, :2] = -4
    return image


def test_a_case_is_measured_in_canonical_axes():
    """Box, shares and statistics are the same for a turned file, which is noted."""
    whole = measure(Volume(voxels(), GRID), ("x", "y"))
    assert (whole.box_start, whole.box_stop) == ((1, 2, 3), (7, 9, 11))
    assert whole.shape == (8, 10, 13) and whole.spacing_mm == (4.0, 2.0, 1.0)
    assert whole.stored_axes == "SPL"
    inside = voxels()[0] > 0
    assert whole.foreground_fraction == pytest.approx(inside.mean())
    assert whole.zero_background
    values = np.minimum(voxels()[0], np.quantile(voxels()[0], 0.995))[inside]
    found = whole.intensities["x"]
    assert found.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.std == pytest.approx(values.std(), rel=1e-4)
    assert found.median == pytest.approx(float(np.median(values)))
    assert (found.minimum, found.maximum) == (-4.0, voxels()[0].max())
    assert whole.pair_own.keys() == {"x-y"}
    turned = measure(
        turn(Volume(voxels(), GRID), AxisOrder((2, 0, 1), (True, False, True))), ("x", "y")
    )
    assert turned.stored_axes == "RSA"
    assert (turned.box_start, turned.box_stop) == (whole.box_start, whole.box_stop)
    assert turned.intensities["x"].mean == pytest.approx(found.mean, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.3, 0.9995, 1.0])
def test_grid_percentiles(share):
    """As numpy's nearest-rank percentiles of the clamped grid, however much of it is positive."""
    rng = np.random.default_rng(1)
    image = np.where(rng.random((20, 30, 25)) < share, 1 + rng.random((20, 30, 25)), -2)
    expected = np.percentile(np.maximum(image, 0), (0.1, 99.9), method="nearest")
    np.testing.assert_allclose(grid_percentiles(image), expected, atol=2e-3)


def test_dataset(workspace, write_raw, tmp_path):
    """Medians and extremes over the cases that have a channel; parallel equals serial."""
    fingerprint = extract_fingerprint(workspace=workspace, num_processes=1)
    assert list(fingerprint.cases) == ["p1", "p2", "p3", "p4", "p5", "p6"]
    assert fingerprint.foreground == "nonzero"
    assert {name: c.num_cases for name, c in fingerprint.channels.items()} == {
        "a": 6,
        "b": 5,
        "c": 6,
    }
    highs = [case.intensities["c"].high for case in fingerprint.cases.values()]
    assert fingerprint.channels["c"].high == np.median(highs)
    assert "b" not in fingerprint.cases["p6"].intensities
    assert extract_fingerprint(workspace=workspace, num_processes=3) == fingerprint


def test_all_problems_at_once(workspace):
    """Broken files are listed together and nothing is written."""
    folder = workspace / "raw" / DATASET / "imagesTr"
    (folder / "p1_0000.nii.gz").write_bytes(b"nothing")
    (folder / "p3_0001.nii.gz").write_bytes(b"nothing")
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="The dataset is not usable as it is") as caught:
        extract_fingerprint(workspace=workspace, num_processes=2)
    assert "p1_0000.nii.gz" in str(caught.value) and "p3_0001.nii.gz" in str(caught.value)
    assert path.read_bytes() == before


def test_pairs_that_share_little_are_listed(workspace, capsys):
    """A channel that was shifted shares far less information than in the other cases."""
    path = workspace / "raw" / DATASET / "imagesTr" / "p2_0002.nii.gz"
    image, info = read_image(path)
    shifted = np.roll(image, (0, 5, 4), axis=(0, 1, 2))
    write_image(path, shifted, info.geometry, dtype="int16")
    found = extract_fingerprint(workspace=workspace, num_processes=1).suspicious_pairs
    assert {line.split(" share")[0] for line in found} >= {"p2: a and c", "p2: b and c"}
    assert not any("p3" in line for line in found)
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning p2 p2_0002.nii.gz a and c share" in printed
    with pytest.raises(DatasetError, match="a and c share"):
        extract_fingerprint(workspace=workspace, num_processes=1, strict=True)


def write_pairs(workspace: Path, shifts: dict[str, tuple[int, int, int]]) -> Path:
    """A dataset with targets: MR and CT of one object per case, CT rolled by whole voxels."""
    folder = workspace / "raw" / "Dataset003_Pairs"
    description = {
        "name": "Pairs",
        "task": "translation",
        "channels": {"0": {"name": "mr"}},
        "targets": {"0": {"name": "ct", "modality": "CT"}},
    }
    write_json(folder / "dataset.json", description)
    grid = Geometry(
        (34, 40, 46), (2.5, 2.0, 2.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    )
    for seed, (case, shift) in enumerate(shifts.items()):
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
        inside = (axes[0] / 0.7) ** 2 + (axes[1] / 0.6) ** 2 + (axes[2] / 0.65) ** 2 < 1
        tissue = ndimage.gaussian_filter(np.random.default_rng(seed).random(grid.shape), 1.5)
        tissue = (tissue - tissue.min()) / np.ptp(tissue)
        mr = np.where(inside, 200 + 800 * tissue, 0)
        ct = np.roll(np.where(inside, 100 - 300 * tissue, -1000), shift, axis=(0, 1, 2))
        for part, image in (("imagesTr", mr), ("targetsTr", ct)):
            path = folder / part / f"{case}_0000.nii.gz"
            write_image(path, np.rint(image).astype(np.int16), grid, dtype="int16")
    return folder


def test_dataset_with_targets(tmp_path, capsys):
    """Regions come from the source; the shift of a target is measured and listed, once."""
    write_pairs(tmp_path, {"good": (0, 0, 0), "moved": (0, 3, -2)})
    fingerprint = extract_fingerprint(workspace=tmp_path, num_processes=1)
    good, moved = fingerprint.cases["good"], fingerprint.cases["moved"]
    mr, _ = read_image(tmp_path / "raw/Dataset003_Pairs/imagesTr/moved_0000.nii.gz")
    assert moved.foreground_fraction == pytest.approx((mr > 0).mean())
    assert moved.zero_background
    assert (moved.box_start, moved.box_stop) == (good.box_start, good.box_stop)
    ct, _ = read_image(tmp_path / "raw/Dataset003_Pairs/targetsTr/moved_0000.nii.gz")
    assert moved.intensities["ct"].mean == pytest.approx(ct[mr > 0].mean(), rel=1e-4)
    assert moved.intensities["ct"].low == -1000
    assert moved.intensities["ct"].high == np.percentile(ct, 99.9, method="nearest")
    np.testing.assert_allclose(good.pair_shift_mm["mr-ct"], (0, 0, 0), atol=0.3)
    np.testing.assert_allclose(moved.pair_shift_mm["mr-ct"], (0, 6, -4), atol=0.3)
    (line,) = fingerprint.suspicious_pairs
    assert line.startswith("moved: ct looks shifted against mr by 7.")
    printed = capsys.readouterr().out
    assert "moved_0000.nii.gz" in printed and "1 warning" in printed
    path = tmp_path / "preprocessed/Dataset003_Pairs/fingerprint.json"
    assert read_fingerprint(path) == fingerprint


def test_strict(tmp_path):
    """The same row is an error, and nothing is written; a good dataset passes."""
    write_pairs(tmp_path, {"good": (0, 0, 0), "moved": (2, 0, 0)})
    for step in (extract_fingerprint, plan_and_preprocess):
        with pytest.raises(DatasetError, match=r"error +moved .* ct looks shifted") as caught:
            step(workspace=tmp_path, num_processes=1, strict=True)
        assert "1 error" in str(caught.value) and "good" not in str(caught.value)
    assert not (tmp_path / "preprocessed").exists()
    for file in (tmp_path / "raw/Dataset003_Pairs").rglob("moved*"):
        file.unlink()
    found = extract_fingerprint(workspace=tmp_path, num_processes=1, strict=True)
    assert list(found.cases) == ["good"]


def test_ct_as_source():
    """Air is not zero in CT: the foreground of a CT source is found by its grey values."""
    image = np.full((1, 8, 10, 13), -1000, dtype=np.float32)
    image[0, 1:7, 2:9, 3:11] = np.linspace(-90, 300, 6 * 7 * 8).reshape(6, 7, 8)
    found = measure(Volume(image, GRID), ("ct",), ct={"ct"})
    assert not found.zero_background
    assert (found.box_start, found.box_stop) == ((1, 2, 3), (7, 9, 11))
    assert found.intensities["ct"].mean == pytest.approx(105, abs=1)


def test_old_fingerprints_are_refused(workspace):
    """Another version and a missing file are told with the command that helps."""
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    assert list(read_fingerprint(path).cases) == ["p1", "p2", "p3", "p4", "p5", "p6"]
    write_json(path, {**read_json(path), "version": 1})
    with pytest.raises(PlanError, match="has version 1, this liftnet reads 3") as caught:
        read_fingerprint(path)
    assert caught.value.remedy == "Measure the dataset again with liftnet_extract_fingerprint."
    path.unlink()
    with pytest.raises(PlanError, match="The dataset has no fingerprint"):
        read_fingerprint(path)
