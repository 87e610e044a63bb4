"""The scores of a cohort for reading: a table, and the lines that say what it rests on."""

from collections.abc import Iterator, Mapping, Sequence

from liftnet.core.scores import CohortRow, CohortScores
from liftnet.host.text_table import aligned, number_or_dash
from liftnet.pipeline.evaluate.cohort_measures import VOXELS, Cohorts, Control
from liftnet.pipeline.evaluate.cohort_setting import CohortFiles

__all__ = ["cohort_table", "explanation", "notes", "warnings"]

HEADER = ("", "generated", "real", "what is good")
INDENT = "  "


def cohort_table(scores: CohortScores) -> str:
    """Metrics by cohorts, one heading per group; a dash where a cohort has no such number."""
    lines = [HEADER]
    headings: dict[int, str] = {}
    group = None
    for row in scores.rows:
        if row.group != group:
            group = row.group
            length = f", F = {scores.features[group]}" if group in scores.features else ""
            headings[len(lines)] = group + length
        lines.append(
            (INDENT + row.metric, number_or_dash(row.generated), number_or_dash(row.real), row.good)
        )
    printed = []
    for number, line in enumerate(aligned(lines)):
        if number in headings:
            printed.append(headings[number])
        printed.append(line)
    return "\n".join(printed)


def explanation(scores: CohortScores) -> Iterator[str]:
    """What the numbers rest on, the closest pairs, and warnings."""
    yield from scores.notes
    for pair in scores.closest:
        yield (
            f"closest {pair.cohort} volume: {pair.volume}, {pair.distance:.4g} from "
            f"{pair.neighbour}"
        )
    for warning in scores.warnings:
        yield f"warning: {warning}"


def notes(
    cohorts: Cohorts,
    control: Control | None,
    neighbours: Mapping[str, int],
    pairs: int,
    probe: Mapping[str, float],
) -> Iterator[str]:
    """What the numbers rest on: volumes, their roles, neighbours and pairs.

    Args:
        cohorts: that were compared.
        control: the real volumes in the place of generated ones.
        neighbours: name of the features -> k.
        pairs: of volumes, asked for.
        probe: of `memorization`.
    """
    generated, real, training = cohorts.sizes
    size = "x".join(map(str, cohorts.real.shape))
    beside = f", {training} training" if training else ""
    yield f"volumes: {generated} generated, {real} real{beside}, of {size} voxels"
    themselves = "; ms_ssim, depth_order, nearest: the real volumes themselves"
    if control is None:
        yield f"column real: too few real volumes to halve{themselves}"
    else:
        standing, against = len(control.standing), len(control.against)
        who = "training volumes in the place of generated ones, against the"
        if control.cohort == "real":
            who = "real volumes in the place of generated ones, against the other"
        yield (
            f"column real: {standing} {who} {against}{themselves}. The fewer "
            "volumes, the larger a Fréchet distance"
        )
    for name, k in neighbours.items():
        yield f"precision, recall, density, coverage of {name}: k = {k}"
    shown = [min(pairs, n * (n - 1) // 2) for n in (generated, real)]
    yield f"ms_ssim: {shown[0]} pairs of generated, {shown[1]} of real volumes"
    known = "training" if training else "real"
    others = "" if training else ", for a real volume from all the others"
    yield f"depth_order: the order is known from the {known} volumes{others}"
    line = f"nearest: mean absolute error, in [-1, 1], to the nearest {known} volume"
    if training:
        mean, least = (probe[f"nearest_training_{name}"] for name in ("mean", "min"))
        line += f"; of training volumes to one another mean {mean:.4g}, least {least:.4g}"
    yield line


def warnings(
    cohorts: Cohorts,
    files: Sequence[CohortFiles],
    lengths: Mapping[str, int],
    missing: str,
    rows: Sequence[CohortRow],
) -> Iterator[str]:
    """What weakens the numbers, or is not there.

    Args:
        cohorts: that were compared.
        files: of each cohort.
        lengths: name of the features -> F.
        missing: why there are no features, "" if there are.
        rows: that were found.
    """
    if missing:
        yield f"no features of a trained encoder, and no distances of them: {missing}"
    generated, real, _ = cohorts.sizes
    groups = {row.group for row in rows}
    for name, length in lengths.items():
        if name not in groups:
            yield f"all real volumes have the same features: {name}"
        elif min(generated, real) < length:
            yield (
                f"n = {generated} generated and {real} real volumes, F = {length}: the Fréchet "
                f"distance is biased upwards; compare it at equal n only ({name})"
            )
    metrics = {row.metric for row in rows if row.group == VOXELS}
    if "depth_order" not in metrics:
        yield "no depth_order: real slices of one depth are not alike"
    if "diversity_ratio" not in metrics or "delta_z_ratio" not in metrics:
        yield "real volumes are all the same, or the same in every slice"
    for number, one in enumerate(files):
        for other in files[number + 1 :]:
            paths = [{path.resolve() for path in cohort.files.values()} for cohort in (one, other)]
            if shared := paths[0] & paths[1]:
                yield (
                    f"{len(shared)} volumes are both {one.what} and {other.what}: distances "
                    "between these cohorts are too small"
                )
