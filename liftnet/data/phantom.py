"""Procedural head MR: related contrasts of a brain that nobody has to download.

The anatomy is a set of smooth implicit shapes, seen through a smooth random deformation. Tissues
get T1, T2 and proton density, and every contrast follows from them by its signal equation, so
contrasts are related by physics and no look-up from one to another is exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liftnet.data.phantom_anatomy import (
    TISSUES,
    Array,
    deformed_points,
    outline,
    smooth_field,
    tissue_fractions,
)

# T1 [ms], T2 [ms], proton density, contrast agent [mM] after injection.
# ours: rounded from the range of published 3 T values; the agent's are chosen to look right.
RELAXATION = {
    "csf": (4200.0, 1800.0, 1.00, 0.00),
    "grey": (1350.0, 97.0, 0.83, 0.01),
    "white": (840.0, 73.0, 0.71, 0.01),
    "deep": (1080.0, 82.0, 0.79, 0.01),
    "choroid": (1900.0, 180.0, 0.90, 0.45),
    "oedema": (1600.0, 165.0, 0.87, 0.02),
    "rim": (1420.0, 118.0, 0.85, 0.65),
    "necrosis": (2500.0, 400.0, 0.95, 0.04),
}
# TR, TE, TI [ms] (TI 0: spin echo without inversion) and whether the contrast agent is present.
# ours: usual protocol values; the inversion time of t2f is the one that darkens fluid.
SEQUENCES = {
    "t1n": (1900.0, 4.0, 880.0, False),
    "t1c": (1800.0, 4.0, 860.0, True),
    "t2w": (4600.0, 98.0, 0.0, False),
    "t2f": (9000.0, 118.0, 2500.0, False),
}
RELAXIVITY_PER_MM_MS = 4.3e-3  # ours: a usual gadolinium chelate in water, 4.3 per mM and second
LESION_LABELS = {"necrosis": 1, "oedema": 2, "rim": 3}  # as BraTS 2023 numbers them
FIELD_OF_VIEW_MM = (126.0, 178.0, 144.0)  # ours: the head below, with a margin, at scale 1
SPACING_RANGES_MM = ((3.4, 4.0), (2.3, 2.8), (2.3, 2.8))  # ours: 30 x 70 x 55 voxels or so
FINE_MM = 1.6  # ours: coarser spacings are computed on twice as many points, for partial volume


@dataclass(frozen=True)
class Phantom:
    """One simulated head, skull-stripped, axes (D, H, W) = (to superior, to posterior, to left)."""

    contrasts: dict[str, NDArray[np.int16]]
    """Name -> (D, H, W), exactly 0 outside the brain and positive inside."""
    lesion: NDArray[np.uint8]
    """(D, H, W): 0 none, 1 necrosis, 2 oedema, 3 enhancing rim, as in BraTS 2023."""
    spacing_mm: tuple[float, float, float]
    """Distance between voxel centres along D, H, W."""


def make_phantom(
    number: int,
    *,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] | None = None,
    contrasts: tuple[str, ...] = ("t1n", "t1c", "t2w", "t2f"),
) -> Phantom:
    """Return the head with this number: the same (number, seed, spacing) gives the same arrays.

    Args:
        number: Which subject, 0 or more; anatomy, size and scanner differ between numbers.
        seed: Which cohort, 0 or more.
        spacing_mm: Voxel size along D, H, W; None draws 3.4-4 mm slices of 2.3-2.8 mm voxels.
        contrasts: Which of t1n, t1c, t2w, t2f to image; leaving one out changes no other.

    Raises:
        ValueError: If number, seed or spacing is out of range or a contrast is unknown.
    """
    if number < 0 or seed < 0:
        raise ValueError(f"expected number and seed of 0 or more, got {number} and {seed}")
    unknown = [name for name in contrasts if name not in SEQUENCES]
    if unknown or not contrasts:
        raise ValueError(f"expected contrasts out of {', '.join(SEQUENCES)}, got {contrasts}")
    rng = np.random.default_rng([seed, number])
    # ours: pixels are not square, so that a swapped axis is noticed
    drawn = tuple(round(float(rng.uniform(*range_mm)), 2) for range_mm in SPACING_RANGES_MM)
    spacing = drawn if spacing_mm is None else spacing_mm
    if len(spacing) != 3 or not all(0.3 <= side <= 20 for side in spacing):
        raise ValueError(f"expected three spacings between 0.3 and 20 mm, got {spacing}")
    scale = float(rng.uniform(0.91, 1.02))
    shape = _shape(scale, spacing)
    factors = tuple(2 if side > FINE_MM else 1 for side in spacing)
    axes = [
        (np.arange(n * f, dtype=np.float32) - (n * f - 1) / 2) * (side / f)
        for n, f, side in zip(shape, factors, spacing, strict=True)
    ]

    points = deformed_points(axes, scale, rng)
    depths = outline(points)
    inside = np.flatnonzero(np.max(depths, axis=0) > 0)
    fractions = tissue_fractions(points[:, inside], depths[:, inside], rng)
    texture = (smooth_field(axes, 9.0, rng) + smooth_field(axes, 25.0, rng)).ravel()[inside]
    coil: Array = np.exp(np.float32(0.14) * smooth_field(axes, 75.0, rng))  # one for all images

    brain = np.zeros(points.shape[1], np.float32)
    brain[inside] = 1
    share = _block_mean(brain, axes, factors)
    mask = share > 0.5
    # ours: tissues differ by 5 % between subjects
    signals, slopes = _signals(np.exp(0.05 * rng.standard_normal((4, len(TISSUES)))))
    images = {}
    for index, name in enumerate(SEQUENCES):
        # From 1: numpy ignores a trailing 0, and noise would repeat the anatomy's numbers.
        scanner = np.random.default_rng([seed, number, index + 1])
        if name in contrasts:
            voxels = np.zeros_like(brain)
            mixed = np.stack([signals[index], slopes[index]]) @ fractions
            voxels[inside] = mixed[0] + texture * mixed[1]
            signal = _block_mean(voxels, axes, factors)
            signal /= np.maximum(share, np.float32(0.5))  # a mean over the brain's part of a voxel
            signal *= _block_mean(coil.ravel(), axes, factors)
            images[name] = _scan(signal, mask, scanner)
    return Phantom(
        contrasts={name: images[name] for name in contrasts},
        lesion=_lesion_labels(fractions, inside, mask, axes, factors),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def _shape(scale: float, spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Return the voxel counts along D, H, W: all different, so that a swapped axis is noticed."""
    shape: list[int] = []
    for extent, side in zip(FIELD_OF_VIEW_MM, spacing, strict=True):
        count = max(2, int(np.ceil(extent * scale / side)))
        while count in shape:
            count += 1
        shape.append(count)
    return tuple(shape)


def _block_mean(voxels: Array, axes: list[Array], factors: tuple[int, ...]) -> Array:
    """Return the (D, H, W) mean over the fine points of every voxel."""
    sides = [n for a, f in zip(axes, factors, strict=True) for n in (len(a) // f, f)]
    mean: Array = voxels.reshape(sides).mean(axis=(1, 3, 5))
    return mean


def _signals(jitter: NDArray[np.float64]) -> tuple[Array, Array]:
    """Return two (sequences, tissues) tables: signal, and its change where tissue holds more water.

    Source: the inversion-recovery spin-echo equation for ideal pulses,
    S = PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2), and without inversion
    S = PD (1 - exp(-TR/T1)) exp(-TE/T2); agent makes the rate 1/T1 + r1 C. Signed. The rows of
    jitter multiply T1, T2, PD and C of every tissue.
    """
    t1, t2, density, agent = np.array([RELAXATION[name] for name in TISSUES]).T
    t1, t2, density, agent = t1 * jitter[0], t2 * jitter[1], density * jitter[2], agent * jitter[3]
    tables = []
    for water in (0.0, 0.04):  # ours: relaxation varies by a few per cent within a tissue
        rows = []
        for repetition, echo, inversion, injected in SEQUENCES.values():
            rate = 1 / (t1 * (1 + water)) + RELAXIVITY_PER_MM_MS * agent * injected
            recovered = 1 - np.exp(-repetition * rate)
            if inversion:
                recovered = 1 - 2 * np.exp(-inversion * rate) + np.exp(-repetition * rate)
            rows.append(density * (1 + water / 4) * recovered * np.exp(-echo / (t2 * (1 + water))))
        tables.append(np.array(rows, np.float32))
    return tables[0], tables[1] - tables[0]


def _scan(signal: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int16]:
    """Return the signal with Rician noise, in whole units of this scanner's gain; 0 outside."""
    bright = float(np.percentile(np.abs(signal[mask]), 95))
    sigma = bright * float(rng.uniform(0.012, 0.03))  # ours: clean to noisy clinical images
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    magnitude = np.hypot(signal + noise[0], noise[1])
    gain = float(np.exp(rng.uniform(np.log(250), np.log(4000)))) / bright  # ours: vendors differ
    image = np.clip(np.rint(magnitude * gain), 1, np.iinfo(np.int16).max)
    return np.where(mask, image, 0).astype(np.int16)


def _lesion_labels(
    fractions: Array,
    inside: NDArray[np.intp],
    mask: NDArray[np.bool_],
    axes: list[Array],
    factors: tuple[int, ...],
) -> NDArray[np.uint8]:
    """Return (D, H, W) labels: the lesion tissue with the largest share where lesion fills half."""
    shares = []
    for name in LESION_LABELS:
        fine = np.zeros(int(np.prod([len(axis) for axis in axes])), np.float32)
        fine[inside] = fractions[TISSUES.index(name)]
        shares.append(_block_mean(fine, axes, factors))
    labels = np.array(list(LESION_LABELS.values()), np.uint8)[np.argmax(shares, axis=0)]
    return np.where((np.sum(shares, axis=0) > 0.5) & mask, labels, 0).astype(np.uint8)
