"""A method that smooths, beside one that does not: what scores, comparison and page say of it."""

import csv
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.comparison import MethodComparison
from liftnet.core.geometry import Geometry
from liftnet.core.scores import read_scores
from liftnet.imageio import write_image
from liftnet.metrics.sharpness import METRICS
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.report.choice import ranked
from liftnet.pipeline.report.report import report
from liftnet.pipeline.report.results import read_results

SHAPE = (20, 24, 22)  # (z, y, x)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
CASES = tuple(f"p{k}" for k in range(8))
FILE = "_0003.nii.gz"


def save(path: Path, voxels: np.ndarray) -> None:
    """Write an image on a grid of 3, 2 and 1 mm."""
    grid = Geometry(SHAPE, (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), AXES)
    write_image(path, voxels.astype(np.float32), grid, dtype="float32")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy predictions of detail, and smooth ones with the smaller error, both evaluated."""
    root = tmp_path_factory.mktemp("sharp")
    for name in ("ref", "noisy", "smooth"):
        (root / name).mkdir()
    inside = np.zeros(SHAPE, bool)
    inside[2:18, 3:21, 2:20] = True
    for number, case in enumerate(CASES):
        rng = np.random.default_rng(number)
        detail = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.6)
        real = np.where(inside, 0.5 + 0.25 * detail / detail.std(), 0).clip(0, 1)
        noise = (0.15 + 0.01 * number) * rng.standard_normal(SHAPE)
        blurred = ndimage.gaussian_filter(np.where(inside, real, 0.5), 0.5 + 0.02 * number)
        save(root / "ref" / f"{case}{FILE}", real)
        save(root / "noisy" / f"{case}{FILE}", np.where(inside, real + noise, 0).clip(0, 1))
        save(root / "smooth" / f"{case}{FILE}", np.where(inside, blurred, 0).clip(0, 1))
    for name in ("noisy", "smooth"):
        evaluate(root / name, root / "ref", workspace=root / "w", num_processes=1)
    return root


@pytest.fixture(scope="module")
def comparison(folders: Path) -> MethodComparison:
    """The smooth method against the noisy one."""
    return compare([folders / "noisy", folders / "smooth"], folders / "out")


def test_the_table_of_an_evaluation_shows_it(folders, capsys):
    """All three numbers, below 1 where the images are smooth and above it where they are noisy."""
    for name, rough in (("noisy", True), ("smooth", False)):
        evaluate(folders / name, folders / "ref", workspace=folders / "w", num_processes=1)
        lines = capsys.readouterr().out.splitlines()
        for metric in (metric.name for metric in METRICS):
            (line,) = (line for line in lines if line.startswith(f"{metric} "))
            mean = float(line.split()[1])
            values = [r.metrics[metric] for r in read_scores(folders / name / "scores.json").cases]
            assert mean == pytest.approx(np.mean(values), abs=0.01)
            assert (mean > 1) == rough
        assert any("below 1 too smooth" in line for line in lines)


def test_nearer_to_one_is_better(folders, comparison, capsys):
    """Differences are those of |log2|, by hand; wins and sentence go by them; the CSV has them."""
    (found,) = (r for r in comparison.results if r.metric == "sharpness_in_plane")
    values = [
        np.array([r.metrics[found.metric] for r in read_scores(folders / n / "scores.json").cases])
        for n in ("noisy", "smooth")
    ]
    assert values[0].min() > 1 > values[1].max()
    away = [np.abs(np.log(own) / np.log(2)) for own in values]
    change = found.differences["smooth"]
    assert change.mean == pytest.approx((away[1] - away[0]).mean())
    assert (change.wins, change.losses) == (0, len(CASES))
    (sentence,) = (s for s in comparison.conclusions if found.metric in s)
    said = re.match(
        r"smooth is worse than noisy in sharpness_in_plane by (\S+) \|log2\| \[", sentence
    )
    assert float(said[1]) == pytest.approx(change.mean, abs=0.01)
    assert f"on {len(CASES)} of {len(CASES)} cases" in sentence
    with (folders / "out" / "comparison.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["metric"] == found.metric]
    assert [float(line["smooth - noisy"]) for line in lines] == pytest.approx(away[1] - away[0])
    assert {line["better"] for line in lines} == {"nearest 1"}
    compare([folders / "noisy", folders / "smooth"], folders / "again")
    assert "sharpness_in_plane, nearest 1 is better" in capsys.readouterr().out


def test_the_page_says_that_images_are_smooth(folders, comparison):
    """The smooth method wins by PSNR; the box says what is wrong with it, and where it is worse."""
    assert any(s.startswith("smooth is better than noisy in psnr") for s in comparison.conclusions)
    page = report(folders / "out", workspace=folders / "w").read_text(encoding="utf-8")
    text = unescape(re.sub("<[^>]*>", "", page))
    fine = next(r for r in comparison.results if r.metric == "high_frequency_power").means
    assert fine["smooth"].mean < 0.5
    assert (
        "The images of smooth are smoother than their references in 0003: high-frequency power is "
        f"{fine['smooth'].mean:.2g} of theirs."
    ) in text
    assert "The images of noisy are" not in text
    assert re.search(r"But smooth is worse than noisy in .*sharpness through plane \(-1\.", text)
    assert "sharpness in plane [|log2|]" in text
    alone = report(folders / "smooth", workspace=folders / "w").read_text(encoding="utf-8")
    assert (
        "The images are smoother than their references in 0003: high-frequency power is 0." in alone
    )
    assert "Sharpness in plane of 0003 is 0." in alone


def test_images_are_ranked_by_their_distance_from_one(folders, comparison):
    """The largest gain is that of the image which comes nearest, from either side."""
    results = read_results(folders / "out")
    metric = "sharpness_in_plane"
    order = [results.values(image, metric) for image in ranked(results, metric)]
    gains = [abs(np.log2(first)) - abs(np.log2(other)) for first, other in order]
    assert gains == sorted(gains, reverse=True) and gains[0] > gains[-1]
