"""Names of files that no text file could hold."""

import os
from pathlib import Path

import numpy as np
import pytest

from liftnet.core.dataset import Channel
from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.core.names import without_folders
from liftnet.imageio.raw_dataset import find_cases, find_masks
from liftnet.imageio.read import read_image
from liftnet.imageio.write import write_image
from liftnet.pipeline.convert.layouts import add_image

LATIN = os.fsdecode(b"M\xfcller_0000.nii.gz")
VOXELS = np.ones((2, 2, 2), np.float32)
GRID = Geometry(VOXELS.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image under a Latin-1 name, as an old server gives it."""
    good = tmp_path / "good.nii.gz"
    write_image(good, VOXELS, GRID, dtype="float32")
    try:
        return good.rename(tmp_path / LATIN)
    except OSError:
        pytest.skip("This file system has UTF-8 names only.")


def test_refused_wherever_it_comes_in(path):
    """To list, to read, to write and to convert; ITK would end the process."""
    calls = [
        lambda: find_cases(path.parent, {"0": Channel("t1")}),
        lambda: find_masks(path.parent),
        lambda: read_image(path),
        lambda: write_image(path, VOXELS, GRID, dtype="int16"),
        lambda: add_image({}, "t1", path, where=path.parent),
    ]
    for call in calls:
        with pytest.raises(DatasetError, match="not UTF-8") as caught:
            call()
        assert "convmv" in str(caught.value)


def test_others_beside_images_do_not_matter(path):
    """A note with such a name is no image."""
    path.rename(path.with_suffix(".txt"))
    cases, strangers = find_cases(path.parent, {"0": Channel("t1")})
    assert not cases and len(strangers) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("raw /a/anna/raw, results /b/anna/results/", "raw raw, results results"),
        ("folder=/data/anna/x: (/data/anna/y) '/data/anna/z'", "folder=x: (y) 'z'"),
        (r"at C:\Users\anna\space, or D:/anna/space", "at space, or space"),
        ("/home/anna(1)/x", "x"),
        ("at / or ./anna", "at / or ./anna"),
        ("2/3, https://pytorch.org/get-started", "2/3, https://pytorch.org/get-started"),
    ],
)
def test_without_folders(text, shown):
    """Absolute paths lose their folders; fractions and addresses stay as they are."""
    assert without_folders(text) == shown
