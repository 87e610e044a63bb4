"""What the training cases of a fold had: which channels, which spacing, how images share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import SLICE_AXES, Placement, Triple
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import from_json, read_json, write_sealed
from liftnet.data.store import Store
from liftnet.host.parallel import in_parallel, worker_count
from liftnet.host.progress import progress, say
from liftnet.ops.mask import bounding_box, foreground
from liftnet.ops.registration import own_information
from liftnet.pipeline.fingerprint.contrast_check import (
    ContrastFacts,
    contrast_facts,
    intensity_histogram,
)
from liftnet.pipeline.models.runs import plan_digest

__all__ = [
    "FACTS",
    "TrainingFacts",
    "load_facts",
    "note_facts",
    "say_unlearned",
    "servable",
    "shared",
    "shares",
    "source_histograms",
]

FACTS = "training_facts.json"
MAX_CASES = 20  # ours: enough to know what is usual, and quick
ROUNDING = 4e-3  # ours: some steps of float16 near the background of a z-score


@dataclass(frozen=True)
class TrainingFacts:
    """The file in a fold's folder; no case is named in it."""

    plan: str  # digest; another plan has other network units
    cases: int
    channels: dict[str, int]  # channel -> how many training cases have it
    spacing_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]  # D, H, W
    slices: tuple[int, int]  # least and most along D, as they are stored
    pairs: dict[str, float]  # "t1n and t2w" -> median information of their own that they share
    contrasts: ContrastFacts = field(default_factory=ContrastFacts)
    version: int = 1


Facts = Sequence[TrainingFacts | None]  # per fold; None where nothing is known


def note_facts(store: Store, plan: Plan, training: Sequence[str], folder: Path) -> None:
    """Write what the training cases of a fold have, unless a run that goes on says so already.

    Says which channels the fold can learn nothing of.
    """
    described = [store.describe(case) for case in training]
    counts = Counter(name for case in described for name in case.present)
    channels = {name: counts[name] for name in plan.channel_names}
    for name, count in channels.items():
        if count == 0:
            say(
                f"warning: no training case of {folder.name} has {name}: it is not learned, and "
                f"not made or used at prediction; another fold may have some"
            )
        elif count == 1 and len(training) > 1:
            say(
                f"warning: only 1 training case of {folder.name} has {name}: what is made of it "
                "follows that one case"
            )
    path, digest = folder / FACTS, plan_digest(plan)
    found = _read(path)
    own = (digest, len(training), channels)
    if found is not None and (found.plan, found.cases, found.channels) == own:
        return
    picked = np.unique(np.linspace(0, len(training) - 1, MAX_CASES).round().astype(int))
    work = partial(_shared_in, store, plan)
    looked_at = [training[i] for i in picked]
    seen = {}
    with progress("Compare training images", len(looked_at)) as advance:
        for case, found_in in in_parallel(work, looked_at, worker_count(None)):
            seen[case] = found_in
            advance()
    in_order = [seen[case] for case in looked_at]  # sums do not depend on which was ready first
    pairs: dict[str, list[float]] = {}
    for shares_of_case, _ in in_order:
        for name, value in shares_of_case.items():
            pairs.setdefault(name, []).append(value)
    spacings = list(zip(*(turned_spacing(case.placement) for case in described), strict=True))
    d, h, w = ((min(values), max(values)) for values in spacings)
    known = {name: median(values) for name, values in pairs.items()}
    counts_of_slices = [case.placement.turned_shape[0] for case in described]
    slices = (min(counts_of_slices), max(counts_of_slices))
    contrasts = contrast_facts([histograms for _, histograms in in_order])
    facts = TrainingFacts(digest, len(training), channels, (d, h, w), slices, known, contrasts)
    write_sealed(path, facts)


def load_facts(folders: Sequence[Path], plan: Plan) -> list[TrainingFacts | None]:
    """What is known of each fold; nothing where the file is missing or of another plan."""
    digest = plan_digest(plan)
    found = [_read(folder / FACTS) for folder in folders]
    return [facts if facts is not None and facts.plan == digest else None for facts in found]


def turned_spacing(placement: Placement) -> Triple:
    """The spacing (mm) of a case's own grid along the plan's axes D, H, W."""
    d, h, w = (placement.source.spacing_mm[axis] for axis in placement.axes.order)
    return (d, h, w)


def shared(plan: Plan, voxels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The information of their own that each two images of a case share, as "t1n and t2w" -> it.

    Args:
        plan: the plan.
        voxels: (C, D, H, W) in network units.
        names: the channel of each.
    """
    if len(names) < 2:
        return {}
    above, subject = _subject(plan, voxels)
    if not subject.any():
        return {}
    box = bounding_box_to_slice(bounding_box(subject))
    left = SLICE_AXES[plan.grid.slice_axis].index(0)
    return {
        f"{a} and {b}": own_information(above[i][box], above[j][box], subject[box], left=left)
        for (i, a), (j, b) in combinations(enumerate(names), 2)
    }


def source_histograms(
    plan: Plan, voxels: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Source -> the shares of its subject's voxels in steps of intensity; as `shared` takes it."""
    above, subject = _subject(plan, voxels)
    if not subject.any():
        return {}
    return {
        name: intensity_histogram(image, subject)
        for name, image in zip(names, above, strict=True)
        if name in plan.sources
    }


def _subject(plan: Plan, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (C, D, H, W) whose background is 0, and where any is above it."""
    above = voxels - voxels.min(axis=(1, 2, 3), keepdims=True)
    above[above < ROUNDING] = 0
    return above, foreground(above, plan.grid.foreground)


def servable(facts: Facts, request: Request, *, asked: bool) -> Request:
    """The request without what no fold has learned.

    Args:
        facts: of the folds.
        request: what the case has and what it lacks.
        asked: whether the targets were named, and are not only what the case lacks.

    Raises:
        DatasetError: If a target that was asked for, or all targets or sources, were not learned.
    """
    targets = tuple(name for name in request.made if any(_seen(fold, name) for fold in facts))
    unlearned = [name for name in request.made if name not in targets]
    if unlearned and (asked or not targets):
        raise DatasetError(
            f"No training case had {', '.join(unlearned)}: it cannot be made",
            remedy="Use a fold that trained on cases with it (-f), or train one: liftnet_train -f "
            "all takes every case.",
        )
    sources = tuple(name for name in request.given if any(_seen(fold, name) for fold in facts))
    if not sources:
        raise DatasetError(
            f"No training case had {', '.join(request.given)}: nothing is known to start from",
            remedy="Give another source, or use a fold that trained on cases with it (-f).",
        )
    made = Request(sources, targets)
    if not any(share.made for share in shares(facts, made)):
        raise DatasetError(
            "No fold has learned both the sources and the targets of this case",
            remedy="Give other sources, or use more folds (-f).",
        )
    return made


def shares(facts: Facts, request: Request) -> list[Request]:
    """What each fold can do of a request: what it has learned of; no targets where nothing."""
    found = []
    for fold in facts:
        sources = tuple(name for name in request.given if _seen(fold, name))
        targets = tuple(name for name in request.made if _seen(fold, name))
        found.append(Request(sources, targets if sources else ()))
    return found


def say_unlearned(facts: Facts, plan: Plan) -> None:
    """Say once which channels no fold, or not every fold, has learned."""
    for name in plan.channel_names:
        count = sum(_seen(fold, name) for fold in facts)
        if count == 0:
            say(f"warning: no training case had {name}: it is neither made nor used")
        elif count < len(facts):
            say(
                f"warning: {name} was in training cases of {count} of {len(facts)} folds only; "
                "the others have no part in what is made of it"
            )


def _seen(fold: TrainingFacts | None, channel: str) -> bool:
    return fold is None or fold.channels.get(channel, 0) > 0


def _shared_in(
    store: Store, plan: Plan, case: str
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """What the images of a case share, and the histograms of its sources."""
    present = store.describe(case).present
    rows = [plan.channel_names.index(name) for name in present]
    voxels = np.asarray(store.voxels(case)[rows], np.float32)
    return shared(plan, voxels, present), source_histograms(plan, voxels, present)


def _read(path: Path) -> TrainingFacts | None:
    try:
        return from_json(TrainingFacts, read_json(path), where=path)
    except PlanError as error:
        if path.is_file():
            say(
                f"warning: {path.name} is not used ({error.problem}); the same liftnet_train "
                f"command, given again, writes it anew: {path}"
            )
        return None
