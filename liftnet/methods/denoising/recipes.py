"""What the methods of this family decide."""

from dataclasses import dataclass
from typing import Annotated, Literal

from liftnet.core.network_specs import TimeUNetSpec
from liftnet.core.recipe import Recipe, Schedule
from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Size, Weight
from liftnet.methods.denoising.processes import (
    Bridge,
    Diffusion,
    Flow,
    FlowFromSource,
    NoisyBridge,
    Process,
    Regression,
)

__all__ = ["PROCESSES", "DenoisingRecipe", "Objective", "SliceRecipe", "VolumeRecipe", "process_of"]

Objective = Literal["diffusion", "flow", "flow_from_source", "bridge", "selfrdb", "regression"]
PROCESSES: dict[str, type[Process]] = {
    "diffusion": Diffusion,
    "flow": Flow,
    "flow_from_source": FlowFromSource,
    "bridge": Bridge,
    "selfrdb": NoisyBridge,
    "regression": Regression,
}


@dataclass(frozen=True, kw_only=True)
class DenoisingRecipe(Recipe):
    """A network, the way that it has learned, and how."""

    objective: Objective
    levels: Size  # of noise that training draws from, of a diffusion or a bridge
    network: TimeUNetSpec
    losses: dict[str, Weight]
    denoising: Schedule

    @property
    def draws(self) -> bool:
        """Whether a case has several possible results."""
        return self.sampling is not None and process_of(self).is_random(self.sampling.sampler)


@dataclass(frozen=True, kw_only=True)
class SliceRecipe(DenoisingRecipe):
    """Slices one by one."""


@dataclass(frozen=True, kw_only=True)
class VolumeRecipe(DenoisingRecipe):
    """Haar sub-bands of volumes."""

    crop: Annotated[tuple[int, int, int], Between(0, 2**16)]  # voxels that a step sees
    bands: Literal["published", "scaled"]  # LLL / 3; or each by its deviation in training cases


def process_of(recipe: DenoisingRecipe) -> Process:
    """The way that a recipe's network has learned."""
    return PROCESSES[recipe.objective](recipe.levels)
