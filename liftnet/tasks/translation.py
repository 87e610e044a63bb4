"""Translation: source channels into others, such as MR into CT in Hounsfield units."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from liftnet.core.dataset import Channel, Dataset, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, Grid, Normalization, Plan
from liftnet.core.request import Request
from liftnet.data.example import Example
from liftnet.metrics.protocols import by_modality
from liftnet.ops import normalize
from liftnet.planning.consistency import check_plan, in_box, refuse
from liftnet.planning.grid import GridChoice, plan_grid
from liftnet.planning.normalization import fixed_range, percentile_scale, z_score
from liftnet.tasks.base import SynthesisTask

__all__ = ["TASK"]

CT_LIMITS = (-1.0, 1.0)  # LiFT Sec. 5.3


class Translation(SynthesisTask):
    """Any source channels to any target channels; CT in Hounsfield units."""

    name = "translation"
    summary = "translate MR into CT, or any channels into others"
    default_method = "lift"
    least_images = 2  # a source and a target
    protocols = by_modality.PROTOCOLS
    probed_by = "hu"  # LiFT App. D

    def plans(
        self,
        dataset: Dataset,
        fingerprint: Fingerprint,
        budget: Budget,
        name: str,
        choice: GridChoice | None = None,
    ) -> Iterator[Plan]:
        """One plan: whole volumes under a mask of the body."""
        sources, targets = dataset.sources, dataset.targets
        if not sources or not targets:
            raise DatasetError(
                "Translation needs a source and a target",
                where=str(dataset.folder / "dataset.json"),
                remedy="List sources under 'channels' and what is to be made under 'targets'.",
            )
        reasons: dict[str, str] = {}
        grid = plan_paired_grid(sources, targets, fingerprint, reasons, choice)
        reasons |= {
            "source_dropout": "with several sources a quarter of the steps hides some, so that a "
            "case may lack them (ours)",
        }
        yield Plan(
            version=PLAN_VERSION,
            task=self.name,
            dataset=fingerprint.dataset,
            name=name,
            channels=tuple(
                ChannelPlan(
                    c.name,
                    c.modality,
                    plan_normalization(c, fingerprint, reasons, target=c in targets),
                )
                for c in (*sources, *targets)
            ),
            sources=tuple(c.name for c in sources),
            targets=tuple(c.name for c in targets),
            source_dropout=0.25 if len(sources) > 1 else 0.0,
            grid=grid,
            seed=0,
            reasons=reasons,
            budget=budget,
        )

    def refresh(self, plan: Plan) -> Plan:
        """The plan with the size of its box, checked.

        Raises:
            PlanError: If channels, targets and grid contradict each other.
        """
        plan = replace(plan, grid=in_box(plan.grid))
        check_plan(plan)
        both = sorted(set(plan.sources) & set(plan.targets))
        free = [
            name
            for name in plan.targets
            if abs(normalize.limits(plan.channel(name).normalization)[0]) == float("inf")
        ]
        refuse(
            {
                "there is no source": not plan.sources,
                f"{', '.join(both)} is both source and target": bool(both),
                f"target {', '.join(free)} is a z-score, which has no limits": bool(free),
                "grid.mask must be body": plan.grid.mask != "body",
            }
        )
        return plan

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether the case has a source and a target."""
        return bool(set(present) & set(plan.sources)) and bool(set(present) & set(plan.targets))

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """All targets that the case has from all its sources, or now and then from fewer.

        With probability `source_dropout` a random number is hidden, each count equally likely, and
        at least one is kept: so that a model of several sources serves cases that lack some.
        """
        given = [name for name in plan.sources if name in present]
        hidden: set[str] = set()
        if len(given) > 1 and rng.random() < plan.source_dropout:
            hidden = set(rng.permutation(given)[: rng.integers(1, len(given))].tolist())
        return Request(
            tuple(name for name in given if name not in hidden),
            tuple(name for name in plan.targets if name in present),
        )

    def request(self, plan: Plan, present: Sequence[str], wanted: Sequence[str] | None) -> Request:
        """All targets, or the wanted ones."""
        for name in wanted or ():
            require_channel(name, list(plan.targets))
        sources = tuple(name for name in plan.sources if name in present)
        if not sources:
            raise DatasetError(
                "The case has no source image",
                remedy=f"Give one of {', '.join(plan.sources)}.",
            )
        return Request(sources, tuple(n for n in plan.targets if wanted is None or n in wanted))

    def finish(self, plan: Plan, made: Tensor, example: Example) -> Tensor:
        """Within the limits of each target."""
        limits = [normalize.limits(plan.channel(name).normalization) for name in plan.targets]
        low, high = (
            torch.tensor(ends, device=made.device).view(-1, 1, 1, 1)
            for ends in zip(*limits, strict=True)
        )
        return torch.clamp(made, low, high)

    def checked_requests(self, plan: Plan, present: Sequence[str]) -> list[Request]:
        """All targets that the case has from all its sources."""
        sources = tuple(name for name in plan.sources if name in present)
        return [Request(sources, tuple(name for name in plan.targets if name in present))]

    def judge(self, plan: Plan, target: str, made: Tensor, reference: Tensor) -> float:
        """The mean absolute error: in HU if all targets are CT, else in units of the range.

        Source: LiFT App. F (checkpoints by validation MAE).
        """
        rule = plan.channel(target).normalization
        low, high = normalize.limits(rule)
        error = float((made - reference).abs().mean()) / (high - low)
        span = normalize.written_range(rule)
        return error * (span[1] - span[0] if _in_hu(plan) else 1.0)

    def judged_by(self, plan: Plan) -> tuple[str, int]:
        """The mean absolute error."""
        return ("mae_hu" if _in_hu(plan) else "mae"), 1


def _in_hu(plan: Plan) -> bool:
    return all(plan.channel(name).modality == "CT" for name in plan.targets)


def plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str], *, target: bool
) -> Normalization:
    """How a channel gets to network units and back; a target has limits to be clipped to."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=CT_LIMITS)
    rule = percentile_scale if target else z_score
    return rule(channel.name, fingerprint, reasons)


def plan_paired_grid(
    sources: Sequence[Channel],
    targets: Sequence[Channel],
    fingerprint: Fingerprint,
    reasons: dict[str, str],
    choice: GridChoice | None,
) -> Grid:
    """The whole volume; cropped to the foreground only where MR follows skull-stripped MR."""
    any_ct = any(c.modality == "CT" for c in (*sources, *targets))
    crop = fingerprint.foreground == "nonzero" and not any_ct
    grid = plan_grid(fingerprint, reasons, crop=crop, mask="body", choice=choice)
    reasons |= {
        "grid.mask": "from masksTr where given, else the body in the sources (Otsu, largest "
        "piece, holes filled: SynthRAD2023); weighs the loss",
        "grid.box": "null: the whole volume (ours). LiFT Sec. 5.3: [128, 128, 128] at 1 mm "
        "about the mask's centre, which cuts off part of a head",
    }
    if any(c.modality == "CT" for c in sources):
        reasons["grid.foreground"] = "CT has no zero background: Otsu threshold"
        return replace(grid, foreground="otsu")
    return grid


TASK = Translation()
