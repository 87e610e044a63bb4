"""Anatomy of the phantom: smooth implicit shapes of a head, and the share of each tissue in them.

Points are (3, N) arrays of x (to left), y (to posterior), z (to superior) in mm from a point near
the thalamus. A shape is a depth in mm below its surface, negative outside, so shapes combine by
maximum, minimum and blends. All sizes are ours, measured by eye on the usual atlases.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]

TISSUES = ("csf", "grey", "white", "deep", "choroid", "oedema", "rim", "necrosis")
LESION_SHARE = 0.7  # ours: most cohorts for this task are of tumours, some cases stay clean
NOISE_STEP_MM = 3.0  # ours: fine enough for folds 14 mm apart


def smooth_field(axes: list[Array], scale_mm: float, rng: np.random.Generator) -> Array:
    """Return a (D, H, W) random field of about unit variance that varies over scale_mm.

    Random knots half a scale apart, spread by a Gaussian along one axis after the other.
    """
    step = scale_mm / 2
    weights = []
    for axis in axes:
        half = int(np.ceil(np.abs(axis).max() / step)) + 2
        knots = (np.arange(2 * half + 1) - half) * step
        weight = np.exp(-0.5 * ((axis[:, None] - knots) / step) ** 2)
        weights.append((weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32))
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for weight in weights:  # every product moves the next axis to the front
        field = np.tensordot(field, weight, axes=(0, 1))
    return np.ascontiguousarray(field)


def deformed_points(axes: list[Array], scale: float, rng: np.random.Generator) -> Array:
    """Return (3, N) points in mm of the upright standard head for all voxels of a tilted one."""
    z, y, x = (grid.ravel() for grid in np.meshgrid(*axes, indexing="ij"))
    tilt, turn, nod = rng.normal(0, 0.05, 3)  # about 3 degrees: heads lie almost straight
    rotation = np.array([[1, turn, tilt], [-turn, 1, nod], [-tilt, -nod, 1]], np.float32)
    stretch = (rng.uniform(0.96, 1.04, 3) * scale).astype(np.float32)
    points: Array = (rotation / stretch[:, None]) @ np.stack([x, y, z])
    points[2] += 4  # ours: the origin lies near the thalamus, above the centre of the head
    for axis in range(3):
        points[axis] += 2.6 * smooth_field(axes, 55.0, rng).ravel()
        points[axis] += 0.9 * smooth_field(axes, 22.0, rng).ravel()
    return points


def _inside_ellipsoid(points: Array, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    """Return the approximate depth in mm below the surface of an ellipsoid, negative outside."""
    offset = points - np.array(centre, np.float32)[:, None]
    radius = np.array(radii, np.float32)[:, None]
    offset /= radius
    level = np.sqrt(np.einsum("in,in->n", offset, offset))
    offset /= radius
    slope = np.sqrt(np.einsum("in,in->n", offset, offset)) + 1e-6
    depth: Array = level * (1 - level) / slope  # the first-order distance to the surface
    return depth


def _blend(first: Array, second: Array, width_mm: float) -> Array:
    """Return the larger of two depths with the crease between them rounded over width_mm."""
    gap = np.maximum(width_mm - np.abs(first - second), 0)
    blend: Array = np.maximum(first, second) + gap * gap / np.float32(4 * width_mm)
    return blend


def _paired(points: Array) -> Array:
    """Return the points with both hemispheres folded onto the left one."""
    return np.stack([np.abs(points[0]), points[1], points[2]])


def outline(points: Array) -> Array:
    """Return (3, N) depths in mm below the surface of cerebrum, cerebellum and brain stem."""
    pair = _paired(points)
    _, y, z = points
    lobe = _inside_ellipsoid(pair, (6, 0, 7), (59, 85, 56))
    base = z + 15 + 0.0012 * (y + 10) ** 2 * (y < -10)  # the orbital surface
    lobe = -_blend(-lobe, -base, 10)
    temporal = _inside_ellipsoid(pair, (41, -6, -19), (24, 44, 21))
    cerebrum = _blend(lobe, temporal, 8)
    cerebellum = _inside_ellipsoid(pair, (17, 47, -33), (33, 31, 20))
    along = np.clip((z + 60) / 60, 0, 1)
    width = np.hypot(points[0], (y - 22 + 14 * along) * 1.05)
    stem = np.minimum(12 + 4 * np.sin(3 * along) ** 2 - width, 4 - z)
    depths: Array = np.stack([cerebrum, cerebellum, stem])
    return depths


def _fold_noise(rng: np.random.Generator) -> Array:
    """Return a cube of signed distances in mm to random sheets about 14 mm apart."""
    noise = rng.standard_normal((64, 64, 64), dtype=np.float32)
    fine = ndimage.gaussian_filter(noise, 1.7, mode="wrap")
    field = fine - ndimage.gaussian_filter(fine, 1.8, mode="wrap")
    slope = np.sqrt(np.sum(np.square(np.gradient(field, NOISE_STEP_MM)), axis=0))
    floor = np.float32(0.45) * slope.mean()
    distance: Array = np.clip(field / np.maximum(slope, floor), -9, 9).astype(np.float32)
    return distance


def _cortex_depth(points: Array, depths: Array, rng: np.random.Generator, gap: float) -> Array:
    """Return the distance in mm to the nearest fluid of surface and folds, negative in the fluid.

    Sulci are sheets of a random field that hardly varies with depth, so they stand upright on the
    surface and go on from slice to slice.
    """
    x, y, z = points
    cerebrum, cerebellum, _ = depths
    radius = np.sqrt(x * x + y * y + (z - 8) ** 2) + 1
    outward = 1 + 0.7 * np.maximum(cerebrum, 0) / radius
    noise = _fold_noise(rng)
    where = (points * outward) / np.float32(NOISE_STEP_MM) + 32
    sheet = ndimage.map_coordinates(noise, where, order=1, mode="grid-wrap", prefilter=False)
    deep = np.roll(noise, 21, axis=0)
    bottom = 17 + 1.3 * ndimage.map_coordinates(
        deep, where * np.float32(0.4), order=1, mode="grid-wrap", prefilter=False
    )
    bottom *= np.clip(np.maximum((z + 12) / 20, (np.abs(x) - 26) / 14), 0.1, 1)  # none at the base
    sulci = np.hypot(sheet, np.maximum(cerebrum - bottom, 0)) - gap

    callosum = 1 - np.hypot((y + 2) / 43, (z - 2) / 25)  # positive inside the arch
    fissure = np.hypot(x, 60 * np.maximum(callosum, 0)) - gap
    level = z + 6 - 0.28 * y
    lateral = np.hypot(
        np.hypot(level, np.maximum(40 - np.abs(x), 0)), np.maximum(np.abs(y + 6) - 32, 0)
    )
    cortex = np.minimum(np.minimum(cerebrum - 1.2, sulci), np.minimum(fissure, lateral - 1.6 * gap))

    angle = np.arctan2(z + 28, y - 32) * 22 + 0.03 * np.abs(x)  # leaves of the cerebellum
    leaf = np.abs(angle % 7 - 3.5)
    leaves = np.hypot(leaf, np.maximum(cerebellum - 11, 0)) - 0.4
    below = np.minimum(cerebellum - 1.2, leaves)
    tentorium = np.abs(cerebrum - cerebellum) / 2 - 0.8
    part = np.where(cerebellum > cerebrum, below + 0.4, cortex)
    depth: Array = np.minimum(part, tentorium).astype(np.float32, copy=False)
    return depth


def _ventricle_depth(points: Array, size: float) -> Array:
    """Return the depth in mm inside the ventricles, negative outside them."""
    pair = _paired(points)
    x, y, z = pair
    along = np.clip((y + 34) / 88, 0, 1)  # frontal horn to occipital horn
    middle = 6 + 5 * np.abs(along - 0.3) / 0.3 + 14 * np.maximum(along - 0.45, 0)
    height = 17 - 26 * (along - 0.42) ** 2 - 16 * np.maximum(along - 0.6, 0)
    girth = size * (4.2 + 3.2 * np.exp(-(((along - 0.68) / 0.13) ** 2)) - 3.4 * along**4)
    beyond = np.maximum(np.abs(y - 10) - 44, 0)
    body = girth - np.hypot(np.hypot(x - middle, (z - height) / 1.5), beyond)
    down = np.clip((30 - y) / 38, 0, 1)  # temporal horn, from the atrium forward and down
    horn = np.hypot(
        np.hypot(x - 22 - 9 * down, z - 8 + 26 * down), np.maximum(np.abs(y - 11) - 19, 0)
    )
    third = _inside_ellipsoid(points, (0, 3, 0), (1.9 * size, 13, 10))
    fourth = _inside_ellipsoid(points, (0, 31, -29), (8, 5, 8))
    depth: Array = np.maximum(np.maximum(body, size * 2.4 - horn), np.maximum(third, fourth))
    return depth


def _soft(depth: Array, width_mm: float = 0.5) -> Array:
    """Return the share of a point that lies in a shape: 0 outside, 1 inside, smooth between."""
    ramp = np.clip(depth / np.float32(2 * width_mm) + np.float32(0.5), 0, 1)
    share: Array = ramp * ramp * (3 - 2 * ramp)
    return share


def _paint(shares: Array, tissue: str, share: Array) -> None:
    """Replace this share of every point's tissues by one tissue, in place."""
    shares *= 1 - share
    shares[TISSUES.index(tissue)] += share


def tissue_fractions(points: Array, depths: Array, rng: np.random.Generator) -> Array:
    """Return (tissues, N) shares in the order of TISSUES, summing to 1 at every point."""
    pair = _paired(points)
    age = float(rng.uniform(0, 1))  # older heads have wider sulci and larger ventricles
    cortex = _cortex_depth(points, depths, rng, 0.3 + 0.8 * age)
    thickness = float(rng.uniform(3.3, 4.0))
    shares = np.zeros((len(TISSUES), points.shape[1]), np.float32)
    shares[TISSUES.index("white")] = 1

    callosum = np.hypot((points[1] + 2) / 43, (points[2] - 2) / 25)
    bridge = np.minimum(3 - np.abs((callosum - 0.88) * 26), 11 - pair[0]) * (points[2] > 2)
    stem = np.minimum(depths[2], 40)
    core = np.maximum(bridge, stem)
    _paint(shares, "grey", _soft(thickness - cortex) * (1 - _soft(core)))
    for centre, radii in (
        ((11, 9, 3), (9, 15, 9)),  # thalamus
        ((13, -21, 10), (5, 14, 9)),  # caudate
        ((26, -3, 1), (6, 19, 10)),  # putamen and pallidum
        ((22, -6, -21), (8, 9, 8)),  # amygdala
    ):
        _paint(shares, "deep", _soft(_inside_ellipsoid(pair, centre, radii), 0.8))
    _paint(shares, "csf", _soft(-cortex) * (1 - _soft(core)))
    ventricles = _ventricle_depth(points, 0.75 + 0.6 * age)
    _paint(shares, "csf", _soft(ventricles))
    plexus = _inside_ellipsoid(pair, (21, 27, 9), (3.2, 7, 3.6))
    _paint(shares, "choroid", _soft(np.minimum(plexus, ventricles)))
    if rng.random() < LESION_SHARE:
        _paint_lesion(points, shares, cortex, rng)
    return shares


def _paint_lesion(
    points: Array,
    shares: Array,
    cortex: Array,
    rng: np.random.Generator,
) -> None:
    """Paint necrosis, an enhancing rim and oedema around it into the shares, in place."""
    radius = float(rng.uniform(11, 19))
    side = rng.choice((-1.0, 1.0))
    centre = np.array([side * rng.uniform(22, 42), rng.uniform(-42, 48), rng.uniform(2, 36)])
    offset = (points - centre[:, None].astype(np.float32)) * rng.uniform(0.85, 1.15, (3, 1)).astype(
        np.float32
    )
    distance = np.sqrt(np.einsum("in,in->n", offset, offset))
    waves = rng.normal(0, 1, (5, 3)) / rng.uniform(4, 9, (5, 1))  # lobes of 4 to 9 mm
    bumps = np.cos(
        waves.astype(np.float32) @ offset + rng.uniform(0, 6.3, (5, 1)).astype(np.float32)
    )
    lobes = 0.3 * bumps.sum(axis=0)
    wall = float(rng.uniform(2.5, 3.8)) * (1 + 0.35 * bumps[0])
    spread = float(rng.uniform(5, 16))
    swelling = radius + spread + 2.5 * lobes * spread / 8 - distance
    white = shares[TISSUES.index("white")]
    _paint(shares, "oedema", _soft(swelling, 2.5) * white * 0.92)  # oedema follows white matter
    tumour = radius + 3.5 * lobes - distance
    _paint(shares, "rim", _soft(np.minimum(tumour, cortex + 1)))
    _paint(shares, "necrosis", _soft(np.minimum(tumour - wall, cortex), 0.8))
