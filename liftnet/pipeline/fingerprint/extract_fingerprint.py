"""Step 1: measure the raw dataset, and refuse what is broken, in one pass over the files."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice

from liftnet.core.arguments import checked
from liftnet.core.dataset import Case, Dataset, DatasetDescription, channel_list
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import (
    CaseFingerprint,
    ChannelStatistics,
    Fingerprint,
    IntensityRange,
)
from liftnet.core.geometry import Volume, axis_order, turn
from liftnet.core.storage.files import remove_drafts
from liftnet.core.storage.jsonable import from_json, read_versioned, write_sealed
from liftnet.core.workspace import find_workspace
from liftnet.host.lock import hold
from liftnet.host.parallel import in_parallel, worker_count
from liftnet.host.progress import mention, progress, say
from liftnet.imageio.raw_dataset import find_cases, load_dataset
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.ops.intensities import clip_extremes
from liftnet.ops.mask import bounding_box, foreground, has_zero_background
from liftnet.ops.registration import own_information
from liftnet.pipeline.fingerprint.copies import copy_problems, find_copies, image_moments
from liftnet.pipeline.fingerprint.grid_check import grid_problems
from liftnet.pipeline.fingerprint.integrity import (
    Problem,
    check_names,
    inspect_case,
    problem_table,
    raise_on_errors,
)
from liftnet.pipeline.fingerprint.pair_check import pair_problems, pair_shifts
from liftnet.pipeline.fingerprint.patients import describe_overlap, describe_patients, patients_of
from liftnet.tasks import load_task

__all__ = ["FINGERPRINT_VERSION", "extract_fingerprint", "measure", "read_fingerprint"]

FINGERPRINT_VERSION = 3  # 3: patients, moments, background by one rule
PERCENTILES = (0.1, 99.9)  # LiFT Sec. 5.2
MIN_BACKGROUND = 0.05  # ours: with less of it, zero is no background value
MAX_SAMPLES = 100_000  # ours: the mean and median of an image are exact to 1 % from this many


@checked
def extract_fingerprint(
    dataset: int | str | None = None,
    *,
    num_processes: int | None = None,
    check: bool = True,
    strict: bool = False,
    workspace: Path | str | None = None,
) -> Fingerprint:
    """Measure a raw dataset and write fingerprint.json.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        num_processes: files worked on at the same time.
        check: whether names are checked; images always are.
        strict: whether a pair of images that looks misregistered is an error.
        workspace: the workspace folder.

    Raises:
        DatasetError: If files are broken; the message holds one table of all problems.
    """
    keep_freed_memory()
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    raw = load_dataset(space.raw / name)
    least = load_task(raw.description.task).least_images
    path = space.fingerprint_file(name)
    with hold(path.parent, "liftnet_extract_fingerprint"):
        remove_drafts(path)
        problems = check_names(raw.folder, raw.description, min_channels=least) if check else []
        cases: dict[str, CaseFingerprint] = {}
        with progress("Fingerprint", len(raw.cases)) as advance:
            work = partial(_inspect_and_measure, raw.description)
            results = in_parallel(work, raw.cases, worker_count(num_processes))
            for case, (measured, found) in results:
                problems += found
                if measured is not None:
                    cases[case.identifier] = measured
                advance()
        cases = dict(sorted(cases.items()))
        files = {case.identifier: case.images for case in raw.cases}
        problems += background_problems(cases)
        copies = find_copies(cases, files)
        suspicious = [*copy_problems(copies, files), *pair_problems(cases, files, copies)]
        problems += [replace(row, severity="error") for row in suspicious] if strict else suspicious
        problems += grid_problems(cases)
        raise_on_errors(problems)
        if problems:
            say(problem_table(problems))
        same = [(copy.of[0], copy.image[0]) for copy in copies]
        patients = patients_of(cases, raw.description.patients, same)
        tests: Collection[str] = ()
        if (raw.folder / "imagesTs").is_dir():
            tests, _ = find_cases(raw.folder / "imagesTs", raw.description.channels)
        overlap = describe_overlap(patients, tests, raw.description.patients)
        for text in filter(None, (describe_patients(patients), overlap)):
            mention(text)
        fingerprint = summarize(raw, cases, patients, suspicious)
        write_sealed(path, fingerprint)
    say(f"Fingerprint of {len(cases)} cases: {path}")
    return fingerprint


def read_fingerprint(
    path: Path, absent: str = "Measure the dataset with liftnet_extract_fingerprint."
) -> Fingerprint:
    """A fingerprint file, checked.

    Args:
        path: of the file.
        absent: what to do where there is none.

    Raises:
        PlanError: If it is missing, damaged or of another version.
    """
    if not path.is_file():
        raise PlanError("The dataset has no fingerprint", where=str(path), remedy=absent)
    remedy = "Measure the dataset again with liftnet_extract_fingerprint."
    data = read_versioned(path, FINGERPRINT_VERSION, what="The fingerprint has", remedy=remedy)
    return from_json(Fingerprint, data, where=path)


def _inspect_and_measure(
    description: DatasetDescription, case: Case
) -> tuple[CaseFingerprint | None, list[Problem]]:
    ct = {channel.name for channel in channel_list(description) if channel.modality == "CT"}
    volume, _, problems = inspect_case(case, ct)
    if volume is None:
        return None, problems
    targets = {channel.name for channel in description.targets.values()}
    return measure(volume, tuple(case.images), targets=targets, ct=ct), problems


def measure(
    volume: Volume,
    names: tuple[str, ...],
    *,
    targets: Collection[str] = (),
    ct: Collection[str] = (),
) -> CaseFingerprint:
    """The fingerprint of one case, on its grid turned to canonical axial order.

    Args:
        volume: The images of the case.
        names: Their channels.
        targets: The channels that are not there at prediction: the foreground is not theirs.
        ct: The channels in Hounsfield units, whose negative values are as good as others.
    """
    geometry = volume.geometry
    turned = turn(volume, axis_order(geometry, "axial"))
    voxels = np.ascontiguousarray(turned.voxels)
    is_source = [name not in targets for name in names]
    source = voxels if all(is_source) else voxels[is_source]
    of_ct = [name in ct for name in names if name not in targets]
    mr = source[np.logical_not(of_ct)]
    zero = len(mr) > 0 and has_zero_background(mr)
    subject = foreground(source, "nonzero" if zero else "otsu", of_ct)
    if zero and float(subject.mean()) > 1 - MIN_BACKGROUND:
        zero, subject = False, foreground(source, "otsu", of_ct)
    found = bounding_box(subject)
    start, stop = zip(*found, strict=True)
    box = bounding_box_to_slice(found)
    inside = np.flatnonzero(subject)
    sample = inside[:: max(1, len(inside) // MAX_SAMPLES)]
    images = dict(zip(names, voxels, strict=True))
    steady = {name: clip_extremes(image, ct=name in ct) for name, image in images.items()}
    values = {name: image.reshape(-1)[sample] for name, image in steady.items()}
    intensities = {
        name: intensity_range(image, values[name], signed=name in ct)
        for name, image in images.items()
    }
    return CaseFingerprint(
        shape=turned.geometry.shape,
        spacing_mm=turned.geometry.spacing_mm,
        stored_axes="".join(_letter(vector) for vector in geometry.direction),
        box_start=start,
        box_stop=stop,
        foreground_fraction=len(inside) / subject.size,
        zero_background=zero,
        intensities=intensities,
        pair_shift_mm=pair_shifts(steady, targets, subject, turned.geometry.spacing_mm),
        pair_own={
            f"{a}-{b}": own_information(steady[a][box], steady[b][box], subject[box], left=2)
            for a, b in combinations(names, 2)
        },
        moments={
            name: image_moments(image, turned.geometry.spacing_mm, low=intensities[name].minimum)
            for name, image in images.items()
        },
    )


def intensity_range(image: np.ndarray, sample: np.ndarray, *, signed: bool) -> IntensityRange:
    """Statistics of one image: from a foreground sample, and of the grid's percentiles."""
    low, high = (
        map(float, np.percentile(image, PERCENTILES, method="nearest"))
        if signed
        else grid_percentiles(image)
    )
    return IntensityRange(
        mean=float(sample.mean()),
        std=float(sample.std()),
        low=low,
        median=float(np.median(sample)),
        high=high,
        minimum=float(image.min()),
        maximum=float(image.max()),
    )


def background_problems(cases: dict[str, CaseFingerprint]) -> list[Problem]:
    """One warning for each case whose background is not zero, where it is in most."""
    others = [name for name, case in cases.items() if not case.zero_background]
    if 2 * len(others) >= len(cases):
        return []
    text = "The background is not 0, as in most cases"
    remedy = "What lies outside the subject is set to 0; look at it, or take the case out."
    return [Problem(name, "-", text, remedy, "warning") for name in others]


def grid_percentiles(image: np.ndarray) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles of the whole grid, negatives counting as zero.

    Only voxels above zero are sorted: the others are known.
    """
    values = image[image > 0]
    zeros = image.size - values.size
    if values.size == 0:
        return 0.0, 0.0
    ranks = [round(q * (image.size - 1)) - zeros for q in np.divide(PERCENTILES, 100)]
    part = np.partition(values, [max(rank, 0) for rank in ranks])
    low, high = (float(part[rank]) if rank >= 0 else 0.0 for rank in ranks)
    return low, high


def summarize(
    dataset: Dataset,
    cases: dict[str, CaseFingerprint],
    patients: dict[str, str],
    suspicious: Sequence[Problem],
) -> Fingerprint:
    """The dataset's fingerprint from those of its cases, their patients and suspicious images."""
    channels = {}
    for channel in dataset.channels:
        ranges = [
            c.intensities[channel.name] for c in cases.values() if channel.name in c.intensities
        ]
        if ranges:
            channels[channel.name] = ChannelStatistics(
                num_cases=len(ranges),
                mean=median(r.mean for r in ranges),
                std=median(r.std for r in ranges),
                low=median(r.low for r in ranges),
                median=median(r.median for r in ranges),
                high=median(r.high for r in ranges),
                minimum=min(r.minimum for r in ranges),
                maximum=max(r.maximum for r in ranges),
            )
    stripped = sum(c.zero_background for c in cases.values())
    return Fingerprint(
        version=FINGERPRINT_VERSION,
        dataset=dataset.folder.name,
        foreground="nonzero" if 2 * stripped > len(cases) else "otsu",
        cases=cases,
        channels=channels,
        suspicious_pairs=[f"{row.case}: {row.problem}" for row in suspicious],
        patients=patients,
    )


def _letter(vector: tuple[float, float, float]) -> str:
    axis = int(np.argmax(np.abs(vector)))
    return ("LR", "PA", "SI")[axis][int(vector[axis] < 0)]
