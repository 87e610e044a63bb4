"""The viewer of a report page, in a headless Chromium, against the arrays it was given."""

import base64

import nibabel
import numpy as np
import pytest
from chromium import KEYS, Chromium, find_chromium
from matplotlib import colormaps
from matplotlib.image import imread
from viewer_page import (
    PLANES,
    SHAPES,
    SPACING,
    affine_of,
    give,
    go,
    grey,
    make_arrays,
    page_of,
    picture,
    plane_of,
    read,
    shown,
)

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="chromium and chromedriver are not installed"
)

AT = (2, 7, 4)  # not the middle of any axis


@pytest.fixture(scope="module")
def arrays():
    """Values (D, H, W) by case and label."""
    return make_arrays()


@pytest.fixture(scope="module")
def browser():
    """One browser for the module."""
    with Chromium() as browser:
        browser.open("about:blank")
        yield browser


@pytest.fixture(scope="module")
def written(arrays, tmp_path_factory):
    """The page with and without NiiVue, as files."""
    folder = tmp_path_factory.mktemp("page")
    paths = {True: folder / "with.html", False: folder / "without.html"}
    for library, path in paths.items():
        path.write_text(page_of(arrays, library=library))
    return paths


@pytest.fixture
def page(browser, written):
    """The page, opened anew; in the end nothing was complained about and no host asked."""
    yield from opened(browser, written[False])


@pytest.fixture
def page_with_niivue(browser, written):
    """The page with NiiVue in it."""
    yield from opened(browser, written[True])


def opened(browser, path):
    """Yield the browser with a page and its first case shown, then check what it said."""
    browser.open("about:blank")
    browser.console(), browser.requests()
    browser.open(path.as_uri())
    shown(browser, "a/t1n")
    yield browser
    problems = [line for line in browser.console() if "GL Driver Message" not in line]
    assert problems == []
    assert {url.split("#")[0] for url in browser.requests()} == {path.as_uri()}


@pytest.mark.parametrize("plane", PLANES)
def test_pictures_are_the_slices_in_radiological_view(page, arrays, plane):
    """Every pixel of the source, the reference and a predicted image is where it belongs."""
    go(page, AT)
    for column, label, high in ((0, "t1c", 20000), (1, "real", 30000), (4, "theirs", 30000)):
        expected = grey(plane_of(arrays["a/t1n"][label], plane, AT), -1000, high)
        found = picture(page, plane, column)
        np.testing.assert_allclose(found, np.stack([expected] * 3, -1), atol=0.51)


def test_edges_name_the_sides_of_the_patient(page):
    """R is left of L in axial and coronal pictures, A left of P in sagittal ones."""
    script = """return Array.from(document.querySelectorAll(".plane"), (plane) =>
      ["left", "right", "top", "bottom"].map((side) =>
        plane.querySelector(`.edge.${side}`).textContent).join(""));"""
    assert page.run(script) == ["RLAP", "RLSI", "APSI"]


def test_pictures_have_the_proportions_of_the_patient(page):
    """A millimetre is equally long in all planes and along both sides."""
    script = """return Array.from(document.querySelectorAll(".plane"), (plane) => {
      const box = plane.querySelector("canvas").getBoundingClientRect();
      return [box.width, box.height]; });"""
    depth, height, width = np.multiply(SHAPES["a/t1n"], SPACING["a/t1n"])
    sides = np.array(page.run(script))
    millimetres = np.array([[width, height], [width, depth], [height, depth]])
    np.testing.assert_allclose(sides / millimetres, (sides / millimetres)[0, 0], rtol=0.01)


@pytest.mark.parametrize("at", [AT, (8, 0, 12), (0, 10, 1)])
def test_readout_is_the_array(page, arrays, at):
    """The values at the crosshair are those of the arrays, differences with their sign."""
    go(page, at)
    at_voxel = {label: volume[at] for label, volume in arrays["a/t1n"].items()}
    expected = {
        "source t1c": at_voxel["t1c"],
        "real": at_voxel["real"],
        "ours": at_voxel["ours"],
        "ours \u2212 reference": at_voxel["ours"] - at_voxel["real"],
        "theirs": at_voxel["theirs"],
        "theirs \u2212 reference": at_voxel["theirs"] - at_voxel["real"],
    }
    assert read(page) == pytest.approx(expected)
    text = page.run("return document.querySelector('.readout .reference dd').textContent")
    assert text == f"{at_voxel['real']:.1f} HU".replace("-", "\u2212")


def test_click_in_a_picture_moves_all_planes(page):
    """A click in the coronal and one in the sagittal picture move the other planes there."""
    go(page, (4, 5, 6))
    depth, height, width = SHAPES["a/t1n"]
    sliders = "return ['axial','coronal','sagittal'].map((n) => Number("
    sliders += "document.getElementById(`slice-${n}`).value))"
    page.click_at("[data-plane=coronal] canvas", (10 + 0.5) / width, (depth - 1 - 7 + 0.5) / depth)
    assert page.run(sliders) == [7, 5, 10]
    page.click_at("[data-plane=sagittal] canvas", (1 + 0.5) / height, (depth - 1 - 3 + 0.5) / depth)
    assert page.run(sliders) == [3, 1, 10]


def test_keys_move_the_slider_the_picture_and_the_cursor(page):
    """Arrow keys step one slice; the spoken text, the picture and the profile follow."""
    go(page, AT)
    before = picture(page, "axial", 1)
    cursor = "return Number(document.querySelector('figure:not([hidden]) .cursor')"
    cursor += ".getAttribute('x1'))"
    assert page.run(cursor) == pytest.approx(10 + 80 * 2 / 8)
    page.keys("#slice-axial", KEYS["right"])
    said = "return document.getElementById('slice-axial').getAttribute('aria-valuetext')"
    assert page.run(said) == "slice 4 of 9"
    assert page.run(cursor) == pytest.approx(10 + 80 * 3 / 8)
    assert (picture(page, "axial", 1) != before).mean() > 0.9


def test_click_on_a_profile_moves_the_slider(page):
    """The profile is a slider too."""
    page.click_at("figure:not([hidden]) svg.profile", 0.1 + 0.8 * 7 / 8, 0.5)
    assert page.run("return document.getElementById('slice-axial').value") == "7"


def test_window_changes_predicted_and_reference_alone(page, arrays):
    """A preset in HU is drawn; the source stays; Reset brings the first window back."""
    go(page, AT)
    source, first = picture(page, "axial", 0), picture(page, "axial", 1)
    give(page, "#preset", "bone")
    for column, label in ((1, "real"), (2, "ours")):
        expected = grey(arrays["a/t1n"][label][AT[0]], -500, 1500)
        np.testing.assert_allclose(picture(page, "axial", column)[..., 0], expected, atol=0.51)
    give(page, "#window-high", 9000)
    np.testing.assert_allclose(
        picture(page, "axial", 1)[..., 0], grey(arrays["a/t1n"]["real"][2], -500, 9000), atol=0.51
    )
    np.testing.assert_array_equal(picture(page, "axial", 0), source)
    page.click("#reset")
    np.testing.assert_array_equal(picture(page, "axial", 1), first)


@pytest.mark.parametrize("kind", ["absolute", "signed"])
def test_error_is_coloured_on_one_scale(page, arrays, kind):
    """Each pixel of an error map has the colour of its difference."""
    go(page, AT)
    give(page, "#error-kind", kind)
    colours = np.array(page.run(f"return Array.from(liftnet.colours.{kind})"), dtype=np.int64)
    colours = np.stack([colours % 256, colours // 256 % 256, colours // 65536 % 256], -1)
    for column, label in ((3, "ours"), (5, "theirs")):
        error = arrays["a/t1n"][label][AT[0]] - arrays["a/t1n"]["real"][AT[0]]
        level = grey(error, -5000, 5000) if kind == "signed" else grey(abs(error), 0, 5000)
        expected = colours[np.floor(level + 0.5).astype(int)]
        np.testing.assert_array_equal(picture(page, "axial", column), expected)


def test_colours_are_viridis_and_a_fair_diverging_map(page):
    """The error map is matplotlib's viridis but for rounding; zero is the lightest when signed."""
    table = np.array(page.run("return Array.from(liftnet.colours.absolute)"), dtype=np.int64)
    found = np.stack([table % 256, table // 256 % 256, table // 65536 % 256], -1)
    expected = 255 * colormaps["viridis"](np.linspace(0, 1, 256))[:, :3]
    np.testing.assert_allclose(found, expected, atol=6)
    table = np.array(page.run("return Array.from(liftnet.colours.signed)"), dtype=np.int64)
    light = 0.2126 * (table % 256) + 0.7152 * (table // 256 % 256) + 0.0722 * (table // 65536 % 256)
    assert (np.diff(light[:128]) >= 0).all() and (np.diff(light[128:]) <= 0).all()


def test_blink_puts_the_reference_in_place(page):
    """The key b shows the reference in the predicted columns, and takes it away again."""
    reference, ours = picture(page, "axial", 1), picture(page, "axial", 2)
    caption = "return document.querySelector('.picture.predicted figcaption').textContent"
    page.keys("body", "b")
    np.testing.assert_array_equal(picture(page, "axial", 2), reference)
    assert page.run(caption) == "reference (for ours)"
    page.keys("body", "b")
    np.testing.assert_array_equal(picture(page, "axial", 2), ours)
    assert page.run(caption) == "ours (predicted)"


def test_planes_sources_and_crosshair_can_be_hidden(page):
    """One plane is shown larger; a plane that moved while hidden is drawn when it comes back."""
    width = "return document.querySelector('[data-plane=axial] .reference canvas')"
    visible = """return Array.from(document.querySelectorAll(arguments[0])).filter(
      (one) => one.getClientRects().length > 0).length"""
    before = page.run(width + ".getBoundingClientRect().width")
    page.click(".group input")
    page.keys("body", "x")
    assert page.run(visible, ".picture.source") == 0
    assert page.run(visible, ".cross") == 0
    give(page, "#planes", "axial")
    assert page.run(visible, ".plane") == 1
    assert page.run(width + ".getBoundingClientRect().width") > before
    stale = picture(page, "coronal", 1)
    page.click_at("[data-plane=axial] .reference canvas", 0.5, 0.99)
    page.keys("body", "0")
    assert (picture(page, "coronal", 1) != stale).mean() > 0.9


def test_link_shows_a_case(page, arrays):
    """A data-show link shows its case, its metrics and its profiles, with slices of the scan."""
    page.click("a[data-show='b/ct']")
    shown(page, "b/ct")
    go(page, (5, 1, 2))
    assert read(page)["real"] == pytest.approx(arrays["b/ct"]["real"][5, 1, 2])
    script = "return Array.from(document.querySelectorAll('.slice'), (one) => one.textContent)"
    assert page.run(script) == [
        "slices 14\u201315 of 15",
        "slices 3\u20134 of 14",
        "slices 6\u20137 of 11",
    ]
    assert page.run("return document.querySelector('.metrics').textContent") == "PSNR 24.1 dB"
    hidden = "return Array.from(document.querySelectorAll('figure[data-case]'), (f) => f.hidden)"
    assert page.run(hidden) == [True, False]
    assert page.run("return document.getElementById('case').value") == "b/ct"


def test_damaged_volume_is_said_and_two_cases_are_kept(page):
    """A volume of another size is a message; of three cases two stay in memory."""
    for case in ("b/ct", "broken"):
        page.click(f"a[data-show='{case}']")
        page.until(f"document.querySelector('#viewer h3').textContent.startsWith('{case}')")
    page.until("document.querySelector('.message').textContent.includes('expected 336 bytes')")
    assert page.run("return Array.from(liftnet.volumes.kept.keys())") == ["b/ct", "broken"]
    page.click("a[data-show='a/t1n']")
    shown(page, "a/t1n")


def test_table_sorts_by_number_and_by_text(page):
    """Headers are buttons; numbers sort as numbers, what has none stays last."""
    order = "return Array.from(document.querySelectorAll('tbody tr'), (r) => r.cells[0].innerText)"
    sort = "return Array.from(document.querySelectorAll('th'), (c) => c.getAttribute('aria-sort'))"
    page.click("th:nth-child(2) button")
    assert page.run(order) == ["p3", "p2", "p10", "p1"]
    page.keys("th:nth-child(2) button", KEYS["enter"])
    assert page.run(order) == ["p10", "p2", "p3", "p1"]
    assert page.run(sort) == [None, "descending"]
    page.click("th:nth-child(1) button")
    assert page.run(order) == ["p1", "p2", "p3", "p10"]
    assert page.run(sort) == ["ascending", None]


def test_narrow_page_does_not_scroll_sideways(page):
    """Pictures that do not fit scroll inside their own box."""
    page.resize(520, 900)
    try:
        page.until("innerWidth < 600")
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.run(
            "const s = document.querySelector('.scroll'); return s.scrollWidth > s.clientWidth"
        )
    finally:
        page.resize(1400, 1000)


def test_nifti_in_memory_is_the_image(page, arrays, tmp_path):
    """Nibabel reads the same values at the same places, of an image and of an error."""
    script = """const shown = liftnet.volumes.cases()[0];
    const images = await liftnet.volumes.load(shown);
    const text = (file) => new Uint8Array(file).reduce((s, b) => s + String.fromCharCode(b), "");
    const image = liftnet.nifti.imageFile(shown, images[1]);
    const error = liftnet.nifti.errorFile(shown, images[1], images[3]);
    return [btoa(text(image)), btoa(text(error))];"""
    ours, real = arrays["a/t1n"]["ours"], arrays["a/t1n"]["real"]
    for name, expected, data in zip(
        ("image", "error"), (ours, abs(ours - real)), page.run_async(script), strict=True
    ):
        path = tmp_path / f"{name}.nii"
        path.write_bytes(base64.b64decode(data))
        found = nibabel.load(path)
        np.testing.assert_allclose(found.get_fdata().T, expected, rtol=1e-6)
        np.testing.assert_allclose(found.affine, affine_of("a/t1n"), atol=1e-5)
        assert found.header.get_xyzt_units()[0] == "mm"


def colours_of_space(page, folder):
    """Return how many colours NiiVue's canvas shows."""
    path = folder / "space.png"
    page.screenshot(path, ".space-canvas")
    pixels = imread(path)[..., :3]
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_niivue_opens_changes_and_closes(page_with_niivue, tmp_path):
    """NiiVue draws the case, the error on top, the next case, and is gone when closed."""
    page = page_with_niivue
    page.click("#open-space")
    page.until("document.querySelector('.space').dataset.ready === 'a/t1n'", seconds=30)
    assert page.run("return document.querySelector('.space .message').textContent") == ""
    greys = colours_of_space(page, tmp_path)
    assert greys > 50
    page.run("delete document.querySelector('.space').dataset.ready")
    give(page, "#space-error", "1")
    page.until("document.querySelector('.space').dataset.ready === 'a/t1n'", seconds=30)
    assert colours_of_space(page, tmp_path) > 1.5 * greys
    page.click("a[data-show='b/ct']")
    page.until("document.querySelector('.space').dataset.ready === 'b/ct'", seconds=30)
    page.click("#close-space")
    assert page.run("return document.querySelectorAll('.space canvas').length") == 0
    assert page.run("return document.querySelector('#open-space').disabled") is False


def test_page_without_webgl_says_so(page_with_niivue):
    """Where WebGL 2 is missing there is a plain message."""
    page = page_with_niivue
    page.run("HTMLCanvasElement.prototype.getContext = () => null")
    page.click("#open-space")
    assert "WebGL 2" in page.run("return document.querySelector('.space').textContent")


def test_page_without_niivue_has_no_button(page):
    """What is not there is not offered."""
    assert page.run("return document.querySelector('#open-space')") is None
    assert len(read(page)) == 6
