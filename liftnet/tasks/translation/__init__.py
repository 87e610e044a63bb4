"""Task C, LiFT-C in two stages: translate source channels into others, such as MR into CT."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from liftnet.core.dataset import Dataset, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Inference, Plan
from liftnet.core.request import Request
from liftnet.core.scores import CaseScore, Compared, Comparison
from liftnet.tasks import context_path
from liftnet.tasks.base import Budget, Stage, SynthesisTask
from liftnet.tasks.translation import rules, scoring, synthesis
from liftnet.tasks.translation.residual_context import ResidualContext
from liftnet.tasks.translation.slice_translation import SliceTranslation

__all__ = ["TASK"]


class Translation(SynthesisTask):
    """Any source channels to any target channels; CT in Hounsfield units."""

    name = "translation"
    summary = "translate MR into CT, or any channels into others (LiFT-C, two stages)"
    least_images = 2  # a source and a target
    protocols = scoring.PROTOCOLS

    def plan(self, dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
        """All decisions for a dataset."""
        return rules.make_plan(dataset, fingerprint, budget, name)

    def refresh(self, plan: Plan, *, estimate: bool = True) -> Plan:
        """The plan with its derived values brought up to date."""
        return rules.refresh(plan, estimate=estimate)

    def run_name(self, *, mapper: bool) -> str:
        """One run: the ablation is its first stage."""
        return "lift_c"

    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Stage, ...]:
        """The 2D translator, and on top of it, frozen, context and residual."""
        first = SliceTranslation(plan)
        return (first, ResidualContext(plan)) if mapper else (first,)

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
        """Targets (T, D, H, W) in network units."""
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
        return scoring.as_compared(comparison, protocol)

    def score_case(self, comparison: Comparison, protocol: str) -> CaseScore:
        """The metrics of one predicted target."""
        return scoring.score_case(comparison, protocol)


TASK = Translation()
