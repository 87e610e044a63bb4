"""A folder of another kind is called by its name, wherever a folder of images is asked for."""

import re
from pathlib import Path

import pytest
from new_cases import fill, four_contrasts

from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.convert.folder_kinds import existing_folder, nothing_found
from liftnet.pipeline.evaluate.evaluate import evaluate_pairs
from liftnet.pipeline.predict.inputs import find_inputs


@pytest.fixture(scope="module")
def four(_prepared: Path) -> Plan:
    """A plan of the four contrasts of BraTS."""
    return four_contrasts(_prepared)


def dicom(folder: Path) -> Path:
    """Three files of DICOM without an ending, one with."""
    for name in ("a/IM1", "a/IM2", "b/IM3"):
        (fill(folder, f"{name}.x") / f"{name}.x").rename(folder / name)
        (folder / name).write_bytes(bytes(128) + b"DICM")
    return fill(folder, "b/IM4.dcm", "b/readme.txt")


def bids(folder: Path) -> Path:
    """Two subjects, the second with sessions."""
    return fill(
        folder, "dataset_description.json", "sub-01/anat/sub-01_T1w",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w", "sub-02/ses-1/anat/sub-02_ses-1_T2w",
    )  # fmt: skip


def described(folder: Path, text: str) -> Path:
    """A raw dataset."""
    fill(folder, "imagesTr/A_0000", "imagesTr/A_0001")
    (folder / "dataset.json").write_text(text)
    return folder


KINDS = {
    "dicom": (dicom, "it holds DICOM (4 files)", "dcm2niix"),
    "bids": (bids, "it is a BIDS dataset (2 subjects)", "_T1w.nii.gz T1w/"),
    "subject": (lambda p: bids(p) / "sub-02" / "ses-1", "of one subject in a BIDS", "T1w"),
    "nnunet": (lambda p: described(p, '{"channel_names": {}}'), "of nnU-Net", "imagesTs"),
    "liftnet": (lambda p: described(p, '{"channels": {}}'), "raw dataset of liftnet", "imagesTs"),
    "empty": (lambda p: p.mkdir() or p, "it is empty", ""),
    "other": (lambda p: fill(p, "A/t1.mnc", "A/t2.mnc"), "it holds 2 .mnc files", ".nii.gz"),
    "packed": (lambda p: fill(p, "all.zip"), "it holds 1 .zip file", "Unpack"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(four, tmp_path, kind):
    """Prediction, both of the evaluation's folders, and each layout of the conversion."""
    make, said, remedy = KINDS[kind]
    folder = make(tmp_path / "in")
    other = fill(tmp_path / "other", "A_0000")
    calls = (
        lambda: find_inputs(folder, four),
        lambda: find_inputs({"t1n": folder}, four),
        lambda: evaluate_pairs(folder, other, workspace=tmp_path / "w"),
        lambda: evaluate_pairs(other, folder, workspace=tmp_path / "w"),
        lambda: convert("brats", [folder], 1, workspace=tmp_path / "w"),
        lambda: convert("synthrad2023", [folder], 1, workspace=tmp_path / "w"),
        lambda: convert("folders", [f"t1={folder}", f"t2={other}"], 1, workspace=tmp_path / "w"),
        lambda: convert(
            "folders", [f"t1={folder}"], 1, task="unconditional", workspace=tmp_path / "w"
        ),
    )
    for call in calls:
        with pytest.raises(DatasetError, match=re.escape(said)) as caught:
            call()
        assert caught.value.remedy and remedy in caught.value.remedy
        assert str(folder) in str(caught.value.where)


def test_other_folders_keep_their_message(tmp_path):
    """Where images lie deeper, or nothing is known, the layout's own remedy is given."""
    for name in ("a/b/P01", "notes.txt"):
        error = nothing_found("Nothing", fill(tmp_path / name[:1], name), "Do this.")
        assert (error.problem, error.remedy) == ("Nothing", "Do this.")


def test_files_and_missing_folders(tmp_path):
    """A file is there, and is no folder."""
    image, packed = fill(tmp_path, "P01", "x.zip") / "P01.nii.gz", tmp_path / "x.zip"
    assert existing_folder(tmp_path) == tmp_path.absolute()
    for path, problem, remedy in (
        (image, "The folder of masks is a file", "Give the folder it lies in."),
        (packed, "The folder of masks is a file", "Unpack it"),
        (tmp_path / "no", "The folder of masks does not exist", "Name another with -m."),
    ):
        with pytest.raises(DatasetError, match=problem) as caught:
            existing_folder(path, "folder of masks", "-m")
        assert caught.value.remedy is not None and remedy in caught.value.remedy


def test_one_case_of_brats(four, tmp_path):
    """Prediction takes the folder of one case; conversion asks for the one above."""
    folder = fill(tmp_path / "all", "C1/C1-t1n", "C1/C1-t2w") / "C1"
    (case,) = find_inputs(folder, four)
    assert (case.identifier, set(case.images)) == ("C1", {"t1n", "t2w"})
    with pytest.raises(DatasetError, match="This is the folder of a single case") as caught:
        convert("brats", [folder], 1, workspace=tmp_path / "w")
    assert caught.value.remedy == f"Give the folder above: {tmp_path / 'all'}."
