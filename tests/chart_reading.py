"""Reading a chart of the report: its elements, and values by its own ticks."""

import xml.etree.ElementTree as ET

from liftnet.visual.charts_axes import text_width

WIDTH = 420


def parse(svg: str) -> ET.Element:
    """The tree of a chart, after checks that hold for every chart."""
    root = ET.fromstring(svg)
    assert root.tag == "svg" and root.get("role") == "img" and root.get("aria-label")
    assert root[0].tag == "title" and root[0].text
    assert root.get("viewBox").startswith(f"0 0 {WIDTH} ") and "width" not in root.attrib
    height = float(root.get("viewBox").split()[-1])
    for node in root.iter():
        assert not node.attrib.keys() & {"style", "stroke"}
        assert node.get("fill") in (None, "none")
        for key in node.attrib.keys() & {"x", "x1", "x2", "cx"}:
            assert 0 <= float(node.get(key)) <= WIDTH, ET.tostring(node)
        for key in node.attrib.keys() & {"y", "y1", "y2", "cy"}:
            assert 0 <= float(node.get(key)) <= height, ET.tostring(node)
    for node in root.iter("text"):
        start, end = extent(node)
        assert start >= -1 and end <= WIDTH + 1, node.text
    return root


def extent(node: ET.Element) -> tuple[float, float]:
    """Where a text starts and ends, by the width that the charts reckon with."""
    x, width = float(node.get("x")), text_width(node.text)
    start = x - {None: 0, "middle": 0.5, "end": 1}[node.get("text-anchor")] * width
    return start, start + width


def find(root: ET.Element, tag: str, *classes: str) -> list[ET.Element]:
    """The elements of a kind that have all these classes, in order."""
    return [n for n in root.iter(tag) if set(classes) <= set(n.get("class", "").split())]


def ticks(root: ET.Element, *, vertical: bool = False) -> tuple[list[float], list[float]]:
    """Numbers and positions of the ticks of an axis."""
    found = [
        node
        for node in find(root, "text", "tick")
        if (node.get("text-anchor") == "end") == vertical
    ]
    numbers = [float(node.text) for node in found]
    if vertical:
        return numbers, [float(node.get("y")) - 4 for node in found]
    lines = [n for n in find(root, "line", "grid") if n.get("x1") == n.get("x2")]
    return numbers, [float(node.get("x1")) for node in lines]


def value_at(root: ET.Element, position: float | str, *, vertical: bool = False) -> float:
    """The value that a position has by the chart's own first and last tick."""
    numbers, at = ticks(root, vertical=vertical)
    slope = (numbers[-1] - numbers[0]) / (at[-1] - at[0])
    return numbers[0] + (float(position) - at[0]) * slope


def titled(root: ET.Element) -> dict[str, ET.Element]:
    """The dots by their titles."""
    return {node.find("title").text: node for node in root.iter() if node.find("title") is not None}


def points_of(node: ET.Element) -> list[tuple[float, float]]:
    """The corners of a polygon or polyline."""
    return [tuple(map(float, pair.split(","))) for pair in node.get("points").split()]
