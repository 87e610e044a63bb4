"""A case on its way to the network: read, checked, prepared; or found to be done already."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, GeometryError, LiftnetError
from liftnet.core.geometry import Volume
from liftnet.core.request import Request
from liftnet.host.progress import say
from liftnet.host.text_table import counted, first_names
from liftnet.imageio.formats import format_of
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.models.training_facts import servable
from liftnet.pipeline.predict.case_check import (
    NAME_APART,
    case_doubts,
    check_mask,
    exchanged_sources,
    odd_pairs,
)
from liftnet.pipeline.predict.outputs import (
    Prepared,
    input_facts,
    is_finished,
    output_path,
    output_range,
    sampling_of,
)
from liftnet.pipeline.predict.source_files import note_sources
from liftnet.pipeline.predict.trajectories import case_facts, has_trajectory
from liftnet.pipeline.preprocess.preprocess import prepare, read_with_mask
from liftnet.pipeline.preprocess.subject import refuse_wrong_intensities
from liftnet.tasks import load_synthesis

__all__ = ["Asked", "prepare_case", "with_something_to_make"]

SHOWN = 4  # ours: names of cases, enough to see which they are


def with_something_to_make(
    cases: Sequence[Case], model: Model, wanted: Sequence[str] | None
) -> list[Case]:
    """The cases that lack a target, or all where targets were named; the others are told.

    Raises:
        DatasetError: If no case lacks one. Or the only one may be of several patients.
    """
    plan = model.plan
    lacking = [case for case in cases if wanted or not set(plan.targets) <= set(case.images)]
    whole = [case.identifier for case in cases if case not in lacking]
    again = "Name a contrast with --target to synthesize it anew from the others."
    if not lacking:
        if len(cases) == 1:  # two patients look like one case that lacks nothing
            _refuse_several_patients(cases[0], list(cases[0].images), model)
        raise DatasetError(
            f"No case lacks a contrast: all {len(cases)} have {', '.join(plan.targets)}"
            if len(cases) > 1
            else f"Case {whole[0]} lacks no contrast: it has {', '.join(plan.targets)}",
            where="-i",
            remedy=again,
        )
    if whole:
        say(
            f"{counted(len(whole), 'case')} skipped, nothing is missing: "
            f"{first_names(whole, SHOWN)}. {again}"
        )
    return lacking


@dataclass(frozen=True)
class Asked:
    """What is asked of every case of a call."""

    targets: Sequence[str] | None  # named by the user; None: what a case lacks
    root: Path  # of the input
    output: Path
    normalized: bool
    keep_finished: bool
    save_trajectory: bool
    alone: bool  # one case, whose images may be those of several patients


def prepare_case(case: Case, model: Model, asked: Asked) -> Prepared | None:
    """Read and prepare a case, or None if its outputs are there already."""
    plan = model.plan
    where = f"case {case.identifier}"
    present = [name for name in plan.channel_names if name in case.images]
    try:
        request = load_synthesis(plan.task).request(plan, present, asked.targets)
        request = servable(model.facts, request, asked=asked.targets is not None)
    except LiftnetError as error:
        error.where = where
        raise
    ending = format_of(case.images[request.given[0]]).written
    inputs = input_facts(case, request)
    if asked.keep_finished and _is_done(case, model, asked, request, inputs, ending):
        return None
    if asked.alone:
        _refuse_several_patients(case, present, model)
    volume, mask, dtypes = read_with_mask(case, request.given, plan, where=where)
    made_from = note_sources(case, request.given, asked.root, asked.output)
    if input_facts(case, request) != inputs:
        raise DatasetError(
            "A file of this case was replaced while it was read",
            where=where,
            remedy="Run the same command again when the files no longer change.",
        )
    _refuse_empty(volume, request.given, where)
    doubts = refuse_wrong_intensities(volume.voxels, request.given, plan)
    if mask is not None:
        doubts += check_mask(mask, volume.voxels, request.given, plan, where)
    done = prepare(volume, request.given, plan, mask)
    doubts += case_doubts(case, request.given, plan, model.facts, done.placement)
    doubts += odd_pairs(plan, model.facts, done.voxels, request.given)[0]
    doubts += exchanged_sources(plan, model.facts, done.voxels, request.given)
    full = np.zeros((len(plan.channels), *done.voxels.shape[1:]), dtype=np.float32)
    full[[plan.channel_names.index(name) for name in request.given]] = done.voxels
    return Prepared(
        case=case,
        request=request,
        voxels=full,
        mask=done.mask,
        placement=done.placement,
        shown=done.shown,
        ranges=done.ranges,
        dtypes=dtypes,
        ending=ending,
        inputs=inputs,
        made_from=made_from,
        warnings=tuple(doubts + done.warnings),
    )


def _is_done(
    case: Case,
    model: Model,
    asked: Asked,
    request: Request,
    inputs: dict[str, list[int]],
    ending: str,
) -> bool:
    """Whether everything asked of a case is there, made by these weights from these files."""
    if asked.save_trajectory and not has_trajectory(
        asked.output, case.identifier, model, case_facts(inputs, request)
    ):
        return False
    return all(
        is_finished(
            output_path(asked.output, model.plan, case.identifier, target, ending),
            {
                "model": model.digest,
                "inputs": inputs,
                "range": list(output_range(model.plan, target, asked.normalized)),
                "sampling": sampling_of(model),
            },
        )
        for target in request.made
    )


def _refuse_empty(volume: Volume, names: Sequence[str], where: str) -> None:
    """Refuse images that show nothing.

    Raises:
        DatasetError: If all are empty, or one is constant.
    """
    if not (volume.voxels > 0).any():
        raise DatasetError(
            "All source images are empty", where=where, remedy="Check the files of this case."
        )
    for name, image in zip(names, volume.voxels, strict=True):
        if image.min() == image.max():
            raise DatasetError(
                f"{name} is constant: all voxels are {image.min():g}",
                where=where,
                remedy="Check this file, or take it out of the folder.",
            )


def _refuse_several_patients(case: Case, present: Sequence[str], model: Model) -> None:
    """Refuse images that are named as one case and share what those of several patients do.

    Raises:
        LiftnetError: If no two of them share what training's did, or lie on one grid.
    """
    where = f"case {case.identifier}"
    if len(present) < 2:
        return
    try:
        volume, _, _ = read_with_mask(
            Case(case.identifier, case.images), present, model.plan, where=where
        )
    except GeometryError as error:
        error.remedy = f"{error.remedy} {NAME_APART}"
        raise
    voxels = prepare(volume, tuple(present), model.plan).voxels
    odd, known = odd_pairs(model.plan, model.facts, voxels, present)
    if odd and len(odd) == known:
        raise DatasetError(
            f"The images {', '.join(present)} do not seem to be of one patient: {odd[0]}",
            where=where,
            remedy=NAME_APART,
        )
