"""The columns of a benchmark's table: which there are, and how their cells read."""

import numpy as np

from liftnet.core.benchmark import BenchmarkRow, PredictionCost, TrainingCost
from liftnet.core.scores import CaseScore
from liftnet.pipeline.compare.results import compare_rows
from liftnet.pipeline.report.benchmark_table import QUALITY, Column, columns
from liftnet.pipeline.report.results import as_gains

NAMES = ("lift", "flow", "flow, mean of 5")
REGIONS = ("mae_soft", "mae_bone", "mae_air")


def rows() -> list[BenchmarkRow]:
    """Three rows, of which the last two are one method that samples."""
    training = TrainingCost(12_345_678, 1000, 5 * 10**17, 3600.0, None, "cuda")
    unknown = TrainingCost(None, 0, None, None, None, "")
    prediction = PredictionCost(2.5e12, 0.25, 1.5, "cuda", 10)
    figures = {"psnr": "29.4 dB", "ssim": "0.95"}
    return [
        BenchmarkRow(name, name.partition(",")[0], False, training, prediction, {})
        if "flow" in name
        else BenchmarkRow(
            name, name, False, unknown, PredictionCost(None, None, None, "", None), figures
        )
        for name in NAMES
    ]


def table(metrics: dict[str, float], *, unit: str = "", contrasts: int = 1) -> dict[str, Column]:
    """The columns by their keys; each method is a little better than the one before."""
    scores = {
        name: [
            CaseScore(
                f"c{case}",
                f"t{contrast}",
                {m: v * (1 - 0.1 * better) + 0.01 * case for m, v in metrics.items()},
                {"unit": unit} if unit else {},
            )
            for case in range(4)
            for contrast in range(contrasts)
        ]
        for better, name in enumerate(NAMES)
    }
    results = [as_gains(result) for result in compare_rows(scores)]
    main = [metric for metric in metrics if metric not in REGIONS]
    return {column.key: column for column in columns(rows(), results, main)}


def test_what_a_reader_sees():
    """Means with intervals, gains turned where lower is better, costs to three digits."""
    found = table({"delta_z_mae": 0.05, "ssim": 0.9})
    assert [column.head for column in found.values()][:4] == [
        *("Δz MAE", "gain in Δz MAE", "p, Holm", "SSIM"),
    ]
    first, second, _ = found["delta_z_mae"].cells
    assert first.text == "0.0650 [0.0550, 0.0750]" and first.low < first.value < first.high
    gain = found["delta_z_mae_gain"].cells
    assert gain[0].text == "baseline" and gain[0].value is None
    assert np.isclose(gain[1].value, first.value - second.value) and gain[1].text.startswith(
        "+0.00"
    )
    assert found["p_holm"].cells[0].text == "-" and found["p_holm"].cells[1].value == 0.25
    assert [cell.text for cell in found["parameters_m"].cells] == ["-", "12.3", "12.3"]
    assert [cell.text for cell in found["training_pflop"].cells] == ["-", "500", "500"]
    assert [cell.text for cell in found["training_s"].cells] == ["-", "3,600", "3,600"]
    assert [cell.text for cell in found["volume_tflop"].cells] == ["-", "2.50", "2.50"]
    assert [cell.text for cell in found["sampler_steps"].cells] == ["-", "10", "10"]
    assert "training_peak_gib" not in found  # nothing notes it
    published = found["published"]
    assert published.cells[0].text == "PSNR 29.4 dB; SSIM 0.95" and published.group == QUALITY


def test_a_ct_has_its_regions():
    """Beside the error of the whole grid, in HU."""
    found = table({"psnr": 28.0, "mae": 60.0, **dict.fromkeys(REGIONS, 80.0)}, unit="HU")
    keys = [key for key, column in found.items() if column.group == QUALITY]
    assert keys[:7] == ["psnr", "psnr_gain", "p_holm", "mae", *REGIONS]
    assert found["mae_bone"].head == "MAE in bone [HU]"


def test_contrasts_are_averaged():
    """One column for the average over contrasts."""
    found = table({"psnr": 28.0}, contrasts=2)
    assert [key for key in found if key.startswith("psnr")] == ["psnr", "psnr_gain"]
