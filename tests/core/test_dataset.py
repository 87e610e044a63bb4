"""dataset.json and the cases found on disk."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from liftnet.core.dataset import Channel, DatasetDescription, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.scores import AVERAGE
from liftnet.imageio.raw_dataset import find_cases, find_masks, load_dataset

DESCRIPTION = {
    "name": "Heads",
    "task": "missing_modality",
    "channels": {"0": {"name": "t1n"}, "1": {"name": "ct", "modality": "CT"}},
    "file_ending": ".nii.gz",
}


def make(folder: Path, files=("imagesTr/a_0000.nii.gz",), **changes) -> Path:
    """A raw dataset of empty files."""
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({**DESCRIPTION, **changes}))
    for file in files:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return folder


def test_load_dataset(tmp_path):
    """Cases come sorted, with their channels by name, their targets and their mask."""
    files = ["imagesTr/b_0001.nii.gz", "imagesTr/b_0000.nii.gz", "imagesTr/a_x_0000.nii.gz"]
    files += ["targetsTr/b_0000.nii.gz", "masksTr/b.nii.gz", "imagesTr/notes.txt"]
    dataset = load_dataset(make(tmp_path, files, targets={"0": {"name": "pet"}}))
    first, second = dataset.cases
    assert (first.identifier, list(first.images), first.mask) == ("a_x", ["t1n"], None)
    assert list(second.images) == ["t1n", "ct", "pet"]
    assert second.images["pet"] == tmp_path / "targetsTr" / "b_0000.nii.gz"
    assert second.mask == tmp_path / "masksTr" / "b.nii.gz"
    assert dataset.channels == (Channel("t1n"), Channel("ct", "CT"), Channel("pet"))
    assert dataset.sources == dataset.channels[:2]
    assert dataset.targets == (Channel("pet"),)
    assert dataset.description.licence == "unknown"


def test_endings_in_capitals(tmp_path):
    """Images, targets and masks are found whatever the case of their ending."""
    files = ["imagesTr/h1_0000.NII.GZ", "targetsTr/h1_0000.Nii.gz", "masksTr/h1.NII.GZ"]
    (case,) = load_dataset(make(tmp_path, files, targets={"0": {"name": "pet"}})).cases
    assert [path.name for path in case.images.values()] == ["h1_0000.NII.GZ", "h1_0000.Nii.gz"]
    assert case.mask == tmp_path / "masksTr" / "h1.NII.GZ"


def test_find_masks(tmp_path):
    """Masks of one ending or of all; folders and other files are none."""
    files = ["m/a.nii.gz", "m/b.MHA", "m/c.txt", "m/.d.nii"]
    folder = make(tmp_path, files) / "m"
    (folder / "e.nii.gz").mkdir()
    assert find_masks(folder) == {"a": folder / "a.nii.gz", "b": folder / "b.MHA"}
    assert find_masks(folder, file_ending=".mha") == {"b": folder / "b.MHA"}


def test_channels_sort_by_number(tmp_path):
    """Channel 10 comes after channel 2."""
    channels = {str(i): {"name": f"c{i}"} for i in reversed(range(11))}
    dataset = load_dataset(make(tmp_path, channels=channels))
    assert [c.name for c in dataset.channels] == [f"c{i}" for i in range(11)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"file_ending": ".png"}, r"File ending '\.png' is not supported"),
        ({"channels": {"1": {"name": "t1n"}}}, "The keys of 'channels' are 1"),
        ({"channels": {"0": {"name": "a_b"}}}, "'a_b' cannot be the name of a channel"),
        ({"channels": {"0": {"name": "a/b"}}}, "'a/b' cannot be the name of a channel"),
        ({"channels": {"0": {"name": "<b>"}}}, "'<b>' cannot be the name of a channel"),
        ({"channels": {"0": {"name": "a\n"}}}, r"'a\\n' cannot be the name of a channel"),
        ({"channels": {"0": {"name": "a" * 300}}}, r"'a{60}\.\.\.' cannot be the name"),
        ({"channels": {"0": {"name": ""}}}, "'' cannot be the name of a channel"),
        ({"targets": {"0": {"name": "Mask"}}}, "'Mask' cannot be the name of a channel"),
        ({"channels": {"0": {"name": AVERAGE}}}, "'average' cannot be the name of a channel"),
        ({"targets": {"0": {"name": "t1n"}}}, "Channel names must differ"),
        ({"channels": {"0": {"name": "a", "modality": "PET"}}}, "Expected one of 'MR', 'CT'"),
        ({"chanels": {}}, "Unknown key 'chanels'"),
    ],
)
def test_wrong_descriptions(tmp_path, changes, text):
    """A wrong dataset.json is refused with the file's name and a remedy."""
    with pytest.raises(DatasetError, match=text) as caught:
        load_dataset(make(tmp_path, **changes))
    assert "dataset.json" in caught.value.where
    assert caught.value.remedy


def test_documented_example(tmp_path):
    """The dataset that liftnet_raw_layout.md shows is a dataset."""
    page = (Path(__file__).parents[2] / "liftnet_raw_layout.md").read_text(encoding="utf-8")
    example = json.loads(re.search(r"```json\n(.+?)```", page, re.DOTALL)[1])
    files = re.findall(r"(head-0\d_\d{4}\.nii\.gz)", page)
    dataset = load_dataset(make(tmp_path, [f"imagesTr/{file}" for file in files], **example))
    assert {case.identifier: len(case.images) for case in dataset.cases} == {
        "head-01": 3,
        "head-02": 2,
    }
    for field in dataclasses.fields(DatasetDescription):
        assert f"`{field.name}`" in page


def test_missing_parts(tmp_path):
    """No dataset.json, no imagesTr and no case are three different errors."""
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        load_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no folder imagesTr"):
        load_dataset(make(tmp_path, files=[]))
    with pytest.raises(DatasetError, match="No training case found"):
        load_dataset(make(tmp_path, files=["imagesTr/a.nii.gz"]))
    with pytest.raises(DatasetError, match="no folder targetsTr") as caught:
        load_dataset(make(tmp_path, targets={"0": {"name": "pet"}}))
    assert "CASE_0000.nii.gz" in caught.value.remedy


def test_find_cases(tmp_path):
    """Any supported ending is taken, strangers are returned, duplicates refused."""
    make(tmp_path, ["in/a_0000.nii", "in/a_0001.mha", "in/b_0007.nii", "in/c.nii", "in/.hidden"])
    channels = {"0": Channel("t1n"), "1": Channel("ct")}
    cases, strangers = find_cases(tmp_path / "in", channels)
    assert {k: list(v) for k, v in cases.items()} == {"a": ["t1n", "ct"]}
    assert [p.name for p in strangers] == ["b_0007.nii", "c.nii"]
    make(tmp_path, ["in/a_0000.nrrd"])
    with pytest.raises(DatasetError, match=r"Two files for channel t1n of case a: a_0000\.nii"):
        find_cases(tmp_path / "in", channels)


def test_require_channel():
    """An unknown channel is met with the nearest one."""
    require_channel("t1n", ["t1n", "t2w"])
    with pytest.raises(DatasetError, match="No channel 't1'") as caught:
        require_channel("t1", ["t1n", "t2w"])
    assert caught.value.remedy == "Did you mean 't1n'?"
