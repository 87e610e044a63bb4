"""Stage 2 of task C: z-context and a residual on top of the frozen translator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec, Plan, ResidualSpec, Schedule, TranslatorSpec
from liftnet.data.store import Store, StoredCase
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.slab_groups import by_count, mean_terms
from liftnet.tasks.translation.batches import (
    WindowBatch,
    augmented,
    draw_windows,
    take_windows,
)
from liftnet.tasks.translation.losses import residual_loss, voxel_weights
from liftnet.tasks.translation.validation import has_source_and_target, validate

__all__ = ["STAGE", "ResidualContext"]

STAGE = "residual_context"


@dataclass(frozen=True)
class ResidualContext(Stage[WindowBatch]):
    """All slices give context, three-slice windows are decoded, corrected and supervised.

    Source: LiFT Sec. 5.3, App. F.
    """

    plan: Plan
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Mixer and head anew, the best translator of stage 1, frozen.

        It is the one that predicts without the mapper, so the two differ by the context alone.
        """
        networks = self.plan.networks
        translator, mixer, residual = (networks[k] for k in ("translator", "mixer", "residual"))
        assert isinstance(translator, TranslatorSpec)
        assert isinstance(mixer, MixerSpec) and isinstance(residual, ResidualSpec)
        network = ResidualTranslator(translator, mixer, residual)
        if previous is not None:
            assert isinstance(previous, VolumeTranslator)
            network.translator.load_state_dict(previous.translator.state_dict())
        return network

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
        """A whole volume, and windows at random heights."""
        return draw_windows(
            self.plan,
            store,
            case,
            rng,
            windows=self.schedule.windows_per_volume,
            count=self.schedule.decoded_slices,
            whole=True,
            thinnest=thinnest,
        )

    def loss(
        self, network: nn.Module, batches: Sequence[WindowBatch], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Charbonnier, residual magnitude and spatial-gradient L1 of the windows."""
        groups = by_count(batches)
        terms = [self._group_loss(network, group) for group in groups]
        return mean_terms(terms, list(map(len, groups)))

    def _group_loss(self, network: nn.Module, batches: Sequence[WindowBatch]) -> dict[str, Tensor]:
        """The terms of volumes whose slabs have equally many slices."""
        assert isinstance(network, ResidualTranslator)
        device = batches[0].source.device
        volumes = [augmented(batch, self.plan) for batch in batches]
        count = batches[0].count
        conditions = torch.cat([batch.given for batch in batches])
        with autocast(device):
            baseline, correction = network(
                [source for source, _, _ in volumes],
                conditions,
                starts=[batch.starts for batch in batches],
                count=count,
                slice_batch=self.plan.inference.slice_batch,
            )
        targets, weights = [], []
        for batch, (_, target, mask) in zip(batches, volumes, strict=True):
            weight = voxel_weights(mask, batch.supervised, self.plan)
            targets.append(take_windows(target, batch.starts, count))
            weights.append(take_windows(weight, batch.starts, count))
        return residual_loss(
            baseline.float(), correction.float(), torch.cat(targets), torch.cat(weights), self.plan
        )

    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """The mean absolute error of whole volumes."""
        return validate(self.plan, network, store, cases)
