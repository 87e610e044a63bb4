"""Task B, LiFT-C: synthesize the MR contrasts that a case lacks from those it has."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from liftnet.core.dataset import Dataset, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Inference, Plan
from liftnet.core.request import Request
from liftnet.core.scores import CaseScore, Compared, Comparison
from liftnet.metrics import mr_protocols
from liftnet.tasks import context_path
from liftnet.tasks.base import Budget, Stage, SynthesisTask
from liftnet.tasks.missing_modality import rules, synthesis
from liftnet.tasks.missing_modality.context_translation import (
    SLICE_STAGE,
    STAGE,
    ContextTranslation,
)

__all__ = ["TASK"]


class MissingModality(SynthesisTask):
    """One model serves any pattern of missing contrasts; a plan may fix the target instead."""

    name = "missing_modality"
    summary = "synthesize absent MR contrasts from those present (LiFT-C)"
    least_images = 2  # a source and a target
    protocols = mr_protocols.PROTOCOLS

    def plan(self, dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
        """All decisions for a dataset."""
        return rules.make_plan(dataset, fingerprint, budget, name)

    def refresh(self, plan: Plan, *, estimate: bool = True) -> Plan:
        """The plan with its memory estimate brought up to date."""
        return rules.refresh(plan, estimate=estimate)

    def run_name(self, *, mapper: bool) -> str:
        """Each variant is trained on its own."""
        return "lift_c" if mapper else "no_mapper"

    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Stage, ...]:
        """Both parts together; in a short training the translator first."""
        return tuple(
            ContextTranslation(plan, mapper, name)
            for name in (SLICE_STAGE, STAGE)
            if name in plan.stages
        )

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

    def synthesize(
        self,
        plan: Plan,
        networks: Sequence[nn.Module],
        source: Tensor,
        request: Request,
        background: Sequence[float],
        *,
        notice: Callable[[Inference], None] | None = None,
    ) -> Tensor:
        """Targets (T, D, H, W) in [0, 1]."""
        return synthesis.synthesize(plan, networks, source, request, background, notice=notice)

    def trajectory(
        self,
        plan: Plan,
        network: nn.Module,
        source: Tensor,
        request: Request,
        background: Sequence[float],
    ) -> Tensor:
        """The context vector of every slice (D, 2 hidden)."""
        return context_path.trajectory(plan, network, source, request, background)

    def as_compared(self, comparison: Comparison, protocol: str) -> Compared:
        """Both images as the protocol compares them."""
        return mr_protocols.as_compared(comparison, protocol)

    def score_case(self, comparison: Comparison, protocol: str) -> CaseScore:
        """The metrics of one predicted contrast."""
        return mr_protocols.score_case(comparison, protocol)


TASK = MissingModality()
