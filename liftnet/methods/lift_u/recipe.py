"""What LiFT-U decides."""

from dataclasses import dataclass

from liftnet.core.network_specs import (
    CriticSpec,
    DriftSpec,
    FeatureSpec,
    GeneratorSpec,
    MapperSpec,
    ResNetSpec,
)
from liftnet.core.recipe import Recipe, Schedule
from liftnet.core.storage.ranges import Amount, Weight

__all__ = ["LiftURecipe"]


@dataclass(frozen=True, kw_only=True)
class LiftURecipe(Recipe):
    """Features of slices, a slice generator with its critic, a depth mapper, and the drift."""

    features: FeatureSpec | ResNetSpec
    generator: GeneratorSpec
    critic: CriticSpec
    mapper: MapperSpec
    losses: dict[str, Weight]
    drift: DriftSpec
    slice_features: Schedule | None  # null where the features come from a file
    slice_generation: Schedule
    code_trajectories: Schedule
    depth_mapping: Schedule
    temperature: Amount = 1.0  # by which the latent of a generated volume is multiplied
    sigma_z: Amount = 0.0  # slices: how far its codes are smoothed along the slice axis
