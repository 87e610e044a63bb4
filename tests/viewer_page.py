"""A small page with the viewer, under the strictest policy, and what its pictures should be."""

import base64
import gzip
import hashlib
import json
from importlib.resources import files

import numpy as np

ASSETS = files("liftnet.visual") / "assets"
SCRIPTS = ("volumes", "colours", "planes", "page", "profiles", "pictures", "controls", "nifti")
SCRIPTS += ("space", "viewer")
NIIVUE = "niivue-0.69.0.umd.js"
PLANES = ("axial", "coronal", "sagittal")
SHAPES = {"a/t1n": (9, 11, 13), "b/ct": (6, 7, 5)}
SPACING = {"a/t1n": (3.0, 1.0, 2.0), "b/ct": (2.0, 2.0, 2.0)}
ROLES = (("source", "t1c"), ("predicted", "ours"), ("predicted", "theirs"), ("reference", "real"))
OFFSET, STEP = -1000.0, 0.5


def packed(data):
    """Return base64 of gzip of bytes."""
    return base64.b64encode(gzip.compress(data, 1)).decode()


def encoded(voxels):
    """Return a uint16 volume as the page's contract writes it."""
    rows = np.diff(voxels.astype(np.int64), axis=2, prepend=0)
    signed = (rows + 2**15) % 2**16 - 2**15
    zigzag = np.where(signed >= 0, 2 * signed, -2 * signed - 1).astype(np.uint16).ravel()
    return packed((zigzag % 256).astype(np.uint8).tobytes() + (zigzag >> 8).astype("u1").tobytes())


def make_arrays():
    """Return values (D, H, W) by case and label: no two voxels alike."""
    rng = np.random.default_rng(5)
    levels = {
        case: {label: rng.choice(2**16, shape, replace=False) for _, label in ROLES}
        for case, shape in SHAPES.items()
    }
    levels["a/t1n"]["ours"] = np.clip(
        levels["a/t1n"]["real"] + rng.integers(-9000, 9000, SHAPES["a/t1n"]), 0, 2**16 - 1
    )
    return {
        case: {k: OFFSET + STEP * q for k, q in labels.items()} for case, labels in levels.items()
    }


def affine_of(case):
    """Return the oblique affine of a case, of (x, y, z) indices."""
    z, y, x = SPACING[case]
    cos, sin = np.cos(0.2), np.sin(0.2)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-x, -y, z])
    affine[:3, 3] = (10, 20, -30)
    return affine


def case_of(case, arrays, volumes):
    """Return one case of the list, and put its volumes into `volumes`."""
    shape = SHAPES[case]
    images = []
    for role, label in ROLES:
        volumes.append(encoded(((arrays[case][label] - OFFSET) / STEP).astype(np.int64)))
        images.append(
            {
                "role": role,
                "label": label,
                "unit": "" if role == "source" else "HU",
                "window": [-1000, 20000],
                "data": f"v{len(volumes) - 1}",
                "offset": OFFSET,
                "step": STEP,
            }
        )
    averaged = case == "b/ct"
    return {
        "id": case,
        "title": case,
        "role": "best",
        "shape": shape,
        "spacing": SPACING[case],
        "start": [3, 0, 1] if averaged else [0, 0, 0],
        "pool": 2 if averaged else 1,
        "full": [15, 14, 11] if averaged else shape,
        "sliceAxis": 0,
        "affine": affine_of(case).tolist(),
        "unit": "HU",
        "window": [-1000, 30000],
        "errorWindow": [0, 5000],
        "slices": [side // 2 for side in shape],
        "images": images,
        "metrics": "PSNR 24.1 dB" if averaged else ["ours: 24.1 dB", "theirs: 22.0 dB"],
    }


TABLE = """<table class="sortable"><thead><tr><th>case</th><th>PSNR</th></tr></thead><tbody>
<tr><td><a href="#pictures" data-show="a/t1n">p2</a></td><td data-value="9.5">9.5</td></tr>
<tr><td><a href="#pictures" data-show="b/ct">p10</a></td><td data-value="24.1">24.1</td></tr>
<tr><td><a href="#pictures" data-show="broken">p1</a></td><td>none</td></tr>
<tr><td>p3</td><td data-value="-3">-3</td></tr></tbody></table>"""

PROFILES = "".join(
    f'<figure data-case="{case}"><svg class="profile" viewBox="0 0 100 20" data-case="{case}"'
    ' data-axis="0" data-first="10" data-last="90"><line class="cursor" x1="0" x2="0" y1="0"'
    ' y2="20"/></svg></figure>'
    for case in SHAPES
)


def page_of(arrays, *, library):
    """Return a page under the strictest policy: scripts and styles by their hashes, no host."""
    volumes = []
    cases = [case_of(case, arrays, volumes) for case in SHAPES]
    cases.append({**cases[1], "id": "broken", "title": "broken", "shape": [6, 7, 4]})
    texts = [(ASSETS / f"{name}.js").read_text() for name in SCRIPTS]
    umd = (ASSETS / NIIVUE).read_bytes()
    style = (ASSETS / "page.css").read_text()
    allowed = " ".join(hash_of(text.encode()) for text in texts) + " " + hash_of(umd)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {hash_of(style.encode())};"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    held = {f"v{i}": volume for i, volume in enumerate(volumes)}
    if library:
        held["niivue"] = packed(umd)
    data = "".join(f'<script type="text/plain" id="{i}">{v}</script>' for i, v in held.items())
    scripts = "".join(f"<script>{text}</script>" for text in texts)
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style></head><body>
{TABLE}<section id="pictures"><div id="viewer"></div>{PROFILES}</section>
<script type="application/json" id="cases">{json.dumps({"cases": cases})}</script>
{data}{scripts}</body></html>"""


def hash_of(data):
    """Return how a content security policy names a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}'"


def plane_of(volume, plane, at):
    """Return the slice as radiologists look at it; the array's W runs to the patient's left."""
    d, h, w = at
    return {
        "axial": volume[d],
        "coronal": np.flipud(volume[:, h, :]),
        "sagittal": np.flipud(volume[:, :, w]),
    }[plane]


def grey(values, low, high):
    """Return the grey level 0 to 255 of values in a window."""
    return np.clip(255 * (values - low) / (high - low), 0, 255)


def shown(page, case):
    """Wait until a case is shown."""
    page.until(f"document.getElementById('viewer').dataset.shown === '{case}'")


def give(page, selector, value):
    """Set a control and tell the page, as a browser does."""
    script = """const control = document.querySelector(arguments[0]);
    control.value = arguments[1];
    control.dispatchEvent(new Event(control.type === "range" ? "input" : "change"));"""
    page.run(script, selector, value)


def go(page, at):
    """Move the three sliders."""
    for plane, index in zip(PLANES, at, strict=True):
        give(page, f"#slice-{plane}", index)


def picture(page, plane, column):
    """Return the pixels (rows, columns, 3) of a column's canvas, the first column being 0."""
    script = """const figures = document.querySelectorAll(
      `[data-plane=${arguments[0]}] .picture`);
    const canvas = figures[arguments[1]].querySelector("canvas");
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.height, canvas.width, Array.from(data)];"""
    rows, columns, data = page.run(script, plane, column)
    return np.array(data).reshape(rows, columns, 4)[..., :3]


def read(page):
    """Return the values at the crosshair by label."""
    script = """return Object.fromEntries(Array.from(
      document.querySelectorAll(".readout .value"),
      (one) => [one.querySelector("dt").textContent, Number(one.querySelector("dd").dataset.value)],
    ));"""
    return page.run(script)
