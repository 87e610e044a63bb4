"""Task A, LiFT-U: generate 3D volumes from random numbers."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from liftnet.core.dataset import Dataset
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan, ResNetSpec
from liftnet.core.request import Request
from liftnet.metrics import cohort_protocols
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.tasks.base import Budget, GenerationTask, Stage
from liftnet.tasks.unconditional import rules
from liftnet.tasks.unconditional.depth_mapping import CODE_STAGE, DepthMapping
from liftnet.tasks.unconditional.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.tasks.unconditional.generation import (
    codes_of,
    describe_volume,
    generate_volume,
    latent_of,
)
from liftnet.tasks.unconditional.slice_features import SliceFeatures
from liftnet.tasks.unconditional.slice_generation import SliceGeneration

__all__ = ["TASK"]


class UnconditionalGeneration(GenerationTask):
    """A frozen slice generator, lifted to volumes by a depth mapper."""

    name = "unconditional"
    summary = "generate volumes from random numbers (LiFT-U)"
    least_images = 1
    protocols = cohort_protocols.PROTOCOLS

    def plan(self, dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
        """All decisions for a dataset."""
        return rules.make_plan(dataset, fingerprint, budget, name)

    def refresh(self, plan: Plan, *, estimate: bool = True) -> Plan:
        """The plan with its memory estimate brought up to date."""
        return rules.refresh(plan, estimate=estimate)

    def run_name(self, *, mapper: bool) -> str:
        """There is no variant without the mapper: without it there is no volume."""
        return "lift_u"

    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Stage, ...]:
        """Features (unless they come from a file), slices, trajectories of codes, volumes.

        Raises:
            PlanError: If the mapper is to be left out.
        """
        if not mapper:
            raise PlanError(
                f"Task '{self.name}' has no variant without the mapper",
                remedy="Leave out --no-mapper: without a mapper there is no volume.",
            )
        features: tuple[Stage, ...] = (SliceFeatures(plan),)
        if isinstance(plan.networks["features"], ResNetSpec):
            features = ()
        return (
            *features,
            SliceGeneration(plan),
            DepthMapping(plan, CODE_STAGE),
            DepthMapping(plan, DEPTH_STAGE),
        )

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether the case has the channel."""
        return plan.targets[0] in present

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """The channel from nothing."""
        return Request((), plan.targets)

    def latent(self, plan: Plan, seed: int, number: int) -> Tensor:
        """The latent (L,) of one volume."""
        return latent_of(plan, seed, number)

    def generate(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """A volume (D, H, W) in network units."""
        assert isinstance(network, VolumeGenerator)
        return generate_volume(plan, network, latent, temperature=temperature, sigma_z=sigma_z)

    def trajectory(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """The code of every slice (D, code size)."""
        assert isinstance(network, VolumeGenerator)
        return codes_of(plan, network, latent, temperature=temperature, sigma_z=sigma_z)

    def describe(self, plan: Plan, network: nn.Module, volume: Tensor) -> Tensor:
        """The mean features of its slices in three planes."""
        assert isinstance(network, VolumeGenerator)
        return describe_volume(plan, network, volume)

    def feature_name(self, plan: Plan) -> str:
        """The encoder, and how its features become one vector."""
        trained = "ImageNet ResNet-18"
        if not isinstance(plan.networks["features"], ResNetSpec):
            trained = f"masked autoencoder of {plan.dataset}"
        return f"{trained}, mean over slices of three planes"


TASK = UnconditionalGeneration()
