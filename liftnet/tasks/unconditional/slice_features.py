"""Stage 0 of task A: features of slices, learned from the dataset itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.plan import FeatureSpec, Plan, Schedule
from liftnet.data.store import Store, StoredCase
from liftnet.networks.masked_autoencoder import MaskedAutoencoder
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.unconditional.batches import PLANES, SliceBatch, draw_slices, joined

__all__ = ["STAGE", "FeatureNetwork", "SliceFeatures"]

STAGE = "slice_features"
CHECKED = 12  # ours: slices per plane and case of a validation


class FeatureNetwork(nn.Module):
    """What stage 0 trains: `features`."""

    def __init__(self, spec: FeatureSpec):
        super().__init__()
        self.features = MaskedAutoencoder(spec)


@dataclass(frozen=True)
class SliceFeatures(Stage[SliceBatch]):
    """A masked autoencoder on slices of all three planes.

    Differs: LiFT takes ResNet-18 trained on ImageNet, which a plan can do too.
    """

    plan: Plan
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The masked autoencoder with random weights."""
        spec = self.plan.networks["features"]
        assert isinstance(spec, FeatureSpec)
        return FeatureNetwork(spec)

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Nothing: a step needs no more than its own cases."""

    def accepts(self, case: StoredCase) -> bool:
        """Whether the case has the channel."""
        return self.plan.targets[0] in case.present

    def draw(
        self, store: Store, case: str, rng: np.random.Generator, *, thinnest: int | None = None
    ) -> SliceBatch:
        """Slices of one volume, as many of each plane."""
        count = max(1, self.schedule.windows_per_volume // len(PLANES))
        return draw_slices(self.plan, store, case, rng, dict.fromkeys(PLANES, count))

    def loss(
        self, network: nn.Module, batches: Sequence[SliceBatch], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The error of hidden patches, the mean over planes."""
        assert isinstance(network, FeatureNetwork)
        with autocast(generator.device):
            errors = [
                network.features.loss(joined(batches, p), joined(batches, p, "seeds"))
                for p in PLANES
            ]
        return {"hidden": torch.stack(errors).mean()}

    @torch.no_grad()
    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """The error of hidden patches in other volumes; the same ones each time."""
        assert isinstance(network, FeatureNetwork)
        device = next(network.parameters()).device
        batches = [
            draw_slices(
                self.plan, store, case, np.random.default_rng(i), dict.fromkeys(PLANES, CHECKED)
            ).to(device)
            for i, case in enumerate(cases)
        ]
        errors = {}
        for plane in PLANES:
            seeds = joined(batches, plane, "seeds")
            with autocast(device):
                errors[plane] = float(network.features.loss(joined(batches, plane), seeds))
        return Validation(float(np.mean(list(errors.values()))), "error", errors)
