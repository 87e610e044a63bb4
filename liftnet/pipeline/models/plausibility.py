"""Whether a synthesized image looks like those of training; needs no reference."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.errors import PlanError
from liftnet.core.geometry import Placement
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import from_json, read_json, write_sealed
from liftnet.data.store import Store
from liftnet.host.parallel import in_parallel, worker_count
from liftnet.host.progress import progress, say
from liftnet.host.text_table import counted
from liftnet.metrics.plausibility import (
    IN_WORDS,
    LARGEST_STEP,
    SUBJECT,
    allowed,
    describe_ct,
    describe_mr,
    outlier_slices,
    slice_steps,
)
from liftnet.ops import normalize
from liftnet.ops.mask import body
from liftnet.pipeline.models.runs import plan_digest

__all__ = ["Known", "examine", "load_known", "note_known", "report_flags"]

FILE = "plausibility.json"
NUMBERS_VERSION = 3  # 2: what interpolation leaves of a background is background; 3: sharpness
MAX_CASES = 50  # ours: enough to know a range, and quick
MIN_CASES = 3  # ours: with fewer there is no range

Numbers = dict[str, float]
Known = Mapping[str, Mapping[str, Sequence[float]]]  # target -> number -> values in training


@dataclass(frozen=True)
class TrainingNumbers:
    """What the file in a fold's folder holds: what each training case's real targets are like."""

    plan: str  # digest; another plan has other network units
    cases: dict[str, dict[str, Numbers]]  # case -> target -> number -> value
    version: int = NUMBERS_VERSION


def note_known(store: Store, plan: Plan, training: Sequence[str], folder: Path) -> None:
    """Write what the training cases of a fold are like, unless its folder says so already."""
    path, digest = folder / FILE, plan_digest(plan)
    picked = np.unique(np.linspace(0, len(training) - 1, MAX_CASES).round().astype(int))
    cases = [training[i] for i in picked]
    found = _read(path)
    if found is not None and found.plan == digest and set(found.cases) == set(cases):
        return
    numbers = {}
    with progress("Describe training images", len(cases)) as advance:
        work = partial(_describe_case, store, plan)
        for case, found_in in in_parallel(work, cases, worker_count(None)):
            numbers[case] = found_in
            advance()
    write_sealed(path, TrainingNumbers(digest, {case: numbers[case] for case in cases}))


def load_known(folders: Sequence[Path], plan: Plan) -> Known:
    """The numbers of the training cases of several folds; empty where too little is known."""
    cases: dict[str, dict[str, Numbers]] = {}
    for folder in folders:
        found = _read(folder / FILE)
        if found is not None and found.plan == plan_digest(plan):
            cases |= found.cases
    known: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for targets in cases.values():
        for target, numbers in targets.items():
            for name, value in numbers.items():
                known[target][name].append(value)
    known = {t: v for t, v in known.items() if len(v[LARGEST_STEP]) >= MIN_CASES}
    if not known:
        why = (
            f"there are fewer than {MIN_CASES} training cases"
            if cases
            else f"there is no {FILE}; the same liftnet_train command, given again, writes it"
        )
        say(f"Images are not compared with those of training: {why}")
    return known


def examine(
    plan: Plan,
    target: str,
    image: np.ndarray,
    sources: np.ndarray,
    placement: Placement,
    known: Known,
) -> dict[str, Any]:
    """What an image's JSON says of its plausibility.

    Args:
        plan: the plan.
        target: the channel that was synthesized.
        image: (D, H, W) in network units.
        sources: (C, D, H, W) in network units.
        placement: how slices lie in the file.
        known: of the training cases.
    """
    inside = _subject(plan, sources)
    numbers = _describe(plan, target, image, inside, placement)
    training = known.get(target, {})
    flags, slices = [], []
    for name, value in numbers.items():
        if name not in training:
            continue
        low, high = allowed(name, training[name])
        if not low <= value <= high:  # NaN is not
            span = f"{_short(min(training[name]))} to {_short(max(training[name]))}"
            flags.append(f"{name} {_short(value)} ({IN_WORDS[name]}), training images {span}")
            if name == LARGEST_STEP:
                slices = outlier_slices(slice_steps(image, inside), high)
    return {
        "numbers": {name: float(f"{value:.6g}") for name, value in numbers.items()},
        "training_cases": len(training.get(LARGEST_STEP, ())),
        "flags": flags,
        "slice_axis": 2 - placement.axes.order[0],  # files count their axes from the fastest
        "outlier_slices": stored_slices(slices, placement),
    }


def report_flags(output: Path, cases: Collection[str], model: str) -> None:
    """Print which images of these cases that a model made are flagged, with their flags."""
    judged, flagged = 0, []
    for path in sorted(output.glob("*.json")):
        try:
            facts = read_json(path)
            said = facts["plausibility"]
            if facts["model"] != model or facts["case"] not in cases or not said["training_cases"]:
                continue
            judged += 1
            if said["flags"]:
                slices = ", ".join(map(str, said["outlier_slices"]))
                where = f" (slices {slices} of axis {said['slice_axis']})" if slices else ""
                flagged.append(f"  {path.stem}: {'; '.join(said['flags'])}{where}")
        except (PlanError, KeyError, TypeError):  # of something else, or of an older version
            continue
    if judged:
        many = (
            f"{len(flagged)} of {judged} images are unlike those of training (look at them: is the "
        )
        many += "image wrong, the training short, or are the sources of another kind?):"
        alike = (
            f"{counted(judged, 'image')}: in brightness, detail and size none is unlike those of "
            "training"
        )
        say("\n".join([many, *flagged]) if flagged else alike)


def stored_slices(slices: Sequence[int], placement: Placement) -> list[int]:
    """Slices of the prepared grid as slices of the file, counted from 0 along its slice axis."""
    start, stop = placement.start[0], placement.stop[0]
    step = (stop - start) / placement.shape[0]
    found = {
        index
        for one in slices
        for index in range(start + math.floor(one * step), start + math.ceil((one + 1) * step))
    }
    last = placement.turned_shape[0] - 1
    return sorted(last - index if placement.axes.flip[0] else index for index in found)


def _describe_case(store: Store, plan: Plan, case: str) -> dict[str, Numbers]:
    """The numbers of the real targets of a preprocessed case."""
    voxels = np.asarray(store.voxels(case), np.float32)
    present = set(store.describe(case).present)
    found = {}
    for target in plan.targets:
        rows = [plan.channel_names.index(n) for n in plan.sources if n in present - {target}]
        if target in present and rows:
            image = voxels[plan.channel_names.index(target)]
            inside = _subject(plan, voxels[rows])
            found[target] = _describe(plan, target, image, inside, store.describe(case).placement)
    return found


def _describe(
    plan: Plan, target: str, image: np.ndarray, inside: np.ndarray, placement: Placement
) -> Numbers:
    """The numbers of an image (D, H, W) in network units, and the size of its subject."""
    channel = plan.channel(target)
    if channel.modality == "CT":
        hu = normalize.invert(image, *normalize.typical_range(channel.normalization))
        numbers = describe_ct(hu, inside)
    else:
        numbers = describe_mr(image, inside)
    millilitres = float(inside.sum()) * math.prod(placement.spacing_mm) / 1000
    return numbers | {SUBJECT: millilitres}


def _subject(plan: Plan, sources: np.ndarray) -> np.ndarray:
    """The body in the sources by Otsu's threshold, or where any is above its background.

    Never from the target, and never the given mask: a new case may have none, and one that is
    drawn wider holds more air. So does a foreground whose edge interpolation has blurred.
    """
    if plan.grid.mask == "none":
        return np.asarray((sources > 0).any(axis=0))
    return body(sources, "otsu")


def _read(path: Path) -> TrainingNumbers | None:
    """The file of a fold, or None if it is not there, damaged or of another version."""
    try:
        found = from_json(TrainingNumbers, read_json(path), where=path)
    except PlanError:
        return None
    return found if found.version == NUMBERS_VERSION else None


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
