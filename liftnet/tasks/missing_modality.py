"""Missing modality: the MR contrasts that a case lacks, from those it has."""

from collections.abc import Iterator, Sequence
from math import log10

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from liftnet.core.dataset import Channel, Dataset, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, Normalization, Plan
from liftnet.core.request import Request
from liftnet.data.example import Example
from liftnet.metrics.protocols import mr_protocols
from liftnet.ops import normalize
from liftnet.planning.consistency import check_plan, refuse
from liftnet.planning.grid import GridChoice, plan_grid
from liftnet.planning.normalization import fixed_range, percentile_scale
from liftnet.tasks.base import SynthesisTask

__all__ = ["TASK"]


class MissingModality(SynthesisTask):
    """One model serves any pattern of missing contrasts; a plan may fix the target instead.

    Every channel is in [0, 1], and 0 is air.
    """

    name = "missing_modality"
    summary = "synthesize absent MR contrasts from those present"
    default_method = "lift"
    least_images = 2  # a source and a target
    protocols = mr_protocols.PROTOCOLS
    probed_by = "blocks"  # LiFT App. D

    def plans(
        self,
        dataset: Dataset,
        fingerprint: Fingerprint,
        budget: Budget,
        name: str,
        choice: GridChoice | None = None,
    ) -> Iterator[Plan]:
        """One plan: slices cropped to the foreground where the background is zero."""
        channels = dataset.channels
        if len(channels) < 2:
            raise DatasetError(
                "Missing-modality synthesis needs at least two channels",
                where=str(dataset.folder / "dataset.json"),
                remedy="List every contrast under 'channels'.",
            )
        if dataset.targets:
            raise DatasetError(
                "Missing-modality synthesis has no targets of its own",
                where=str(dataset.folder / "dataset.json"),
                remedy="List every contrast under 'channels', or make the task 'translation'.",
            )
        reasons: dict[str, str] = {}
        crop = fingerprint.foreground == "nonzero"
        grid = plan_grid(fingerprint, reasons, crop=crop, choice=choice)
        names = tuple(channel.name for channel in channels)
        reasons |= {
            "targets": "every contrast can be the missing one: one model for any pattern (ours; "
            "LiFT trains one model per contrast: set targets to one name for that)",
            "source_dropout": "most steps hide one contrast (LiFT Sec. 5.2), a quarter a random "
            "number of them, so that any pattern is served (ours)",
        }
        yield Plan(
            version=PLAN_VERSION,
            task=self.name,
            dataset=fingerprint.dataset,
            name=name,
            channels=tuple(
                ChannelPlan(c.name, c.modality, plan_normalization(c, fingerprint, reasons))
                for c in channels
            ),
            sources=names,
            targets=names,
            source_dropout=0.25,
            grid=grid,
            seed=0,
            reasons=reasons,
            budget=budget,
        )

    def refresh(self, plan: Plan) -> Plan:
        """The plan as it is, checked."""
        check_plan(plan)
        ranges = {c.name: normalize.limits(c.normalization) for c in plan.channels}
        scaled = [name for name, limits in ranges.items() if limits != (0.0, 1.0)]
        refuse(
            {
                "there is no source": not plan.sources,
                f"{', '.join(scaled)} must be normalized to limits 0 and 1: 0 is the background of "
                "this task": bool(scaled),
                "every channel must be a source of this task": plan.sources != plan.channel_names,
                "grid.mask must be none and grid.box null: this task finds the subject in the "
                "sources": plan.grid.mask != "none" or plan.grid.box is not None,
            }
        )
        return plan

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether the case has a target, and a source beside it."""
        return len(present) > 1 and bool(set(present) & set(plan.targets))

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """Some contrasts made from the others: at least one target, and a source is kept.

        One target is hidden always, as the paper's protocol has it; with probability
        `source_dropout` a random number of others too, each count equally likely.
        """
        targets = [name for name in present if name in plan.targets]
        first = targets[rng.integers(len(targets))]
        others = [name for name in present if name != first]
        hidden = {first}
        if len(others) > 1 and rng.random() < plan.source_dropout:
            count = int(rng.integers(1, len(others)))
            hidden |= set(rng.permutation(others)[:count].tolist())
        given = tuple(name for name in present if name not in hidden)
        return Request(given, tuple(name for name in plan.targets if name in hidden))

    def request(self, plan: Plan, present: Sequence[str], wanted: Sequence[str] | None) -> Request:
        """The absent contrasts that the plan can make, or the wanted ones."""
        for name in wanted or ():
            require_channel(name, list(plan.targets))
        sources = [n for n in plan.channel_names if n in present and n not in (wanted or ())]
        targets = [n for n in plan.targets if (n in wanted if wanted else n not in present)]
        if not sources:
            raise DatasetError(
                "No source contrast is left to synthesize from",
                remedy="Give at least one contrast that is not a target.",
            )
        if not targets:
            raise DatasetError(
                "No contrast is missing: " + ", ".join(present),
                remedy="Name one with --target to synthesize it anew from the others.",
            )
        return Request(tuple(sources), tuple(targets))

    def finish(self, plan: Plan, made: Tensor, example: Example) -> Tensor:
        """Clipped to [0, 1]; zero wherever every source is zero.

        Source: LiFT Sec. 5.2 (predictions are clipped to [0, 1]).
        Differs: the mask comes from the sources; the paper takes it from the target.
        """
        given = example.given[0].bool()[:, None, None, None]
        return made.clamp(0, 1) * ((example.source[0] > 0) & given).any(dim=0)

    def checked_requests(self, plan: Plan, present: Sequence[str]) -> list[Request]:
        """Each target from all other contrasts."""
        if len(present) < 2:
            return []
        return [
            Request(tuple(name for name in present if name != target), (target,))
            for target in plan.targets
            if target in present
        ]

    def judge(self, plan: Plan, target: str, made: Tensor, reference: Tensor) -> float:
        """The PSNR (dB) of a volume in [0, 1]."""
        return -10 * log10(max(float(F.mse_loss(made, reference)), 1e-12))

    def judged_by(self, plan: Plan) -> tuple[str, int]:
        """The PSNR, where more is better."""
        return "psnr", -1


def plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str]
) -> Normalization:
    """How one channel gets to [0, 1] and back."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=(0.0, 1.0))
    return percentile_scale(channel.name, fingerprint, reasons)


TASK = MissingModality()
