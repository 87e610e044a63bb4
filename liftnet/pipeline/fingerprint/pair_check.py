"""Which images of one case do not lie on top of each other."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np

from liftnet.core.fingerprint import CaseFingerprint
from liftnet.core.geometry import Triple
from liftnet.ops.registration import REACH_MM, find_shift, working_spacing
from liftnet.pipeline.fingerprint.copies import Copy
from liftnet.pipeline.fingerprint.integrity import Problem

__all__ = ["odd_share", "pair_problems", "pair_shifts"]

MAX_SHIFT_MM = 1.5  # ours: good pairs measure up to 0.4, 2 mm at least 1.9 (pair_check benchmark)
MAX_SHIFT_VOXELS = 0.75  # ours: the same in voxels that shifts are measured by, for thick slices
# ours: of information beyond that of mirrored images. Images of two of 20 simulated patients share
# 0.011 at most, right ones of two real scanners 0.036 at least, of simulated ones 0.05
LEAST_OWN = 0.02
NOTHING = 0.01  # ours: the median of a cohort that is paired at random is below 0.002
LEAST_SHARE = 0.4  # ours: of the usual, so that images which always share little are not listed
COPY = 0.5  # ours: copies share 0.6 or more even as bytes or under a power law, right pairs 0.4
MOST_SHARE = 1.5  # ours: of the usual; right images share 1.4 times of it at most
FEWEST = 3  # ours: of two cases none is the usual one
SCALE = "0: nothing in common, near 1: copies"
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
    cases: Mapping[str, CaseFingerprint],
    files: Mapping[str, Mapping[str, Path]],
    copies: Collection[Copy] = (),
) -> list[Problem]:
    """One warning for each pair that looks misregistered or mistaken.

    That is one which is shifted, shares unusually little, or so much that it is one image twice.
    A shift is judged by itself, not by those of the other cases: a cohort that is misregistered
    as a whole is listed as a whole, and one case is enough.

    Args:
        cases: What was measured.
        files: Case -> channel -> file, to name the file of a pair's second channel.
        copies: Which images are known as copies, and not told again.
    """
    known = {frozenset((copy.image, copy.of)) for copy in copies}
    usual = _usual_share(cases)
    rows = [
        Problem(
            "-",
            "-",
            f"{' and '.join(pair.split('-'))} share no more than images of two patients in most "
            f"cases (median {share:.3f}; {SCALE})",
            "Open both images of some cases: are they of one patient, and registered?",
            "warning",
        )
        for pair, share in usual.items()
        if share < NOTHING
    ]
    for case, measured in cases.items():
        for first, second in combinations(measured.intensities, 2):
            if frozenset(((case, first), (case, second))) in known:
                continue
            pair = f"{first}-{second}"
            texts, remedies = [], []
            shift = measured.pair_shift_mm.get(pair)
            if shift is not None and _is_large(shift, measured):
                texts.append(f"{second} looks shifted against {first} by {describe_shift(shift)}")
                remedies.append(f"Look at both; register {second} to {first}, or remove the case.")
            own, middle = measured.pair_own.get(pair, 0.0), usual.get(pair, 0.0)
            if fault := odd_share(own, middle, others="other cases"):
                texts.append(f"{first} and {second} {fault[0]}")
                remedies.append(fault[1])
            if texts:
                path = files.get(case, {}).get(second)
                shown = path.name if path else "-"
                rows.append(Problem(case, shown, "; ".join(texts), remedies[0], "warning"))
    return rows


def odd_share(own: float, usual: float, *, others: str) -> tuple[str, str] | None:
    """What is odd about the information that two images share, and what to do, or None.

    Args:
        own: `own_information` of the two.
        usual: that of others, 0 where too little is known.
        others: what these are.
    """
    if usual >= NOTHING and own < min(LEAST_OWN, LEAST_SHARE * usual):
        text = (
            f"share no more than images of two patients ({own:.3f}, {others} {usual:.3f}; {SCALE})"
        )
        return text, "Open both: are they of one patient, and registered? Replace the wrong one."
    if 0 < MOST_SHARE * usual < own and own > COPY:
        text = f"share as much as one image twice ({own:.3f}, {others} {usual:.3f}; {SCALE})"
        return text, "Open both: if they show one contrast, put the right image there."
    return None


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


def _usual_share(cases: Mapping[str, CaseFingerprint]) -> dict[str, float]:
    """Pair -> the information of their own that most cases share, where there are enough."""
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases.values():
        for pair, own in case.pair_own.items():
            found[pair].append(own)
    return {pair: median(values) for pair, values in found.items() if len(values) >= FEWEST}
