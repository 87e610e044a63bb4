"""The figure of trajectories."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from skimage.io import imread

from liftnet.visual import trajectory_figure
from liftnet.visual.trajectory_figure import NAMED, SlicePath, plot_trajectories


def paths(count: int, size: int = 9) -> list[SlicePath]:
    """Cases whose slices lie on curves; each has another depth."""
    rng = np.random.default_rng(0)
    way = rng.standard_normal((3, size))
    made = []
    for k in range(count):
        at = np.linspace(0, 3, 10 + k % 4)[:, None]
        curve = np.concatenate([np.sin(at), np.cos(2 * at), at], axis=1) + 0.1 * k
        made.append(SlicePath(f"_case{k}", (curve @ way).astype(np.float32), 4.0 * at[:, 0]))
    return made


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that would be saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(trajectory_figure, "write_png", lambda figure, *_: figures.append(figure))
    return figures


def test_what_is_drawn(drawn, tmp_path):
    """Components 1 and 2 are those of all slices together; distances are Euclidean."""
    cases = paths(3)
    plot_trajectories(cases, tmp_path / "x.png", title="T")
    plane, first, third, steps = drawn[0].axes[:4]
    rows = np.concatenate([case.vectors for case in cases]).astype(np.float64)
    values, columns = np.linalg.eigh(np.cov(rows.T))
    share = 100 * values[-1] / values.sum()
    assert plane.get_xlabel() == first.get_ylabel() == f"PC1 ({share:.1f} % of variance)"
    for k, panel in ((1, first), (3, third)):
        expected = (cases[1].vectors - rows.mean(0)) @ columns[:, -k]
        got = panel.lines[1].get_ydata()
        expected *= np.sign(expected @ got)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(panel.lines[1].get_xdata(), cases[1].depth_mm)
    gaps = [np.linalg.norm(b - a) for a, b in pairwise(cases[2].vectors)]
    np.testing.assert_allclose(steps.lines[2].get_ydata(), gaps, rtol=1e-5)
    ends = [(p.get_offsets()[0], len(p.get_paths()[0].vertices)) for p in plane.collections[1:3]]
    start, stop = (np.asarray(at) for at, _ in ends)
    assert start[0] == pytest.approx(first.lines[0].get_ydata()[0])
    assert stop[0] == pytest.approx(first.lines[0].get_ydata()[-1])
    assert ends[0][1] != ends[1][1]  # a circle and a square
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [
        f" case{k}" for k in range(3)
    ]


def test_file_of_few_numbers_and_of_many_cases(tmp_path):
    """Vectors of two numbers have no third component; many cases have no legend."""
    for name, cases in (("few", paths(2, size=2)), ("many", paths(NAMED + 1))):
        plot_trajectories(cases, tmp_path / f"{name}.png", title=name)
        assert imread(tmp_path / f"{name}.png").std() > 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["few.png", "many.png"]
    with pytest.raises(ValueError, match="at least one case"):
        plot_trajectories([], tmp_path / "none.png", title="")
