"""Charts put values where an axis read from their own ticks says, and are valid, escaped SVG."""

import math
from itertools import pairwise

import numpy as np
import pytest
from chart_reading import extent, find, parse, points_of, ticks, titled, value_at

from liftnet.visual.charts_axes import cut, digits_for, number, round_ticks, text_width
from liftnet.visual.charts_bars import Bar, Category, bars
from liftnet.visual.charts_distribution import Group, distribution
from liftnet.visual.charts_forest import Row, forest
from liftnet.visual.charts_profile import Line, profile
from liftnet.visual.charts_scatter import Point, scatter

SHARP = '<b>&"'  # a name that breaks what is not escaped


def group(name: str, values: list[float], cases: str = "case") -> Group:
    """A group with made-up limits of the mean."""
    points = tuple((f"{cases}{k}", v) for k, v in enumerate(values))
    mean = float(np.mean(values))
    return Group(name, points, mean, mean - 0.5, mean + 0.75)


def test_dots_mean_interval_and_quartiles_lie_at_their_values():
    """Every mark of two lanes, read with the ticks; numbers at the right, colours by lane."""
    values = [20.1, 22.5, 22.6, 24.0, 29.3, 21.0, 26.2]
    lanes = [group("A", values), group("B", [v - 1.5 for v in values])]
    root = parse(distribution(lanes, label="PSNR", unit="dB", better="higher", digits=2))
    for index, lane in enumerate(lanes):
        own = [v for _, v in lane.points]
        dots = find(root, "circle", "dot", f"m{index}")
        assert [value_at(root, d.get("cx")) for d in dots] == pytest.approx(own, abs=0.02)
        titles = [d.find("title").text for d in dots]
        assert titles == [f"case{k}: {v:.2f} dB" for k, v in enumerate(own)]
        (mean,) = find(root, "polygon", "mean", f"m{index}")
        assert value_at(root, points_of(mean)[0][0]) == pytest.approx(np.mean(own), abs=0.02)
        (whisker,) = find(root, "line", "whisker", f"m{index}")
        ends = [value_at(root, whisker.get(key)) for key in ("x1", "x2")]
        assert ends == pytest.approx([lane.low, lane.high], abs=0.02)
        (box,) = find(root, "rect", "box", f"m{index}")
        left, width = float(box.get("x")), float(box.get("width"))
        edges = [value_at(root, left), value_at(root, left + width)]
        assert edges == pytest.approx(np.quantile(own, [0.25, 0.75]), abs=0.02)
        (median,) = find(root, "line", "median", f"m{index}")
        assert value_at(root, median.get("x1")) == pytest.approx(np.median(own), abs=0.02)
    texts = [node.text for node in root.iter("text")]
    assert "PSNR [dB], higher is better" in texts
    assert f"{lanes[0].mean:.2f}" in texts
    assert f"[{lanes[0].low:.2f}, {lanes[0].high:.2f}]" in texts
    assert f"A: mean {lanes[0].mean:.2f} [" in root.get("aria-label")
    assert "7 cases" in root.get("aria-label")


def test_twice_as_far_is_twice_as_far():
    """Positions are linear in the values, also below 0."""
    root = parse(distribution([group("A", [-1.0, 2.0, 8.0])], label="x", unit=""))
    first, second, third = (float(d.get("cx")) for d in find(root, "circle", "dot"))
    assert (third - second) / (second - first) == pytest.approx(2, abs=1e-3)
    assert not find(root, "rect", "box")  # three cases have no quartiles


@pytest.mark.parametrize("count", [30, 200])
def test_dots_of_a_swarm_do_not_hide_each_other(count):
    """Few dots keep apart, many stay in their lane; the same input gives the same chart."""
    lane = group("A", list(np.random.default_rng(0).normal(24, 2, count)))
    svg = distribution([lane], label="PSNR", unit="dB")
    assert svg == distribution([lane], label="PSNR", unit="dB")
    dots = find(parse(svg), "circle", "dot")
    at = np.array([[float(d.get("cx")), float(d.get("cy"))] for d in dots])
    space = np.hypot(*(at[:, None] - at[None]).T) + 99 * np.eye(count)
    assert np.ptp(at[:, 1]) <= 30
    if count == 30:
        assert space.min() > 2 * float(dots[0].get("r")) - 0.02
        assert np.ptp(at[:, 1]) > 0


def test_lines_connect_a_case_from_lane_to_lane():
    """Each line ends at the two dots of one case, whatever their order; only where all have it."""
    one, other = group("A", [1.0, 3.0, 2.0]), group("B", [2.5, 1.5, 3.5])
    turned = Group("B", other.points[::-1], other.mean, other.low, other.high)
    root = parse(distribution([one, turned], label="x", unit=""))
    lines = [
        [float(n.get(k)) for k in ("x1", "y1", "x2", "y2")] for n in find(root, "line", "pair")
    ]
    assert len(lines) == 3
    for (case, upper), (x1, y1, x2, y2) in zip(one.points, lines, strict=True):
        assert value_at(root, x1) == pytest.approx(upper, abs=0.01)
        assert value_at(root, x2) == pytest.approx(dict(other.points)[case], abs=0.01)
        assert y2 - y1 > 30
    unlike = group("B", [2.5, 1.5, 3.5], cases="other")
    assert 'class="pair"' not in distribution([one, unlike], label="x", unit="")
    many = [group(name, list(np.linspace(0, 1, 61))) for name in "AB"]
    assert 'class="pair"' not in distribution(many, label="x", unit="")
    many = [group(name, list(np.linspace(0, 1, 60))) for name in "AB"]
    assert distribution(many, label="x", unit="").count('class="pair"') == 60


def test_infinite_values_are_triangles_at_the_edge():
    """Beyond all finite dots, with words; quartiles and the mean's interval end there."""
    values = [20.0, math.inf, 21.0, 23.0, math.inf, math.inf]
    lane = Group("A", tuple((f"c{k}", v) for k, v in enumerate(values)), math.inf, 21.5, math.inf)
    root = parse(distribution([lane], label="PSNR", unit="dB"))
    triangles = find(root, "polygon", "infinite")
    assert len(triangles) == 3 and len(points_of(triangles[0])) == 3
    assert triangles[0].find("title").text == "c1: infinite (equal images)"
    edge = float(find(root, "line", "axis")[0].get("x2"))
    assert min(x for x, _ in points_of(triangles[0])) > max(
        float(d.get("cx")) for d in find(root, "circle", "dot")
    )
    (box,) = find(root, "rect", "box")
    assert float(box.get("x")) + float(box.get("width")) == pytest.approx(edge, abs=0.02)
    (whisker,) = find(root, "line", "whisker")
    assert float(whisker.get("x2")) == pytest.approx(edge, abs=0.02)
    assert value_at(root, whisker.get("x1")) == pytest.approx(21.5, abs=0.02)
    assert "infinite" in [node.text for node in root.iter("text")]
    alone = Group("A", (("c", math.inf),), math.inf, math.inf, math.inf)
    assert ticks(parse(distribution([alone], label="PSNR", unit="dB"))) == ([], [])


def test_forest_rows_lie_beside_the_zero_line():
    """Mean and interval at their values, the zero line at 0, texts whole, None in words."""
    rows = [
        Row("A", 0.213, 0.1, 0.33, "p = 0.01, 25/1/4"),
        Row("B", -1.9, -2.3, -1.5, "p < 0.0001", "m2"),
        Row("C", None, None, None, "p = 1", "m3"),
    ]
    root = parse(forest(rows, label="difference of PSNR", unit="dB", better="higher"))
    (zero,) = find(root, "line", "zero")
    assert value_at(root, zero.get("x1")) == pytest.approx(0, abs=0.01)
    for row in rows[:2]:
        (mean,) = find(root, "circle", "mean", row.css_class)
        assert value_at(root, mean.get("cx")) == pytest.approx(row.mean, abs=0.02)
        whisker = find(root, "line", "whisker", row.css_class)[0]
        ends = [value_at(root, whisker.get(key)) for key in ("x1", "x2")]
        assert ends == pytest.approx([row.low, row.high], abs=0.02)
        assert whisker.get("y1") == mean.get("cy")
    assert not find(root, "circle", "mean", "m3")
    texts = [node.text for node in root.iter("text")]
    assert {"+0.21 [+0.10, +0.33]", "p = 0.01, 25/1/4", "no finite difference"} <= set(texts)
    assert "difference of PSNR [dB], right of 0 is better" in texts
    lower = forest(rows, label="difference of MAE", unit="HU", better="lower")
    assert "left of 0 is better" in lower
    only_none = parse(forest(rows[2:], label="d", unit=""))
    assert len(find(only_none, "line", "zero")) == 1


def test_small_differences_do_not_show_as_zero():
    """Numbers have as many places as the smallest mean needs, and never reach into the plot."""
    rows = [Row("A", -0.0002, -0.0004, 0.0001, "p = 0.30 (Holm 0.60), 12/0/18")]
    root = parse(forest(rows, label="d", unit=""))
    numbers, remark = find(root, "text", "value")
    assert numbers.text == "-0.00020 [-0.00040, +0.00010]"
    assert remark.text == rows[0].text
    right = float(find(root, "line", "axis")[0].get("x2"))
    assert min(extent(numbers)[0], extent(remark)[0]) > right


OPTIONS = {
    "label": "mean |Δz|",
    "unit": "HU",
    "x_label": "slice",
    "case": "a/ct",
    "axis": 2,
    "cursor_first": 1.5,
    "cursor_last": 6.0,
}


def test_profile_lines_have_gaps_and_lie_at_their_values():
    """NaN splits a line, a lone value is a dot, x is the slice number from 1 on."""
    nan = math.nan
    lines = [
        Line("reference", "ref", np.array([1.0, 4, 2, 3, 5, 2, 1, 7])),
        Line("LiFT-C", "m1", [nan, 2.0, 3.0, nan, nan, 6.0, nan, 1.0]),
    ]
    root = parse(profile(lines, **OPTIONS))
    (whole,) = find(root, "polyline", "ref")
    xs, ys = zip(*points_of(whole), strict=True)
    assert [value_at(root, x) for x in xs] == pytest.approx(range(1, 9), abs=0.05)
    found = [value_at(root, y, vertical=True) for y in ys]
    assert found == pytest.approx(lines[0].values, abs=0.05)
    (piece,) = find(root, "polyline", "m1")
    assert [value_at(root, x) for x, _ in points_of(piece)] == pytest.approx([2, 3], abs=0.05)
    dots = find(root, "circle", "dot", "m1")
    assert [value_at(root, d.get("cx")) for d in dots] == pytest.approx([6, 8], abs=0.05)
    assert piece.get("stroke-dasharray") and not whole.get("stroke-dasharray")
    assert min(ticks(root, vertical=True)[0]) == 0
    assert {"reference", "LiFT-C"} <= {n.text for n in find(root, "text", "name")}


def test_profile_tells_the_script_where_slices_lie():
    """data-first and data-last are the positions of the embedded volume's first and last slice."""
    root = parse(profile([Line("r", "ref", [1.0] * 8)], **OPTIONS))
    assert root.get("class").split()[-1] == "profile"
    assert (root.get("data-case"), root.get("data-axis")) == ("a/ct", "2")
    ends = [value_at(root, root.get(key)) for key in ("data-first", "data-last")]
    assert ends == pytest.approx([1 + 1.5, 1 + 6], abs=0.05)
    (cursor,) = find(root, "line", "cursor")
    assert cursor.get("x1") == cursor.get("x2") == root.get("data-first")
    beyond = OPTIONS | {"cursor_first": -0.5, "cursor_last": 0.5}
    root = parse(profile([Line("r", "ref", [-1.0])], **beyond))
    assert value_at(root, root.get("data-first")) == pytest.approx(0.5, abs=0.01)
    assert ticks(root, vertical=True)[0][0] < 0


def test_bars_reach_from_zero_to_their_means():
    """Length, interval and numbers of every bar; a method keeps its colour where one is absent."""
    groups = [
        Category("body", (Bar("A", 35.0, 31, 38), Bar("B", 42.0, 36, 49))),
        Category("bone", (Bar("B", -110.0, -130, -90), Bar("C", None), Bar("D", math.inf))),
    ]
    root = parse(bars(groups, label="bias", unit="HU"))
    drawn = find(root, "rect", "bar")
    whiskers = find(root, "line", "whisker")
    wanted = [bar for g in groups for bar in g.bars][:3]
    assert [n.get("class").split()[-1] for n in drawn] == ["m0", "m1", "m1"]
    for node, line, bar in zip(drawn, whiskers, wanted, strict=True):
        start = float(node.get("x"))
        ends = [value_at(root, start), value_at(root, start + float(node.get("width")))]
        assert ends == pytest.approx(sorted([0, bar.mean]), abs=0.6)
        limits = [value_at(root, line.get(key)) for key in ("x1", "x2")]
        assert limits == pytest.approx([bar.low, bar.high], abs=0.6)
    texts = [node.text for node in root.iter("text")]
    for word in ("body", "bone", "A", "C", "35.0 [31.0, 38.0]", "no value", "infinite"):
        assert word in texts
    single = parse(bars([Category("body", groups[0].bars[:1])], label="MAE", unit="HU"))
    assert [n.text for n in find(single, "text", "name")] == ["body"]
    assert ticks(single)[0][0] == 0


@pytest.mark.parametrize(
    "values",
    [
        [5.0],
        [0.0],
        [0.83] * 7,
        [0.1 + 0.2, 0.3],  # equal but for rounding
        [-3.0, -1.0],
        [1e-4, 1.3e-4],
        [-1024.0, 1500.0, 3071.0],
        [1e-9, 3e-9],
        [2e7, 3e7],
    ],
)
def test_axes_of_any_values(values):
    """Three or more round ticks around all values whose texts differ and do not touch."""
    lane = Group("A", tuple((f"c{k}", v) for k, v in enumerate(values)), values[0], *values[:1] * 2)
    charts = [
        distribution([lane], label="x", unit=""),
        forest([Row("A", values[0], min(values), max(values), "")], label="x", unit=""),
        bars([Category("A", (Bar("A", values[0], min(values), max(values)),))], label="x", unit=""),
        profile([Line("A", "m0", values)], **OPTIONS),
    ]
    for svg in charts:
        root = parse(svg)
        numbers, at = ticks(root)
        assert len(numbers) == len(at) >= 2 and len(set(numbers)) == len(numbers)
        steps = np.diff(numbers)
        assert steps == pytest.approx(steps[0], rel=1e-6)
        assert f"{steps[0]:e}"[0] in "125"
        horizontal = [n for n in find(root, "text", "tick") if n.get("text-anchor") == "middle"]
        spans = [extent(node) for node in horizontal]
        assert all(a[1] < b[0] for a, b in pairwise(spans))
    dots = find(parse(charts[0]), "circle", "dot")
    assert len(dots) == len(values)


def test_names_are_escaped_and_cut_names_are_whole_in_titles():
    """Markup in names stays text everywhere; a name too long for its column is in a title."""
    long = f"{SHARP} a method with a very long name that does not fit into two lines"
    lane = Group(long, ((SHARP, 1.0), ("b", 2.0)), 1.5, 1.0, 2.0)
    svgs = [
        distribution([lane], label=SHARP, unit=SHARP),
        forest([Row(long, 1.0, 0.0, 2.0, SHARP, "m1")], label=SHARP, unit=SHARP),
        bars([Category(long, (Bar(long, 1.0),))], label=SHARP, unit=SHARP),
        profile([Line(long, "m0", [1.0, 2.0])], **OPTIONS | {"case": SHARP, "unit": SHARP}),
    ]
    for svg in svgs:
        root = parse(svg)
        assert "<b>" not in svg and SHARP in root.get("aria-label")
        assert long in titled(root).keys() | {n.text for n in root.iter("text")}
    assert f"{SHARP}: 1.00 {SHARP}" in titled(parse(svgs[0]))
    assert parse(svgs[3]).get("data-case") == SHARP


def test_wrong_calls():
    """Nothing to draw, or no number, is refused with what was expected."""
    with pytest.raises(ValueError, match="expected groups with at least one point each"):
        distribution([], label="x", unit="")
    with pytest.raises(ValueError, match="expected groups with at least one point each"):
        distribution([Group("A", (), 0.0, 0.0, 0.0)], label="x", unit="")
    with pytest.raises(ValueError, match="expected values, got NaN in group A"):
        distribution([Group("A", (("c", math.nan),), 0.0, 0.0, 0.0)], label="x", unit="")
    with pytest.raises(ValueError, match="expected at least one row"):
        forest([], label="x", unit="")
    with pytest.raises(ValueError, match="expected finite differences or None"):
        forest([Row("A", math.inf, 0, 1, "")], label="x", unit="")
    with pytest.raises(ValueError, match="expected categories with at least one bar"):
        bars([], label="x", unit="")
    with pytest.raises(ValueError, match="expected means and intervals, got NaN"):
        bars([Category("A", (Bar("A", math.nan),))], label="x", unit="")
    with pytest.raises(ValueError, match="expected lines of one length above 0"):
        profile([], **OPTIONS)
    with pytest.raises(ValueError, match=r"got lengths \[1, 2\]"):
        profile([Line("A", "m0", [1]), Line("B", "m1", [1, 2])], **OPTIONS)
    with pytest.raises(ValueError, match="expected at least one finite value"):
        profile([Line("A", "m0", [math.nan])], **OPTIONS)


def test_numbers_ticks_and_widths():
    """The small parts: places by range, steps of 1, 2 and 5, cut text."""
    assert [digits_for(v) for v in ([20, 28], [0.8, 0.83], [0, 1500], [1e-4], [0])] == [
        2,
        4,
        0,
        6,
        2,
    ]
    assert [number(v, 2) for v in (-0.001, 1.005e3, -math.inf)] == ["0.00", "1005.00", "-infinite"]
    assert round_ticks(0.0, 1.0, 5) == (pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1]), 0.2)
    assert round_ticks(-130.0, 260.0, 5)[0] == [-100, 0, 100, 200]
    assert cut("abcdefgh", 40) == "abcd…" and cut("abc", 40) == "abc"
    assert text_width("mm") > text_width("nn") > text_width("ii")


def test_a_scatter_puts_points_at_their_cost_and_value():
    """Costs on powers of 10, means with their intervals, a line for what costs nothing."""
    points = [
        Point("quick", 0.02, 27.0, 26.5, 27.5),
        Point("slow, mean of 5", 60.0, 29.0, 28.0, 29.5),
        Point(SHARP, None, 25.0, 24.5, 25.5),
    ]
    drawn = scatter(points, label="PSNR [dB]", cost_label="a volume [s]", digits=1, remark="x")
    root = parse(drawn)
    whole, at = ticks(root)
    slope = (math.log10(whole[-1]) - math.log10(whole[0])) / (at[-1] - at[0])
    dots = find(root, "circle", "dot")
    found = [math.log10(whole[0]) + (float(d.get("cx")) - at[0]) * slope for d in dots]
    assert found == pytest.approx([math.log10(p.cost) for p in points[:2]], abs=0.01)
    for dot, whisker, point in zip(dots, find(root, "line", "whisker"), points, strict=False):
        ends = [value_at(root, whisker.get(key), vertical=True) for key in ("y1", "y2")]
        assert ends == pytest.approx([point.low, point.high], abs=0.03)
        assert value_at(root, dot.get("cy"), vertical=True) == pytest.approx(point.mean, abs=0.03)
    (line,) = [n for n in root.iter("line") if n.get("stroke-dasharray")]
    assert value_at(root, line.get("y1"), vertical=True) == pytest.approx(25.0, abs=0.03)
    assert [n.text for n in find(root, "text", "name")] == [
        p.name for p in (points[1], *points[::2])
    ]
    assert "slow, mean of 5: 29.0 [28.0, 29.5] at 60" in root.get("aria-label")
    for costs in ([None, None], [0.0, 1.0]):
        bad = [Point("a", cost, 1.0, 0.5, 1.5) for cost in costs]
        with pytest.raises(ValueError, match="costs above 0"):
            scatter(bad, label="x", cost_label="y", digits=1)


def test_names_of_a_scatter_stand_apart():
    """Nine methods that are as good and as dear as each other."""
    points = [Point(f"method {k}", 1.0 + 0.01 * k, 27 + 0.01 * k, 26, 28) for k in range(9)]
    root = parse(scatter(points, label="x", cost_label="y", digits=2))
    heights = sorted(float(node.get("y")) for node in find(root, "text", "name"))
    assert len(heights) == 9
    assert all(b - a >= 13 for a, b in pairwise(heights))
