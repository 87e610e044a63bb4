"""The integrity check: every kind of problem planted once, all found at once."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from liftnet.core.dataset import Case, Channel, DatasetDescription
from liftnet.core.errors import DatasetError
from liftnet.pipeline.fingerprint.integrity import (
    Problem,
    check_names,
    inspect_case,
    problem_table,
    raise_on_errors,
)

SHAPE = (5, 6, 7)
CHANNELS = {"0": Channel("t1n"), "1": Channel("t2w")}
DESCRIPTION = DatasetDescription("Heads", "missing_modality", CHANNELS)


def data(seed: int = 0) -> np.ndarray:
    """Positive voxels."""
    return np.random.default_rng(seed).random(SHAPE).astype(np.float32) + 1


def save(path: Path, voxels: np.ndarray | None = None, affine: np.ndarray | None = None) -> Path:
    """Write one image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1, 2, 3, 1]) if affine is None else affine
    nib.save(nib.Nifti1Image(data() if voxels is None else voxels, affine), path)
    return path


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(problems: list[Problem]) -> dict[str, str]:
    """File -> problem."""
    return {p.file: p.problem for p in problems}


def test_good_names(tmp_path):
    """A good dataset has no problem; hidden files are no strangers."""
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTr/.DS_Store")
    touch(tmp_path, "masksTr/a.nii.gz", "imagesTs/b_0001.nii.gz")
    assert check_names(tmp_path, DESCRIPTION) == []


def test_every_name_problem_at_once(tmp_path):
    """Each kind of wrong name gives one row that names the file."""
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")  # good
    touch(tmp_path, "imagesTr/A_0000.nii.gz", "imagesTr/A_0001.nii.gz")  # alike
    touch(tmp_path, "imagesTr/readme.txt", "imagesTr/b.nii.gz", "imagesTr/a_0005.nii.gz")
    touch(tmp_path, "imagesTr/a_0000.nrrd", "imagesTr/c_0000.nii", "imagesTr/sub/x.nii.gz")
    touch(tmp_path, "imagesTr/d_0001.nii.gz", "masksTr/e.nii.gz", "masksTr/a.mha")
    touch(tmp_path, "imagesTs/t_0007.nii.gz", "masksTr/x.txt")
    problems = check_names(tmp_path, DESCRIPTION)
    assert found(problems) == {
        "a_0000.nii.gz": "Differs from case A only in upper and lower case",
        "imagesTr/readme.txt": "Not an image file, left alone",
        "imagesTr/sub": "A folder, left alone",
        "imagesTr/b.nii.gz": "No channel number in the name",
        "imagesTr/a_0005.nii.gz": "Channel 0005 is not in dataset.json",
        "imagesTr/a_0000.nrrd": "Same case and channel as a_0000.nii.gz",
        "imagesTr/c_0000.nii": "Ends in .nii, dataset.json says .nii.gz",
        "d_0001.nii.gz": "Only 1 channel",
        "masksTr/e.nii.gz": "No image of this case in imagesTr",
        "masksTr/a.mha": "Ends in .mha, dataset.json says .nii.gz",
        "masksTr/x.txt": "Not an image file",
        "imagesTs/t_0007.nii.gz": "Channel 0007 is not in dataset.json",
    }
    assert len(problems) == 12
    warnings = {p.file for p in problems if p.severity == "warning"}
    assert warnings == {"imagesTr/readme.txt", "imagesTr/sub", "masksTr/x.txt"}
    assert all(p.remedy for p in problems)
    assert "d_0001.nii.gz" not in found(check_names(tmp_path, DESCRIPTION, min_channels=1))


TRANSLATION = DatasetDescription(
    "Pelvis",
    "translation",
    {"0": Channel("mr")},
    {"0": Channel("ct", "CT"), "1": Channel("pet")},
    ".mha",
)


def test_good_names_of_a_translation(tmp_path):
    """One source and the targets are enough; test cases need neither targets nor masks."""
    touch(tmp_path, "imagesTr/a_0000.mha", "targetsTr/a_0000.mha", "targetsTr/a_0001.mha")
    touch(tmp_path, "imagesTs/b_0000.mha", "imagesTs/c_0000.mha", "targetsTs/b_0001.mha")
    touch(tmp_path, "masksTr/a.mha", "masksTs/b.mha")
    assert check_names(tmp_path, TRANSLATION) == []


def test_targets(tmp_path):
    """Targets and masks without a case, and cases without their targets, are found."""
    touch(tmp_path, "imagesTr/a_0000.mha", "imagesTr/b_0000.mha", "imagesTr/c_0000.mha")
    touch(tmp_path, "targetsTr/a_0000.mha", "targetsTr/c_0000.mha", "targetsTr/c_0001.mha")
    touch(tmp_path, "targetsTr/d_0000.mha", "targetsTr/c_0002.mha")
    touch(tmp_path, "imagesTs/e_0000.mha", "targetsTs/f_0000.mha", "targetsTs/e_0002.mha")
    touch(tmp_path, "masksTs/g.mha", "masksTs/e.nii", "masksTr/e.mha")
    problems = check_names(tmp_path, TRANSLATION)
    assert {(p.case, p.file, p.problem, p.severity) for p in problems} == {
        ("a", "-", "No pet in targetsTr", "warning"),
        ("b", "-", "No target image in targetsTr", "error"),
        ("c", "targetsTr/c_0002.mha", "Channel 0002 is not in dataset.json", "error"),
        ("d", "targetsTr/d_0000.mha", "No image of this case in imagesTr", "error"),
        ("e", "masksTr/e.mha", "No image of this case in imagesTr", "error"),
        ("e", "targetsTs/e_0002.mha", "Channel 0002 is not in dataset.json", "error"),
        ("f", "targetsTs/f_0000.mha", "No image of this case in imagesTs", "warning"),
        ("g", "masksTs/g.mha", "No image of this case in imagesTs", "warning"),
        ("-", "masksTs/e.nii", "Ends in .nii, dataset.json says .mha", "error"),
    }
    assert len(problems) == 9
    unlisted = dataclasses.replace(TRANSLATION, targets={})
    (problem,) = (
        p
        for p in check_names(tmp_path, unlisted, min_channels=1)
        if p.file == "targetsTr/a_0000.mha"
    )
    assert problem.remedy.startswith("Add channel 0 to its 'targets'")


def test_good_case(tmp_path):
    """A good case comes back as one volume in the order of its images."""
    images = {
        "t2w": save(tmp_path / "a_0001.nii.gz", data(1)),
        "t1n": save(tmp_path / "a_0000.nii.gz", (data(2) * 100).astype(np.int16)),
    }
    mask = save(tmp_path / "a.nii.gz", (np.indices(SHAPE).sum(0) % 3 > 0).astype(np.uint8))
    volume, dtypes, problems = inspect_case(Case("a", images, mask))
    assert problems == []
    assert dtypes == {"t2w": "float32", "t1n": "int16"}
    assert volume.geometry.spacing_mm == (3, 2, 1)
    np.testing.assert_array_equal(volume.voxels[0], data(1).T)
    np.testing.assert_array_equal(volume.voxels[1], (data(2) * 100).astype(np.int16).T)


def broken_images(folder: Path) -> dict[str, Path]:
    """One good image, then each kind of bad one."""
    moved = np.diag([1.0, 2, 3, 1])
    moved[2, 3] = 4
    spoilt = data()
    spoilt[0, 0, :2], spoilt[1, 1, 1] = np.nan, np.inf
    (folder / "junk.nii").write_bytes(b"hello" * 200)
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return {
        "good": save(folder / "good.nii"),
        "junk": folder / "junk.nii",
        "4d": save(folder / "4d.nii", np.stack([data(), data()], -1)),
        "complex": save(folder / "complex.nii", data().astype(np.complex64)),
        "rgb": save(folder / "rgb.nii", rgb),
        "moved": save(folder / "moved.nii", affine=moved),
        "small": save(folder / "small.nii", data()[1:]),
        "nan": save(folder / "nan.nii", spoilt),
        "empty": save(folder / "empty.nii", np.zeros(SHAPE, np.int16)),
        "constant": save(folder / "constant.nii", np.full(SHAPE, 7, np.int16)),
        "negative": save(folder / "negative.nii", -data()),
        "two": save(folder / "two.nii", np.zeros(SHAPE, np.int16), moved),
    }


def test_every_image_problem_at_once(tmp_path):
    """Each kind of bad image gives one row; good images give none; there is no volume."""
    mask = save(tmp_path / "mask.nii", np.eye(4, dtype=np.uint8)[None].repeat(4, 0))
    volume, _, problems = inspect_case(Case("a", broken_images(tmp_path), mask))
    assert volume is None
    assert {p.severity for p in problems} == {"error"}
    assert {p.case for p in problems} == {"a"}
    assert found(problems) == {
        "junk.nii": "Not a NIfTI file, or its header is damaged",
        "4d.nii": "The image is 4D (5 x 6 x 7 x 2), expected 3D",
        "complex.nii": "The image is complex-valued",
        "rgb.nii": "The image has several values per voxel (RGB)",
        "moved.nii": "Lies on another grid than good: position (4.00 mm apart)",
        "small.nii": "Lies on another grid than good: shape (7, 6, 5) and (7, 6, 4)",
        "nan.nii": "3 voxels are NaN or infinite",
        "empty.nii": "Empty: all voxels are 0",
        "constant.nii": "Constant: all voxels are 7",
        "negative.nii": "No voxel above 0 (the largest is -1.00)".replace(
            "-1.00", f"{(-data()).max():g}"
        ),
        "two.nii": (
            "Lies on another grid than good: position (4.00 mm apart); Empty: all voxels are 0"
        ),
        "mask.nii": "Lies on another grid than good: shape (7, 6, 5) and (4, 4, 4)",
    }
    assert len(problems) == 12
    table = problem_table(problems)
    assert all(p.file in table for p in problems)
    assert table.endswith("12 errors, 0 warnings")


def test_unoriented_image_is_a_warning(tmp_path):
    """An image without sform and qform is used, with a warning."""
    image = nib.Nifti1Image(data(), None)
    image.set_sform(np.eye(4), 0)
    image.set_qform(np.eye(4), 0)
    nib.save(image, tmp_path / "x.nii")
    volume, _, problems = inspect_case(Case("a", {"t1n": tmp_path / "x.nii"}))
    assert volume is not None
    assert [p.severity for p in problems] == ["warning"]
    raise_on_errors(problems)


def test_source_and_target_of_one_name_are_told_apart(tmp_path):
    """A broken target is shown with its folder: the source has the same file name."""
    images = {
        "mr": save(tmp_path / "imagesTr" / "a_0000.nii"),
        "ct": save(tmp_path / "targetsTr" / "a_0000.nii", np.full(SHAPE, -1000, np.int16)),
    }
    _, _, problems = inspect_case(Case("a", images))
    assert list(found(problems)) == ["targetsTr/a_0000.nii"]


def test_case_without_image():
    """A case with nothing in it is an error, not a crash."""
    volume, _, problems = inspect_case(Case("a", {}))
    assert volume is None
    assert found(problems) == {"-": "The case has no image"}


PROBLEMS = [
    Problem("b", "b_0000.nii.gz", "left alone", "Remove it.", "warning"),
    Problem("a", "a_0001.nii.gz", "word " * 40, "remedy " * 30),
    Problem("a", "a" * 90 + ".nii", "short", "short"),
]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_table_fits_the_terminal(monkeypatch, columns):
    """Long cells wrap, nothing is lost, errors come first, the count comes last."""
    monkeypatch.setenv("COLUMNS", str(columns))
    table = problem_table(PROBLEMS)
    lines = table.splitlines()
    assert max(map(len, lines)) <= max(80, columns)
    assert table.count("word") == 40
    assert table.count("remedy") == 30
    assert table.count("a" * 20) >= 3
    assert [line.split()[0] for line in lines if line.startswith(("error", "warning"))] == [
        "error",
        "error",
        "warning",
    ]
    assert lines[-1] == "2 errors, 1 warning"
    starts = {line.index("case") for line in lines[:1]} | {lines[2].index(" a ") + 1}
    assert len(starts) == 1


def test_raise_on_errors():
    """Errors stop with the whole table in the text; warnings alone do not."""
    assert problem_table([]) == "No problem found"
    raise_on_errors([])
    raise_on_errors(PROBLEMS[:1])
    with pytest.raises(DatasetError) as caught:
        raise_on_errors(PROBLEMS)
    assert "2 errors, 1 warning" in str(caught.value)
    assert "b_0000.nii.gz" in str(caught.value)
    assert "do:" in str(caught.value)
