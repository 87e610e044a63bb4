"""Whether predicted or generated volumes are copies of training volumes."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import SLICE_AXES, Triple
from liftnet.core.jsonable import write_json
from liftnet.core.probe import (
    COPIES,
    NO_COPY,
    PROBE_VERSION,
    TOO_FEW,
    NearestVolume,
    Probe,
    ProbeGroup,
)
from liftnet.metrics.cohort_protocols import PROTOCOLS
from liftnet.metrics.memorization import (
    ENOUGH,
    HU_LIMITS,
    Neighbours,
    are_copies,
    copy_rule,
    descriptor,
    held_out_outliers,
    nearest_two,
    pooled_distances,
    root_ratios,
)
from liftnet.pipeline.cohort_distances import absolute_distances
from liftnet.pipeline.cohort_setting import CohortFiles, CohortSetting
from liftnet.pipeline.cohort_volumes import Volumes, read_cohort
from liftnet.pipeline.failures import explained
from liftnet.pipeline.parallel import threads_shared_by, worker_count
from liftnet.pipeline.probe_setting import ProbeSetting, find_groups, find_probe
from liftnet.pipeline.probe_table import probe_lines, probe_table
from liftnet.pipeline.probe_volumes import read_on_common_grid
from liftnet.pipeline.progress import progress, say
from liftnet.report.figures import MontageRow, montage
from liftnet.version import __version__

__all__ = ["probe"]

PICTURE = "closest_pair.png"


class Placed(NamedTuple):
    """All volumes on one grid."""

    predicted: Volumes
    training: Volumes
    held_out: Volumes
    spacing_mm: Triple
    slice_axis: str
    grid: str  # in a sentence


def probe(
    predicted_folder: Path | str,
    training_folder: Path | str,
    held_out_folder: Path | str,
    output: Path | str,
    *,
    task: str | None = None,
    dataset: int | str | None = None,
    channel: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Probe:
    """How near predicted volumes are to training volumes, beside held-out real ones.

    Also written as probe.json, with a picture of the closest pair.

    Source: LiFT App. D.
    Differs: pooled descriptors are compared with those of held-out volumes, as the other two
        distances are, and not with the mean distance among training volumes. The box that is
        compared ends with the subject; the paper's has more background, and smaller distances.

    Args:
        predicted_folder: predicted or generated volumes CASE_0003.nii.gz of cases that are not in
            training.
        training_folder: what the network was trained on, in the same channel.
        held_out_folder: real volumes that training did not see, in the same channel.
        output: folder for the result.
        task: whose distance is taken; by default the one that the JSON files name.
        dataset: id or name; by default the one that the JSON files name.
        channel: name or number, where several were predicted.
        num_processes: files read at the same time.
        workspace: the workspace folder.

    Raises:
        LiftnetError: If the volumes cannot be compared.
    """
    predicted, training, held_out = folders = (
        Path(predicted_folder),
        Path(training_folder),
        Path(held_out_folder),
    )
    setting = find_probe(
        predicted, training, task=task, dataset=dataset, channel=channel, workspace=workspace
    )
    groups = find_groups(predicted, training, held_out, setting.digits)
    workers = worker_count(num_processes)
    target = Path(output)
    with tempfile.TemporaryDirectory(prefix="liftnet_probe_") as scratch:
        placed = _place(groups, setting, Path(scratch), workers)
        found = _judge(placed, setting, folders, workers)
        write_json(target / "probe.json", found)
        with explained("picture", PICTURE):
            _draw(found, placed, target / PICTURE)
    say(probe_table(found))
    for line in probe_lines(found):
        say(line)
    say(f"All distances: {target / 'probe.json'}; the closest pair: {target / PICTURE}")
    return found


def _place(
    groups: dict[str, CohortFiles], setting: ProbeSetting, scratch: Path, workers: int
) -> Placed:
    """All volumes on the grid of generation, or on one about the centre of each."""
    plan = setting.plan
    if plan is None:
        volumes, common = read_on_common_grid(groups, setting.modality, scratch, workers)
        side = common.spacing_mm
        rule = f"{HU_LIMITS[0]:.0f} to {HU_LIMITS[1]:.0f} HU"
        if setting.modality != "CT":
            rule = "background to the 99th percentile of the foreground"
        text = (
            f"each volume turned to axes z, y, x, centred on its foreground (Otsu, centre of "
            f"mass) and resampled to {_size(volumes['training'])} voxels of {side:.3g} mm, a box "
            f"that holds the foreground of all real volumes; {rule}"
        )
        return Placed(**volumes, spacing_mm=(side, side, side), slice_axis="axial", grid=text)
    own = CohortSetting(
        protocol=PROTOCOLS["liftnet"],
        task=setting.task,
        dataset=setting.dataset,
        plan_name=plan.name,
        plan=plan,
        model=None,
        no_model="a probe needs none",
        target=setting.channel,
        digits=setting.digits,
    )
    volumes = {}
    total = sum(len(group.files) for group in groups.values())
    with progress("Read", total, unit="volume") as advance, threads_shared_by(workers):
        shape = None
        for what, group in groups.items():
            volumes[what] = read_cohort(group, own, scratch, workers, advance, shape)
            shape = volumes[what].shape
    text = (
        f"that of plan {plan.name}, prepared as for training: {_size(volumes['training'])} voxels"
    )
    return Placed(
        **volumes, spacing_mm=plan.grid.spacing_mm, slice_axis=plan.grid.slice_axis, grid=text
    )


def _judge(
    placed: Placed, setting: ProbeSetting, folders: tuple[Path, Path, Path], workers: int
) -> Probe:
    """The distances, and what follows from them."""
    measure = setting.measure
    power = measure.power
    predicted, held_out = (
        nearest_two(_distances(group, placed.training, setting, workers))
        for group in (placed.predicted, placed.held_out)
    )
    if same := np.flatnonzero(held_out.distance == 0).tolist():
        name = placed.training.names[held_out.nearest[same[0]]]
        raise DatasetError(
            f"Held-out volume {placed.held_out.names[same[0]]} equals training volume {name}",
            where=str(folders[2]),
            remedy="Take it out of one of the folders: held-out volumes are what training did "
            "not see.",
        )
    rule = copy_rule(held_out, num_predicted=len(placed.predicted), power=power)
    groups = []
    for volumes, found, suspects in (
        (placed.predicted, predicted, are_copies(predicted, rule, power)),
        (placed.held_out, held_out, held_out_outliers(held_out, power)),
    ):
        groups.append(_group(volumes, placed.training, found, suspects, power))
    copies = tuple(one.volume for one in groups[0].volumes if one.suspect)
    enough = min(len(placed.held_out), len(placed.training)) >= ENOUGH
    return Probe(
        version=PROBE_VERSION,
        verdict=TOO_FEW if not enough else COPIES if copies else NO_COPY,
        copies=copies,
        task=setting.task,
        dataset=setting.dataset,
        channel=setting.channel,
        measure=measure,
        rule=rule,
        predicted=groups[0],
        held_out=groups[1],
        num_training=len(placed.training),
        ratio_of_means=groups[0].mean / groups[1].mean,
        ratio_of_minima=groups[0].minimum / groups[1].minimum,
        predicted_folder=str(folders[0].absolute()),
        training_folder=str(folders[1].absolute()),
        held_out_folder=str(folders[2].absolute()),
        grid=placed.grid,
        shape=placed.training.shape,
        warnings=(*setting.warnings, *_leaks(groups[1])),
        liftnet=__version__,
    )


def _distances(
    group: Volumes, training: Volumes, setting: ProbeSetting, workers: int
) -> np.ndarray:
    """The task's distance of each volume from each training volume (N, M)."""
    scale = setting.measure.scale**setting.measure.power
    if not setting.measure.pooled:
        return scale * absolute_distances(group, training, workers)
    one, other = (np.stack([descriptor(v) for v in volumes]) for volumes in (group, training))
    return scale * pooled_distances(one, other)


def _group(
    volumes: Volumes, training: Volumes, found: Neighbours, suspects: np.ndarray, power: int
) -> ProbeGroup:
    """Statistics of a group, and its volumes with the nearest first."""
    ratios = root_ratios(found, power)
    rows = [
        NearestVolume(
            volume=volumes.names[i],
            nearest=training.names[found.nearest[i]],
            distance=float(found.distance[i]),
            second=training.names[found.second[i]],
            second_distance=float(found.second_distance[i]),
            ratio=float(ratios[i]),
            suspect=bool(suspects[i]),
        )
        for i in np.argsort(found.distance, kind="stable").tolist()
    ]
    return ProbeGroup(
        n=len(rows),
        mean=float(found.distance.mean()),
        minimum=float(found.distance.min()),
        percentile_5=float(np.percentile(found.distance, 5)),
        volumes=tuple(rows),
    )


def _leaks(held_out: ProbeGroup) -> list[str]:
    return [
        f"held-out volume {one.volume} is unusually near to training volume {one.nearest}: is it "
        "the same subject? It makes the limits too strict or too loose"
        for one in held_out.volumes
        if one.suspect
    ]


def _draw(found: Probe, placed: Placed, path: Path) -> None:
    """The closest pair side by side, and every pair that counts as a copy, up to a few."""
    pairs = [one for one in found.predicted.volumes if one.suspect] or [found.predicted.volumes[0]]
    order = [SLICE_AXES[placed.slice_axis].index(world) for world in SLICE_AXES["axial"]]
    spacing = [placed.spacing_mm[axis] for axis in order]
    rows = []
    for one in pairs[:4]:
        images = []
        for volumes, name in ((placed.predicted, one.volume), (placed.training, one.nearest)):
            image = volumes[volumes.names.index(name)].transpose(order)
            in_hu = found.measure.unit == "HU"
            images.append(image * found.measure.scale + HU_LIMITS[0] if in_hu else image)
        rows.append(
            MontageRow(
                label=f"{one.volume}: {one.distance:.4g} from {one.nearest}",
                sources=(),
                predicted=images[0],
                reference=images[1],
                spacing_mm=(spacing[0], spacing[1], spacing[2]),
                target="" if found.channel.isdigit() else found.channel,
                unit="HU" if found.measure.unit == "HU" else "share of the range",
                reference_label="nearest training",
                error_label="|difference|",
            )
        )
    title = f"Nearest training volume, {found.measure.description}: {found.verdict}"
    path.parent.mkdir(parents=True, exist_ok=True)
    montage(rows, path, title=title)


def _size(volumes: Volumes) -> str:
    return "x".join(map(str, volumes.shape))
