"""Figures are readable PNG files in the right orientation, also when something is missing."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image as images

from liftnet.visual import png
from liftnet.visual.figures import (
    MontageRow,
    Thumbnail,
    montage,
    plot_progress,
    sample_sheet,
)
from liftnet.visual.panels import draw_curves, progress_panels, running_mean

SPACING = (3.5, 2.0, 2.5)
SHAPE = (6, 9, 8)


def ball(*, scale: float = 100.0) -> np.ndarray:
    """Return a (D, H, W) ball that is brightest in the middle and 0 outside."""
    grids = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    return (scale * np.clip(1 - sum(g * g for g in grids), 0, None)).astype(np.float32)


def training_log(steps: int) -> list[dict[str, Any]]:
    """Return a log with training rows and a validation row at every fifth step."""
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        terms = {"loss": 1 / step, "l1": 0.5 / step, "delta_z": 0.1}
        rates = {"translator": 2e-5, "mixer": 2e-4}
        seconds = {"seconds_per_step": 0.4, "waited_per_step": 0.1}
        rows.append({"step": step, **terms, "learning_rate": rates, **seconds})
        if step % 5 == 0:
            psnr = {"t1n": 20.0 + step, "t2f": 21.0}
            rows.append({"step": step, "validation": abs(step - 12), "validation_psnr": psnr})
    return rows


def check_png(path: Path) -> np.ndarray:
    """Return the pixels after checking that the file is a PNG of sane size and is alone."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert 5_000 < path.stat().st_size < 1_500_000
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    pixels = images.imread(path)
    assert 200 < pixels.shape[0] < 4000 and 400 < pixels.shape[1] < 4000
    return pixels


def coloured(pixels: np.ndarray) -> bool:
    """Return whether any pixel is far from grey."""
    return bool((np.ptp(pixels[..., :3], axis=-1) > 0.3).any())


def test_progress_of_a_whole_run(tmp_path: Path) -> None:
    """Curves and thumbnails of a run end in one picture with coloured lines."""
    volume = ball()
    rows = (("t1n", volume), ("predicted", volume + 1), ("reference", volume))
    thumbnail = Thumbnail("case 1", (*rows, ("|error|", np.ones_like(volume))), SPACING)
    plot_progress(training_log(40), [thumbnail, thumbnail], tmp_path / "progress.png")
    pixels = check_png(tmp_path / "progress.png")
    assert coloured(pixels)
    plot_progress(training_log(40), [], tmp_path / "progress.png")  # overwrites
    assert check_png(tmp_path / "progress.png").shape[0] < pixels.shape[0]


@pytest.mark.parametrize(
    "log",
    [
        [],
        training_log(1),
        [{"step": 1, "loss": float("nan"), "learning_rate": {"mixer": 0.0}}],
        [{"step": 1, "loss": float("inf")}, {"step": 2, "loss": -1.0, "stage": "prior"}],
        [{"step": 3, "validation": float("nan"), "validation_psnr": {}}],
        [{"step": 3, "validation": None}, {"step": 4, "validation": 0.5}],
    ],
)
def test_progress_without_some_pieces(log: list[dict[str, Any]], tmp_path: Path) -> None:
    """Nothing yet, one row, and values that cannot be drawn still give a picture."""
    plot_progress(log, [], tmp_path / "progress.png")
    check_png(tmp_path / "progress.png")


def test_progress_with_odd_thumbnails(tmp_path: Path) -> None:
    """Thumbnails that are constant, not finite, or without images do not stop training."""
    broken = np.full(SHAPE, np.nan, np.float32)
    thumbnails = [
        Thumbnail("odd", (("predicted", broken), ("reference", np.zeros(SHAPE))), SPACING),
        Thumbnail("generated", (("predicted", ball()),), SPACING),
        Thumbnail("empty", (), SPACING),
    ]
    plot_progress(training_log(7), thumbnails, tmp_path / "progress.png")
    check_png(tmp_path / "progress.png")


def test_panels_sort_the_log() -> None:
    """Each number reaches its panel; a repeated step takes the later row; text is left out."""
    log = [{"step": 4, "loss": 9.0}, *training_log(10), {"step": 2, "loss": 7.0, "stage": "volume"}]
    panels = progress_panels(log)
    assert [panel.title for panel in panels] == [
        "loss and its terms",
        "validation: mean PSNR [dB], higher is better",
        "validation PSNR [dB], higher is better",
        "learning rate",
        "seconds per step, 25% of the time waiting for data",
    ]
    losses, score, psnr, rates, seconds = (panel.curves for panel in panels)
    assert set(losses) == {"loss", "l1", "delta z"}
    steps, values = losses["loss"]
    np.testing.assert_array_equal(steps, np.arange(1, 11))
    np.testing.assert_allclose(values[[1, 3, 9]], [7.0, 1 / 4, 1 / 10])
    np.testing.assert_allclose(score["mean"], [[5, 10], [-7, -2]])
    np.testing.assert_allclose(psnr["t1n"][1], [25, 30])
    assert set(rates) == {"translator", "mixer"}
    assert set(seconds) == {"in all", "waiting for data"}
    np.testing.assert_allclose(seconds["waiting for data"][1], 0.1)


def test_old_logs_have_no_waiting() -> None:
    """A log without the seconds waited shows the seconds alone."""
    panel = progress_panels([{"step": 1, "seconds_per_step": 0.5}])[-1]
    assert panel.title == "seconds per step" and set(panel.curves) == {"in all"}


def test_numbers_of_other_sizes_get_panels_of_their_own() -> None:
    """Decibels do not flatten a ratio; curves keep their order, and titles say what is shown."""
    details = {"psnr": 30.0, "components": 21.0, "sharpness": 0.9, "broken": float("nan")}
    log = [{"step": step, "validation_reconstruction": details} for step in (1, 2)]
    found = {panel.title: list(panel.curves) for panel in progress_panels(log)[2:-2]}
    assert found == {
        "validation reconstruction: sharpness, broken": ["sharpness", "broken"],
        "validation reconstruction: psnr, components": ["psnr", "components"],
    }


@pytest.mark.parametrize(("term", "logarithmic"), [(0.5, True), (-0.5, False), (np.nan, True)])
def test_logarithmic_where_everything_is_positive(term: float, logarithmic: bool) -> None:
    """A term below zero would vanish on a logarithmic axis, so it gets an even one."""
    log = [{"step": step, "loss": 1.0, "l1": 0.5, "drift": term} for step in range(1, 9)]
    assert progress_panels(log)[0].logarithmic is logarithmic


def test_the_only_term_is_not_drawn_twice() -> None:
    """With one term the loss is that term."""
    log = [{"step": step, "loss": 1.0, "drift": 1.0} for step in range(1, 9)]
    assert set(progress_panels(log)[0].curves) == {"loss"}


def test_legends_stand_beside_the_curves() -> None:
    """No legend covers a curve, and the best score stands in the title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 10), layout="constrained")
    FigureCanvasAgg(figure)
    panels = progress_panels(training_log(40))
    panels[3] = replace(panels[3], curves={"mixer": panels[3].curves["mixer"]})  # says its name
    grid = figure.subplots(3, 2).flat
    for axes, panel in zip(grid, panels, strict=False):
        draw_curves(axes, panel)
    figure.canvas.draw()
    for axes, panel in zip(grid, panels, strict=False):
        legend = axes.get_legend()
        assert (legend is None) == bool(panel.mark)  # its title names its only curve
        if legend is not None:
            assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
            assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert figure.axes[1].get_title(loc="left").endswith("better: best -2 at step 10")


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    """Pyplot, which keeps every figure and may need a screen, is not even imported."""
    code = (
        "import sys; from pathlib import Path; from liftnet.visual.figures import plot_progress;"
        "plot_progress([{'step': 1, 'loss': 1.0}], [], Path(sys.argv[1]), 'title');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "progress.png")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check_png(tmp_path / "progress.png")


def test_running_mean_matches_its_definition() -> None:
    """The mean weighs every earlier value by a power of what is kept; gaps stay gaps."""
    values = np.random.default_rng(0).normal(size=12)
    weights = 0.75 ** np.arange(11, -1, -1)
    np.testing.assert_allclose(running_mean(values, 4)[-1], np.average(values, weights=weights))
    with_gap = np.insert(values, 5, np.nan)
    means = running_mean(with_gap, 4)
    assert np.isnan(means[5])
    np.testing.assert_allclose(np.delete(means, 5), running_mean(values, 4))


def test_montage_of_different_rows(tmp_path: Path) -> None:
    """Rows with other numbers of sources, sizes, and without reference share a picture."""
    volume, lesion = ball(), np.zeros(SHAPE, np.uint8)
    lesion[2:4, 5, 5] = 1
    larger = np.pad(volume, 2)
    rows = [
        MontageRow("a", (("t1n", volume), ("t2w", volume)), volume * 0.9, volume, SPACING, "t1c"),
        MontageRow("b", (("mr", larger),), larger - 50, larger, (1, 2, 3), "ct", "HU"),
        MontageRow("c", (), volume, None, SPACING, lesion=lesion),
        MontageRow("d", (), np.full(SHAPE, np.nan), volume, SPACING, lesion=lesion),
    ]
    montage(rows, tmp_path / "montage.png", title="Four cases")
    assert coloured(check_png(tmp_path / "montage.png"))  # the error maps


def test_montage_cuts_away_the_background(tmp_path: Path) -> None:
    """Empty space around the head changes nothing in the picture."""
    heads = [ball(), np.pad(ball(), ((3, 1), (0, 7), (2, 5)))]
    pictures = []
    for head in heads:
        row = MontageRow("a", (("t1n", head),), head / 2, head, SPACING, lesion=head > 90)
        montage([row], tmp_path / "m.png", title="cut")
        pictures.append(check_png(tmp_path / "m.png"))
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_montage_without_reference_has_no_error_map(tmp_path: Path) -> None:
    """Unconditional generation shows grey volumes only."""
    montage([MontageRow("a", (), ball(), None, SPACING)], tmp_path / "m.png", title="generated")
    assert not coloured(check_png(tmp_path / "m.png"))


def test_montage_refuses_wrong_rows(tmp_path: Path) -> None:
    """No rows, or volumes of two shapes in one, leave no file behind."""
    with pytest.raises(ValueError, match="expected at least one row, got none"):
        montage([], tmp_path / "m.png", title="")
    row = MontageRow("case 7", (), ball(), ball()[1:], SPACING)
    with pytest.raises(ValueError, match="expected volumes of one shape in row case 7, got"):
        montage([row], tmp_path / "m.png", title="")
    assert not list(tmp_path.iterdir())


def test_noisy_montage_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that does not compress is drawn coarser until the file is small enough."""
    noise = np.random.default_rng(1).normal(100, 30, (40, 60, 50)).astype(np.float32)
    row = MontageRow("noise", (), noise, noise[::-1], (2.5, 2, 2))
    montage([row], tmp_path / "m.png", title="noise")
    fine = check_png(tmp_path / "m.png")
    limit = (tmp_path / "m.png").stat().st_size - 1
    monkeypatch.setattr(png, "MAX_BYTES", limit)
    montage([row], tmp_path / "m.png", title="noise")
    assert (tmp_path / "m.png").stat().st_size <= limit
    assert check_png(tmp_path / "m.png").shape[0] < fine.shape[0]


def test_sheet_of_samples(tmp_path: Path) -> None:
    """All volumes share one window: half as bright is drawn half as bright."""
    bright = np.where(ball() > 0, np.float32(100), 0)
    dark = bright / 2
    sheet = tmp_path / "sheet.png"
    sample_sheet([("a", bright), ("b", dark)], sheet, spacing_mm=SPACING, title="Two")
    pixels = check_png(sheet)[..., 0]
    left, right = np.split(pixels[:, : pixels.shape[1] // 2 * 2], 2, axis=1)
    grey = [(np.abs(half - 0.5) < 0.02).mean() for half in (left, right)]
    assert grey[0] < 0.01 and grey[1] > 0.1
    assert not coloured(check_png(sheet))
    few = check_png(sheet).shape
    sample_sheet([("a", bright)] * 6, sheet, spacing_mm=SPACING, title="Six")
    many = check_png(sheet).shape
    assert many[0] > 1.5 * few[0] and many[1] > 1.5 * few[1]


def test_sheet_refuses_wrong_calls(tmp_path: Path) -> None:
    """No volumes, no picture."""
    with pytest.raises(ValueError, match="expected at least one volume, got none"):
        sample_sheet([], tmp_path / "sheet.png", spacing_mm=SPACING, title="Nothing")
