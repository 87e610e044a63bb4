"""The report of generated volumes: its numbers are those of the JSON, its pictures the files'."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import OWN, brain, folders, score, tiny_plan
from matplotlib import image as png
from tiny_generation import SHAPE, SPACING, add_fold

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import CohortScores, read_cohort_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.metrics.catalogue import UNKNOWN, cohort_name, explain_cohort
from liftnet.pipeline.report import cohort as report_cohort
from liftnet.pipeline.report.report import report
from liftnet.visual.volume_text import VolumeText, decode


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Path]:
    """Three cohorts and a trained task; the last generated volume copies a training one."""
    with folders(tmp_path) as root:
        yield root


class Reader(HTMLParser):
    """The cells with a metric, the texts of list items and definitions, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str, str], str | None] = {}
        self.text = ""
        self.images: list[dict[str, str | None]] = []
        self.feed(re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep numbers and pictures."""
        own = dict(attrs)
        if tag == "td" and own.get("data-metric"):
            key = (str(own["data-group"]), str(own["data-metric"]), str(own["data-cohort"]))
            self.cells[key] = own.get("data-value")
        if tag == "img":
            self.images.append(own)

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


def embedded(page: str) -> tuple[list[dict], dict[str, str]]:
    """The cases and volumes inside a page."""
    (cases,) = re.findall(r'type="application/json" id="cases">(.*?)</script>', page)
    volumes = dict(re.findall(r'<script type="text/plain" id="(v[\d-]+)">(.*?)</script>', page))
    return json.loads(cases)["cases"], volumes


def shown(case: dict, role: str, volumes: dict[str, str]) -> np.ndarray:
    """A volume of a case."""
    (entry,) = (one for one in case["images"] if one["role"] == role)
    stored = VolumeText(volumes[entry["data"]], case["shape"], entry["offset"], entry["step"])
    return decode(stored)


def scaled(seed: int) -> np.ndarray:
    """A brain as it is compared."""
    image = brain(seed).astype(np.float64)
    low, high = np.quantile(image[image > 0], (0.001, 0.999))
    return np.clip((image - low) / (high - low), 0, 1)


def change(space: Path, **fields: object) -> CohortScores:
    """Write the scores with other values."""
    path = space / "made" / "cohort_scores.json"
    scores = replace(read_cohort_scores(path), **fields)
    write_json(path, scores)
    return scores


def test_numbers_and_words(space):
    """Every number stands in the page at full precision; a copy is told; folders stay at home."""
    scores = score(space, training=True)
    path = report(space / "made", workspace=space / "w", viewer=False)
    assert path == space / "made" / "report.html"
    page = path.read_text(encoding="utf-8")
    read = Reader(page)
    wanted = {
        (row.group, row.metric, cohort): None if value is None else repr(value)
        for row in scores.rows
        for cohort, value in (("generated", row.generated), ("real", row.real))
    }
    assert read.cells == wanted and len(wanted) >= 2 * 16
    rows = {(row.group == "voxels", row.metric): row for row in scores.rows}
    kernel, least = rows[False, "kernel_distance"], rows[True, "nearest_min"]
    assert (
        f"The kernel distance of generated volumes to real ones is {kernel.generated:.3g}, real "
        f"volumes score {kernel.real:.3g} (as low as real is good)" in read.text
    )
    assert (
        f"closest to a training volume is {least.generated:.3g} from it in mean absolute "
        "difference" in read.text
    )
    assert "1 of 7 generated volumes (14.3 %) is closer to a training volume" in read.text
    for words in (*scores.notes, *scores.warnings, scores.protocol.description, OWN):
        assert words in read.text
    assert "12 numbers" in read.text and scores.made.hardware in read.text
    assert str(space) not in page  # neither in words nor in the JSON


def test_metrics_of_a_real_evaluation_are_explained(space):
    """Every metric has a sentence and a name of its own, and the sentence says what is good."""
    metrics = {row.metric for row in score(space, training=True).rows}
    assert len(metrics) == 15
    metrics.add("frechet_distance_x1000")  # of MedicalNet's features only
    sentences = {explain_cohort(metric) for metric in metrics}
    assert len(sentences) == len({cohort_name(metric) for metric in metrics}) == 16
    for sentence in sentences:
        assert sentence != UNKNOWN and "good" in sentence and sentence.endswith(".")
    assert explain_cohort("dice") == UNKNOWN and cohort_name("dice") == "dice"


def test_pairs_are_the_files_on_the_common_grid(space):
    """The copy stands beside what it copies, at its place; the real pair is there too."""
    scores = score(space, training=True)
    cases, volumes = embedded(
        report(space / "made", workspace=space / "w", viewer=False).read_text()
    )
    assert [case["id"] for case in cases] == [f"{p.cohort}/{p.volume}" for p in scores.closest]
    case = cases[0]
    assert [(e["role"], e["label"]) for e in case["images"]] == [
        ("reference", "training training-04"),
        ("predicted", "generated sample_0006"),
    ]
    assert (case["role"], case["unit"], case["pool"]) == ("chosen", "of the range [0, 1]", 1)
    assert case["full"] == list(SHAPE) and case["spacing"] == list(SPACING)
    assert case["sliceAxis"] == 0 and case["errorWindow"] == [0, 0.1]
    box = tuple(slice(s, s + n) for s, n in zip(case["start"], case["shape"], strict=True))
    for role in ("reference", "predicted"):  # a copy in other units is the same on the grid
        np.testing.assert_allclose(shown(case, role, volumes), scaled(44)[box], atol=2e-3)
    number = int(scores.closest[1].volume[-2:])
    own = tuple(slice(s, s + n) for s, n in zip(cases[1]["start"], cases[1]["shape"], strict=True))
    real = shown(cases[1], "predicted", volumes)
    np.testing.assert_allclose(real, scaled(20 + number)[own], atol=2e-3)
    affine = np.array(case["affine"])
    first = [(s - (n - 1) / 2) * mm for s, n, mm in zip(case["start"], SHAPE, SPACING, strict=True)]
    np.testing.assert_allclose(affine[:3, 3], [-first[2], -first[1], first[0]], atol=1e-3)
    np.testing.assert_allclose(affine[:3, :3], np.diag([-SPACING[2], -SPACING[1], SPACING[0]]))


def test_a_coronal_plan_is_turned(space):
    """Volumes whose slices are coronal are shown in canonical axes all the same."""
    plan = tiny_plan()
    grid = replace(plan.grid, slice_axis="coronal", spacing_mm=(2.0, 4.0, 3.0))
    shutil.rmtree(space / "w")
    add_fold(space / "w", "0", 1, plan=replace(plan, grid=grid))
    scores = score(space, training=True, output=space / "out")
    assert scores.shape == (SHAPE[1], SHAPE[0], SHAPE[2])
    cases, volumes = embedded(
        report(space / "out", workspace=space / "w", viewer=False).read_text()
    )
    case = cases[0]
    assert case["sliceAxis"] == 1 and case["full"] == list(SHAPE)
    assert case["spacing"] == list(SPACING)
    box = tuple(slice(s, s + n) for s, n in zip(case["start"], case["shape"], strict=True))
    np.testing.assert_allclose(shown(case, "reference", volumes), scaled(44)[box], atol=2e-3)


def test_samples_of_both_cohorts(space, monkeypatch):
    """A picture with as many generated as real volumes, each what the evaluation compared."""
    score(space)
    seen = []
    draw = report_cohort.sample_sheet

    def watch(samples, path, **options):
        seen.extend(samples)
        draw(samples, path, **options)

    monkeypatch.setattr(report_cohort, "sample_sheet", watch)
    read = Reader(report(space / "made", workspace=space / "w", viewer=False).read_text())
    labels = [label for label, _ in seen]
    assert labels == [
        *(f"generated sample_000{k}" for k in (0, 2, 4, 6)),
        *(f"real real-0{k}" for k in (0, 3, 5, 8)),
    ]
    np.testing.assert_allclose(seen[1][1], scaled(2), atol=1e-6)
    (image,) = read.images
    kind, _, data = str(image["src"]).partition(",")
    assert kind == "data:image/png;base64"
    assert png.imread(io.BytesIO(base64.b64decode(data))).std() > 0.05
    assert "generated sample_0002, " in str(image["alt"])
    assert "style" not in image  # the page's policy blocks it


def test_without_training_nearness_is_to_real_volumes(space):
    """The words do not speak of training where none was given."""
    score(space)
    read = Reader(report(space / "made", workspace=space / "w", viewer=False).read_text())
    assert "generated volume closest to a real one is" in read.text
    assert "No training volumes were given" in read.text
    assert "held-out" not in read.text and "nearest real volume" in read.text


def test_no_copy_and_no_control(space):
    """Nothing is called a copy that is none, and a missing number of real volumes is said."""
    scores = score(space, training=True)
    rows = [
        replace(row, generated=0.0 if row.metric == "copied_fraction" else row.generated, real=None)
        for row in scores.rows
    ]
    change(space, rows=tuple(rows))
    text = Reader(report(space / "made", workspace=space / "w", viewer=False).read_text()).text
    assert "No generated volume is closer to a training volume than any held-out" in text
    assert "of real volumes there are too few to say" in text


def test_files_that_are_gone_leave_the_numbers(space, capsys):
    """Without a file, a folder or the plan there are warnings and every number."""
    scores = score(space, training=True)
    (space / "made" / "sample_0006_0000.nii.gz").unlink()
    page = report(space / "made", workspace=space / "w", viewer=False).read_text()
    warning = "sample_0006 and training-04 are not shown: sample_0006 is no longer in the folder"
    assert warning in page and f"warning: {warning}" in capsys.readouterr().out
    assert [case["id"] for case in embedded(page)[0]] == [f"real/{scores.closest[1].volume}"]
    change(space, shape=(6, 9, 7))
    page = report(space / "made", workspace=space / "w", viewer=False).read_text()
    assert "voxels on the plan's grid, (6, 9, 7) when scored" in page and "<img" not in page
    shutil.rmtree(space / "w")
    page = report(space / "made", workspace=space / "w", viewer=False).read_text()
    assert "No volume is shown: " in page and 'id="pictures"' not in page
    assert len(Reader(page).cells) == 2 * len(scores.rows)


def test_a_large_pair_is_shown_coarser(space):
    """Where the page may only be small, cubes of voxels are averaged and the page says so."""
    score(space, training=True)
    options = {"workspace": space / "w", "viewer": False, "num_cases": 1}
    small = report(space / "made", space / "s.html", max_mb=0.0006, **options).read_text()
    whole = report(space / "made", space / "l.html", **options).read_text()
    (coarse,), (fine,) = embedded(small)[0], embedded(whole)[0]
    assert coarse["pool"] > 1 and coarse["shape"] == [n // coarse["pool"] for n in fine["shape"]]
    assert "shown in cubes of" in small and "shown in cubes of" not in whole
    part = (slice(0, coarse["pool"]),) * 3
    wanted = shown(fine, "reference", embedded(whole)[1])[part].mean()
    got = shown(coarse, "reference", embedded(small)[1])[0, 0, 0]
    assert got == pytest.approx(wanted, abs=2e-3)


def test_the_file_and_options_that_do_not_fit(space):
    """The file may be named; options of references are refused; scores of pairs come first."""
    score(space)
    file, options = space / "made" / "cohort_scores.json", {"workspace": space / "w"}
    for given in ({"cases": ["sample_0001"]}, {"by": "psnr"}, {"sources": space / "real"}):
        with pytest.raises(LiftnetError, match="no case has a reference") as caught:
            report(file, **given, **options)
        assert caught.value.where in ("--cases", "--by", "-s")
    with pytest.raises(LiftnetError, match="num_cases is -1"):
        report(file, num_cases=-1, **options)
    page = report(file, space / "x", num_cases=0, viewer=False, **options)
    assert page == space / "x" / "report.html" and embedded(page.read_text())[0] == []
    (space / "made" / "scores.json").write_text("{")
    with pytest.raises(PlanError, match="Not a JSON file"):
        report(space / "made", **options)
    file.write_text("{")
    with pytest.raises(PlanError, match="Not a JSON file"):
        report(file, **options)


def test_a_volume_that_became_too_thin(space):
    """A file that can no longer be read onto the grid is named, and the others are shown."""
    score(space, training=True)
    thin = np.ones((1, SHAPE[1], SHAPE[2]), np.float32)
    grid = Geometry(thin.shape, SPACING, (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    write_image(space / "made" / "sample_0000_0000.nii.gz", thin, grid, dtype="float32")
    page = report(space / "made", workspace=space / "w", viewer=False).read_text()
    assert "sample_0000 is not among the samples: " in page and "<img" in page
    assert len(embedded(page)[0]) == 2


def test_images_come_first_and_small_cohorts_are_named(space):
    """Samples and pairs stand before the numbers; fewer than ten volumes are a warning."""
    score(space)
    text = report(space / "made", workspace=space / "w").read_text()
    order = re.findall(r'<section id="(\w+)"', text)
    assert order[:3] == ["samples", "pictures", "summary"]
    assert "n = 7 generated and 9 real volumes: with fewer than 10" in Reader(text).text
