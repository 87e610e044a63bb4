"""Comparison of methods: pairing, conclusions, refusals, files."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from liftnet.core.comparison import COMPARISON_VERSION, read_comparison
from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import SCORES_VERSION, CaseScore, Protocol, Scores, read_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.metrics.statistics import summarize
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.report.choice import hardest, ranked
from liftnet.pipeline.report.results import read_results

NUM_CASES = 30
PROTOCOL = Protocol("liftnet", "The whole grid, in the range of the reference.")


def rows(seed: int, shift: float = 0.0, contrasts: tuple[str, ...] = ("t2f",), n: int = NUM_CASES):
    """Scores of the same cases: each case has its level, each method its own noise."""
    levels = np.random.default_rng(0).normal(28, 2, (n, len(contrasts)))
    noise = np.random.default_rng(seed).normal(0, 0.25, (n, len(contrasts)))
    values = levels + noise + shift
    return tuple(
        CaseScore(
            f"case{i:02d}",
            contrast,
            {"psnr": float(values[i, c]), "mae": float(10 ** (-values[i, c] / 20))},
            {"predicted_range": "JSON file: 0 to 812"},
        )
        for i in range(n)
        for c, contrast in enumerate(contrasts)
    )


def save(folder: Path, found: tuple[CaseScore, ...], **changes: object) -> Path:
    """Write scores.json as evaluate does."""
    scores = Scores(
        version=SCORES_VERSION,
        protocol=PROTOCOL,
        task="missing_modality",
        dataset="Dataset001_Heads",
        slice_axis="axial",
        predicted_folder=str(folder.absolute()),
        reference_folder=str(folder.absolute().parent / "references"),
        sources_folder="",
        summary={},
        cases=found,
        without_reference=(),
        failures=(),
        liftnet="0.1",
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", replace(scores, **changes))
    return folder


def only(comparison, metric="psnr", contrast="t2f"):
    """The difference of the one other method in a metric."""
    (found,) = [r for r in comparison.results if (r.metric, r.contrast) == (metric, contrast)]
    return next(iter(found.differences.values()))


def test_a_planted_shift_is_found(tmp_path, capsys):
    """0.2 dB on 30 cases with noise in each: test and interval see it, the sentence says it."""
    folders = [save(tmp_path / "base", rows(1)), save(tmp_path / "lift", rows(2, shift=0.2))]
    found = compare(folders, tmp_path / "out")
    difference = only(found)
    values = [[r.metrics["psnr"] for r in read_scores(f / "scores.json").cases] for f in folders]
    assert difference.p == pytest.approx(stats.wilcoxon(*values[::-1]).pvalue)
    assert difference.p < 0.05 and 0 < difference.low < 0.2 < difference.high
    assert difference.mean == pytest.approx(np.subtract(*values[::-1]).mean())
    assert difference.wins == sum(np.greater(*values[::-1]))
    (psnr,) = [r for r in found.results if r.metric == "psnr"]
    assert psnr.means == {"base": summarize(values[0]), "lift": summarize(values[1])}
    assert (psnr.better, psnr.unit) == ("higher", "dB")
    sentence = (
        f"lift is better than base in psnr by {difference.mean:.2f} dB "
        f"[{difference.low:.2f}, {difference.high:.2f}] on {difference.wins} of 30 cases (p = "
    )
    assert found.conclusions[0].startswith(sentence)
    assert only(found, "mae").mean < 0 < only(found, "mae").wins - 15  # lower is better
    assert found.conclusions[1].startswith("lift is better than base in mae by 0.00")
    printed = capsys.readouterr().out
    assert "Protocol liftnet: The whole grid, in the range of the reference." in printed
    assert sentence.split(" by ")[0] in printed
    assert max(map(len, printed.replace(str(tmp_path), "").splitlines())) <= 100
    assert "warning" not in printed


def test_identical_scores_claim_nothing(tmp_path, capsys):
    """Difference 0, interval [0, 0], p 1, no wins; and it is said that all scores are the same."""
    same = rows(1, contrasts=("t1n", "t2f"))
    endless = replace(same[0], metrics={"psnr": math.inf, "mae": 0.0})
    folders = [save(tmp_path / name, (endless, *same[1:])) for name in ("base", "other")]
    found = compare(folders, tmp_path / "out")
    assert len(found.results) == 6  # two metrics of two contrasts and their average
    for result in found.results:
        difference = result.differences["other"]
        assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
        assert (difference.p, difference.p_holm, difference.rank_biserial) == (1, 1, 0)
        assert (difference.wins, difference.ties, difference.losses) == (0, NUM_CASES, 0)
    assert all(text.startswith("no difference is shown") for text in found.conclusions)
    assert "all scores of other are those of base" in found.warnings
    assert "better than" not in capsys.readouterr().out
    # Infinite means survive the file.
    again = read_comparison(tmp_path / "out" / "comparison.json")
    assert again.results[0].means["base"].mean == math.inf
    assert math.isnan(again.results[0].means["base"].std)


def test_swapping_flips_signs(tmp_path):
    """The other order: signs flip, wins are losses, and the sentence turns round."""
    folders = [save(tmp_path / "base", rows(1)), save(tmp_path / "other", rows(2, shift=0.3))]
    found, swapped = (
        compare(order, tmp_path / "out") for order in (folders, list(reversed(folders)))
    )
    one, other = only(found), only(swapped)
    assert other.mean == pytest.approx(-one.mean)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert (other.wins, other.losses) == (one.losses, one.wins)
    assert (other.rank_biserial, other.cohens_dz) == pytest.approx(
        (-one.rank_biserial, -one.cohens_dz)
    )
    assert (swapped.baseline, swapped.methods[0].name) == ("other", "other")
    assert found.conclusions[0].startswith("other is better than base in psnr")
    assert swapped.conclusions[0].startswith("base is worse than other in psnr")


def test_average_and_correction(tmp_path):
    """The average is of each case's contrasts; Holm's family is methods times contrasts."""
    contrasts = ("t1c", "t1n", "t2f")
    folders = [
        save(tmp_path / name, rows(seed, shift, contrasts))
        for name, seed, shift in (("base", 1, 0), ("near", 2, 0.0), ("far", 3, 0.12))
    ]
    found = compare(folders, tmp_path / "out", metrics=["psnr"])
    assert {r.metric for r in found.results} == {"psnr"}
    assert [r.contrast for r in found.results] == [*contrasts, "average"]
    values = {
        f.name: np.reshape(
            [r.metrics["psnr"] for r in read_scores(f / "scores.json").cases], (-1, 3)
        )
        for f in folders
    }
    expected = (values["far"] - values["base"]).mean(1)
    average = found.results[-1].differences["far"]
    assert average.mean == pytest.approx(expected.mean())
    assert average.p == pytest.approx(stats.wilcoxon(expected).pvalue)
    assert average.cohens_dz == pytest.approx(expected.mean() / expected.std(ddof=1))
    raw = [d.p for r in found.results for d in r.differences.values()]
    corrected = [d.p_holm for r in found.results for d in r.differences.values()]
    assert len(raw) == 8
    order = np.argsort(raw)
    steps = np.minimum(1, np.maximum.accumulate(np.asarray(raw)[order] * np.arange(8, 0, -1)))
    assert np.asarray(corrected)[order] == pytest.approx(steps)
    assert len(found.conclusions) == 2
    assert all("psnr (average of contrasts)" in text for text in found.conclusions)
    assert ", Holm)" in found.conclusions[0]


def test_no_average_over_units(tmp_path):
    """Contrasts in HU and in [0, 1] have no average; each has its sentence."""
    both = rows(1, contrasts=("ct", "t2f"))
    hu = [replace(r, notes={"unit": "HU"}) if r.contrast == "ct" else r for r in both]
    folders = [save(tmp_path / "base", tuple(hu)), save(tmp_path / "other", tuple(hu))]
    found = compare(folders, tmp_path / "out", metrics=["mae"])
    assert [r.contrast for r in found.results] == ["ct", "t2f"]
    assert len(found.conclusions) == 2
    save(tmp_path / "other", both)
    with pytest.raises(DatasetError, match=r"in two units: HU \(base\), \[0, 1\] \(other\)"):
        compare(folders, tmp_path / "out")


def test_only_common_images_count(tmp_path, capsys):
    """What one method lacks is left out of all, and listed; a lone metric too."""
    base, other = rows(1), list(rows(2))
    other[3] = replace(other[3], metrics={"psnr": other[3].metrics["psnr"]})
    folders = [save(tmp_path / "base", base[:-1]), save(tmp_path / "other", tuple(other[1:]))]
    found = compare(folders, tmp_path / "out")
    assert found.cases == tuple(f"case{i:02d}" for i in range(1, 29))
    listed = [(x.case, x.metric, x.absent_in) for x in found.left_out]
    assert listed == [
        ("case00", "", ("other",)),
        ("case03", "mae", ("other",)),
        ("case29", "", ("base",)),
    ]
    assert only(found).n == 28 and only(found, "mae").n == 27
    assert "left out: case03, t2f, mae: not in other" in capsys.readouterr().out
    save(tmp_path / "other", (replace(other[0], case="z"),))
    with pytest.raises(DatasetError, match="no image in common"):
        compare(folders, tmp_path / "out")


def test_files(tmp_path):
    """The JSON comes back equal; the CSV has a line per case, contrast and metric."""
    base = rows(1, contrasts=("t1n", "t2f"))
    endless = replace(base[0], metrics={"psnr": math.inf, "mae": 0.0})
    second = rows(2, 0.2, ("t1n", "t2f"))
    folders = [
        save(tmp_path / "a" / "run", base, reference_folder="/r"),
        save(tmp_path / "b" / "run", (endless, *second[1:]), reference_folder="/r"),
    ]
    found = compare(folders, tmp_path / "out")
    again = read_comparison(tmp_path / "out" / "comparison.json")
    assert [m.name for m in found.methods] == ["a_run", "b_run"]
    assert replace(again, results=()) == replace(found, results=())
    pairs = list(zip(again.results, found.results, strict=True))
    assert all(one.differences == other.differences for one, other in pairs)
    assert again.results[0].means["b_run"].mean == math.inf
    assert (only(found, contrast="t1n").infinite, only(found, contrast="t1n").n) == (1, 30)
    assert any("psnr of t1n: 1 of 30 differences of b_run are inf" in w for w in found.warnings)
    with (tmp_path / "out" / "comparison.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == NUM_CASES * 2 * 2
    assert lines[0]["b_run - a_run"] == "inf"
    for line in lines:
        change = float(line["b_run"]) - float(line["a_run"])
        assert float(line["b_run - a_run"]) == pytest.approx(change)
        assert line["better"] == {"psnr": "higher", "mae": "lower"}[line["metric"]]
    data = (tmp_path / "out" / "comparison.json").read_text()
    changed = data.replace(f'"version": {COMPARISON_VERSION}', '"version": 99', 1)
    (tmp_path / "out" / "comparison.json").write_text(changed)
    with pytest.raises(PlanError, match="The comparison has version 99"):
        read_comparison(tmp_path / "out" / "comparison.json")


@pytest.mark.parametrize(("n", "warns"), [(5, 2), (9, 1), (10, 0)])
def test_few_cases(tmp_path, n, warns):
    """Below 10 it is said that tests are weak, below 6 that none can be significant."""
    folders = [save(tmp_path / "a", rows(1, n=n)), save(tmp_path / "b", rows(2, 5, n=n))]
    found = compare(folders, tmp_path / "out")
    assert len(found.warnings) == warns
    assert all(f"n = {n} cases" in text for text in found.warnings)
    assert found.conclusions[0].startswith("no difference is shown" if n < 6 else "b is better")
    if n < 6:
        assert "no p can be below 0.0625" in found.warnings[1]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"protocol": Protocol("liftnet", "Another.")}, "different sentences of one protocol"),
        ({"reference_folder": "/elsewhere"}, "different references"),
        ({"slice_axis": "coronal"}, "different slice axes"),
        ({"protocol": Protocol("lift", "A.")}, "scores of b are of protocol lift, not liftnet"),
        ({"version": 99}, "The scores have version 99"),
    ],
)
def test_other_conventions_are_refused(tmp_path, changes, what):
    """Protocol, references, slice axis and version of the scores must be the same."""
    folders = [save(tmp_path / "a", rows(1)), save(tmp_path / "b", rows(2), **changes)]
    with pytest.raises(PlanError, match=what):
        compare(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_calls_are_refused(tmp_path):
    """One folder, the same folder, no scores, bad names, an unknown metric: each is named."""
    one, other = save(tmp_path / "a", rows(1)), save(tmp_path / "b", rows(2))
    out = tmp_path / "out"
    with pytest.raises(LiftnetError, match="two or more folders, got 1"):
        compare([one], out)
    with pytest.raises(DatasetError, match="folders of a_1 and a_2 are the same"):
        compare([one, tmp_path / "b" / ".." / "a"], out, names=["a_1", "a_2"])
    copy = save(tmp_path / "copy", rows(1), predicted_folder=str(one))
    with pytest.raises(DatasetError, match="predicted folders of a and copy are the same"):
        compare([one, copy], out)
    for names in (["x"], ["x", "x"], ["x", "reference"], ["case", "x"]):
        with pytest.raises(LiftnetError, match="need as many different names"):
            compare([one, other], out, names=names)
    for name in ("y/z", "..", "a\nb", "<b>", "n" * 300):
        with pytest.raises(LiftnetError, match="cannot be the name of a method"):
            compare([one, other], out, names=["x", name])
    with pytest.raises(LiftnetError, match="-m is for evaluating, which needs references"):
        compare([one, other], out, masks=tmp_path)
    with pytest.raises(LiftnetError, match="no metric 'pnsr'") as caught:
        compare([one, other], out, metrics=["pnsr"])
    assert caught.value.remedy == "Did you mean 'psnr'?"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"has no scores\.json"):
        compare([one, tmp_path / "empty"], out)
    with pytest.raises(DatasetError, match="does not exist"):
        compare([one, tmp_path / "none"], out)


def test_unequal_treatment_is_said(tmp_path):
    """Other ways to the range, other masks and other versions weaken a comparison."""
    notes = {"predicted_range": "own 0.1 and 99.9 percentiles: 3 to 9", "mask": "zeros of t1n"}
    other = tuple(replace(row, notes=notes) for row in rows(2))
    folders = [save(tmp_path / "a", rows(1)), save(tmp_path / "b", other, liftnet="0.2")]
    warnings = " ".join(compare(folders, tmp_path / "out").warnings)
    assert "scored by different versions of liftnet: a 0.1, b 0.2" in warnings
    assert "a: JSON file; b: own 0.1 and 99.9 percentiles" in warnings
    assert "30 images of b and a were not scored alike: other mask" in warnings


def test_unknown_directions_have_no_wins(tmp_path):
    """A metric of others is compared without saying what is better."""
    made = [
        tuple(replace(r, metrics={"dice": r.metrics["psnr"]}) for r in rows(seed, shift))
        for seed, shift in ((1, 0), (2, 1.0))
    ]
    folders = [save(tmp_path / name, found) for name, found in zip("ab", made, strict=True)]
    found = compare(folders, tmp_path / "out")
    assert found.results[0].better == "unknown"
    assert (only(found, "dice").wins, only(found, "dice").losses) == (None, None)
    assert found.conclusions[0].startswith("b is higher than a in dice by")


def test_a_signed_error_is_best_near_zero(tmp_path):
    """Neither sign is a win; images are ranked by how far from 0 they are."""
    made = [
        tuple(replace(r, metrics={"me": 10 * (r.metrics["psnr"] - middle)}) for r in rows(1))
        for middle in (20.0, 26.0)
    ]
    folders = [save(tmp_path / name, found) for name, found in zip("ab", made, strict=True)]
    found = compare(folders, tmp_path / "out")
    assert found.results[0].better == "nearest 0"
    assert (only(found, "me").wins, only(found, "me").losses) == (None, None)
    assert found.conclusions[0].startswith("b is lower than a in me by 60")
    assert "(nearest 0 is better)" in found.conclusions[0]
    results = read_results(tmp_path / "out")
    sizes = [[abs(value) for value in results.values(i, "me")] for i in ranked(results, "me")]
    gains = [first - other for first, other in sizes]
    assert gains == sorted(gains, reverse=True) and gains[0] > gains[-1]
    worst = results.values(hardest(results, "me"), "me")[1]
    assert abs(worst) == max(other for _, other in sizes)


def image(path: Path, seed: int, noise: float) -> None:
    """Write an image in [0, 1]: that of the seed, with noise."""
    shape = (11, 12, 13)
    grid = Geometry(shape, (3, 2, 1), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    voxels = np.random.default_rng(seed).random(shape)
    voxels = voxels + noise * np.random.default_rng(seed + 100).normal(size=shape)
    write_image(path, np.clip(voxels, 0, 1).astype(np.float32), grid, dtype="float32")


def test_folders_without_scores_are_evaluated(tmp_path):
    """With references, missing scores and those of another protocol are made, and kept in -o."""
    for number in range(6):
        for folder, noise in (("ref", 0), ("a", 0.3), ("b", 0.1)):
            image(tmp_path / folder / f"c{number}_0000.nii.gz", number, noise)
    a, b, ref, out = (tmp_path / name for name in ("a", "b", "ref", "out"))
    (tmp_path / "b" / "c0_0000.nii.gz").write_bytes((a / "c0_0000.nii.gz").read_bytes())
    evaluate(a, ref, protocol="liftnet", workspace=tmp_path / "w", num_processes=1)
    options = {"reference_folder": ref, "workspace": tmp_path / "w", "num_processes": 1}
    found = compare([a, b], out, **options)
    assert [m.scores_folder for m in found.methods] == [str(a), str(out / "b")]
    assert "1 of 6 predicted files of a and b are the same" in found.warnings
    assert only(found, contrast="0000").wins == 5 and only(found, contrast="0000").ties == 1
    assert not (b / "scores.json").exists()
    expected = evaluate(b, ref, workspace=tmp_path / "w", output=tmp_path / "x", num_processes=1)
    assert read_scores(out / "b" / "scores.json").cases == expected.cases
    again = compare([a, b], out, protocol="lift", names=["one", "two"], **options)
    assert again.protocol.name == "lift"
    assert [m.scores_folder for m in again.methods] == [str(out / "one"), str(out / "two")]
    with pytest.raises(PlanError, match="scores of a are of protocol liftnet, not lift"):
        compare([a, out / "two"], out, protocol="lift")
    with pytest.raises(LiftnetError, match="made of a would take the place of others"):
        compare([a, b], tmp_path, protocol="lift", **options)
    assert read_scores(a / "scores.json").protocol.name == "liftnet"
