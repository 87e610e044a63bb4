"""Stage 1 of task C: an axial 2D translator on single slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan, Schedule, TranslatorSpec
from liftnet.data.crops import Crop, Slab
from liftnet.data.example import Example, joined
from liftnet.data.store import Store
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.slab_groups import by_count, mean_terms
from liftnet.tasks.translation.losses import slice_loss, voxel_weights
from liftnet.tasks.translation.validation import validate

__all__ = ["STAGE", "SliceTranslation"]

STAGE = "slice_translation"


@dataclass(frozen=True)
class SliceTranslation(Stage):
    """Single slices of many volumes; the paper's "no mapper" network.

    Source: LiFT Sec. 5.3, Tab. 10.
    """

    plan: Plan
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """A slice (or a thin slab)."""
        return Slab(self.schedule.decoded_slices)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The 2D translator with random weights."""
        spec = self.plan.networks["translator"]
        assert isinstance(spec, TranslatorSpec)
        return VolumeTranslator(spec, None)

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Nothing: a step needs no more than its own cases."""

    def loss(
        self, network: nn.Module, batch: Sequence[Example], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """L1 and 1 - MS-SSIM, the mean over volumes."""
        groups = by_count(batch)
        terms = [self._group_loss(network, joined(group)) for group in groups]
        return mean_terms(terms, list(map(len, groups)))

    def _group_loss(self, network: nn.Module, slabs: Example) -> dict[str, Tensor]:
        """The terms of slabs of equally many slices."""
        assert isinstance(network, VolumeTranslator)
        items = len(slabs.source)
        with autocast(slabs.source.device):
            predicted = network(
                list(slabs.source.split(1)),
                slabs.given,
                starts=[0] * items,
                count=slabs.count,
                slice_batch=items,
            )
        weights = voxel_weights(slabs.mask, slabs.made, self.plan)
        return slice_loss(predicted.float(), slabs.target, weights, self.plan)

    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """The mean absolute error of whole volumes."""
        return validate(self.plan, network, store, cases)
