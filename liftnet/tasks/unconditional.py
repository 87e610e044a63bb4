"""Unconditional generation: 3D volumes from random numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from liftnet.core.dataset import Channel, Dataset
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, Normalization, Plan
from liftnet.core.request import Request
from liftnet.metrics.protocols import cohort_protocols
from liftnet.ops import normalize
from liftnet.planning.consistency import check_plan, contradiction, in_box, refuse
from liftnet.planning.grid import GridChoice
from liftnet.planning.normalization import fixed_range, percentile_scale
from liftnet.planning.volume_grid import plan_volume_grids
from liftnet.tasks.base import GenerationTask

__all__ = ["TASK"]

LIMITS = (-1.0, 1.0)  # WDM, and LiFT Sec. 5.1 after it
LEAST_CASES = 8  # ours: the volumes of one step; fewer show no distribution


class UnconditionalGeneration(GenerationTask):
    """Volumes of one channel, all of one size, that vary as those of a dataset do."""

    name = "unconditional"
    summary = "generate volumes from random numbers"
    default_method = "lift_u"
    least_images = 1
    protocols = cohort_protocols.PROTOCOLS
    probed_by = "voxels"  # LiFT App. D

    def plans(
        self,
        dataset: Dataset,
        fingerprint: Fingerprint,
        budget: Budget,
        name: str,
        choice: GridChoice | None = None,
    ) -> Iterator[Plan]:
        """The paper's cube, the data's own spacing, then coarser and coarser grids.

        Raises:
            DatasetError: If it does not have exactly one channel, or too few cases.
        """
        channel = _only_channel(dataset)
        count = len(fingerprint.cases)
        if count < LEAST_CASES:
            raise DatasetError(
                f"Unconditional generation needs {LEAST_CASES} cases or more; there are {count}",
                where=str(dataset.folder),
                remedy="Add cases: a hundred show how brains differ, eight hardly.",
            )
        reasons: dict[str, str] = {}
        normalization = _plan_normalization(channel, fingerprint, reasons)
        any_ct = channel.modality == "CT"
        for found in plan_volume_grids(fingerprint, any_ct=any_ct, choice=choice):
            yield Plan(
                version=PLAN_VERSION,
                task=self.name,
                dataset=fingerprint.dataset,
                name=name,
                channels=(ChannelPlan(channel.name, channel.modality, normalization),),
                sources=(),
                targets=(channel.name,),
                source_dropout=0.0,
                grid=found.grid,
                seed=0,
                reasons={**reasons, **found.reasons},
                budget=budget,
            )

    def refresh(self, plan: Plan) -> Plan:
        """The plan with the size of its box, checked.

        Raises:
            PlanError: If channels and grid contradict each other.
        """
        if plan.grid.box is None or not plan.grid.pad_to_box:
            raise contradiction("grid.box must be a size and grid.pad_to_box true")
        plan = replace(plan, grid=in_box(plan.grid))
        names = plan.channel_names
        refuse({f"channels are {', '.join(names) or 'none'}; expected one": len(names) != 1})
        check_plan(plan)
        low, high = normalize.limits(plan.channels[0].normalization)
        spacing = plan.grid.spacing_mm
        refuse(
            {
                "sources must be empty: volumes are made from nothing": bool(plan.sources),
                f"the normalization of {names[0]} has no limits": not (
                    isfinite(low) and isfinite(high)
                ),
                f"grid.spacing_mm {spacing} is not isotropic": len(set(spacing)) != 1,
                "grid.mask must be none": plan.grid.mask != "none",
                "source_dropout must be 0: there are no sources": plan.source_dropout != 0,
            }
        )
        return plan

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether the case has the channel."""
        return plan.targets[0] in present

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """The channel, from nothing."""
        return Request((), plan.targets)


def _only_channel(dataset: Dataset) -> Channel:
    names = [channel.name for channel in dataset.channels]
    if len(names) == 1 and not dataset.targets:
        return dataset.channels[0]
    raise DatasetError(
        f"Unconditional generation takes one channel and no targets, not {', '.join(names)}",
        where=str(dataset.folder / "dataset.json"),
        remedy="List one channel under 'channels' and nothing under 'targets', and convert each "
        "contrast to a dataset of its own.",
    )


def _plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str]
) -> Normalization:
    """To [-1, 1], as the other generators of brains do."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=LIMITS)
    rule = percentile_scale(channel.name, fingerprint, reasons)
    reasons[f"channels.{channel.name}.normalization"] += "; to [-1, 1] (WDM)"
    return replace(rule, limits=LIMITS)


TASK = UnconditionalGeneration()
