"""LiFT-U: volumes from random numbers."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.plan import Plan
from liftnet.methods.base import Method, Stage
from liftnet.methods.lift_u import rules
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE, DepthMapping
from liftnet.methods.lift_u.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.methods.lift_u.generation import (
    codes_of,
    describe_volume,
    generate_volume,
    latent_of,
)
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.methods.lift_u.slice_features import SliceFeatures
from liftnet.methods.lift_u.slice_generation import SliceGeneration
from liftnet.networks.volume_generator import VolumeGenerator

__all__ = ["METHOD"]


class LiftU(Method[LiftURecipe]):
    """A frozen slice generator, lifted to volumes by a depth mapper."""

    label = "LiFT-U"
    summary = "slice generator lifted to volumes by a depth mapper trained with drift"
    serves = "volumes from nothing"
    paper = "LiFT, Sec. 4.1, 5.1"
    recipe = LiftURecipe

    def unfit(self, plan: Plan) -> str | None:
        """It makes one channel from nothing, in a box."""
        if plan.sources:
            return "it makes volumes from nothing, and has no use for sources"
        if len(plan.targets) != 1 or plan.grid.box is None:
            return "it makes one channel in volumes of one size"
        return None

    def decide(self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool) -> LiftURecipe:
        """All its decisions under a plan."""
        weights = plan.budget.feature_weights
        file = None if weights is None else Path(weights)
        return rules.decide(plan, len(fingerprint.cases), file, squeeze=squeeze)

    def refresh(self, plan: Plan, recipe: LiftURecipe, *, estimate: bool = True) -> LiftURecipe:
        """The recipe with its sizes and its memory estimate brought up to date."""
        return rules.refresh(plan, recipe, estimate=estimate)

    def stages(self, plan: Plan, recipe: LiftURecipe) -> tuple[Stage[Any], ...]:
        """Features (unless they come from a file), slices, trajectories of codes, volumes."""
        features: tuple[Stage[Any], ...] = ()
        if recipe.slice_features is not None:
            features = (SliceFeatures(plan, recipe),)
        return (
            *features,
            SliceGeneration(plan, recipe),
            DepthMapping(plan, recipe, CODE_STAGE),
            DepthMapping(plan, recipe, DEPTH_STAGE),
        )

    def latent(self, plan: Plan, recipe: LiftURecipe, seed: int, number: int) -> Tensor:
        """The latent (L,) of one volume."""
        return latent_of(recipe.mapper, seed, number)

    def generate(
        self,
        plan: Plan,
        recipe: LiftURecipe,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """A volume (D, H, W) in network units."""
        assert isinstance(network, VolumeGenerator)
        size = recipe.inference.slice_batch
        return generate_volume(
            plan, size, network, latent, temperature=temperature, sigma_z=sigma_z
        )

    def codes(
        self,
        plan: Plan,
        recipe: LiftURecipe,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """The code of every slice (D, code size)."""
        assert isinstance(network, VolumeGenerator)
        return codes_of(plan, network, latent, temperature=temperature, sigma_z=sigma_z)

    def describe(
        self, plan: Plan, recipe: LiftURecipe, network: nn.Module, volume: Tensor
    ) -> Tensor:
        """The mean features of its slices in three planes."""
        assert isinstance(network, VolumeGenerator)
        return describe_volume(plan, recipe.inference.slice_batch, network, volume)

    def feature_name(self, plan: Plan, recipe: LiftURecipe) -> str:
        """The encoder, and how its features become one vector."""
        trained = "ImageNet ResNet-18"
        if not isinstance(recipe.features, ResNetSpec):
            trained = f"masked autoencoder of {plan.dataset}"
        return f"{trained}, mean over slices of three planes"


METHOD = LiftU()
