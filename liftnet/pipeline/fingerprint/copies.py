"""Which images are copies of others: the same voxels, mirrored, or in other intensities."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice

from liftnet.core.fingerprint import CaseFingerprint
from liftnet.core.geometry import Triple, Volume, axis_order, turn
from liftnet.imageio import read_image
from liftnet.ops.mask import bounding_box
from liftnet.pipeline.fingerprint.integrity import Problem

__all__ = ["Copy", "copy_problems", "find_copies", "image_moments"]

# ours: copies differ by rounding, up to 2.2e-4 where an image becomes bytes; any two of 120 real
# T1, 32 simulated T2 and 24 simulated CT by at least 1.5e-2 in one of the nine
CLOSE = 2e-3
# ours: bytes of an image correlate with it by 0.9999, the same head with new noise by 0.995
LEAST_CORRELATION = 0.9995
MOST_READ = 3  # ours: candidates of one image that are read, so that none costs all others
MAX_SAMPLES = 200_000  # ours: a correlation is exact to 1e-5 from so many voxels

Image = tuple[str, str]  # case and channel


class Copy(NamedTuple):
    """An image that shows what another one shows.

    Attributes:
        image: case and channel.
        of: those of the image that comes first.
        how: "the same voxels as", "a mirrored copy of", ...
    """

    image: Image
    of: Image
    how: str


def image_moments(image: np.ndarray, spacing_mm: Triple, *, low: float) -> tuple[float, ...]:
    """Spread (mm), size of skewness, and kurtosis of an image along each axis, nine numbers.

    They stay the same where an image is mirrored, scaled, or padded with its smallest value.

    Args:
        image: (D, H, W) in canonical axes, contiguous; weights are its values above its smallest.
        spacing_mm: of its grid.
        low: its smallest value.
    """
    columns = image.sum(axis=0)
    rows = image @ np.ones(image.shape[2], image.dtype)  # faster than a sum along the last axis
    profiles = (
        rows.sum(axis=1, dtype=np.float64),
        columns.sum(axis=1, dtype=np.float64),
        columns.sum(axis=0, dtype=np.float64),
    )
    found = []
    for profile, spacing in zip(profiles, spacing_mm, strict=True):
        weights = np.maximum(profile - low * (image.size / len(profile)), 0)
        weights = weights / max(float(weights.sum()), 1e-30)
        places = np.arange(len(profile)) * spacing
        places = places - float(weights @ places)
        spread = max(float(weights @ places**2) ** 0.5, 1e-6)
        found += [
            spread,
            abs(float(weights @ places**3)) / spread**3,
            float(weights @ places**4) / spread**4,
        ]
    return tuple(round(value, 6) for value in found)


def find_copies(
    cases: Mapping[str, CaseFingerprint], files: Mapping[str, Mapping[str, Path]]
) -> list[Copy]:
    """All images that are copies of an earlier one, of the same case or of another.

    Moments find the candidates, the files decide.

    Args:
        cases: what was measured.
        files: case -> channel -> file.
    """
    images = [(case, channel) for case, one in cases.items() for channel in one.moments]
    table = np.array([cases[case].moments[channel] for case, channel in images])
    order = np.argsort(table[:, 0] if images else [], kind="stable")
    found = []
    for place, row in enumerate(order):
        below = order[:place][
            table[row, 0] - table[order[:place], 0] <= CLOSE * (1 + table[row, 0])
        ]
        apart = (abs(table[below] - table[row]) / (1 + abs(table[row]))).max(axis=1, initial=0)
        for other in below[np.argsort(apart)][: int((apart <= CLOSE).sum())][:MOST_READ]:
            first, second = (images[i] for i in sorted((int(other), int(row))))
            how = _relation(*(files[case][channel] for case, channel in (first, second)))
            if how is not None:
                found.append(Copy(second, first, how))
                break
    return sorted(found)


def _relation(first: Path, second: Path) -> str | None:
    """How the second image shows the first, or None if it does not."""
    one, other = (_subject(path) for path in (first, second))
    if one.shape != other.shape:
        return None
    if np.array_equal(one, other):
        return "the same voxels as"
    step = max(1, one.size // MAX_SAMPLES)
    sample = one.reshape(-1)[::step]
    best, flips = max(
        (float(np.corrcoef(sample, np.flip(other, axes).reshape(-1)[::step])[0, 1]), axes)
        for count in range(4)
        for axes in combinations(range(3), count)
    )
    if best < LEAST_CORRELATION:
        return None
    return "a mirrored copy of" if flips else "a copy in other intensities of"


def _subject(path: Path) -> np.ndarray:
    """An image in canonical axes, cropped to what is above its smallest value."""
    voxels, info = read_image(path)
    turned = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, "axial")).voxels[0]
    return turned[bounding_box_to_slice(bounding_box(turned > turned.min()))]


def copy_problems(copies: Sequence[Copy], files: Mapping[str, Mapping[str, Path]]) -> list[Problem]:
    """One warning for each two cases, or two channels of a case, that show the same."""
    pairs: dict[tuple[str, str, str], list[Copy]] = {}
    for copy in copies:
        pairs.setdefault((copy.image[0], copy.of[0], copy.how), []).append(copy)
    rows = []
    for (case, other, how), several in pairs.items():
        channels = ", ".join(copy.image[1] for copy in several)
        originals = [copy.of[1] for copy in several]
        verb = "is" if len(several) == 1 else "are"
        if case == other:
            text = f"{channels} {verb} {how} {', '.join(originals)}"
            remedy = "Put the right image there, or remove the case."
        else:
            same = originals == [copy.image[1] for copy in several]
            whose = f"case {other}" if same else f"{', '.join(originals)} of case {other}"
            text = f"{channels} {verb} {how} {'those of ' if same else ''}{whose}"
            remedy = "Remove one of them, or put the right image there. Folds keep them together."
        path = files[case][several[0].image[1]]
        rows.append(Problem(case, path.name, text, remedy, "warning"))
    return rows
