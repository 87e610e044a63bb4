"""The report: its numbers are those of the JSON, its pictures those of the files."""

import base64
import json
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from liftnet.core.comparison import read_comparison
from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.metrics.catalogue import short_name
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.predict.source_files import note_sources
from liftnet.pipeline.report.report import report
from liftnet.visual.volume_text import VolumeText, decode

SHAPE = (14, 16, 18)  # (z, y, x)
SPACING = (3.0, 2.0, 1.0)
NAMES = tuple(f"p{k}" for k in range(9))
NOISE = {"plain": 0.2, "fine": 0.1}


def image(seed: int) -> np.ndarray:
    """A bright block in zeros, in [0, 1], another one for each seed."""
    voxels = np.zeros(SHAPE, np.float32)
    inside = (slice(2, 12), slice(3, 14), slice(4, 16))
    voxels[inside] = np.random.default_rng(seed).uniform(0.3, 1, voxels[inside].shape)
    return voxels


def save(path: Path, voxels: np.ndarray, dtype: str = "float32") -> None:
    """Write an image whose axes are turned to others than the canonical ones."""
    axes = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
    origin = (5.0, 6.0 + 2.0 * (SHAPE[1] - 1), 7.0)
    write_image(path, voxels[:, ::-1], Geometry(SHAPE, SPACING, origin, axes), dtype=dtype)


def facts(case: str, **more: object) -> dict[str, object]:
    """What liftnet_predict writes beside an image."""
    return {
        "case": case,
        "target": "t2f",
        "modality": "MR",
        "sources": ["t1n"],
        "intensity": {"low": 0.0, "high": 1.0, "dtype": "float32"},
        "task": "missing_modality",
        "dataset": "Dataset001_Heads",
        "plan": "default",
        "folds": ["fold_0"],
        "model": "abcd",
        "seconds": 0.25,
        "flops": 1_500_000_000_000,
        "peak_memory_gib": 0.75 if case == "p2" else 0.5,
        "peak_memory_of": "tensors on the GPU",
        "device": "cpu",
        "hardware": "a fast processor",
        "command": "liftnet_predict -i new",
        "liftnet": "0.1.0",
        "plausibility": {"flags": ["too dark"] if case == "p4" else []},
        **more,
    }


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two methods, references and sources; the second method is worse on one case."""
    for number, name in enumerate(NAMES):
        save(tmp_path / "ref" / f"{name}_0003.nii.gz", image(number))
        save(tmp_path / "ref" / f"{name}_0000.nii.gz", 900 * image(number + 50))
        for method, noise in NOISE.items():
            level = 0.4 if (method, name) == ("fine", "p6") else noise
            change = level * np.random.default_rng(number + 9).standard_normal(SHAPE)
            made = np.clip(image(number) + change.astype(np.float32), 0, 1)
            save(tmp_path / method / f"{name}_0003.nii.gz", made)
            write_json(tmp_path / method / f"{name}_0003.json", facts(name))
    (tmp_path / "ref" / "dataset.json").unlink(missing_ok=True)
    for method in NOISE:
        evaluate(tmp_path / method, tmp_path / "ref", workspace=tmp_path / "w", num_processes=1)
    return tmp_path


class Cells(HTMLParser):
    """Collects the attributes of cells that name a metric, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep cells that name a metric."""
        if tag == "td" and dict(attrs).get("data-metric"):
            self.found.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data + "\n"


def embedded(text: str) -> tuple[list[dict], dict[str, str]]:
    """The cases and volumes inside a page."""
    (cases,) = re.findall(r'type="application/json" id="cases">(.*?)</script>', text)
    volumes = dict(re.findall(r'<script type="text/plain" id="(v[\d-]+)">(.*?)</script>', text))
    return json.loads(cases)["cases"], volumes


def volume(case: dict, entry: dict, volumes: dict[str, str]) -> np.ndarray:
    """One volume of a page."""
    stored = VolumeText(volumes[entry["data"]], case["shape"], entry["offset"], entry["step"])
    return decode(stored)


def test_numbers_of_an_evaluation(folders):
    """Every mean of scores.json stands in the page at full precision; words say the main ones."""
    text = report(folders / "plain", workspace=folders / "w").read_text(encoding="utf-8")
    scores = read_scores(folders / "plain" / "scores.json")
    cells = Cells(text)
    shown = {(c["data-metric"], c["data-contrast"]): float(c["data-value"]) for c in cells.found}
    wanted = {(m, c): s.mean for c, own in scores.summary.items() for m, s in own.items()}
    wanted = {key: mean for key, mean in wanted.items() if key[1] != "average"}  # of one contrast
    assert shown == wanted and len(shown) >= 11
    psnr = scores.summary["t2f"]["psnr"]
    assert (
        f"PSNR of t2f is {psnr.mean:.2f} dB on average over 9 cases (95 % interval "
        f"{psnr.low:.2f} to {psnr.high:.2f})." in cells.text
    )
    order = sorted(scores.cases, key=lambda row: row.metrics["psnr"])
    assert f"Worst by PSNR: {order[0].case}, t2f ({order[0].metrics['psnr']:.2f} dB)" in cells.text
    assert "p4, t2f: too dark" in cells.text and "flagged 1 of the images" in cells.text
    for words in (
        "a fast processor",
        "liftnet_predict -i new",
        "median 0.25 s",
        "median 1.5 TFLOP a volume",
        "0.75 GiB at most: tensors on the GPU",
        scores.protocol.description,
    ):
        assert words in cells.text
    assert str(folders) not in text  # folders above the last stay at home, in the JSON too
    cases, _ = embedded(text)
    assert [case["role"] for case in cases] == ["worst", "median", "best"]
    assert [case["id"] for case in cases] == [f"{order[k].case}/t2f" for k in (0, 4, 8)]


def test_pictures_are_the_files(folders):
    """Each volume of the page, cut and turned, is its file's; so is where it lies."""
    text = report(folders / "plain", cases=["p3"], workspace=folders / "w").read_text()
    (case,), volumes = embedded(text)
    box = tuple(slice(s, s + n) for s, n in zip(case["start"], case["shape"], strict=True))
    assert case["full"] == list(SHAPE) and case["pool"] == 1 and case["role"] == "chosen"
    assert case["shape"] != list(SHAPE)  # cut to the content
    entries = {entry["role"]: entry for entry in case["images"]}
    assert entries["source"]["label"] == "0000"  # without the dataset no name
    reference = volume(case, entries["reference"], volumes)
    assert np.abs(reference - np.clip(image(3) / _high(3), 0, 1)[box]).max() < 2e-3
    source = volume(case, entries["source"], volumes)
    assert np.abs(source - np.minimum(900 * image(53), source.max())[box]).max() < 1
    change = 0.2 * np.random.default_rng(12).standard_normal(SHAPE)
    predicted = volume(case, entries["predicted"], volumes)
    assert np.abs(predicted - np.clip(image(3) + change, 0, 1)[box]).max() < 2e-3
    affine = np.array(case["affine"])
    x, y, z = (case["start"][a] * SPACING[a] for a in (2, 1, 0))  # of the first voxel, LPS
    assert np.allclose(affine[:3, 3], (-(5 + x), -(6 + y), 7 + z))
    assert np.allclose(affine[:3, :3], np.diag([-1.0, -2.0, 3.0]))


def _high(seed: int) -> float:
    """The intensity that becomes 1."""
    return float(np.quantile(image(seed), 0.999))


def test_a_comparison_says_which_is_better_and_where_not(folders):
    """Conclusions, differences and the case on which the better method fails."""
    found = compare([folders / "plain", folders / "fine"], folders / "out", names=["A", "B"])
    text = report(folders / "out", workspace=folders / "w").read_text(encoding="utf-8")
    cells = Cells(text)
    comparison = read_comparison(folders / "out" / "comparison.json")
    shown = {
        (c["data-metric"], c["data-contrast"], c["data-method"]): float(c["data-value"])
        for c in cells.found
    }
    assert shown == {
        (r.metric, r.contrast, name): mean.mean
        for r in comparison.results
        for name, mean in r.means.items()
    }
    names = {metric: short_name(metric) for metric in comparison.main_metrics}
    for sentence in found.conclusions:
        words = re.sub(rf"\b({'|'.join(names)})\b", lambda m: names[m[0]], sentence)
        assert words[1:] in cells.text
    assert re.search(
        r"B is worse than A by PSNR on 1 of 9 images, most on p6, t2f \(-\d", cells.text
    )
    assert "B is worse than A in " not in cells.text  # in no metric, on the whole
    cases, _ = embedded(text)
    assert cases[0]["id"] == "p6/t2f" and cases[0]["role"] == "largest loss"
    labels = [(entry["role"], entry["label"]) for entry in cases[0]["images"]]
    assert labels == [
        ("source", "0000"), ("reference", "reference"), ("predicted", "A"), ("predicted", "B"),
    ]  # fmt: skip
    assert len(cases[0]["metrics"]) == 2 and cases[0]["metrics"][1].startswith("B: PSNR ")


def test_a_large_volume_is_shown_coarser(folders):
    """Where the page may only be small, cubes of voxels are averaged and the page says so."""
    options = {"cases": ["p0"], "workspace": folders / "w", "viewer": False}
    small = report(folders / "plain", folders / "small.html", max_mb=0.008, **options).read_text()
    whole = report(folders / "plain", folders / "whole.html", **options).read_text()
    (coarse,), (fine,) = embedded(small)[0], embedded(whole)[0]
    assert coarse["pool"] == 2 and coarse["spacing"] == [6.0, 4.0, 2.0]
    assert coarse["shape"] == [n // 2 for n in fine["shape"]]
    assert "shown in cubes of 2³ voxels" in small and "in cubes of" not in whole
    entries = [next(e for e in c["images"] if e["role"] == "reference") for c in (coarse, fine)]
    pooled = volume(coarse, entries[0], embedded(small)[1])
    wanted = volume(fine, entries[1], embedded(whole)[1])[:2, :2, :2].mean()
    assert pooled[0, 0, 0] == pytest.approx(wanted, abs=2e-3)
    assert 'id="niivue"' not in whole


def test_images_that_are_gone_leave_the_numbers(folders, capsys):
    """Without the files there are tables and charts, and a warning that says what is missing."""
    for path in (folders / "plain").glob("*.nii.gz"):
        path.unlink()
    text = report(folders / "plain", workspace=folders / "w").read_text()
    assert embedded(text)[0] == []
    assert 'id="pictures"' not in text and 'id="images"' in text
    assert "is not shown: The folder of predicted images holds none" in text
    assert "warning: p" in capsys.readouterr().out


def test_what_cannot_be_reported(folders, tmp_path):
    """Each wrong call says what is wrong, and writes nothing."""
    plain, space = folders / "plain", folders / "w"
    with pytest.raises(DatasetError, match=r"no comparison\.json, scores\.json"):
        report(folders / "ref", workspace=space)
    with pytest.raises(DatasetError, match="does not exist"):
        report(folders / "nowhere", workspace=space)
    with pytest.raises(DatasetError, match="No scored case is called zz"):
        report(plain, cases=["p1", "zz"], workspace=space)
    with pytest.raises(DatasetError, match="No metric is called dice"):
        report(plain, by="dice", workspace=space)
    with pytest.raises(LiftnetError, match="num_cases is -1"):
        report(plain, num_cases=-1, workspace=space)
    (plain / "scores.json").write_text("{")
    with pytest.raises(PlanError, match="Not a JSON file"):
        report(plain, workspace=space)
    assert not list(folders.rglob("*.html"))
    compare([folders / "fine", _copy(folders)], folders / "out")
    (folders / "out" / "comparison.csv").write_text("case,contrast\n1,2\n")
    with pytest.raises(PlanError, match="values of the cases cannot be read"):
        report(folders / "out", workspace=space)


def _copy(folders: Path) -> Path:
    """Scores of a method of its own."""
    scores = (folders / "fine" / "scores.json").read_text()
    other = folders / "other"
    other.mkdir()
    (other / "scores.json").write_text(scores.replace(str(folders / "fine"), str(other)))
    return other


def test_by_another_metric(folders):
    """Lower is better for an error: the worst has the largest."""
    options = {"by": "mae", "num_cases": 2, "workspace": folders / "w"}
    text = report(folders / "plain", folders / "x", **options).read_text()
    assert (folders / "x" / "report.html").is_file()
    rows = read_scores(folders / "plain" / "scores.json").cases
    order = sorted(rows, key=lambda row: -row.metrics["mae"])
    cases, _ = embedded(text)
    assert [c["id"] for c in cases] == [f"{order[0].case}/t2f", f"{order[-1].case}/t2f"]
    assert f"Worst by MAE: {order[0].case}" in Cells(text).text


def test_no_images_are_asked_for(folders):
    """The numbers and charts alone."""
    text = report(folders / "plain", num_cases=0, workspace=folders / "w").read_text()
    assert embedded(text)[0] == [] and "is not shown" not in text
    assert 'id="pictures"' not in text and 'id="images"' in text


def test_losses_are_not_called_gains(folders):
    """Where a method is worse on most images, their roles say so."""
    compare([folders / "fine", folders / "plain"], folders / "out", names=["psnr", "worse"])
    text = report(folders / "out", num_cases=3, workspace=folders / "w").read_text()
    roles = [case["role"] for case in embedded(text)[0]]
    assert roles[:3] == ["largest loss", "median loss", "largest gain"]
    text = report(folders / "out", cases=["p1"], workspace=folders / "w").read_text()
    words = Cells(text).text  # a name of a method stays as it is
    assert "than psnr in psnr by" in words and "and psnr in SSIM:" in words


def test_images_of_which_others_tell(folders):
    """A file without a JSON is named by the files of other cases, as the evaluation did."""
    (folders / "plain" / "p3_0003.json").unlink()
    for name in ("scores.json", "scores.csv"):
        (folders / "plain" / name).unlink()
    evaluate(folders / "plain", folders / "ref", workspace=folders / "w", num_processes=1)
    text = report(folders / "plain", cases=["p3"], workspace=folders / "w").read_text()
    assert "is not shown" not in text and embedded(text)[0][0]["id"] == "p3/t2f"


def test_references_of_single_slices(folders):
    """Where no two neighbouring slices hold anything there is no chart of steps."""
    for number, name in enumerate(NAMES):
        thin = image(number)
        thin[np.arange(len(thin)) != 6] = 0
        save(folders / "ref" / f"{name}_0003.nii.gz", thin)
    evaluate(folders / "plain", folders / "ref", workspace=folders / "w", num_processes=1)
    text = report(folders / "plain", workspace=folders / "w").read_text()
    assert "Mean absolute error of each slice" in text
    assert "Mean step to the next slice" not in text


def test_training_cases_among_the_scored_ones(folders):
    """The page warns where the fold that predicted was trained on what is scored."""
    splits = folders / "w" / "preprocessed" / "Dataset001_Heads" / "splits.json"
    write_json(splits, [{"train": ["p1", "p7", "q"], "validation": ["p2"]}])
    text = Cells(report(folders / "plain", workspace=folders / "w").read_text()).text
    assert "predicted was trained on 2 of the 9 cases (marked in the table)" in text
    assert text.count("trained on\n") == 2  # in the table
    rows = read_scores(folders / "plain" / "scores.json").cases
    unseen = np.mean([row.metrics["psnr"] for row in rows if row.case not in ("p1", "p7")])
    assert f"On the 7 cases that no network was trained on, PSNR is {unseen:.2f} dB [" in text
    write_json(splits, [{"train": ["q"], "validation": ["p2"]}])
    text = Cells(report(folders / "plain", workspace=folders / "w").read_text()).text
    assert "trained on" not in text


def test_what_a_better_method_is_worse_in(folders):
    """The box names other metrics in which the method loses on every case."""
    for number, name in enumerate(NAMES):  # right on average, but each second slice is too bright
        made = image(number)
        made[::2] *= 0.93
        save(folders / "fine" / f"{name}_0003.nii.gz", made)
    options = {"workspace": folders / "w", "num_processes": 1}
    evaluate(folders / "fine", folders / "ref", **options)
    compare([folders / "fine", folders / "plain"], folders / "out", workspace=folders / "w")
    text = Cells(report(folders / "out", workspace=folders / "w").read_text()).text
    assert re.search(
        r"But plain is worse than fine in \d+ of the \d+ other metrics: MAE in the brain \(-0\.",
        text,
    )
    assert "worse on 9 of 9)" in text


def test_every_figure_of_trajectories_is_shown(folders):
    """One for each target, named; without any there is no such part."""
    assert "Trajectories of slices" not in report(folders / "plain").read_text()
    for name in ("trajectories_t1n.png", "trajectories_t2f.png"):
        (folders / "plain" / name).write_bytes(name.encode())
    text = report(folders / "plain", folders / "x", workspace=folders / "w").read_text()
    shown = re.findall(r"<figcaption>Trajectories of (.*?)</figcaption>", text)
    assert shown == ["predicted: t1n", "predicted: t2f"]
    assert base64.b64encode(b"trajectories_t2f.png").decode() in text


@pytest.fixture
def translated(tmp_path: Path) -> Path:
    """MR to CT of one case: sources, references and predictions all are called p_0000."""
    root = tmp_path / "study"
    mr, ct = 900 * image(50), 1000 * image(1) - 500
    save(root / "new_cases" / "p_0000.nii.gz", mr)
    save(root / "references" / "p_0000.nii.gz", ct)
    save(root / "predicted" / "p_0000.nii.gz", ct + 30)
    channels = {"0": {"name": "mr"}}, {"0": {"name": "ct", "modality": "CT"}}
    described = {"name": "H", "task": "translation", "channels": channels[0]}
    raw = root / "w" / "raw" / "Dataset003_Heads"
    write_json(raw / "dataset.json", described | {"targets": channels[1]})
    return root


def note(root: Path, **more: object) -> None:
    """Write what liftnet_predict notes beside the CT, and evaluate it."""
    ct: dict[str, object] = {"target": "ct", "modality": "CT", "sources": ["mr"]}
    ct |= {"task": "translation", "dataset": "Dataset003_Heads", "plan": "default"}
    ct["intensity"] = {"low": -1000.0, "high": 2000.0, "dtype": "float32"}
    write_json(root / "predicted" / "p_0000.json", facts("p", **ct, **more))
    evaluate(root / "predicted", root / "references", workspace=root / "w", num_processes=1)


def made_from(root: Path) -> dict[str, object]:
    """The note on the input folder, as prediction makes it."""
    case = Case("p", {"mr": root / "new_cases" / "p_0000.nii.gz"})
    return asdict(note_sources(case, ["mr"], root / "new_cases", root / "predicted"))


def shown_source(root: Path, **options: object) -> tuple[np.ndarray | None, str]:
    """The source on the page of one case, if there is one, and the words of the page."""
    text = report(root / "predicted", workspace=root / "w", **options).read_text()
    (case,), volumes = embedded(text)
    sources = [entry for entry in case["images"] if entry["role"] == "source"]
    assert len(sources) < 2
    found = [volume(case, entry, volumes) for entry in sources]
    box = tuple(slice(s, s + n) for s, n in zip(case["start"], case["shape"], strict=True))
    wanted = 900 * image(50)[box]
    if found:
        assert np.abs(found[0] - np.minimum(wanted, found[0].max())).max() < 1
    return (found[0] if found else None), Cells(text).text


def test_a_reference_is_never_shown_as_the_source(translated):
    """It has the source's name and number; an older file does not say where the source is."""
    note(translated)
    found, words = shown_source(translated)
    assert found is None and "sources are not shown: name their folder with -s" in words
    copied = shutil.copytree(translated / "references", translated / "copied")
    assert shown_source(translated, sources=copied)[0] is None
    assert shown_source(translated, sources=translated / "new_cases")[0] is not None


def test_the_source_is_what_the_prediction_was_made_from(translated):
    """It is found again in the input folder, also where all was moved together, and in -s."""
    note(translated, made_from=made_from(translated))
    assert shown_source(translated)[0] is not None
    noted = (translated / "predicted" / "p_0000.json").read_text()
    assert '"folder": "../new_cases"' in noted and str(translated) not in noted
    for name in ("new_cases", "predicted", "references"):
        (translated / name).rename(translated / "w" / name)
    scores = translated / "w" / "predicted" / "scores.json"
    scores.write_text(scores.read_text().replace(str(translated), str(translated / "w")))
    assert shown_source(translated / "w")[0] is not None
    (translated / "w" / "new_cases").rename(translated / "elsewhere")
    found, words = shown_source(translated / "w")
    assert found is None
    assert "p_0000.nii.gz was in a folder new_cases, which is not found from here" in words
    assert shown_source(translated / "w", sources=translated / "elsewhere")[0] is not None


def test_a_source_that_has_changed_is_not_shown(translated):
    """Also where the user names the folder: the prediction was made from another image."""
    note(translated, made_from=made_from(translated))
    save(translated / "new_cases" / "p_0000.nii.gz", 700 * image(51))
    for options in ({}, {"sources": translated / "new_cases"}):
        found, words = shown_source(translated, **options)
        assert found is None
        assert "source mr is not shown: p_0000.nii.gz has changed since" in words


def test_sources_of_missing_contrasts_that_lie_apart(folders):
    """The references need not hold the sources: they are found in the input folder."""
    new = folders / "new"
    new.mkdir()
    for path in (folders / "ref").glob("*_0000.nii.gz"):
        path.rename(new / path.name)
    case = Case("p3", {"t1n": new / "p3_0000.nii.gz"})
    noted = asdict(note_sources(case, ["t1n"], new, folders / "plain"))
    write_json(folders / "plain" / "p3_0003.json", facts("p3", made_from=noted))
    text = report(folders / "plain", cases=["p3", "p4"], workspace=folders / "w").read_text()
    labels = [
        [entry["label"] for entry in case["images"] if entry["role"] == "source"]
        for case in embedded(text)[0]
    ]
    assert labels == [["t1n"], []]
    assert "p4, t2f: sources are not shown: name their folder with -s" in Cells(text).text


@pytest.mark.parametrize(
    ("folder", "noted"),
    [("study/new", "new"), ("out/new", "../new"), (".", ""), ("out", "..")],
)
def test_no_folder_is_noted_but_the_one_named(tmp_path, monkeypatch, folder, noted):
    """The way to the input folder is noted where it names no folder that the user did not."""
    (tmp_path / "out" / "predicted").mkdir(parents=True)
    (tmp_path / "study" / "new").mkdir(parents=True)
    (tmp_path / "out" / "new").mkdir()
    monkeypatch.chdir(tmp_path / "study" if folder == "." else tmp_path)
    save(Path(folder) / "p_0000.nii.gz", image(1))
    case = Case("p", {"mr": Path(folder) / "p_0000.nii.gz"})
    made = note_sources(case, ["mr"], Path(folder), tmp_path / "out" / "predicted")
    assert made.folder == noted
    assert made.files["mr"].file == "p_0000.nii.gz"


def test_a_slice_axis_that_there_is_not(folders):
    """Scores that a hand has changed are refused with the values that it may have."""
    path = folders / "plain" / "scores.json"
    path.write_text(path.read_text().replace('"slice_axis": "axial"', '"slice_axis": "oblique"'))
    with pytest.raises(PlanError, match="'axial', 'coronal', 'sagittal'") as error:
        report(folders / "plain", workspace=folders / "w")
    assert str(path) in error.value.where and "slice_axis" in error.value.where


def test_odd_names_in_a_comparison(tmp_path, capsys):
    """Formulas in its CSV come back as names; what turns letters around is shown as its code."""
    case = "=1+\u202ec"
    for folder in ("ref", "-a", "b"):
        save(tmp_path / folder / f"{case}_0003.nii.gz", image(len(folder)))
    for method in ("-a", "b"):
        evaluate(tmp_path / method, tmp_path / "ref", workspace=tmp_path / "w", num_processes=1)
    compare([tmp_path / "-a", tmp_path / "b"], tmp_path / "out", workspace=tmp_path / "w")
    for line in (tmp_path / "out" / "comparison.csv").read_text().splitlines()[1:]:
        assert line.startswith(f"'{case},")
    text = report(tmp_path / "out", workspace=tmp_path / "w").read_text()
    data = embedded(text)[0][0]
    assert data["id"] == f"{case}/0003" and data["title"] == "=1+\\u202ec, 0003"
    assert "\u202e" not in Cells(text).text and "=1+\\u202ec" in Cells(text).text
    (tmp_path / "ref" / f"{case}_0003.nii.gz").unlink()
    report(tmp_path / "out", workspace=tmp_path / "w")
    printed = capsys.readouterr().out
    assert "warning: =1+\\u202ec, 0003 is not shown" in printed and "\u202e" not in printed


def test_a_gain_is_above_zero_where_lower_is_better_too(folders):
    """In tables, charts and sentences; the means stay as they are."""
    compare([folders / "plain", folders / "fine"], folders / "out", names=["A", "B"])
    raw = {r.metric: r for r in read_comparison(folders / "out" / "comparison.json").results}
    text = report(folders / "out", workspace=folders / "w").read_text()
    assert raw["mae"].differences["B"].mean < 0 < raw["psnr"].differences["B"].mean
    rows = re.findall(r'<td title="(\w+)">[^<]*</td><td>t2f</td><td>B</td>(.*?)</tr>', text)
    shown = {metric: re.findall(r">([+-]\d[^ <]*)", row) for metric, row in rows}
    for metric, sign in (("psnr", 1), ("mae", -1), ("sharpness_in_plane", -1)):
        found = raw[metric].differences["B"]
        assert float(shown[metric][0]) == pytest.approx(sign * found.mean, rel=0.1)
        assert float(shown[metric][1]) == pytest.approx(sign * found.rank_biserial, abs=0.01)
    words = Cells(text).text
    assert "gain over A (+ is better)" in words and "gain in MAE, right of 0 is better" in text
    assert "n = 9 cases: with fewer than 10, intervals are too narrow" in words
    by_mae = report(folders / "out", folders / "x", by="mae", workspace=folders / "w")
    assert re.search(
        r"B is worse than A by MAE on 1 of 9 images, most on p6, t2f \(-0",
        (Cells(by_mae.read_text()).text),
    )


def test_one_case_has_no_charts_of_cases_and_no_tests(folders):
    """The numbers and images alone, with a warning."""
    for method in NOISE:
        for path in (folders / method).iterdir():
            if not path.name.startswith("p6"):
                path.unlink()
        evaluate(folders / method, folders / "ref", workspace=folders / "w", num_processes=1)
    compare([folders / "plain", folders / "fine"], folders / "out")
    for place in (folders / "plain", folders / "out"):
        text = report(place, workspace=folders / "w").read_text()
        assert 'id="pictures"' in text and 'id="summary"' in text
        assert 'id="distributions"' not in text and 'id="differences"' not in text
        words = Cells(text).text
        assert "Paired gains" not in words and "p = 1" not in words.split("How it was")[0]
        assert "n = 1 case: nothing here says what holds for others" in words
        assert "in the only case" in words


def test_contrasts_stand_in_the_datasets_order(folders):
    """As their files are numbered, not by the alphabet; a method has its own name."""
    for number, name in enumerate(NAMES):
        save(folders / "ref" / f"{name}_0001.nii.gz", image(number + 20))
        save(folders / "plain" / f"{name}_0001.nii.gz", image(number + 20))
        for digits, target in (("0001", "t9"), ("0003", "t2f")):
            told = facts(name, target=target, method="lift")
            write_json(folders / "plain" / f"{name}_{digits}.json", told)
    evaluate(folders / "plain", folders / "ref", workspace=folders / "w", num_processes=1)
    text = report(folders / "plain", workspace=folders / "w").read_text()
    cells = Cells(text)
    contrasts = [c["data-contrast"] for c in cells.found if c["data-metric"] == "psnr"]
    assert contrasts == ["t9", "t2f", "average"]
    assert "missing_modality, 9 cases (t9, t2f)" in cells.text
    assert {c["data-method"] for c in cells.found} == {"LiFT-C"}
    rows = re.findall(r"<tr><td>(?:<a[^>]*>)?(p\d)(?:</a>)?</td><td>(t\w+)</td>", text)
    assert rows == [(name, target) for name in NAMES for target in ("t9", "t2f")]
    labels = [e["label"] for e in embedded(text)[0][0]["images"] if e["role"] == "predicted"]
    assert labels == ["LiFT-C"]
