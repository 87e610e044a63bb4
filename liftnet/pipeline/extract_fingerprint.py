"""Step 1: measure the raw dataset, and refuse what is broken, in one pass over the files."""

from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np

from liftnet.core.dataset import Case, Dataset, load_dataset
from liftnet.core.fingerprint import (
    CaseFingerprint,
    ChannelStatistics,
    Fingerprint,
    IntensityRange,
)
from liftnet.core.geometry import Volume, axis_order, turn
from liftnet.core.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.ops.mask import bounding_box, foreground
from liftnet.pipeline.integrity import (
    Problem,
    check_names,
    inspect_case,
    problem_table,
    raise_on_errors,
)
from liftnet.pipeline.parallel import in_parallel, worker_count
from liftnet.pipeline.progress import progress, say

__all__ = ["extract_fingerprint", "measure", "normalized_mutual_information"]

FINGERPRINT_VERSION = 1
MIN_ZERO_FRACTION = 0.05  # ours: with less exact zero, zero is no background value
MAX_SAMPLES = 100_000  # ours: the mean and median of an image are exact to 1 % from this many
HISTOGRAM_BINS = 64  # ours: as MONAI's and ITK's mutual information
OUTLIER_MADS = 5.0  # ours: a pair this far below the others is listed
MIN_DROP = 0.03  # ours: but never for a difference that noise makes


def extract_fingerprint(
    dataset: int | str | None = None,
    *,
    num_processes: int | None = None,
    check: bool = True,
    workspace: Path | str | None = None,
) -> Fingerprint:
    """Measure a raw dataset and write fingerprint.json.

    Raises:
        DatasetError: If files are broken; the message holds one table of all problems.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    say(f"{name}: {space.describe()}")
    raw = load_dataset(space.raw / name)
    problems = check_names(raw.folder, raw.description) if check else []
    cases: dict[str, CaseFingerprint] = {}
    with progress("Fingerprint", len(raw.cases)) as advance:
        pairs = in_parallel(_inspect_and_measure, raw.cases, worker_count(num_processes))
        for case, (measured, found) in pairs:
            problems += found
            if measured is not None:
                cases[case.identifier] = measured
            advance()
    if check:
        warnings = [p for p in problems if p.severity == "warning"]
        if warnings and len(warnings) == len(problems):
            say(problem_table(warnings))
    raise_on_errors(problems)
    fingerprint = summarize(raw, dict(sorted(cases.items())))
    path = space.fingerprint_file(name)
    write_json(path, fingerprint)
    for line in fingerprint.suspicious_pairs:
        say(f"likely misregistered: {line}")
    say(f"Fingerprint of {len(cases)} cases: {path}")
    return fingerprint


def _inspect_and_measure(case: Case) -> tuple[CaseFingerprint | None, list[Problem]]:
    volume, _, problems = inspect_case(case)
    return (None if volume is None else measure(volume, tuple(case.images))), problems


def measure(volume: Volume, names: tuple[str, ...]) -> CaseFingerprint:
    """The fingerprint of one case, on its grid turned to canonical axial order."""
    geometry = volume.geometry
    turned = turn(volume, axis_order(geometry, "axial"))
    voxels = np.ascontiguousarray(turned.voxels)
    subject = foreground(voxels, "nonzero")
    zero_fraction = 1 - float(subject.mean())
    if zero_fraction < MIN_ZERO_FRACTION:
        subject = foreground(voxels, "otsu")
    start, stop = bounding_box(subject)
    inside = np.flatnonzero(subject)
    sample = inside[:: max(1, len(inside) // MAX_SAMPLES)]
    values = {name: voxels[i].reshape(-1)[sample] for i, name in enumerate(names)}
    return CaseFingerprint(
        shape=turned.geometry.shape,
        spacing_mm=turned.geometry.spacing_mm,
        stored_axes="".join(_letter(vector) for vector in geometry.direction),
        box_start=start,
        box_stop=stop,
        foreground_fraction=len(inside) / subject.size,
        zero_fraction=zero_fraction,
        intensities={
            name: intensity_range(voxels[i], values[name]) for i, name in enumerate(names)
        },
        pair_quality={
            f"{a}-{b}": normalized_mutual_information(values[a], values[b])
            for a, b in combinations(names, 2)
        },
    )


def intensity_range(image: np.ndarray, sample: np.ndarray) -> IntensityRange:
    """Statistics of one image: from a foreground sample, and of the grid's percentiles."""
    low, high = grid_percentiles(image)
    return IntensityRange(
        mean=float(sample.mean()),
        std=float(sample.std()),
        low=low,
        median=float(np.median(sample)),
        high=high,
        minimum=float(image.min()),
        maximum=float(image.max()),
    )


def grid_percentiles(image: np.ndarray) -> tuple[float, float]:
    """The 0.1 and 99.9 percentiles of the whole grid, negatives counting as zero.

    Only voxels above zero are sorted: the others are known.
    """
    values = image[image > 0]
    zeros = image.size - values.size
    if values.size == 0:
        return 0.0, 0.0
    ranks = [round(q * (image.size - 1)) - zeros for q in (0.001, 0.999)]
    part = np.partition(values, [max(rank, 0) for rank in ranks])
    low, high = (float(part[rank]) if rank >= 0 else 0.0 for rank in ranks)
    return low, high


def normalized_mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """(H(a) + H(b)) / H(a, b) of two samples of voxels: 1 if unrelated, 2 if equal up to a map.

    Source: Studholme et al. 1999.
    """
    joint, _, _ = np.histogram2d(first, second, bins=HISTOGRAM_BINS)
    joint /= joint.sum()

    def entropy(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    both = entropy(joint)
    return (entropy(joint.sum(0)) + entropy(joint.sum(1))) / both if both > 0 else 2.0


def summarize(dataset: Dataset, cases: dict[str, CaseFingerprint]) -> Fingerprint:
    """The dataset's fingerprint from those of its cases."""
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
    skull_stripped = all(c.zero_fraction >= MIN_ZERO_FRACTION for c in cases.values())
    return Fingerprint(
        version=FINGERPRINT_VERSION,
        dataset=dataset.folder.name,
        foreground="nonzero" if skull_stripped else "otsu",
        cases=cases,
        channels=channels,
        suspicious_pairs=suspicious_pairs(cases),
    )


def suspicious_pairs(cases: dict[str, CaseFingerprint]) -> list[str]:
    """Pairs of channels that share far less information than the same pair in other cases."""
    lines = []
    pairs = sorted({pair for case in cases.values() for pair in case.pair_quality})
    for pair in pairs:
        quality = {k: c.pair_quality[pair] for k, c in cases.items() if pair in c.pair_quality}
        middle = median(quality.values())
        spread = median(abs(q - middle) for q in quality.values())
        limit = middle - max(OUTLIER_MADS * spread, MIN_DROP)
        lines += [
            f"case {case}: {pair} share {q:.3f} of information, other cases {middle:.3f}"
            for case, q in quality.items()
            if q < limit
        ]
    return lines


def _letter(vector: tuple[float, float, float]) -> str:
    axis = int(np.argmax(np.abs(vector)))
    return ("LR", "PA", "SI")[axis][int(vector[axis] < 0)]
