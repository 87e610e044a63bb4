"""The joint form: U-Net and z-context mixer together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liftnet.core.recipe import Schedule, schedules
from liftnet.data.crops import Crop, Slab, Windows
from liftnet.data.example import Example
from liftnet.losses.slabs import slab_loss
from liftnet.methods.base import Stage
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.methods.lift.slab_groups import mean_of_groups, mean_terms
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.compute.precision import autocast

__all__ = [
    "SLICE_STAGE",
    "STAGE",
    "ContextTranslation",
]

STAGE = "context_translation"
SLICE_STAGE = "slice_translation"


@dataclass(frozen=True)
class ContextTranslation(Stage[None]):
    """All slices of a volume give context, a contiguous slab is decoded and supervised.

    Source: LiFT Sec. 5.2, App. F.
    Differs: a short training first trains the translator alone, on thin slabs of many subjects,
        in a stage of the same form without context ("slice_translation").
    """

    recipe: JointRecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        return schedules(self.recipe)[self.name]

    @property
    def has_context(self) -> bool:
        """Whether slices outside the slab are needed."""
        return self.recipe.mixer is not None and self.name == STAGE

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """The whole volume, where the slices outside the slab give context."""
        count = self.schedule.decoded_slices
        return Windows(count, 1, "centre") if self.has_context else Slab(count, "centre")

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network, with the best translator of the stage before."""
        mixer = self.recipe.mixer if self.has_context else None
        network = VolumeTranslator(self.recipe.translator, mixer)
        if previous is not None:
            assert isinstance(previous, VolumeTranslator)
            network.translator.load_state_dict(previous.translator.state_dict())
        return network

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The three weighted terms of Eq. 9 on the decoded slabs, the mean over volumes."""
        return mean_of_groups(batch, lambda group: self._group_loss(network, group))

    def _group_loss(self, network: nn.Module, batch: Sequence[Example]) -> dict[str, Tensor]:
        """The terms of volumes whose slabs have equally many slices."""
        assert isinstance(network, VolumeTranslator)
        count = batch[0].count
        with autocast(batch[0].source.device):
            decoded = network(
                [example.source for example in batch],
                torch.cat([example.given for example in batch]),
                starts=[example.windows[0] for example in batch],
                count=count,
                slice_batch=self.recipe.inference.slice_batch,
            )
        compared: dict[int, list[tuple[Tensor, Tensor]]] = {}  # by the number of channels
        for example, slab in zip(batch, decoded.split(1), strict=True):
            span = slice(example.windows[0], example.windows[0] + count)
            subject = (example.source[:, :, span] > 0).any(dim=1, keepdim=True)
            outputs = example.made[0].nonzero()[:, 0].tolist()
            target = torch.stack([example.target[:, i, span] for i in outputs], dim=1)
            predicted = torch.stack([slab[:, i] for i in outputs], dim=1).float() * subject
            compared.setdefault(len(outputs), []).append((predicted, target))
        terms = []
        for group in compared.values():
            predicted, target = (torch.cat(part) for part in zip(*group, strict=True))
            terms.append(slab_loss(predicted, target, self.recipe.losses))
        return mean_terms(terms, list(map(len, compared.values())))
