"""Where the subject of a case is; and intensities that cannot be what the plan takes them for."""

from collections.abc import Mapping, Sequence

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan, ZScore
from liftnet.ops import normalize
from liftnet.ops.given_mask import inside_of
from liftnet.ops.intensities import check_intensities
from liftnet.ops.mask import body, foreground, has_zero_background, lattice

__all__ = [
    "above_background",
    "find_subject",
    "measured_ranges",
    "refuse_wrong_image",
    "refuse_wrong_intensities",
    "without_background",
]

SMALLEST_SUBJECT = 1e-3  # ours: of the voxels; the smallest brain in a whole body is larger


def refuse_wrong_intensities(voxels: np.ndarray, names: Sequence[str], plan: Plan) -> list[str]:
    """What is strange about the images (C, D, H, W) of a case, as sentences.

    Raises:
        DatasetError: If one cannot be MR from 0 upwards, or CT in Hounsfield units.
    """
    strange = []
    for image, name in zip(voxels, names, strict=True):
        strange += refuse_wrong_image(image, name, ct=plan.channel(name).modality == "CT")
    return strange


def refuse_wrong_image(image: np.ndarray, name: str, *, ct: bool) -> list[str]:
    """The same of one image (D, H, W)."""
    strange = []
    for finding in check_intensities(image, ct=ct):
        if finding.severity == "error":
            raise DatasetError(f"{name}: {finding.text}", remedy=finding.remedy)
        strange.append(f"{name}: {finding.text}. {finding.remedy}")
    return strange


def find_subject(
    voxels: np.ndarray, names: Sequence[str], plan: Plan, given: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None, list[str]]:
    """Foreground and mask (D, H, W), those that the plan uses, and what is strange about them.

    Args:
        voxels: (C, D, H, W) in the plan's order of axes.
        names: the channel of each of its C images.
        plan: the plan.
        given: the case's own mask (`inside_of`).

    Raises:
        DatasetError: If hardly anything stands out of the background.
    """
    guides = [name for name in names if name in plan.guides]
    sources = voxels[[name in plan.guides for name in names]]
    ct = [plan.channel(name).modality == "CT" for name in guides]
    rule = plan.grid.foreground
    strange = []
    if rule == "nonzero" and not any(ct) and not has_zero_background(sources):
        strange.append(
            "The background is not 0, as it is in training. What lies outside the subject is set "
            "to 0; see whether the result shows all of it"
        )
    subject = foreground(sources, rule, ct) if _needs_foreground(plan) else None
    inside = None
    if plan.grid.mask == "body":
        inside = body(sources, rule, ct) if given is None else inside_of(given)
    for found in (subject, inside if given is None else None):
        if found is not None and found.mean() < SMALLEST_SUBJECT:
            share = f"{100 * float(found.mean()):.2g} %"
            raise DatasetError(
                f"No subject is found in {', '.join(guides)}: {share} of the voxels stand out",
                remedy="Look at the images of this case.",
            )
    return subject, inside, strange


def measured_ranges(
    voxels: np.ndarray, names: Sequence[str], plan: Plan, subject: np.ndarray | None
) -> dict[str, tuple[float, float]]:
    """Channel -> the intensities that become 0 and 1.

    A z-score over the foreground is one over Otsu's body in the sources, whose edge neither
    interpolation nor ripples move. A lattice of voxels is enough for a mean.

    Args:
        voxels: (C, D, H, W) in the plan's order of axes.
        names: the channel of each of its C images.
        plan: the plan.
        subject: (D, H, W), the foreground.
    """
    rules = {name: plan.channel(name).normalization for name in names}
    few = lattice(voxels)
    inside = None
    if any(isinstance(rule, ZScore) and rule.region == "foreground" for rule in rules.values()):
        guides = [name for name in names if name in plan.guides]
        ct = [plan.channel(name).modality == "CT" for name in guides]
        inside = body(few[[name in guides for name in names]], "otsu", ct)
    ranges = {}
    for index, (name, rule) in enumerate(rules.items()):
        if isinstance(rule, ZScore) and rule.region == "foreground":
            ranges[name] = normalize.intensity_range(few[index], rule, inside)
        else:
            ranges[name] = normalize.intensity_range(voxels[index], rule, subject)
    return ranges


def without_background(
    image: np.ndarray, subject: np.ndarray | None, plan: Plan, name: str
) -> np.ndarray:
    """An image (D, H, W), a source with zero outside the subject if the background is zero."""
    if subject is None or plan.grid.foreground != "nonzero" or name not in plan.guides:
        return image
    return np.where(subject, image, np.float32(0))


def above_background(
    voxels: np.ndarray,
    names: Sequence[str],
    plan: Plan,
    ranges: Mapping[str, tuple[float, float]],
    subject: np.ndarray | None,
) -> np.ndarray:
    """Where a source shows something, bool (D, H, W): elsewhere there is no MR signal.

    Args:
        voxels: (C, D, H, W) in file units.
        names: the channel of each of its C images.
        plan: the plan.
        ranges: channel -> the intensities that became 0 and 1.
        subject: (D, H, W), the foreground, which it is where the background is zero.
    """
    if plan.grid.foreground == "nonzero" and subject is not None:
        return subject
    above = np.zeros(voxels.shape[1:], dtype=bool)
    for image, name in zip(voxels, names, strict=True):
        if name in plan.guides:
            rule = plan.channel(name).normalization
            above |= image > np.float32(normalize.measured_background(rule, *ranges[name]))
    return above


def _needs_foreground(plan: Plan) -> bool:
    grid = plan.grid
    over_foreground = any(
        getattr(channel.normalization, "region", None) == "foreground" for channel in plan.channels
    )
    zero = grid.foreground == "nonzero"
    return zero or grid.crop_in_plane or grid.pad_to_box or over_foreground
