"""HTML from Python values: what is text stays text."""

import xml.etree.ElementTree as ElementTree

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
