"""Evaluation of folders: pairing, ranges, names, files, failures."""

from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.ops import normalize
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.predict.source_files import note_sources

SHAPE = (13, 15, 17)  # (z, y, x)
HIGH = 812.5


def geometry(shape: tuple[int, int, int]) -> Geometry:
    """A canonical grid with three different spacings."""
    return Geometry(shape, (3.0, 2.0, 1.0), (4.0, 5.0, 6.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def head(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Smooth positive voxels in an ellipsoid of its own size, zeros and negatives outside."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 0.8 - 0.02 * seed
    texture = ndimage.gaussian_filter(rng.random(shape), 1.0)
    texture = (texture - texture.min()) / np.ptp(texture)
    image = np.where(inside, 100 + 900 * texture, 0.0)
    image[0, 0, :3] = -7.0  # ringing of a skull stripper
    return image.astype(np.float32)


def in_range(image: np.ndarray, low: float = 0.1, high: float = 99.9) -> np.ndarray:
    """The reference range of the paper, by numpy."""
    values = np.maximum(image, 0).astype(np.float64)
    a, b = np.percentile(values, (low, high))
    return np.clip((values - a) / (b - a), 0, 1)


def noisy(reference: np.ndarray, level: float = 0.1, seed: int = 9) -> np.ndarray:
    """A prediction in [0, 1]: the reference in range, with noise everywhere."""
    noise = np.random.default_rng(seed).normal(0, level, reference.shape)
    return np.clip(in_range(reference) + noise, 0, 1).astype(np.float32)


def save(path: Path, voxels: np.ndarray, grid: Geometry | None = None) -> None:
    """Write a float32 image."""
    write_image(path, voxels, grid or geometry(voxels.shape), dtype="float32")


def save_predicted(folder: Path, name: str, voxels: np.ndarray, **facts: object) -> None:
    """Write a prediction in [0, 1] as predict does: in typical intensities, with its JSON file."""
    save(folder / f"{name}.nii.gz", normalize.invert(voxels, 0.0, HIGH))
    intensity = {"low": 0.0, "high": HIGH, "dtype": "float32"}
    write_json(folder / f"{name}.json", {"intensity": intensity, "target": "t2f", **facts})


def write_dataset(folder: Path, names: list[str]) -> None:
    """Write a dataset.json."""
    channels = {str(i): {"name": name} for i, name in enumerate(names)}
    description = {"name": "H", "task": "missing_modality", "channels": channels}
    write_json(folder / "dataset.json", description)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Predicted, reference and workspace folders; two references per case, one predicted."""
    predicted, reference = tmp_path / "predicted", tmp_path / "reference"
    for number, case in enumerate(("a", "b", "c")):
        save(reference / f"{case}_0000.nii.gz", head(10 + number))
        save(reference / f"{case}_0003.nii.gz", head(number))
        save_predicted(predicted, f"{case}_0003", noisy(head(number), seed=number))
    return predicted, reference, tmp_path / "workspace"


def run(folders: tuple[Path, Path, Path], **options: object):
    """Evaluate the folders with one worker."""
    predicted, reference, workspace = folders
    return evaluate(predicted, reference, workspace=workspace, num_processes=1, **options)


def assert_equal(found: dict[str, float], wanted: dict[str, float], tolerance: float):
    """Every metric agrees."""
    assert found == pytest.approx(wanted, abs=tolerance, rel=tolerance)


def test_default_protocol(folders):
    """The reference's percentiles; the prediction as it is; brain from all references of a case."""
    scores = run(folders)
    assert scores.protocol.name == "liftnet"
    for number, row in enumerate(scores.cases):
        error = noisy(head(number), seed=number).astype("f8") - in_range(head(number))
        brain = (head(number) > 0) | (head(10 + number) > 0)
        assert (row.case, row.contrast) == ("abc"[number], "t2f")
        assert row.notes["brain"] == "foreground of 0000, t2f"
        assert row.metrics["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-4)
        assert row.metrics["mae_brain"] == pytest.approx(np.abs(error[brain]).mean(), abs=1e-6)


def test_cwdm_masks_by_the_first_source_that_was_used(tmp_path):
    """The JSON file names the sources, the dataset their numbers; else the lowest number counts."""
    shape = (11, 240, 240)
    save(tmp_path / "r" / "a_0003.nii.gz", head(1, shape))
    save(tmp_path / "s" / "a_0000.nii.gz", np.zeros(shape, "f4"))
    save(tmp_path / "s" / "a_0002.nii.gz", np.ones(shape, "f4"))
    save_predicted(
        tmp_path / "p", "a_0003", noisy(head(1, shape)), sources=["t2w"], dataset="Dataset001_H"
    )
    folders = tmp_path / "p", tmp_path / "r", tmp_path / "w"
    lowest = run(folders, protocol="cwdm", sources=tmp_path / "s").cases[0]
    write_dataset(tmp_path / "w/raw/Dataset001_H", ["t1n", "t1c", "t2w", "t2f"])
    used = run(folders, protocol="cwdm", sources=tmp_path / "s").cases[0]
    assert (lowest.notes["mask"], used.notes["mask"]) == ("zeros of 0000", "zeros of t2w")
    inside = (slice(None), slice(8, 232), slice(8, 232))
    reference = in_range(head(1, shape))[inside]
    assert lowest.metrics["mae"] == pytest.approx(reference.mean(), abs=1e-6)
    error = noisy(head(1, shape))[inside] - reference
    assert used.metrics["mae"] == pytest.approx(np.abs(error).mean(), abs=1e-6)


def test_a_reference_does_not_mask_as_the_source(tmp_path, capsys):
    """Sources and targets have the same numbers: the JSON says which file the source is."""
    shape = (11, 240, 240)
    save(tmp_path / "r" / "a_0000.nii.gz", head(1, shape))
    save(tmp_path / "new" / "a_0000.nii.gz", np.zeros(shape, "f4"))
    channels = {"channels": {"0": {"name": "t1n"}}, "targets": {"0": {"name": "t2f"}}}
    described = {"name": "H", "task": "translation", **channels}
    write_json(tmp_path / "w/raw/Dataset001_H/dataset.json", described)
    facts = {"sources": ["t1n"], "dataset": "Dataset001_H", "task": "translation"}
    folders = tmp_path / "p", tmp_path / "r", tmp_path / "w"
    save_predicted(tmp_path / "p", "a_0000", noisy(head(1, shape)), **facts)
    with pytest.raises(DatasetError):
        run(folders, protocol="cwdm")
    assert "masks with the first source, and there is none" in capsys.readouterr().out
    case = Case("a", {"t1n": tmp_path / "new" / "a_0000.nii.gz"})
    made = asdict(note_sources(case, ["t1n"], tmp_path / "new", tmp_path / "p"))
    save_predicted(tmp_path / "p", "a_0000", noisy(head(1, shape)), **facts, made_from=made)
    row = run(folders, protocol="cwdm").cases[0]
    inside = (slice(None), slice(8, 232), slice(8, 232))
    assert row.notes["mask"] == "zeros of t1n"
    assert row.metrics["mae"] == pytest.approx(in_range(head(1, shape))[inside].mean(), abs=1e-6)


def test_cwdm_refuses_other_grids_and_missing_sources(folders, capsys):
    """The crop is defined for 240 x 240 only; without a source there is no mask."""
    with pytest.raises(DatasetError, match="None of the predicted"):
        run(folders, protocol="cwdm")
    printed = capsys.readouterr().out
    assert "axial slices of 240x240, this grid has 13 of 15x17" in printed
    assert "case a, t2f" in printed
    for path in folders[1].glob("*_0000.nii.gz"):
        path.unlink()
    with pytest.raises(DatasetError):
        run(folders, protocol="cwdm")
    assert "Name the folder of source images with -s." in capsys.readouterr().out


def test_typical_units_score_as_the_unit_range(folders, tmp_path):
    """A prediction written by predict's inverse mapping scores as the same one in [0, 1]."""
    plain = tmp_path / "plain"
    for number, case in enumerate("abc"):
        save(plain / f"{case}_0003.nii.gz", noisy(head(number), seed=number))
    other = run((plain, *folders[1:]), output=tmp_path / "scores")
    for one, two in zip(run(folders).cases, other.cases, strict=True):
        assert_equal(one.metrics, two.metrics, tolerance=1e-5)
        assert one.notes["predicted_range"] == "JSON file: 0 to 812.5"
        assert two.notes["predicted_range"] == "as it is: values lie in [0, 1]"
    assert [row.contrast for row in other.cases] == ["0003"] * 3
    assert not (plain / "scores.json").exists()


def test_without_json_an_image_takes_its_own_range(folders, capsys):
    """In file units and without a JSON file the image's own percentiles count, and are named."""
    for path in folders[0].glob("*.json"):
        path.write_text('{"Manufacturer": "another program"}')
    row = run(folders).cases[0]
    error = in_range(noisy(head(0), seed=0)) - in_range(head(0))
    assert row.metrics["mae"] == pytest.approx(np.abs(error).mean(), abs=1e-6)
    assert "range of the predicted images: own 0.1 and 99.9 percentiles (3 of 3)" in (
        capsys.readouterr().out
    )


def test_stored_axes_do_not_matter(folders):
    """Predicted and reference stored in different voxel orders score as in canonical order."""
    before = run(folders).cases
    for folder, codes in ((folders[0], "PSR"), (folders[1], "ILA")):
        for path in folder.glob("*_0003.nii.gz"):
            image = nib.load(path)
            now = nib.orientations.io_orientation(image.affine)
            to = nib.orientations.axcodes2ornt(tuple(codes))
            turned = image.as_reoriented(nib.orientations.ornt_transform(now, to))
            voxels = np.asarray(turned.dataobj).copy()
            nib.save(nib.Nifti1Image(voxels, turned.affine), path)
            assert voxels.shape != SHAPE[::-1]
    for one, two in zip(before, run(folders).cases, strict=True):
        assert_equal(two.metrics, one.metrics, tolerance=1e-7)


def test_summary_and_files(folders):
    """Means and intervals over cases, per contrast and over the means of each case; CSV rows."""
    save_predicted(folders[0], "a_0000", noisy(head(10)), target="t1n")
    scores = run(folders)
    psnr = {(row.case, row.contrast): row.metrics["psnr"] for row in scores.cases}
    t2f = [psnr[c, "t2f"] for c in "abc"]
    found = scores.summary["t2f"]["psnr"]
    assert (found.mean, found.std) == pytest.approx((np.mean(t2f), np.std(t2f, ddof=1)))
    assert min(t2f) <= found.low < found.mean < found.high <= max(t2f)
    by_case = [(psnr["a", "t1n"] + psnr["a", "t2f"]) / 2, psnr["b", "t2f"], psnr["c", "t2f"]]
    assert scores.summary["average"]["psnr"].mean == pytest.approx(np.mean(by_case))
    assert (scores.summary["t1n"]["psnr"].n, scores.summary["average"]["psnr"].n) == (1, 3)
    lines = (folders[0] / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("case,contrast,mae,mae_brain,rmse,psnr,psnr_brain,ssim,")
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["a", "t1n"],
        ["a", "t2f"],
        ["b", "t2f"],
        ["c", "t2f"],
    ]
    assert read_scores(folders[0] / "scores.json") == scores


def test_slice_axis_and_names_come_from_the_plan(folders, tmp_path):
    """delta_z runs along the plan's coarsest axis; channels get the dataset's names."""
    grid = Geometry((14, 9, 15), (1, 4, 1), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    raw = folders[2] / "raw" / "Dataset007_Coronal"
    write_dataset(raw, ["t1n", "t1c", "t2w", "flair"])
    for i in range(8):
        save(raw / f"imagesTr/case{i // 4}_{i % 4:04d}.nii.gz", np.abs(head(i, grid.shape)), grid)
    extract_fingerprint(7, num_processes=1, workspace=folders[2])
    plan(7, gpu_memory=8, steps=10, workspace=folders[2])
    for path in folders[0].glob("*.json"):
        path.unlink()
    scores = run(folders, dataset=7)
    predicted, reference = in_range(noisy(head(0), seed=0)), in_range(head(0))
    steps = np.diff(predicted, axis=1) - np.diff(reference, axis=1)
    assert scores.slice_axis == "coronal"
    assert scores.cases[0].contrast == "flair"
    assert scores.cases[0].metrics["delta_z_mae"] == pytest.approx(np.abs(steps).mean(), abs=1e-6)


def test_a_prediction_without_reference_is_a_warning(folders, capsys):
    """It is named, and the rest is scored."""
    save_predicted(folders[0], "d_0003", noisy(head(3)))
    scores = run(folders)
    assert scores.without_reference == ("d_0003.nii.gz",)
    assert [row.case for row in scores.cases] == ["a", "b", "c"]
    assert "warning: d_0003.nii.gz has no reference; not scored" in capsys.readouterr().out


def test_no_pair_shows_both_names(folders, tmp_path):
    """Where nothing fits, the error shows what is in both folders."""
    save(tmp_path / "other" / "patient1_0003.nii.gz", head(0))
    with pytest.raises(DatasetError, match="No predicted image has a reference") as caught:
        run((folders[0], tmp_path / "other", folders[2]))
    assert "a_0003.nii.gz" in str(caught.value)
    assert "patient1_0003.nii.gz" in str(caught.value)
    with pytest.raises(DatasetError, match="folder of reference images does not exist"):
        run((folders[0], tmp_path / "nowhere", folders[2]))
    save(tmp_path / "numbers" / "a_0000.nii.gz", head(0))
    with pytest.raises(DatasetError, match="No predicted image has a reference") as caught:
        run((folders[0], tmp_path / "numbers", folders[2]))
    assert caught.value.remedy is not None
    assert "a_0003.nii.gz: the number is 0003, not 0000." in caught.value.remedy


def test_exchanged_folders_are_called_so(folders):
    """The JSON files of predictions lie in the folder of references."""
    predicted, reference, workspace = folders
    for path in reference.iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="-i and -r look exchanged"):
        run((reference, predicted, workspace))


@pytest.mark.parametrize("name", ["{0}/{0}-t2f", "{0}_flair", "t2f/{0}", "{0}/t2f", "{0}"])
def test_references_in_other_layouts(folders, name):
    """References are found by case and contrast, which the JSON files name; so are those again."""
    predicted, reference, workspace = folders
    for path in reference.glob("*_0000*"):
        path.unlink()
    expected = run(folders).summary
    other = reference.with_name("other")
    for case in "abc":
        path = other / f"{name.format(case)}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        (reference / f"{case}_0003.nii.gz").rename(path)
    assert run((predicted, other, workspace)).summary == expected


def test_unknown_protocol_lists_the_known(folders):
    """A wrong name is refused with the right ones."""
    with pytest.raises(PlanError, match="no protocol 'paper'") as caught:
        run(folders, protocol="paper")
    assert "liftnet, lift, cwdm, brasyn" in str(caught.value)


def break_grid(folders):
    """Another grid for the reference of case b."""
    save(folders[1] / "b_0003.nii.gz", head(1)[:-1])
    save(folders[1] / "b_0000.nii.gz", head(1)[:-1])


def break_reference(folders):
    """An empty reference."""
    save(folders[1] / "b_0003.nii.gz", np.zeros(SHAPE, "f4"))


def break_json(folders):
    """A JSON file of liftnet with a wrong range."""
    write_json(folders[0] / "b_0003.json", {"intensity": {"low": 5, "high": 5}, "target": "t2f"})


def break_voxels(folders):
    """NaN in the prediction."""
    path = folders[0] / "b_0003.nii.gz"
    affine = nib.load(path).affine
    nib.save(nib.Nifti1Image(np.full(SHAPE[::-1], np.nan, "f4"), affine), path)


def break_other_reference(folders):
    """References of one case on two grids."""
    save(folders[1] / "b_0000.nii.gz", head(1)[:, :-1])


def break_range(folders):
    """Intensities so small that no float32 is large enough to scale them to 1."""
    values = np.linspace(0, 1e-43, int(np.prod(SHAPE))).reshape(SHAPE).astype("f4")
    for folder in folders[:2]:
        save(folder / "b_0003.nii.gz", values)
        (folder / "b_0003.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_range, "float32 cannot calculate with such numbers"),
        (break_grid, "lie on different grids: shape (12, 15, 17) and (13, 15, 17)"),
        (break_reference, "The reference is empty"),
        (break_json, "The intensity range is damaged"),
        (break_voxels, "NaN or infinite"),
        (break_other_reference, "The references 0003 and 0000 lie on different grids"),
    ],
)
def test_a_case_that_fails_is_listed_and_the_rest_is_scored(folders, capsys, damage, message):
    """Each kind of damage costs one case, named at the end."""
    damage(folders)
    scores = run(folders)
    assert [row.case for row in scores.cases] == ["a", "c"]
    (failure,) = scores.failures
    assert failure.case == "b"
    assert message in failure.problem
    assert "failed: b: " in capsys.readouterr().out
    assert len(read_scores(folders[0] / "scores.json").failures) == 1


def test_images_are_not_compared_with_themselves(folders, tmp_path, monkeypatch):
    """One folder under two names, or links to the references: said, and nothing is written."""
    predicted, reference, workspace = folders
    (tmp_path / "link").symlink_to(predicted)
    monkeypatch.chdir(predicted)
    for same in (predicted, Path(), tmp_path / "link", predicted / ".." / "predicted"):
        with pytest.raises(DatasetError, match="-i and -r are the same folder"):
            run((predicted, same, workspace))
    links = tmp_path / "links"
    links.mkdir()
    for path in reference.iterdir():
        (links / path.name).symlink_to(path)
    with pytest.raises(DatasetError, match="A predicted image is its reference") as caught:
        run((links, reference, workspace))
    assert "links" in caught.value.where
    assert not list(tmp_path.rglob("scores.*"))


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("masks", "-m would do nothing: protocol liftnet looks at no masks"),
        ("sources", "-s would do nothing: protocol liftnet looks at no sources"),
    ],
)
def test_a_folder_that_the_protocol_does_not_look_at(folders, option, problem):
    """It is refused, and not ignored."""
    with pytest.raises(LiftnetError, match=problem):
        run(folders, **{option: folders[1]})


def test_a_contrast_that_would_take_the_place_of_the_average(folders):
    """The summary has one entry of that name, for the mean over contrasts."""
    save_predicted(folders[0], "a_0003", noisy(head(0)), target="average")
    scores = run(folders)
    assert [row.case for row in scores.cases] == ["b", "c"]
    assert "'average' cannot be the name of a channel" in scores.failures[0].problem
