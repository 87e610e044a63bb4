"""Which names are of one patient, and that folds keep a patient together."""

import numpy as np
import pytest

from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.fingerprint.patients import (
    describe_overlap,
    describe_patients,
    known_patients,
    patients_of,
)
from liftnet.pipeline.train.splits import load_splits, make_splits

DATASET = "Dataset007_Phantom"


@pytest.mark.parametrize(
    ("names", "patient"),
    [
        (("BraTS-GLI-00000-000", "BraTS-GLI-00000-001"), "BraTS-GLI-00000"),
        (("sub-01_ses-01", "sub-01_ses-02"), "sub-01"),
        (("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"), "UPENN-GBM-00001"),
        (("UCSF-PDGM-0409", "UCSF-PDGM-0409_FU016d"), "UCSF-PDGM-0409"),
        (("OAS1_0001_MR1", "OAS1_0001_MR2"), "OAS1_0001"),
        (("TCGA-06-0125_2001.01.01", "TCGA-06-0125_2003.05.01"), "TCGA-06-0125"),
        (("Patient-001_week-000", "Patient-001_week-044"), "Patient-001"),
        (("anna_t1", "anna_t2"), "anna"),
        (("anna", "anna_fu"), "anna"),
        (("smith_20200101", "smith_20210304"), "smith"),
        (("patient_1_pre", "patient_1_post"), "patient_1"),
    ],
)
def test_one_patient(names, patient):
    """Time points and sessions of one patient, beside cases of another."""
    other = names[0].replace(patient, patient[:-1] + "7")
    found = patients_of([*names, other], {})
    assert [found[name] for name in names] == [patient, patient]
    assert found[other] == other


@pytest.mark.parametrize(
    "names",
    [
        ("IXI002-Guys-0828", "IXI003-Guys-0911", "IXI012-HH-1211"),
        [f"case_{i:03d}" for i in range(30)],
        [f"s{i}" for i in range(9)],
        ("1BA001", "1BA005", "1BB001"),
        [f"study_t{i}" for i in range(40)],  # the number is that of the patient
        [f"site{i}_{k:03d}" for i in range(3) for k in range(9)],
        ("BraTS2021_00001", "BraTS2021_00002"),
        ("head-01", "head-02"),
        ("TCGA-FG-6692", "TCGA-FG-6693"),
        [f"mri_scan_{k}" for k in range(6)],
        ("sub-01_ses-01", "sub-02_ses-01"),
    ],
)
def test_many_patients(names):
    """Names that look alike and are of as many patients as cases."""
    found = patients_of(names, {})
    assert found == {name: name for name in names}
    assert describe_patients(found) is None


def test_a_second_number():
    """P01_1, P01_2 are visits of P01 where there are more first numbers than second ones."""
    found = patients_of([f"P{i:02d}_{k}" for i in range(5) for k in (1, 2)], {})
    assert len(set(found.values())) == 5
    assert found["P03_2"] == "P03"


def test_given_patients_and_equal_images_count_more_than_names():
    """dataset.json overrides names, in either form of letters; cases of one image join."""
    names = ["a_t1", "a_t2", "b_t1", "b_t2", "Mu\u0308ller"]
    found = patients_of(names, {"a_t1": "x", "a_t2": "y", "M\u00fcller": "x"})
    assert found == {"a_t1": "x", "a_t2": "y", "b_t1": "b", "b_t2": "b", "Mu\u0308ller": "x"}
    joined = patients_of(names, {}, [("a_t1", "b_t2")])
    assert {joined[name] for name in names[:4]} == {"a"}
    assert describe_patients(joined) == (
        "5 cases of 2 patients, split by patient: a (4) (if that is wrong: 'patients' in "
        "dataset.json)"
    )


def test_folds_keep_patients_together():
    """No patient is on both sides, every case validates once, folds are about as large."""
    names = [f"BraTS-GLI-{p:05d}-{t:03d}" for p in range(11) for t in range(1 + p % 3)]
    patients = patients_of(names, {})
    folds = make_splits(names, patients)
    assert len(folds) == 5
    assert sorted(case for fold in folds for case in fold["validation"]) == names
    for fold in folds:
        training, validation = ({patients[c] for c in fold[part]} for part in fold)
        assert not training & validation
        assert sorted(fold["train"] + fold["validation"]) == names
    sizes = [len(fold["validation"]) for fold in folds]
    assert max(sizes) - min(sizes) <= 2


def test_own_splits_stay_and_are_warned_of(tmp_path, capsys):
    """A user's fold with a patient on both sides is used, and named; a form of letters matches."""
    path = tmp_path / "splits.json"
    names = ["p1_t1", "p1_t2", "p2_t1", "Mu\u0308ller"]
    fold = {"train": ["p1_t1", "p2_t1", "M\u00fcller"], "validation": ["p1_t2"]}
    write_json(path, [fold])
    (found,) = load_splits(path, names, patients_of(names, {}))
    assert found == {**fold, "train": ["p1_t1", "p2_t1", "Mu\u0308ller"]}
    said = capsys.readouterr().out
    assert "warning: fold 0 trains and validates on the same patient, p1: its validation" in said
    load_splits(path, names, {})
    assert capsys.readouterr().out == ""


def test_new_cases_of_trained_patients():
    """A later scan of a training patient among the test cases is told."""
    patients = {"sub-01_ses-01": "sub-01_ses-01", "sub-02": "sub-02"}
    said = describe_overlap(patients, ["sub-01_ses-02", "sub-03"], {})
    assert said is not None and "1 of 2 cases in imagesTs" in said and "sub-01_ses-02" in said
    assert describe_overlap(patients, ["sub-03"], {}) is None


def test_copies_are_named_and_kept_together(workspace, capsys):
    """The same voxels in two cases, mirrored, scaled: the table and the fingerprint say so."""
    images = workspace / "raw" / DATASET / "imagesTr"
    for number in range(3):
        for case, change in {
            "x1": lambda v: v,
            "x2": lambda v: np.flip(v, 2),
            "x3": lambda v: np.round(v / 3),
        }.items():
            voxels, info = read_image(images / f"p2_{number:04d}.nii.gz")
            path = images / f"{case}_{number:04d}.nii.gz"
            write_image(path, np.ascontiguousarray(change(voxels)), info.geometry, dtype="int16")
    found = extract_fingerprint(workspace=workspace, num_processes=1)
    said = found.suspicious_pairs
    assert "x1: a, b, c are the same voxels as those of case p2" in said
    assert "x2: a, b, c are a mirrored copy of those of case p2" in said
    assert "x3: a, b, c are a copy in other intensities of those of case p2" in said
    assert len(said) == 3
    assert {found.patients[case] for case in ("p2", "x1", "x2", "x3")} == {"p2"}
    assert "9 cases of 6 patients, split by patient: p2 (4)" in capsys.readouterr().out
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    assert known_patients(path) == found.patients
    write_json(path, {**read_json(path), "patients": 3})
    assert known_patients(path) == {} == known_patients(path.with_name("none.json"))


def test_wrong_images_in_a_case_are_named(workspace):
    """A contrast that is the other one's file, mirrored too, or another patient's, is listed."""
    images = workspace / "raw" / DATASET / "imagesTr"
    first, info = read_image(images / "p1_0000.nii.gz")
    write_image(images / "p1_0001.nii.gz", first, info.geometry, dtype="int16")
    second, info = read_image(images / "p2_0000.nii.gz")
    mirrored = np.ascontiguousarray(np.flip(second, 1))
    write_image(images / "p2_0002.nii.gz", mirrored, info.geometry, dtype="int16")
    third, info = read_image(images / "p3_0000.nii.gz")
    other, _ = read_image(images / "p5_0001.nii.gz")
    placed = np.zeros_like(third)
    placed[: other.shape[0], :25, : other.shape[2]] = other[:, :25]
    write_image(images / "p3_0001.nii.gz", placed, info.geometry, dtype="int16")
    found = extract_fingerprint(workspace=workspace, num_processes=1).suspicious_pairs
    assert "p1: b is the same voxels as a" in found
    assert "p2: c is a mirrored copy of a" in found
    assert any(line.startswith("p3: a and b share no more than images of two") for line in found)
    assert not any(line.startswith(("p4", "p6")) for line in found)


def test_a_case_that_is_listed_twice_stays_twice(tmp_path):
    """Own splits count as they are written; only the form of letters follows the cases."""
    path = tmp_path / "splits.json"
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    fold = {"train": ["a", composed, "a"], "validation": ["b"]}
    write_json(path, [fold])
    (found,) = load_splits(path, ["a", "b", apart], {})
    assert found == {"train": ["a", apart, "a"], "validation": ["b"]}
