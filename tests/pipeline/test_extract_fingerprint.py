"""What is measured on a raw dataset."""

import numpy as np
import pytest

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import AxisOrder, Geometry, Volume, turn
from liftnet.pipeline.extract_fingerprint import (
    extract_fingerprint,
    grid_percentiles,
    measure,
    normalized_mutual_information,
)

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
    assert whole.zero_fraction == pytest.approx(1 - inside.mean())
    values = voxels()[0][inside]
    found = whole.intensities["x"]
    assert found.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.std == pytest.approx(values.std(), rel=1e-4)
    assert found.median == pytest.approx(float(np.median(values)))
    assert (found.minimum, found.maximum) == (-4.0, values.max())
    assert whole.pair_quality.keys() == {"x-y"}
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


def test_mutual_information():
    """2 for images that determine each other, 1 for unrelated ones, by Studholme's formula."""
    rng = np.random.default_rng(2)
    a = rng.random(50_000)
    assert normalized_mutual_information(a, 1 - a) == pytest.approx(2.0, abs=0.02)
    assert normalized_mutual_information(a, rng.random(50_000)) == pytest.approx(1.0, abs=0.02)
    four = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0])
    h = lambda *p: -sum(x * np.log(x) for x in p)  # noqa: E731
    expected = (h(0.5, 0.5) + h(0.25, 0.75)) / h(0.25, 0.25, 0.5)
    assert normalized_mutual_information(*four) == pytest.approx(expected)


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


def test_misregistered_pairs_are_listed(workspace, capsys):
    """A channel that was shifted shares far less information than in the other cases."""
    from liftnet.imageio import read_image, write_image

    path = workspace / "raw" / DATASET / "imagesTr" / "p2_0002.nii.gz"
    image, info = read_image(path)
    shifted = np.roll(image, (0, 5, 4), axis=(0, 1, 2))
    write_image(path, shifted, info.geometry, dtype="int16")
    found = extract_fingerprint(workspace=workspace, num_processes=1).suspicious_pairs
    assert {line.split(" share")[0] for line in found} >= {"case p2: a-c", "case p2: b-c"}
    assert not any("p3" in line for line in found)
    assert "likely misregistered: case p2: a-c" in capsys.readouterr().out
