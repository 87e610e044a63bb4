"""Stage 1 of task C: an axial 2D translator on single slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan, Schedule, TranslatorSpec
from liftnet.data.store import Store, StoredCase
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.slab_groups import by_count, mean_terms
from liftnet.tasks.translation.batches import WindowBatch, augmented, draw_windows
from liftnet.tasks.translation.losses import slice_loss, voxel_weights
from liftnet.tasks.translation.validation import has_source_and_target, validate

__all__ = ["STAGE", "SliceTranslation"]

STAGE = "slice_translation"


@dataclass(frozen=True)
class SliceTranslation(Stage[WindowBatch]):
    """Single slices of many volumes; the paper's "no mapper" network.

    Source: LiFT Sec. 5.3, Tab. 10.
    """

    plan: Plan
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The 2D translator with random weights."""
        spec = self.plan.networks["translator"]
        assert isinstance(spec, TranslatorSpec)
        return VolumeTranslator(spec, None)

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Nothing: a step needs no more than its own cases."""

    def accepts(self, case: StoredCase) -> bool:
        """Whether the case has a source and a target."""
        return has_source_and_target(self.plan, case)

    def draw(
        self, store: Store, case: str, rng: np.random.Generator, *, thinnest: int | None = None
    ) -> WindowBatch:
        """A slice (or a thin slab) at a random height."""
        return draw_windows(
            self.plan,
            store,
            case,
            rng,
            windows=1,
            count=self.schedule.decoded_slices,
            whole=False,
            thinnest=thinnest,
        )

    def loss(
        self, network: nn.Module, batches: Sequence[WindowBatch], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """L1 and 1 - MS-SSIM, the mean over volumes."""
        groups = by_count(batches)
        terms = [self._group_loss(network, group) for group in groups]
        return mean_terms(terms, list(map(len, groups)))

    def _group_loss(self, network: nn.Module, batches: Sequence[WindowBatch]) -> dict[str, Tensor]:
        """The terms of volumes whose slabs have equally many slices."""
        assert isinstance(network, VolumeTranslator)
        batch = joined(batches)
        source, target, mask = augmented(batch, self.plan)
        with autocast(source.device):
            predicted = network(
                list(source.split(1)),
                batch.given,
                starts=[0] * len(source),
                count=source.shape[2],
                slice_batch=len(source),
            )
        weights = voxel_weights(mask, batch.supervised, self.plan)
        return slice_loss(predicted.float(), target, weights, self.plan)

    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """The mean absolute error of whole volumes."""
        return validate(self.plan, network, store, cases)


def joined(batches: Sequence[WindowBatch]) -> WindowBatch:
    """Slabs of one shape as one batch (B, ...)."""

    def join(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    return replace(
        batches[0],
        case=", ".join(batch.case for batch in batches),
        source=join("source"),
        target=join("target"),
        mask=join("mask"),
        air=join("air"),
        given=join("given"),
        supervised=join("supervised"),
        seeds=join("seeds"),
    )
