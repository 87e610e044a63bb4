"""HTML from Python values: what is text stays text."""

import xml.etree.ElementTree as ElementTree

from liftnet.visual.charts_axes import text
from liftnet.visual.html import Html, join, tag


def test_text_and_attributes_are_escaped():
    """A case that is named like markup comes back as its name."""
    name = "<b>&\"'"
    element = ElementTree.fromstring(tag("td", name, title=name, data_value=0.1, class_=None))
    assert (element.text, element.attrib) == (name, {"title": name, "data-value": "0.1"})


def test_children_are_nested_and_flattened():
    """Elements stay elements, lists of them are put after each other, markup is kept."""
    built = tag("ul", [tag("li", str(k)) for k in range(2)], tag("li", Html("<i>x</i>"), " < y"))
    assert built == "<ul><li>0</li><li>1</li><li><i>x</i> &lt; y</li></ul>"
    assert tag("img", src="data:,") == '<img src="data:,">'
    assert isinstance(join("a", [built]), Html)


def test_no_name_turns_the_rest_of_a_text_around():
    """An override is shown as its code; a word from right to left stands apart, in a title too."""
    hebrew = "\u05e9\u05e8\u05d4"
    assert tag("p", "\u202ecase: 24.78 dB") == "<p>\\u202ecase: 24.78 dB</p>"
    assert tag("p", f"{hebrew} <b> (1 dB)") == f"<p><bdi>{hebrew}</bdi> &lt;b&gt; (1 dB)</p>"
    assert tag("title", f"{hebrew}, 1") == f"<title>\u2068{hebrew}\u2069, 1</title>"
    assert ElementTree.fromstring(text(0, 0, f"{hebrew} 1")).text == f"\u2068{hebrew}\u2069 1"
    assert tag("td", "a", data_show="\u202ea") == '<td data-show="\u202ea">a</td>'
