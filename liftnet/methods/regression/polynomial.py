"""Least squares with a polynomial of the sources, for every pattern of sources that is given.

Moments of all products are added up once; each pattern is solved from its part of them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage
from liftnet.methods.regression.recipe import (
    ClosedForm,
    Fit,
    RegressionRecipe,
    Sums,
    pattern_of,
    present_rows,
)
from liftnet.ops import normalize
from liftnet.ops.chunks import Chunk

__all__ = ["Polynomial", "Regression", "features"]

MOST_SOURCES = 8  # ours: 256 patterns
MOST_VOXELS = 500_000  # ours: of a case; more change no digit that is shown


def features(sources: Tensor, degree: int) -> Tensor:
    """The regressors (F, ...) of sources (S, ...): 1, the sources, and for degree 2 their products.

    >>> features(torch.tensor([[2.0], [3.0]]), 2).ravel().tolist()
    [1.0, 2.0, 3.0, 4.0, 6.0, 9.0]
    """
    rows = [torch.ones_like(sources[:1]), sources]
    if degree == 2:
        count = len(sources)
        rows += [(sources[i] * sources[j])[None] for i in range(count) for j in range(i, count)]
    return torch.cat(rows)


def factors(count: int, degree: int) -> list[tuple[int, ...]]:
    """The sources that each regressor is a product of."""
    found: list[tuple[int, ...]] = [(), *((i,) for i in range(count))]
    if degree == 2:
        found += [(i, j) for i in range(count) for j in range(i, count)]
    return found


class Polynomial(nn.Module):
    """The weights of every pattern of sources: `weights` (P, T, F), `known` (P, T)."""

    def __init__(self, sources: int, targets: int, degree: int):
        super().__init__()
        self.degree = degree
        shape = (2**sources, targets, len(factors(sources, degree)))
        self.register_buffer("weights", torch.zeros(shape))
        self.register_buffer("known", torch.zeros(shape[:2]))
        self.weights: Tensor
        self.known: Tensor

    def forward(self, source: Tensor, pattern: int) -> Tensor:
        """Targets (T, D, H, W) of sources (S, D, H, W), 0 where one is not given."""
        regressors = features(source, self.degree)
        return torch.einsum("tf,fdhw->tdhw", self.weights[pattern], regressors)


class PolynomialFit(Fit):
    """Moments of all regressors and targets, kept apart by what the cases have."""

    def __init__(self, plan: Plan, recipe: RegressionRecipe, degree: int):
        super().__init__(plan, recipe)
        self.degree = degree

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Weights of nothing."""
        return Polynomial(len(self.plan.sources), len(self.plan.targets), self.degree)

    def add(self, sums: Sums, store: Store, case: str) -> None:
        """Add the moments of a case: (everywhere, present) -> sums.

        Where MR is made, of the voxels where a source is above its background; CT is fitted
        everywhere, air included.
        """
        plan, described = self.plan, store.describe(case)
        rows = [plan.channel_names.index(name) for name in (*plan.sources, *plan.targets)]
        voxels = torch.from_numpy(np.asarray(store.voxels(case), np.float64)[rows]).flatten(1)
        number, present = len(plan.sources), present_rows(plan, described.present)
        # Stored air is this number to within one step of its type.
        air = np.array(normalize.background_values(plan, described.ranges), np.float16)
        above = np.nextafter(air, np.float16(np.inf)).astype(np.float64)[rows[:number], None]
        subject = (voxels[:number] > torch.from_numpy(above)).any(dim=0)
        for everywhere in {_everywhere(plan, name) for name in plan.targets}:
            some = voxels if everywhere else voxels[:, subject]
            some = some[:, :: max(1, -(-some.shape[1] // MOST_VOXELS))]
            both = torch.cat([features(some[:number], self.degree), some[number:]])
            moments, key = (both @ both.T).numpy(), (everywhere, present.tobytes())
            sums[key] = sums[key] + moments if key in sums else moments

    def solve(self, sums: Sums, network: nn.Module) -> None:
        """The weights of every pattern and target that some case has together."""
        assert isinstance(network, Polynomial)
        plan, number = self.plan, len(self.plan.sources)
        products = factors(number, self.degree)
        for pattern in range(1, 2**number):
            given = [bool(pattern >> bit & 1) for bit in range(number)]
            used = [f for f, parts in enumerate(products) if all(given[i] for i in parts)]
            for t, target in enumerate(plan.targets):
                if target in plan.sources and given[plan.sources.index(target)]:
                    continue
                total = self._of_all(sums, given, number + t, _everywhere(plan, target))
                if total is None:
                    continue
                wanted = total[used, len(products) + t]
                found = np.linalg.lstsq(total[np.ix_(used, used)], wanted)[0]
                network.weights[pattern, t, used] = torch.from_numpy(found).to(network.weights)
                network.known[pattern, t] = 1

    def _of_all(
        self, sums: Sums, given: Sequence[bool], target: int, everywhere: bool
    ) -> np.ndarray | None:
        """The moments of all cases that have these sources and the target, if there are any."""
        needed = np.array([*given, *([False] * len(self.plan.targets))])
        needed[target] = True
        found = [
            moments
            for (where, key), moments in sums.items()
            if where == everywhere and not (needed & ~np.frombuffer(key, bool)).any()
        ]
        return np.sum(found, axis=0) if found else None


def _everywhere(plan: Plan, target: str) -> bool:
    """Whether a target is fitted outside the subject, too."""
    return plan.channel(target).modality == "CT"


class Regression(ClosedForm):
    """A polynomial of the sources, voxel by voxel."""

    degree: int

    def unfit(self, plan: Plan) -> str | None:
        """It needs sources, and no more than it has patterns for."""
        count = len(plan.sources)
        if not 1 <= count <= MOST_SOURCES:
            return f"it takes 1 to {MOST_SOURCES} sources, the plan has {count}"
        return None

    @property
    def why(self) -> str:  # type: ignore[override]
        """The recipe is as it is."""
        return f"least squares, degree {self.degree}; every pattern of sources (ours)"

    def stages(self, plan: Plan, recipe: RegressionRecipe) -> tuple[Stage[None], ...]:
        """One fit."""
        return (PolynomialFit(plan, recipe, self.degree),)

    def synthesize(
        self,
        plan: Plan,
        recipe: RegressionRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """All targets (T, D, H, W) from what is given.

        Raises:
            DatasetError: If no training case has a wanted target together with these sources.
        """
        assert isinstance(network, Polynomial)
        pattern = pattern_of(example.given[0].bool().tolist())
        known = network.known[pattern].bool().tolist()
        for name, wanted, fitted in zip(plan.targets, example.made[0].tolist(), known, strict=True):
            if wanted and not fitted:
                raise DatasetError(
                    f"No training case has {name} together with all sources of this case",
                    remedy="Give this case fewer sources.",
                )
        return _made(network, example, chunk, pattern)

    def supposed_synthesis(
        self,
        plan: Plan,
        recipe: RegressionRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """The same from all sources, for a case that has no values."""
        return _made(network, example, chunk, pattern=-1)


def _made(network: nn.Module, example: Example, chunk: Chunk, pattern: int) -> Tensor:
    """All targets (T, D, H, W) from the sources of a pattern."""
    source = example.source[0] * example.given[0][:, None, None, None]
    return torch.cat([network(part, pattern) for part in source.split(chunk.size, dim=1)], 1)
