"""Which images of one case do not lie on top of each other."""

import math
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np

from liftnet.core.fingerprint import CaseFingerprint
from liftnet.core.geometry import Triple
from liftnet.ops.registration import REACH_MM, find_shift, working_spacing
from liftnet.pipeline.integrity import Problem

__all__ = ["pair_problems", "pair_shifts"]

MAX_SHIFT_MM = 1.5  # ours: good pairs measure up to 0.4, 2 mm at least 1.9 (pair_check benchmark)
MAX_SHIFT_VOXELS = 0.75  # ours: the same in voxels that shifts are measured by, for thick slices
OUTLIER_MADS = 5.0  # ours: a pair this far below the others is listed
MIN_DROP = 0.03  # ours: but never for a difference that noise makes
LETTERS = (("S", "I"), ("P", "A"), ("L", "R"))  # where D, H, W point to, and away from


def pair_shifts(
    images: Mapping[str, np.ndarray],
    targets: Collection[str],
    subject: np.ndarray,
    spacing_mm: Triple,
) -> dict[str, Triple]:
    """How far each target lies from each source (mm along D, H, W), as "source-target" -> shift.

    A pair that shares too little to tell is left out.

    Args:
        images: Channel -> (D, H, W) in canonical axes, all on one grid.
        targets: Which of them are targets.
        subject: (D, H, W), the foreground of the sources.
        spacing_mm: Of the grid.
    """
    found = {}
    for target in (name for name in images if name in targets):
        for source in (name for name in images if name not in targets):
            shift = find_shift(images[source], images[target], subject, spacing_mm)
            if shift is not None:
                found[f"{source}-{target}"] = shift
    return found


def pair_problems(
    cases: Mapping[str, CaseFingerprint], files: Mapping[str, Mapping[str, Path]] | None = None
) -> list[Problem]:
    """One warning for each pair that looks misregistered: shifted, or sharing unusually little.

    A shift is judged by itself, not by those of the other cases: a cohort that is misregistered
    as a whole is listed as a whole, and one case is enough.

    Args:
        cases: What was measured.
        files: Case -> channel -> file, to name the file of a pair's second channel.
    """
    usual = _usual_quality(cases)
    rows = []
    for case, measured in cases.items():
        for first, second in combinations(measured.intensities, 2):
            pair = f"{first}-{second}"
            texts, remedies = [], []
            shift = measured.pair_shift_mm.get(pair)
            if shift is not None and _is_large(shift, measured):
                texts.append(f"{second} looks shifted against {first} by {describe_shift(shift)}")
                remedies.append(f"Look at both; register {second} to {first}, or remove the case.")
            quality = measured.pair_quality.get(pair, math.inf)
            middle, limit = usual.get(pair, (0.0, 0.0))
            if quality < limit:
                texts.append(
                    f"{first} and {second} share {quality:.3f} of information, "
                    f"other cases {middle:.3f}"
                )
                remedies.append("Look at both: are they registered, and of one subject?")
            if texts:
                path = (files or {}).get(case, {}).get(second)
                shown = path.name if path else "-"
                rows.append(Problem(case, shown, "; ".join(texts), remedies[0], "warning"))
    return rows


def describe_shift(shift_mm: Triple) -> str:
    """A shift along the canonical axes in words: its length and parts, such as "P 3.8"."""
    length = math.hypot(*shift_mm)
    more = " or more" if max(map(abs, shift_mm)) >= REACH_MM else ""
    parts = []
    for (ahead, behind), part in zip(LETTERS, shift_mm, strict=True):
        parts.append(f"{behind if round(part, 1) < 0 else ahead} {abs(part):.1f}")
    return f"{length:.1f} mm{more} ({', '.join(parts)})"


def _is_large(shift_mm: Triple, case: CaseFingerprint) -> bool:
    """Whether a shift lies outside the ellipsoid of what measuring may be wrong by."""
    step = working_spacing(case.box_start, case.box_stop, case.spacing_mm)
    limits = [max(MAX_SHIFT_MM, MAX_SHIFT_VOXELS * size) for size in step]
    return math.hypot(*(s / limit for s, limit in zip(shift_mm, limits, strict=True))) >= 1


def _usual_quality(cases: Mapping[str, CaseFingerprint]) -> dict[str, tuple[float, float]]:
    """Pair -> the information it shares in most cases, and how little is suspicious."""
    usual = {}
    for pair in sorted({pair for case in cases.values() for pair in case.pair_quality}):
        found = [c.pair_quality[pair] for c in cases.values() if pair in c.pair_quality]
        middle = median(found)
        spread = median(abs(quality - middle) for quality in found)
        usual[pair] = (middle, middle - max(OUTLIER_MADS * spread, MIN_DROP))
    return usual
