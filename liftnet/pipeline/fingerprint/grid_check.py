"""Grids that do not go with those of the other cases: another plane, a fragment, another scale."""

from collections.abc import Iterator, Mapping
from statistics import geometric_mean, median

from liftnet.core.fingerprint import CaseFingerprint
from liftnet.core.geometry import Triple
from liftnet.host.text_table import first_names
from liftnet.pipeline.fingerprint.integrity import Problem
from liftnet.planning.grid import slice_plane

__all__ = ["grid_problems"]

THIN = 0.25  # ours: a quarter of what others cover is a fragment, not a shorter field of view
WRONG_SCALE = 2.5  # ours: no two bodies in one kind of image differ as much along every axis
AXES = ("superior", "posterior", "left")  # canonical D, H, W
FEWEST = 3  # ours: of two cases none is the usual one
SHOWN = 4  # ours: names of cases, enough to see which they are


def grid_problems(cases: Mapping[str, CaseFingerprint]) -> list[Problem]:
    """One warning for each plane of slices if there are several, and for each odd case."""
    rows = list(_planes(cases))
    if cases and all(min(case.shape) == 1 for case in cases.values()):
        text = "All cases have a single slice: nothing is learned across slices"
        rows.append(Problem("-", "-", text, "Give whole volumes if there are any.", "warning"))
    if len(cases) < FEWEST:
        return rows
    usual = [median(_extent(case)[axis] for case in cases.values()) for axis in range(3)]
    for name, case in cases.items():
        extent = _extent(case)
        shares = [own / mm for own, mm in zip(extent, usual, strict=True)]
        if min(shares) > WRONG_SCALE or max(shares) < 1 / WRONG_SCALE:
            text = f"About {geometric_mean(shares):.4g} times as large as the other cases"
            remedy = "Check the spacing in the header, and its unit."
            rows.append(Problem(name, "-", text, remedy, "warning"))
            continue
        for axis, share in enumerate(shares):
            if share < THIN:
                count = f"{case.shape[axis]} slice{'s' if case.shape[axis] > 1 else ''}"
                text = (
                    f"{count} towards {AXES[axis]}, {extent[axis]:.3g} mm; other cases cover "
                    f"{usual[axis]:.3g} mm"
                )
                remedy = "Remove it if it should be whole; it is trained on with what it has."
                rows.append(Problem(name, "-", text, remedy, "warning"))
    return rows


def _planes(cases: Mapping[str, CaseFingerprint]) -> Iterator[Problem]:
    """One row for each plane of slices, if there are several."""
    found: dict[str, list[str]] = {}
    for name, case in cases.items():
        if (plane := slice_plane(case.spacing_mm)) is not None:
            found.setdefault(plane, []).append(name)
    for plane, names in found.items() if len(found) > 1 else ():
        step = median(max(cases[name].spacing_mm) for name in names)
        others = " and ".join(other for other in found if other != plane)
        yield Problem(
            first_names(names, SHOWN),
            "-",
            f"{len(names)} of {len(cases)} cases have {plane} slices every {step:.3g} mm, others "
            f"{others} ones: no one slice axis suits all",
            "Make a dataset of each plane. In one plan the spacing is that of the plane of most "
            "cases, and the others are interpolated.",
            "warning",
        )


def _extent(case: CaseFingerprint) -> Triple:
    """What an image covers along the canonical axes, in mm."""
    d, h, w = (n * mm for n, mm in zip(case.shape, case.spacing_mm, strict=True))
    return d, h, w
