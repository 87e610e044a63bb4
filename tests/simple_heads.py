"""Heads of nested ellipsoids, MR and CT of them, for tests of what intensities say."""

import numpy as np
from scipy import ndimage

SHAPE = (33, 44, 38)
# Air, skin, bone, fluid, grey and white matter.
T1N = (0, 500, 30, 150, 350, 550)
T2W = (0, 200, 40, 900, 450, 300)
HU = (-1000, 30, 900, 8, 40, 28)
EDGES = ((1, 1.0), (2, 0.92), (3, 0.84), (4, 0.78), (5, 0.55), (3, 0.16))


def tissues(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Labels (D, H, W): an index into the tables above."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(
        sum((a / s) ** 2 for a, s in zip(axes, rng.uniform(0.78, 0.9, 3), strict=True))
    )
    wave = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    radius += 0.05 * wave / wave.std()  # no head is its own mirror image
    labels = np.zeros(shape, np.uint8)
    for label, edge in EDGES:
        labels[radius < edge] = label
    return labels


def scan(labels: np.ndarray, table: tuple[int, ...], *, noise: float = 8, seed: int = 0):
    """An image of the labels with the magnitude noise of MR, or Gaussian noise in CT; float32."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(np.asarray(table, float)[labels], 0.5)
    if min(table) < 0:
        return (image + noise * rng.standard_normal(labels.shape)).astype(np.float32)
    real, other = noise * rng.standard_normal((2, *labels.shape))
    return np.hypot(image + real, other).astype(np.float32)


def stripped(labels: np.ndarray, table: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """MR of the brain alone, exactly 0 around it; float32."""
    return np.where(labels >= 3, np.maximum(scan(labels, table, seed=seed), 1), 0)


def turned(image: np.ndarray, order: int) -> np.ndarray:
    """The image rotated a little by a spline of this order: 1 blurs the edge, 3 rings about it."""
    return ndimage.rotate(image, 7, axes=(1, 2), order=order, reshape=False).astype(np.float32)
