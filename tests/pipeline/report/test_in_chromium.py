"""The report of a real comparison in a browser: no complaint, and what it shows is what is true."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium

from liftnet.core.comparison import read_comparison
from liftnet.core.geometry import Geometry
from liftnet.imageio import write_image
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.report.report import report

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs chromium and chromedriver")
SHAPE = (12, 14, 16)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
CASES = (*(f"c<{k}>&" for k in range(5)), "x" * 200)  # that must not become markup, nor scroll


def volume(seed: int, noise: float = 0.0) -> np.ndarray:
    """Values in [0, 1], with noise of its own."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0.2, 1, SHAPE)
    return np.clip(clean + noise * rng.standard_normal(SHAPE), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two methods on six cases."""
    root = tmp_path_factory.mktemp("report")
    for number, case in enumerate(CASES):
        for folder, noise in (("ref", 0.0), ("A", 0.2), ("B", 0.1)):
            grid = Geometry(SHAPE, (3.0, 2.0, 1.0), (0.0, 0.0, 0.0), AXES)
            path = root / folder / f"{case}_0003.nii.gz"
            write_image(path, volume(number, noise), grid, dtype="float32")
    for method in "AB":
        evaluate(root / method, root / "ref", workspace=root / "w", num_processes=1)
    compare([root / "A", root / "B"], root / "comparison", workspace=root / "w")
    return report(root / "comparison", cases=[CASES[2], CASES[4]], workspace=root / "w")


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Chromium]:
    """A browser with the page open, its first image drawn."""
    with Chromium() as session:
        session.open(page.as_uri())
        session.until("document.querySelector('#viewer').dataset.shown")
        yield session
        assert session.console() == []
        assert [url for url in session.requests() if not url.startswith(("file:", "data:"))] == []


def test_numbers_on_the_page_are_those_of_the_json(page, browser):
    """What a reader sees in the table of means is the JSON's number, rounded."""
    cells = browser.run(
        "return [...document.querySelectorAll('td[data-metric]')].map("
        "c => ({...c.dataset, text: c.textContent}))"
    )
    found = read_comparison(page.parent / "comparison.json")
    wanted = {(r.metric, n): m for r in found.results for n, m in r.means.items()}
    assert len(cells) == len(wanted) > 20
    for cell in cells:
        mean = wanted[cell["metric"], cell["method"]]
        assert float(cell["value"]) == mean.mean
        shown, low, high = (
            cell["text"].replace("[", " ").replace("]", " ").replace(",", " ").split()
        )
        digits = len(shown.partition(".")[2])
        numbers = (mean.mean, mean.low, mean.high)
        assert [shown, low, high] == [f"{value:.{digits}f}" for value in numbers]
    inside = browser.run("return document.getElementById('results').textContent")
    text = (page.parent / "comparison.json").read_text().replace(f"{page.parents[1]}/", "")
    assert json.loads(inside) == json.loads(text)  # folders without those above them


def test_names_stay_text(browser):
    """A case that is named like markup is shown as its name, and is no element."""
    names = browser.run(
        "return [...document.querySelectorAll('#images tbody tr')].map(r => r.cells[0].textContent)"
    )
    assert names == list(CASES)


def test_sliders_change_the_picture(browser):
    """Another slice is another picture."""
    picture = "document.querySelector('#viewer .plane canvas').toDataURL()"
    before = browser.run(f"return {picture}")
    browser.run(
        "const s = document.querySelector('#viewer input[type=range]');"
        "s.value = Number(s.value) + 1; s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.until(f"{picture} !== {json.dumps(before)}")


def test_another_case_by_its_link(browser):
    """The link in the table shows the case, and its profiles alone."""
    browser.run("document.querySelectorAll('a[data-show]')[1].click()")
    shown = f"{CASES[4]}/0003"
    browser.until(f"document.querySelector('#viewer').dataset.shown === {json.dumps(shown)}")
    cases = browser.run(
        "return [...document.querySelectorAll('figure[data-case]')].filter(f => !f.hidden).map("
        "f => f.dataset.case)"
    )
    assert cases == [shown] * 3


def test_images_come_first_and_nothing_is_clipped(browser):
    """On a screen of 1400 x 1000 the first image is seen; no table and no name is wider."""
    browser.resize(1400, 1000)
    top = "document.querySelector('#viewer canvas').getBoundingClientRect().top + scrollY"
    assert browser.run(f"return {top}") < 850
    sections = browser.run("return [...document.querySelectorAll('section')].map(s => s.id)")
    assert sections[0] == "pictures"
    root = "document.documentElement"
    assert browser.run(f"return {root}.scrollWidth <= {root}.clientWidth")
    wide = "[...document.querySelectorAll('.table')].filter(t => t.scrollWidth > t.clientWidth)"
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.run(f"return {wide}.length") == 0
