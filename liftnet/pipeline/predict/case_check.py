"""What is odd about a new case beside those of training: its headers, grid, images and mask."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import Placement, Triple
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import read_json
from liftnet.host.progress import say
from liftnet.ops.given_mask import inside_of, mask_doubt
from liftnet.ops.mask import foreground
from liftnet.pipeline.fingerprint.contrast_check import exchanged
from liftnet.pipeline.fingerprint.header_check import header_faults
from liftnet.pipeline.fingerprint.pair_check import odd_share
from liftnet.pipeline.models.training_facts import (
    TrainingFacts,
    shared,
    source_histograms,
    turned_spacing,
)

__all__ = [
    "NAME_APART",
    "case_doubts",
    "check_mask",
    "exchanged_sources",
    "odd_pairs",
    "report_warnings",
]

OTHER_SPACING = 1.5  # ours: augmentation scales by 1.4 at most
OTHER_DETAIL = 2.0  # ours: augmentation lowers the resolution by as much, and this is resampled
ROUNDING = 1.02  # as `same_spacing`
THIN = 0.25  # ours: of the slices of the thinnest training case; fewer give little context
LEAST_INSIDE = 0.1  # ours: of the subject; a mask that holds less is not of this body
NAME_APART = (
    "The number in a name is the channel. If these are several patients, name them apart: "
    "patient-1_0000.nii.gz, patient-2_0000.nii.gz."
)

Facts = Sequence[TrainingFacts | None]


def case_doubts(
    case: Case, names: Sequence[str], plan: Plan, facts: Facts, placement: Placement
) -> Iterator[str]:
    """What is odd about the files and the grid of a case.

    Args:
        case: the case.
        names: the channels that are used.
        plan: the plan.
        facts: of the folds; what is not known is not compared.
        placement: how it was prepared.
    """
    for path in dict.fromkeys(case.images[name] for name in names):
        yield from (text for text, _ in header_faults(path, placement.source))
    known = [fold.spacing_mm for fold in facts if fold is not None]
    if not known:
        return
    count, least = placement.turned_shape[0], min(f.slices[0] for f in facts if f is not None)
    if count < THIN * least:
        yield f"It has few slices: {count}, training cases at least {least}. Is the volume whole?"
    yield from _odd_spacing(known, turned_spacing(placement), plan)


def _odd_spacing(
    known: Sequence[tuple[tuple[float, float], ...]], own: Triple, plan: Plan
) -> Iterator[str]:
    """What is said of a spacing (D, H, W) unlike training's, and what becomes of it."""
    grid = plan.grid
    seen = [
        (min(fold[a][0] for fold in known), max(fold[a][1] for fold in known)) for a in range(3)
    ]
    resampled = (grid.resample_through_plane, grid.resample_in_plane, grid.resample_in_plane)
    odd = []
    for mm, (low, high), brought in zip(own, seen, resampled, strict=True):
        limit = (OTHER_DETAIL if brought else OTHER_SPACING) * ROUNDING
        odd.append(mm * limit < low or mm > high * limit)
    if not any(odd):
        return
    spans = " x ".join(f"{a:.3g}" if a == b else f"{a:.3g}-{b:.3g}" for a, b in seen)
    wanted = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)
    cause = "its details are not those that were learned"
    if odd[0] and not grid.resample_through_plane:
        cause = "slices are used as they lie, and steps from one to the next are not those learned"
    yield (
        f"The spacing is {' x '.join(f'{mm:.3g}' for mm in own)} mm ({grid.slice_axis} slices "
        f"first), that of training {spans}: {cause}. Resample the case to about {wanted} mm, or "
        "train on such cases"
    )


def odd_pairs(
    plan: Plan, facts: Facts, voxels: np.ndarray, names: Sequence[str]
) -> tuple[list[str], int]:
    """What is said of images that do not share what training's did, and how many pairs are known.

    Args:
        plan: the plan.
        facts: of the folds.
        voxels: (C, D, H, W) in network units.
        names: the channel of each.
    """
    texts, known = [], 0
    for pair, own in shared(plan, voxels, names).items():
        training = [fold.pairs[pair] for fold in facts if fold is not None and pair in fold.pairs]
        if training:
            known += 1
            if fault := odd_share(own, median(training), others="training cases"):
                texts.append(f"{pair} {fault[0]}. {fault[1]}")
    return texts, known


def exchanged_sources(
    plan: Plan, facts: Facts, voxels: np.ndarray, names: Sequence[str]
) -> list[str]:
    """What is said of images that look like those of each other's contrast.

    Args:
        plan: the plan.
        facts: of the folds.
        voxels: (C, D, H, W) in network units.
        names: the channel of each.
    """
    known = [fold.contrasts for fold in facts if fold is not None]
    if len(names) < 2 or not known:
        return []
    return [
        f"{a} and {b} look exchanged: each has the intensities of the other in training. Look at "
        "both, and exchange their names if so"
        for a, b in exchanged(known, source_histograms(plan, voxels, names))
    ]


def check_mask(
    mask: np.ndarray, sources: np.ndarray, names: Sequence[str], plan: Plan, where: str
) -> Iterator[str]:
    """What is odd about the mask of a case.

    Args:
        mask: (D, H, W) as it is in the file.
        sources: (C, D, H, W), the images beside it.
        names: the channel of each.
        plan: the plan.
        where: the case, for messages.

    Raises:
        DatasetError: If it is empty.
    """
    if not mask.any():
        raise DatasetError(
            "The mask is empty: all voxels are 0",
            where=where,
            remedy="Correct it, or remove it: then the body is found in the sources.",
        )
    if (doubt := mask_doubt(mask)) is not None:
        yield doubt[0]
    ct = [plan.channel(name).modality == "CT" for name in names]
    subject = foreground(sources, plan.grid.foreground, ct)
    share = float(inside_of(mask)[subject].mean()) if subject.any() else 1.0
    if share < LEAST_INSIDE:
        percent = f"{100 * share:.0f} %"
        yield f"The mask holds {percent} of the subject: is it of this case, and not inverted?"


def report_warnings(output: Path, cases: Collection[str], model: str) -> None:
    """Print what was odd about these cases, each kind once, from the JSON beside their images."""
    found: dict[str, dict[str, str]] = defaultdict(dict)  # kind -> case -> text
    for path in sorted(output.glob("*.json")):
        try:
            facts = read_json(path)
            if facts["model"] == model and facts["case"] in cases:
                for text in facts["warnings"]:
                    found[re.sub(r"[\d.]+", "#", text)].setdefault(facts["case"], text)
        except (PlanError, KeyError, TypeError):  # of something else, or of an older version
            continue
    for texts in found.values():
        first, text = next(iter(texts.items()))
        more = f" (and {len(texts) - 1} more cases)" if len(texts) > 1 else ""
        say(f"warning: {first}: {text}{more}")
