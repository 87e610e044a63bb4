"""Evaluation of synthetic CT: files, masks, units, channels of a dataset with targets."""

import csv
import runpy
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.core.plan import ChannelPlan, ClipAndScale, Plan
from liftnet.core.scores import AVERAGE, CaseScore, read_scores
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.imageio import write_image
from liftnet.pipeline.evaluate import setting as score_setting
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.evaluate.table import as_csv, explanation, summarize, table

REFERENCE = runpy.run_path(str(Path(__file__).parents[2] / "metrics" / "ct_reference.py"))
SHAPE = (13, 15, 17)  # (z, y, x)
SPACING = (11.0, 9.0, 10.0)  # mm; 128 mm are 12, 14 and 13 voxels
CASES = ("a", "b")


def ct(seed: int) -> np.ndarray:
    """A CT of soft tissue, bone and closed air."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    tissue = np.maximum(40 + 4000 * ndimage.gaussian_filter(noise, 1.2), -300)
    image = np.where((grid**2).sum(0) < 0.8 + 0.1 * seed, tissue, -1000)
    image[5:8, 6:9, 7:10] = -990
    return np.rint(image).astype(np.int16)


def predicted_ct(seed: int) -> np.ndarray:
    """A prediction with noise."""
    noise = np.random.default_rng(seed + 50).normal(20, 60, SHAPE)
    return np.rint(ct(seed) + noise).astype(np.int16)


def mask(seed: int) -> np.ndarray:
    """A mask that is not the body."""
    inside = ct(seed) > -700
    inside[4:9, 5:10, 6:11] = True
    inside[:, :4] = False
    return inside


def save(path: Path, voxels: np.ndarray, shift: float = 0.0) -> None:
    """Write an image of its own type on a grid with three different spacings."""
    axes = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    grid = Geometry(voxels.shape, SPACING, (4.0 + shift, 5.0, 6.0), axes)
    write_image(path, voxels, grid, dtype=voxels.dtype.name)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw dataset MR -> CT, T2 with test cases, and predictions of the CT beside it."""
    raw = tmp_path / "space" / "raw" / "Dataset003_Pelvis"
    channels, targets = {"0": {"name": "mr"}}, {"0": {"name": "ct", "modality": "CT"}}
    description = {
        "name": "Pelvis", "task": "translation", "channels": channels,
        "targets": targets | {"1": {"name": "t2"}},
    }  # fmt: skip
    write_json(raw / "dataset.json", description)
    for seed, case in enumerate(CASES):
        save(raw / "imagesTs" / f"{case}_0000.nii.gz", np.maximum(ct(seed), 0))
        save(raw / "targetsTs" / f"{case}_0000.nii.gz", ct(seed))
        save(raw / "masksTs" / f"{case}.nii.gz", mask(seed).astype(np.uint8))
        save(tmp_path / "predicted" / f"{case}_0000.nii.gz", predicted_ct(seed))
        facts = {
            "target": "ct", "intensity": {"low": -1000, "high": 2000}, "sources": ["mr"],
            "task": "translation", "dataset": raw.name, "plan": "default",
        }  # fmt: skip
        write_json(tmp_path / "predicted" / f"{case}_0000.json", facts)
    return raw


def run(raw: Path, **options: object):
    """Evaluate with one worker; by default in the workspace of the raw dataset."""
    options = {"workspace": raw.parents[1], "num_processes": 1} | options
    folder = options.pop("reference", raw / "targetsTs")
    return evaluate(raw.parents[2] / "predicted", folder, **options)


def assert_equal(found: dict[str, float], wanted: dict[str, float]):
    """The same metrics and values."""
    assert found == pytest.approx(wanted, rel=5e-5)


def test_ct_is_scored_in_hu(raw, capsys):
    """Target 0 of targetsTs is the CT, not source 0; file units; regions and units are printed."""
    scores = run(raw)
    assert (scores.task, scores.dataset) == ("translation", "Dataset003_Pelvis")
    for seed, row in enumerate(scores.cases):
        assert (row.case, row.contrast) == (CASES[seed], "ct")
        assert_equal(row.metrics, REFERENCE["lift"](predicted_ct(seed), ct(seed)))
    printed = capsys.readouterr().out
    assert "psnr in dB, errors in HU" in printed
    assert "bone: above 300, air: below -500" in printed
    assert "brain" not in printed
    shown = printed.split("\ncases", 1)[1].split("\nmean [")[0]
    assert len(shown.splitlines()) == 33
    assert max(map(len, shown.splitlines())) <= 100
    assert read_scores(raw.parents[2] / "predicted" / "scores.json") == scores


def test_ct_of_which_nothing_is_known(raw, tmp_path):
    """Another tool's CT without a JSON, beside references that are no dataset, is scored in HU."""
    known = run(raw).cases
    for path in (tmp_path / "predicted").glob("*.json"):
        path.unlink()
    (raw / "targetsTs").rename(tmp_path / "references")
    (tmp_path / "references" / "._a_0000.nii.gz").write_bytes(b"what another system left")
    found = run(raw, reference=tmp_path / "references", workspace=tmp_path / "none").cases
    assert [row.metrics for row in found] == [row.metrics for row in known]
    assert all(row.notes["unit"] == "HU" for row in found)


def test_ct_in_network_units_is_not_scored(raw, capsys):
    """What --normalized wrote is no HU."""
    for path in (raw.parents[2] / "predicted").glob("*.json"):
        write_json(path, read_json(path) | {"intensity": {"low": -1.0, "high": 1.0}})
    with pytest.raises(DatasetError, match="None of the predicted images"):
        run(raw)
    assert "written in the network's units (--normalized), not in HU" in capsys.readouterr().out


def boxed(seed: int) -> dict[str, float]:
    """The scores of a case under the paper's protocol, its box about the case's mask."""
    box = REFERENCE["paper_box"](mask(seed), SPACING)
    return REFERENCE["lift"](predicted_ct(seed)[box], ct(seed)[box])


def test_the_papers_box_is_about_the_case_mask(raw):
    """Masks of masksTs; 128 mm in voxels of the reference's spacing, said in the notes."""
    rows = run(raw, protocol="lift").cases
    for seed, row in enumerate(rows):
        assert_equal(row.metrics, boxed(seed))
        assert row.notes["box"].startswith("12x14x13 voxels from ")
        assert row.notes["mask"] == "the case's mask file"
    assert run(raw).cases[0].metrics["mae"] != pytest.approx(rows[0].metrics["mae"], rel=0.01)


def test_lift_asks_for_masks_of_ct_only(raw, tmp_path, capsys):
    """Without masks the CT is refused, at once where all is CT; MR is scored all the same."""
    shutil.rmtree(raw / "masksTs")
    with pytest.raises(DatasetError, match="lift needs masks, and there is no folder") as caught:
        run(raw, protocol="lift")
    assert "--masks, or use --protocol liftnet" in caught.value.remedy
    for seed, case in enumerate(CASES):
        t2 = np.maximum(ct(seed) + 600, 0)
        save(raw / "targetsTs" / f"{case}_0001.nii.gz", t2)
        save(tmp_path / "predicted" / f"{case}_0001.nii.gz", t2)
    scores = run(raw, protocol="lift")
    assert [(row.case, row.contrast) for row in scores.cases] == [("a", "t2"), ("b", "t2")]
    assert all("this case has none" in failure.problem for failure in scores.failures)
    assert len(scores.failures) == 2
    for path in (tmp_path / "predicted").glob("*_0000.*"):
        path.unlink()
    assert len(run(raw, protocol="lift").cases) == 2


@pytest.mark.parametrize("protocol", ["synthrad2023", "synthrad2025"])
def test_a_mask_is_what_is_not_zero(raw, protocol):
    """A mask of 255 that another program stored as int8 is -1."""
    wanted = run(raw, protocol=protocol).cases
    for seed, case in enumerate(CASES):
        save(raw / "masksTs" / f"{case}.nii.gz", -mask(seed).astype(np.int8))
    assert run(raw, protocol=protocol).cases == wanted


@pytest.mark.parametrize("protocol", ["synthrad2023", "synthrad2025"])
def test_masks_are_found_beside_the_targets(raw, protocol):
    """By default those of masksTs; any other folder by name."""
    rows = run(raw, protocol=protocol).cases
    for seed, row in enumerate(rows):
        assert_equal(row.metrics, REFERENCE[protocol](predicted_ct(seed), ct(seed), mask(seed)))
    other = raw.parents[2] / "masks"
    (raw / "masksTs").rename(other)
    assert run(raw, protocol=protocol, masks=other).cases == rows


def test_missing_masks(raw, tmp_path, capsys):
    """No folder is an error at once; a case without its mask, or with a wrong one, fails alone."""
    with pytest.raises(DatasetError, match="folder of masks does not exist"):
        run(raw, protocol="synthrad2023", masks=tmp_path / "nowhere")
    (raw / "masksTs" / "b.nii.gz").unlink()
    scores = run(raw, protocol="synthrad2023")
    assert [row.case for row in scores.cases] == ["a"]
    assert "this case has none" in scores.failures[0].problem
    assert "Put b.nii.gz into the folder of masks" in capsys.readouterr().out
    save(raw / "masksTs" / "b.nii.gz", mask(1).astype(np.uint8), shift=1.0)
    (failure,) = run(raw, protocol="synthrad2023").failures
    assert "Mask and reference lie on different grids" in failure.problem
    (raw / "masksTs").rename(raw / "elsewhere")
    with pytest.raises(DatasetError, match="there is no folder of them") as caught:
        run(raw, protocol="synthrad2025")
    assert "--masks" in str(caught.value)
    assert len(run(raw).cases) == 2


def test_without_json_files_the_dataset_says_what_is_ct(raw, tmp_path):
    """By -d, or by the dataset.json beside targetsTs; by SynthRAD's name where nothing does."""
    wanted = [row.metrics for row in run(raw).cases]
    for path in (tmp_path / "predicted").glob("*.json"):
        path.unlink()
    for options in ({"dataset": 3}, {"workspace": tmp_path / "other"}):
        scores = run(raw, **options)
        assert [row.metrics for row in scores.cases] == wanted
        assert scores.cases[0].contrast == "ct"
    masked = [row.metrics for row in run(raw, protocol="synthrad2023").cases]
    (raw / "targetsTs").rename(tmp_path / "references")
    scores = run(
        raw,
        reference=tmp_path / "references",
        protocol="synthrad2023",
        masks=raw / "masksTs",
        workspace=tmp_path / "other",
    )
    assert [row.metrics for row in scores.cases] == masked
    assert scores.task == "translation"
    assert (scores.cases[0].contrast, scores.cases[0].notes["modality"]) == (
        "0000",
        "not named, taken for CT",
    )


def test_protocols_of_mr_are_refused_for_ct(raw, capsys):
    """Protocol cwdm finds the sources in imagesTs and then says that the target is CT."""
    with pytest.raises(DatasetError, match="None of the predicted"):
        run(raw, protocol="cwdm")
    assert "Channel ct is CT, protocol cwdm is for MR" in capsys.readouterr().out


def test_two_targets_of_different_kind_have_no_average(raw, tmp_path):
    """CT in HU and MR in [0, 1] are summed up apart."""
    for seed, case in enumerate(CASES):
        t2 = np.maximum(ct(seed) + 600, 0)
        save(raw / "targetsTs" / f"{case}_0001.nii.gz", t2)
        save(tmp_path / "predicted" / f"{case}_0001.nii.gz", t2)
    scores = run(raw, protocol="liftnet")
    assert sorted(scores.summary) == ["ct", "t2"]
    assert "mae_bone" not in scores.summary["t2"]
    assert scores.summary["t2"]["mae"].mean < 0.2 < scores.summary["ct"]["mae"].mean
    lines = csv.reader((tmp_path / "predicted" / "scores.csv").read_text().splitlines())
    assert len({len(line) for line in lines}) == 1
    assert table(scores.summary).splitlines()[0].split() == ["ct", "t2"]


def test_cwdm_masks_a_translated_mr_by_its_source(tmp_path):
    """The source of the same number as the target is no stranger: both are numbered from 0."""
    description = {
        "name": "Heads", "task": "translation", "channels": {"0": {"name": "t1"}},
        "targets": {"0": {"name": "t2"}},
    }  # fmt: skip
    folder = tmp_path / "heads"
    write_json(folder / "dataset.json", description)
    image = np.random.default_rng(0).integers(1, 900, (11, 240, 240)).astype(np.int16)
    source = np.ones_like(image)
    source[:, 100:140] = 0
    save(folder / "imagesTs" / "a_0000.nii.gz", source)
    save(folder / "targetsTs" / "a_0000.nii.gz", image)
    save(tmp_path / "made" / "a_0000.nii.gz", image)
    scores = evaluate(tmp_path / "made", folder / "targetsTs", protocol="cwdm", num_processes=1)
    row = scores.cases[0]
    assert (row.contrast, row.notes["mask"]) == ("t2", "zeros of t1")
    scaled = np.clip((image - np.percentile(image, 0.1)), 0, None)
    scaled = np.clip(scaled / np.diff(np.percentile(image, (0.1, 99.9))), 0, 1)
    lost = np.where(source[:, 8:-8, 8:-8] == 0, scaled[:, 8:-8, 8:-8], 0)
    assert row.metrics["mae"] == pytest.approx(lost.mean(), rel=1e-3)


def score(case: str, contrast: str, **metrics: float) -> CaseScore:
    """A row of its own."""
    notes = {} if "air" in metrics else {"absent_regions": "air"}
    return CaseScore(case, contrast, metrics, {"unit": "HU"} | notes)


def test_a_metric_that_one_case_lacks():
    """It is summed up over those that have it; the table, the CSV and the last lines tell."""
    rows = [
        score("a", "ct", mae=40.0, ssim=0.5),
        score("b", "ct", mae=50.0, air=100.0, ssim=0.7),
        score("c", "ct", mae=60.0, air=300.0, ssim=0.9),
    ]
    summary = summarize(rows)
    assert (summary["ct"]["air"].mean, summary["ct"]["air"].n) == (200.0, 2)
    assert (summary[AVERAGE]["air"].mean, summary[AVERAGE]["air"].n) == (200.0, 2)
    assert (summary["ct"]["mae"].mean, summary["ct"]["mae"].n) == (50.0, 3)
    assert as_csv(rows).splitlines()[:2] == [
        "case,contrast,mae,air,ssim,absent_regions,unit",
        "a,ct,40.0,,0.5,air,HU",
    ]
    assert table(summary).splitlines() == [
        "       ct",
        "cases  3",
        "mae    50.00 [40.00, 60.00]",
        "air    200.00 [100.00, 300.00] (n = 2)",
        "ssim   0.7000 [0.5000, 0.9000]",
    ]
    assert explanation(rows, "axial") == [
        "mean [95 % bootstrap interval over cases]; psnr in dB, errors in HU",
        "without air: 1 of 3 images",
    ]


def test_one_case_has_no_interval():
    """A mean of one is printed alone, and no interval is explained."""
    rows = [score("a", "ct", mae=40.123, air=1.0, psnr=31.456)]
    assert table(summarize(rows)).splitlines()[2:] == [
        "mae    40.12",
        "air    1.0000",
        "psnr   31.46",
    ]
    assert explanation(rows, "axial") == ["psnr in dB, errors in HU"]


def test_a_wide_table_keeps_the_intervals_of_the_average():
    """Four contrasts do not fit into 100 columns: their means do."""
    rows = [
        score(case, contrast, mae=0.1 + k / 100, psnr=20.0 + k, air=0.0)
        for k, case in enumerate("abc")
        for contrast in ("t1n", "t1c", "t2w", "t2f")
    ]
    lines = table(summarize(rows), width=100).splitlines()
    assert lines[3].split() == ["psnr", *["21.00"] * 5, "[20.00,", "22.00]"]
    assert max(map(len, lines)) <= 100
    assert table(summarize(rows), width=200).splitlines()[3].count("[") == 5
    pair = summarize([row for row in rows if row.contrast.startswith("t1")])
    assert table(pair, width=100).splitlines()[3].count("[") == 3


@pytest.mark.parametrize(
    ("sources", "predicted"),
    [
        (("mr",), {"0000": "ct", "0001": "t2"}),
        (("mr", "ct", "t2"), {"0000": "mr", "0001": "ct", "0002": "t2"}),
    ],
)
def test_the_plan_numbers_targets_apart_if_they_are_no_sources(
    raw, tmp_path, monkeypatch, sources, predicted
):
    """As in targetsTr; where any channel may be a source, all are numbered together."""
    channels = tuple(
        ChannelPlan(name, modality, ClipAndScale(-1000, 2000, (-1, 1)))
        for name, modality in (("mr", "MR"), ("ct", "CT"), ("t2", "MR"))
    )
    grid = SimpleNamespace(slice_axis="coronal")
    plan = SimpleNamespace(
        task="translation", channels=channels, sources=sources, grid=grid,
        channel_names=("mr", "ct", "t2"), channel=lambda name: channels["mct".index(name[0])],
    )  # fmt: skip
    plan.file_number = partial(Plan.file_number, plan)
    monkeypatch.setattr(score_setting, "read_plan", lambda path: plan)
    (raw.parents[1] / "preprocessed" / raw.name / "default").mkdir(parents=True)
    (raw.parents[1] / "preprocessed" / raw.name / "default" / "plan.json").write_text("{}")
    found = score_setting.find_setting(
        {}, "lift", reference=tmp_path, dataset=3, workspace=raw.parents[1]
    )
    known = found.known
    assert dict(known.names) == predicted
    assert known.modalities == {d: "CT" if n == "ct" else "MR" for d, n in predicted.items()}
    assert dict(known.source_names).get("0000") == "mr"
    assert known.own_numbers == (len(sources) == 1)
    assert known.slice_axis == "coronal"
