"""What methods that make images from images have in common: how they are sized and checked."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.data.scaling import have_limits
from liftnet.methods.base import AnyRecipe, Method, Synthesizes
from liftnet.planning.cost import estimated, largest_that_fits, synthesis_gib, training_gib

__all__ = ["Paired"]


class Paired(Method[AnyRecipe]):
    """Targets between limits, from one source or more; sizes are measured, not computed."""

    serves = "images from images"

    def unfit(self, plan: Plan) -> str | None:
        """It needs sources, and targets with limits."""
        if not plan.sources:
            return "it needs one source or more"
        return None if have_limits(plan) else "its targets need limits"

    def decide(self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool) -> AnyRecipe:
        """The first of its sizes whose training step fits the memory."""
        recipe = largest_that_fits(plan, self.sizes(plan), partial(self.stages, plan))
        return self.refresh(plan, recipe)

    @abstractmethod
    def sizes(self, plan: Plan) -> Sequence[AnyRecipe]:
        """Its recipes, best first; from the third on, none needs more than the one before."""

    @abstractmethod
    def check(self, plan: Plan, recipe: AnyRecipe) -> None:
        """Refuse a recipe whose parts contradict each other.

        Raises:
            PlanError: Naming the contradiction.
        """

    def refresh(self, plan: Plan, recipe: AnyRecipe, *, estimate: bool = True) -> AnyRecipe:
        """The recipe, checked, with its memory estimate."""
        self.check(plan, recipe)
        if not estimate:
            return recipe
        assert isinstance(self, Synthesizes)
        stages = self.stages(plan, recipe)
        prediction = synthesis_gib(plan, recipe, stages[-1], self.synthesize)
        return estimated(recipe, training_gib(plan, recipe, stages), prediction)
