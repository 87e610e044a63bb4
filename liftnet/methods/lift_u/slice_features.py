"""Stage 0 of task A: features of slices, learned from the dataset itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.network_specs import FeatureSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.core.request import Request
from liftnet.data import crops
from liftnet.data.crops import Crop, Planes
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage, Validation
from liftnet.methods.lift_u.batches import PLANES, in_plane, slices_in
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.masked_autoencoder import MaskedAutoencoder
from liftnet.ops.compute.precision import autocast

__all__ = ["STAGE", "FeatureNetwork", "SliceFeatures"]

STAGE = "slice_features"
CHECKED = 12  # ours: slices per plane and case of a validation


class FeatureNetwork(nn.Module):
    """What stage 0 trains: `features`."""

    def __init__(self, spec: FeatureSpec):
        super().__init__()
        self.features = MaskedAutoencoder(spec)


@dataclass(frozen=True)
class SliceFeatures(Stage[None]):
    """A masked autoencoder on slices of all three planes.

    Differs: LiFT takes ResNet-18 trained on ImageNet, which a plan can do too.
    """

    augmented: ClassVar[bool] = False  # anatomy as it is
    plan: Plan
    recipe: LiftURecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        assert self.recipe.slice_features is not None  # else there is no such stage
        return self.recipe.slice_features

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """Slices of one volume, as many of each plane."""
        count = max(1, self.schedule.windows_per_volume // len(PLANES))
        return Planes(dict.fromkeys(PLANES, count))

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The masked autoencoder with random weights."""
        spec = self.recipe.features
        assert isinstance(spec, FeatureSpec)
        return FeatureNetwork(spec)

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The error of hidden patches, the mean over planes."""
        assert isinstance(network, FeatureNetwork)
        with autocast(generator.device):
            drawn = [in_plane(batch, plane) for plane in PLANES]
            errors = [network.features.loss(slices_in(one), one.seeds) for one in drawn]
        return {"hidden": torch.stack(errors).mean()}

    @torch.no_grad()
    def check(
        self,
        network: nn.Module,
        memory: None,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]],
    ) -> Validation:
        """The error of hidden patches in other volumes; the same ones each time."""
        assert isinstance(network, FeatureNetwork)
        device = next(network.parameters()).device
        crop = Planes(dict.fromkeys(PLANES, CHECKED))
        made = Request((), self.plan.targets)
        batch = [
            example.to(device)
            for i, case in enumerate(cases)
            for example in crops.draw(store, self.plan, made, crop, case, np.random.default_rng(i))
        ]
        errors = {}
        for plane in PLANES:
            drawn = in_plane(batch, plane)
            with autocast(device):
                errors[plane] = float(network.features.loss(slices_in(drawn), drawn.seeds))
        return Validation(float(np.mean(list(errors.values()))), "error", errors)
