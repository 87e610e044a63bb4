"""One channel of a memorization probe: volumes on one grid, their distances, and a verdict."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Triple
from liftnet.core.probe import (
    COPIES,
    NO_COPY,
    TOO_FEW,
    NearestVolume,
    ProbeChannel,
    ProbeDistances,
    ProbeGroup,
)
from liftnet.host.parallel import threads_shared_by
from liftnet.host.progress import progress
from liftnet.metrics.memorization import (
    ENOUGH,
    HU_LIMITS,
    Neighbours,
    are_copies,
    copy_rule,
    descriptor,
    held_out_outliers,
    nearest_others,
    nearest_two,
    pooled_distances,
    root_ratios,
)
from liftnet.metrics.protocols.cohort_protocols import PROTOCOLS
from liftnet.pipeline.evaluate.cohort_distances import absolute_distances
from liftnet.pipeline.evaluate.cohort_setting import CohortSetting
from liftnet.pipeline.evaluate.cohort_volumes import Volumes, read_cohort
from liftnet.pipeline.probe.setting import ChannelSetting, Groups, ProbeSetting
from liftnet.pipeline.probe.volumes import read_on_common_grid

__all__ = ["Placed", "judge", "place", "too_few"]

FEWEST_OTHERS = 3  # training volumes: one has a nearest and a second nearest other


class Placed(NamedTuple):
    """All volumes of a channel on one grid."""

    predicted: Volumes
    training: Volumes
    held_out: Volumes
    spacing_mm: Triple
    slice_axis: str
    grid: str  # in a sentence


class Found(NamedTuple):
    """The nearest training volumes of each group."""

    predicted: Neighbours
    held_out: Neighbours
    training: Neighbours | None  # of each the nearest others; None: not measured


def place(
    groups: Groups, channel: ChannelSetting, setting: ProbeSetting, scratch: Path, workers: int
) -> Placed:
    """All volumes of a channel on the grid of generation, or on one about the centre of each.

    Raises:
        LiftnetError: If a file cannot be used, or the disk is too small.
    """
    plan = channel.plan
    if plan is None:
        volumes, common = read_on_common_grid(groups, channel.modality, scratch, workers)
        side = common.spacing_mm
        rule = f"{HU_LIMITS[0]:.0f} to {HU_LIMITS[1]:.0f} HU"
        if channel.modality != "CT":
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
        target=channel.name,
        digits=channel.digits,
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


def judge(
    placed: Placed, groups: Groups, channel: ChannelSetting, picture: str, workers: int
) -> ProbeChannel:
    """The distances of a channel, and what follows from them.

    Raises:
        DatasetError: If a held-out volume equals a training volume.
    """
    power = channel.measure.power
    found = _nearest(placed, channel, workers)
    if same := np.flatnonzero(found.held_out.distance == 0).tolist():
        name = placed.training.names[found.held_out.nearest[same[0]]]
        raise DatasetError(
            f"Held-out volume {placed.held_out.names[same[0]]} equals training volume {name}",
            where=str(groups["held_out"].folder),
            remedy="Take it out of one of the folders: held-out volumes are what training did "
            "not see.",
        )
    rule = copy_rule(found.held_out, num_predicted=len(placed.predicted), power=power)
    names = placed.training.names
    predicted = _group(
        placed.predicted.names, names, found.predicted, are_copies(found.predicted, rule, power),
        power,
    )  # fmt: skip
    held_out = _group(
        placed.held_out.names, names, found.held_out, held_out_outliers(found.held_out, power),
        power,
    )  # fmt: skip
    training = None
    if found.training is not None:
        among = copy_rule(found.held_out, num_predicted=len(names), power=power)
        doubles = are_copies(found.training, among, power)
        training = _group(names, names, found.training, doubles, power)
    copies = tuple(one.volume for one in predicted.volumes if one.suspect)
    enough = min(len(placed.held_out), len(placed.training)) >= ENOUGH
    return ProbeChannel(
        channel=channel.name,
        verdict=TOO_FEW if not enough else COPIES if copies else NO_COPY,
        copies=copies,
        num_predicted=len(placed.predicted),
        num_held_out=len(placed.held_out),
        num_training=len(placed.training),
        measure=channel.measure,
        distances=ProbeDistances(
            rule=rule,
            predicted=predicted,
            held_out=held_out,
            training=training,
            ratio_of_means=predicted.mean / held_out.mean,
            ratio_of_minima=predicted.minimum / held_out.minimum,
            predicted_by_training=_by_training(predicted, training),
            held_out_by_training=_by_training(held_out, training),
            grid=placed.grid,
            shape=placed.training.shape,
            picture=picture,
        ),
        warnings=(*channel.warnings, *_leaks(held_out), *_doubles(training)),
    )


def too_few(groups: Groups, channel: ChannelSetting) -> ProbeChannel:
    """A channel that has not even the volumes for distances."""
    return ProbeChannel(
        channel=channel.name,
        verdict=TOO_FEW,
        copies=(),
        num_predicted=len(groups["predicted"].files),
        num_held_out=len(groups["held_out"].files),
        num_training=len(groups["training"].files),
        measure=channel.measure,
        distances=None,
        warnings=channel.warnings,
    )


def _nearest(placed: Placed, channel: ChannelSetting, workers: int) -> Found:
    """The nearest training volumes, by the task's distance.

    Descriptors of training volumes are at hand, and compared with each other too. Voxels are not:
    the work grows with the square of the number of training volumes, and the paper does not.

    Source: LiFT App. D. It calls the reference of task B a pairwise distance; that the ratio of
        held-out volumes to it is 1.09 shows that it is to the nearest: by all pairs it is near 0.3.
    """
    measure = channel.measure
    scale = measure.scale**measure.power
    others = (placed.predicted, placed.held_out)
    if not measure.pooled:
        predicted, held_out = (
            nearest_two(scale * absolute_distances(group, placed.training, workers))
            for group in others
        )
        return Found(predicted, held_out, None)
    known = _descriptors(placed.training)
    predicted, held_out = (
        nearest_two(scale * pooled_distances(_descriptors(group), known)) for group in others
    )
    if len(known) < FEWEST_OTHERS:
        return Found(predicted, held_out, None)
    return Found(predicted, held_out, nearest_others(scale * pooled_distances(known, known)))


def _descriptors(volumes: Volumes) -> np.ndarray:
    return np.stack([descriptor(volume) for volume in volumes])


def _group(
    names: tuple[str, ...],
    training: tuple[str, ...],
    found: Neighbours,
    suspects: np.ndarray,
    power: int,
) -> ProbeGroup:
    """Statistics of a group, and its volumes with the nearest first."""
    ratios = root_ratios(found, power)
    rows = [
        NearestVolume(
            volume=names[i],
            nearest=training[found.nearest[i]],
            distance=float(found.distance[i]),
            second=training[found.second[i]],
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


def _by_training(group: ProbeGroup, training: ProbeGroup | None) -> float | None:
    """The mean of a group by that among training volumes; None where that is 0 or not measured."""
    return None if training is None or training.mean == 0 else group.mean / training.mean


def _leaks(held_out: ProbeGroup) -> Iterator[str]:
    for one in held_out.volumes:
        if one.suspect:
            yield (
                f"held-out volume {one.volume} is unusually near to training volume "
                f"{one.nearest}: is it the same subject? It makes the limits too strict or too "
                "loose"
            )


def _doubles(training: ProbeGroup | None) -> Iterator[str]:
    pairs = {
        tuple(sorted((one.volume, one.nearest)))
        for one in (training.volumes if training else ())
        if one.suspect
    }
    for first, second in sorted(pairs):
        yield (
            f"training volumes {first} and {second} are unusually near to each other: are they one "
            "subject? A noisy copy of one of them may go unseen"
        )


def _size(volumes: Volumes) -> str:
    return "x".join(map(str, volumes.shape))
