"""What is said of new cases: their grids, pairs, masks and names."""

import json
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trained_folds import DATASET, add_fold

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.data.store import Store
from liftnet.imageio import read_image, write_image
from liftnet.ops.given_mask import inside_of, mask_doubt
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.models.training_facts import note_facts
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.predict.case_check import check_mask
from liftnet.pipeline.predict.inputs import find_inputs
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.preprocess import preprocess


@pytest.fixture
def trained(workspace: Path) -> Path:
    """The workspace with one fold, whose training facts are those of all cases but p5."""
    run = add_fold(workspace, "0", 0)
    folder = workspace / "preprocessed" / DATASET / "default"
    cases = ["p1", "p2", "p3", "p4", "p6"]
    note_facts(Store(folder / "cases"), read_plan(folder / "plan.json"), cases, run)
    return workspace


def new_folder(workspace: Path, files: dict[str, str]) -> Path:
    """A folder of new images: name there -> name in imagesTr."""
    folder = workspace / "new"
    folder.mkdir()
    for name, own in files.items():
        raw = workspace / "raw" / DATASET / "imagesTr"
        shutil.copy(raw / f"{own}.nii.gz", folder / f"{name}.nii.gz")
    return folder


def run(workspace: Path, folder: Path | dict[str, Path], **options) -> list:
    """Predict, and the failures."""
    options = {"workspace": workspace, "device": "cpu", "num_processes": 1, **options}
    return predict(folder, workspace / "out", **options)


def said_of(workspace: Path, name: str) -> list[str]:
    """The warnings in the JSON beside an image."""
    found = json.loads((workspace / "out" / f"{name}.json").read_text())["warnings"]
    assert isinstance(found, list)
    return found


def test_good_cases_are_not_warned_of(trained, capsys):
    """Cases as in training, alone in their folder or not, with one source or two."""
    folder = new_folder(
        trained, {f"{c}_000{i}": f"{c}_000{i}" for c in ("p1", "p5") for i in (0, 1)}
    )
    assert run(trained, folder) == []
    assert said_of(trained, "p1_0002") == said_of(trained, "p5_0002") == []
    assert "warning" not in capsys.readouterr().out
    for path in folder.glob("p1*"):
        path.unlink()
    assert run(trained, folder) == []


def test_a_case_that_lacks_nothing_is_skipped(trained, capsys):
    """It is named and no failure; where there is no other case, the error names --target."""
    whole = {f"p1_000{i}": f"p1_000{i}" for i in (0, 1, 2)}
    folder = new_folder(trained, {**whole, "p5_0000": "p5_0000"})
    assert run(trained, folder) == []
    printed = capsys.readouterr().out
    assert "1 case skipped, nothing is missing: p1. Name a contrast with --target" in printed
    assert "Predicted 1 of 1 cases" in printed
    assert {path.name[:2] for path in (trained / "out").glob("*.nii.gz")} == {"p5"}
    (folder / "p5_0000.nii.gz").unlink()
    with pytest.raises(DatasetError, match="Case p1 lacks no contrast: it has a, b, c") as caught:
        run(trained, folder)
    assert caught.value.remedy is not None and "--target" in caught.value.remedy
    for i in (0, 1, 2):
        shutil.copy(folder / f"p1_000{i}.nii.gz", folder / f"p9_000{i}.nii.gz")
    with pytest.raises(DatasetError, match="No case lacks a contrast: all 2 have a, b, c"):
        run(trained, folder)
    assert run(trained, folder, target=["b"]) == []


def test_new_cases_in_folders(trained, capsys):
    """A layout of convert, from the call to the file that is named after the case."""
    flat = new_folder(trained, {"p1_0000": "p1_0000", "p1_0001": "p1_0001"})
    for number, name in enumerate("ab"):
        place = trained / name
        place.mkdir()
        (flat / f"p1_000{number}.nii.gz").rename(place / f"p1-{name}.nii.gz")
    assert run(trained, {name: trained / name for name in "ab"}) == []
    assert (trained / "out" / "p1_0002.nii.gz").is_file()
    said = "One folder per channel: 1 case with a, b (of 3 channels)"
    assert said in capsys.readouterr().out
    with pytest.raises(DatasetError, match="Input and output folder are the same"):
        predict([f"a={trained / 'a'}"], trained / "a", workspace=trained, device="cpu")


def of_another(workspace: Path, own: str, other: str) -> np.ndarray:
    """An image of another case, cut or padded to the grid of `own`."""
    raw = workspace / "raw" / DATASET / "imagesTr"
    first, _ = read_image(raw / f"{own}.nii.gz")
    second, _ = read_image(raw / f"{other}.nii.gz")
    placed = np.zeros_like(first)
    box = tuple(slice(min(a, b)) for a, b in zip(first.shape, second.shape, strict=True))
    placed[box] = second[box]
    return placed


def test_sources_of_two_patients(trained, capsys):
    """Among several cases it is said, in the JSON and once at the end; alone it is refused."""
    folder = new_folder(trained, {"p5_0000": "p5_0000", "p1_0000": "p1_0000", "p1_0001": "p1_0001"})
    path = folder / "p5_0001.nii.gz"
    _, info = read_image(folder / "p5_0000.nii.gz")
    wrong = of_another(trained, "p5_0000", "p2_0001")
    write_image(path, wrong, info.geometry, dtype="int16")
    assert run(trained, folder) == []
    (text,) = said_of(trained, "p5_0002")
    assert text.startswith("a and b share no more than images of two patients (")
    assert "are they of one patient, and registered?" in text
    assert f"warning: p5: {text}" in capsys.readouterr().out
    for old in folder.glob("p1*"):
        old.unlink()
    (failure,) = run(trained, folder)
    assert "The images a, b do not seem to be of one patient" in failure.error.problem
    assert "patient-1_0000.nii.gz" in failure.error.remedy
    (failure,) = run(trained, folder, target=["b"])  # b itself is not used, and is compared
    assert "do not seem to be of one patient" in failure.error.problem
    third = of_another(trained, "p5_0000", "p3_0002")
    write_image(folder / "p5_0002.nii.gz", third, info.geometry, dtype="int16")
    with pytest.raises(DatasetError, match="images a, b, c do not seem to be of one patient"):
        run(trained, folder)  # three patients look like a case that lacks nothing
    write_image(
        path, wrong[:, :-1], replace(info.geometry, shape=wrong[:, :-1].shape), dtype="int16"
    )
    with pytest.raises(GeometryError) as caught:
        run(trained, folder)
    assert caught.value.remedy is not None and "patient-1_0000" in caught.value.remedy


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["scan_0001", "scan_0002", "scan_0003", "scan_0004"], True),
        (["scan_0000", "scan_0001", "scan_0002", "scan_0003"], False),  # one contrast too many
        (["scan_0000", "scan_0003", "scan_0004", "scan_0005"], True),
        (["scan_0001", "scan_0004", "other_0001"], False),
        (["scan_0000", "scan_0001"], False),
    ],
)
def test_patients_by_number(workspace, tmp_path, names, refused):
    """One name with numbers that go beyond the channels, 0000 to 0002."""
    plan = read_plan(workspace / "preprocessed" / DATASET / "default" / "plan.json")
    folder = tmp_path / "in"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.nii.gz").touch()
    if not refused:
        assert find_inputs(folder, plan)
        return
    with pytest.raises(DatasetError, match="images are named scan_NNNN, with numbers beyond") as e:
        find_inputs(folder, plan)
    assert e.value.remedy is not None and "patient-1_0000.nii.gz" in e.value.remedy


def test_other_spacing_header_and_depth(trained, capsys):
    """A grid unlike training's is told; of several cases of a kind one line is printed."""
    folder = new_folder(trained, {})
    image, info = read_image(trained / "raw" / DATASET / "imagesTr" / "p1_0001.nii.gz")
    far = replace(info.geometry, spacing_mm=(0.9, 2.4, 2.1))
    for name in ("x1", "x2"):
        write_image(folder / f"{name}_0001.nii.gz", image, far, dtype="int16")
    thin = replace(info.geometry, shape=(1, *image.shape[1:]))
    write_image(folder / "x3_0001.nii.gz", image[5:6], thin, dtype="int16")
    assert run(trained, folder) == []
    (text,) = said_of(trained, "x1_0000")
    assert text == (
        "The spacing is 0.9 x 2.4 x 2.1 mm (axial slices first), that of training 4 x 2-2.4 x 2.1: "
        "slices are used as they lie, and steps from one to the next are not those learned. "
        "Resample the case to about 4 x 2.4 x 2.1 mm, or train on such cases"
    )
    assert said_of(trained, "x3_0000") == [
        "It has few slices: 1, training cases at least 9. Is the volume whole?"
    ]
    printed = capsys.readouterr().out
    assert f"warning: x1: {text} (and 1 more cases)" in printed
    assert printed.count("The spacing is") == 1


def test_masks():
    """Whole numbers count where they are not 0, fractions above half of the largest."""
    labels = np.zeros((4, 5, 6), np.float32)
    labels[1:3, 1:4, 2:5] = 2
    labels[1, 1, 2] = 255
    assert (inside_of(labels) == (labels > 0)).all()
    assert mask_doubt(labels) is None
    soft = np.linspace(0, 0.8, 120, dtype=np.float32).reshape(4, 5, 6)
    assert inside_of(soft).mean() == pytest.approx(0.5)
    text = "The mask has fractions: above 0.4 counts as inside"
    assert mask_doubt(soft) == (text, "Save it as 0 and 1.")
    said = mask_doubt(np.ones((4, 5, 6), np.float32))
    assert said is not None and said[0] == "The mask covers the whole image: it bounds nothing"
    single = np.zeros((30, 30, 30), np.float32)
    single[3, 4, 5] = 1
    assert (mask_doubt(single) or "")[0] == "The mask has 1 of 27000 voxels inside"


def test_masks_of_new_cases(pairs):
    """An empty mask is refused, and one that is inverted is told."""
    plan = read_plan(pairs / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json")
    mr, _ = read_image(pairs / "raw" / "Dataset009_Heads" / "imagesTr" / "h1_0000.nii.gz")
    mask, _ = read_image(pairs / "raw" / "Dataset009_Heads" / "masksTr" / "h1.nii.gz")
    assert list(check_mask(mask, mr[None], ["mr"], plan, "case h1")) == []
    (said,) = check_mask(1 - mask, mr[None], ["mr"], plan, "case h1")
    assert said.endswith("% of the subject: is it of this case, and not inverted?")
    with pytest.raises(DatasetError, match="The mask is empty: all voxels are 0") as caught:
        list(check_mask(0 * mask, mr[None], ["mr"], plan, "case h1"))
    assert caught.value.where == "case h1"


def test_misspelled_masks(pairs, tmp_path, capsys):
    """Masks of no case, while cases have none."""
    plan = read_plan(pairs / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json")
    images, masks = tmp_path / "in", tmp_path / "masks"
    for path in (images / "a_0000.nii", images / "b_0000.nii", masks / "a.nii", masks / "B.nii"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    cases = find_inputs(images, plan, masks)
    assert [case.mask and case.mask.name for case in cases] == ["a.nii", None]
    assert "warning: B in the folder of masks are no case, and b have no mask" in (
        capsys.readouterr().out
    )


def test_names_in_two_forms(pairs):
    """Decomposed letters in one folder, composed ones in another: one case, its own name kept."""
    raw = pairs / "raw" / "Dataset009_Heads"
    name = "M\u00fcller"
    apart = unicodedata.normalize("NFD", name)
    (raw / "imagesTr" / "h1_0000.nii.gz").rename(raw / "imagesTr" / f"{apart}_0000.nii.gz")
    (raw / "targetsTr" / "h1_0000.nii.gz").rename(raw / "targetsTr" / f"{name}_0000.nii.gz")
    (raw / "masksTr" / "h1.nii.gz").rename(raw / "masksTr" / f"{name}.nii.gz")
    found = extract_fingerprint(workspace=pairs, num_processes=1)
    assert set(found.cases) == {name, "h2", "h3", "h4"}
    assert set(found.cases[name].intensities) == {"mr", "ct"}
    plan = read_plan(pairs / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json")
    (case,) = (
        c
        for c in find_inputs(raw / "imagesTr", plan, raw / "masksTr")
        if c.mask and "M" in c.identifier
    )
    assert case.identifier == apart
    assert case.mask == raw / "masksTr" / f"{name}.nii.gz"


def test_links_that_lead_nowhere(trained, monkeypatch):
    """Every step that reads a dead link says that it is one, and where it leads."""
    monkeypatch.setenv("COLUMNS", "400")
    path = trained / "raw" / DATASET / "imagesTr" / "p2_0000.nii.gz"
    path.rename(trained / "p2.nii.gz")
    path.symlink_to(trained / "gone" / "p2.nii.gz")
    words = f"is a link that leads nowhere: {trained / 'gone'} does not hold it"
    with pytest.raises(DatasetError, match="The dataset is not usable as it is") as caught:
        extract_fingerprint(workspace=trained, num_processes=1)
    assert words in str(caught.value)
    with pytest.raises(DatasetError) as caught:
        preprocess(workspace=trained, num_processes=1)
    assert words in str(caught.value) and str(trained / "gone" / "p2.nii.gz") in str(caught.value)
    folder = new_folder(trained, {"p1_0000": "p1_0000"})
    (folder / "x_0000.nii.gz").symlink_to(trained / "gone" / "x.nii.gz")
    (failure,) = run(trained, folder)
    assert failure.case == "x" and words in str(failure.error)


def test_many_files_with_one_fault_are_one_row(workspace, monkeypatch):
    """The row names the first and counts the others; the last line counts all."""
    monkeypatch.setenv("COLUMNS", "400")
    for path in (workspace / "raw" / DATASET / "imagesTr").iterdir():
        path.unlink()
        path.symlink_to(workspace / "gone" / path.name)
    with pytest.raises(DatasetError) as caught:
        extract_fingerprint(workspace=workspace, num_processes=1)
    lines = [line for line in str(caught.value).splitlines() if "leads nowhere" in line]
    assert len(lines) == 1
    assert "p1 and 5 more" in lines[0] and "p1_0000.nii.gz and 16 more" in lines[0]
    assert "17 errors, 0 warnings" in str(caught.value)
