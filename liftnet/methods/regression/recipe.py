"""What the closed forms decide, and the stage in which they are fitted."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Recipe, Schedule
from liftnet.data.crops import Crop, Nothing
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.host.progress import progress
from liftnet.methods.base import Method, Stage, Synthesizes, countable
from liftnet.planning.cost import estimated, synthesis_gib
from liftnet.planning.schedule import closed_form

__all__ = ["ClosedForm", "Fit", "RegressionRecipe", "Sums", "pattern_of", "present_rows"]

SLICES = 16  # ours: at a time; more are not faster


@dataclass(frozen=True, kw_only=True)
class RegressionRecipe(Recipe):
    """One pass over the training cases."""

    fit: Schedule  # without a step


class ClosedForm(Method[RegressionRecipe]):
    """A method whose one stage is a `Fit`."""

    serves = "images from images"
    paper = ""
    recipe = RegressionRecipe
    closed_form = True
    why: str  # it is as it is

    def decide(self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool) -> RegressionRecipe:
        """Nothing but the pass over the cases."""
        budget = plan.budget
        recipe = RegressionRecipe(
            augmentation=None,
            inference=Inference(min(SLICES, plan.grid.num_slices), "one"),
            memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            reasons={"fit": self.why},
            fit=closed_form(),
        )
        return self.refresh(plan, recipe)

    def refresh(
        self, plan: Plan, recipe: RegressionRecipe, *, estimate: bool = True
    ) -> RegressionRecipe:
        """The recipe with the memory of a volume; the fit takes none of the device's."""
        if not estimate:
            return recipe
        assert isinstance(self, Synthesizes)
        gib = synthesis_gib(plan, recipe, self.stages(plan, recipe)[-1], countable(self))
        return estimated(recipe, gib, gib)


Sums = dict[Any, np.ndarray]  # what cases have shown


class Fit(Stage[None]):
    """A stage that finds all that its network is in one look at the training cases."""

    name = "fit"
    crop: Crop = Nothing()
    augmented: ClassVar[bool] = False
    preparation: ClassVar[str] = ""  # it has a bar of its own

    def __init__(self, plan: Plan, recipe: RegressionRecipe):
        self.plan = plan
        self.schedule = recipe.fit

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Add up what the cases show, and solve for the network's tables."""
        sums: Sums = {}
        with progress("Fit", len(training)) as advance:
            for case in training:
                self.add(sums, store, case)
                advance()
        self.solve(sums, network)

    @abstractmethod
    def add(self, sums: Sums, store: Store, case: str) -> None:
        """Add what a case shows."""

    @abstractmethod
    def solve(self, sums: Sums, network: nn.Module) -> None:
        """Set the network's tables from what all cases have shown."""

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """A closed form takes no step."""
        raise AssertionError("expected no step of a closed form")


def pattern_of(given: Sequence[bool]) -> int:
    """The number of a pattern of given sources: the first is the lowest bit.

    >>> pattern_of([True, False, True])
    5
    """
    return sum(1 << bit for bit, there in enumerate(given) if there)


def present_rows(plan: Plan, present: Sequence[str]) -> np.ndarray:
    """Whether each source, and then each target, is there: bool (S + T,)."""
    return np.array([name in present for name in (*plan.sources, *plan.targets)])
