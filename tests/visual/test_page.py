"""The page as a file: whole, without any address, and nothing in it can end a script."""

import html
import json
import re

import pytest

from liftnet.visual.html import tag
from liftnet.visual.page import Page, Section, write_page


@pytest.fixture
def text(tmp_path):
    """A page with a title and a case that are named like markup."""
    page = Page(
        title="</title><script>alert(1)</script>",
        subtitle="one \udcff",
        verdict=["a < b"],
        warnings=["careful"],
        sections=[Section("numbers", "Numbers", tag("p", "1 & 2"))],
        cases=[{"id": "</script><b>"}],
        volumes={"v0": "QUJD"},
        results='{"case": "</script>"}',
    )
    path = tmp_path / "folder" / "report.html"
    write_page(page, path)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_nothing_ends_an_element_early(text):
    """Every script that begins ends once; what was put in comes back from the JSON."""
    assert "<script>alert" not in text
    starts = len(re.findall(r"<script[ >]", text))
    assert starts == text.count("</script>") >= 5
    found = dict(re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', text))
    assert json.loads(found["cases"])["cases"][0]["id"] == "</script><b>"
    assert json.loads(found["results"]) == {"case": "</script>"}


def test_nothing_comes_from_elsewhere(text):
    """The policy allows no host, and no element names one outside of the viewer's own source."""
    assert "default-src 'none'" in html.unescape(text)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text)
    assert '<a href="#numbers">Numbers</a>' in text
    assert "one \\udcff" in text  # half of a character, from the name of a file
    assert "<li>a &lt; b</li>" in text and "<li>careful</li>" in text
