"""The one training stage of task B: U-Net and z-context mixer together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec, Plan, Schedule, TranslatorSpec
from liftnet.core.request import Request
from liftnet.data.crops import Crop, Slab, Windows
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.losses.reconstruction import l1, ms_ssim_loss
from liftnet.losses.through_plane import delta_z_l1
from liftnet.metrics.sharpness import known_means, sharpness_in_plane
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.missing_modality.synthesis import synthesize
from liftnet.tasks.slab_groups import by_count, mean_terms

__all__ = [
    "SLICE_STAGE",
    "STAGE",
    "ContextTranslation",
    "build_network",
    "slab_loss",
]

STAGE = "context_translation"
SLICE_STAGE = "slice_translation"


def build_network(plan: Plan, *, mapper: bool) -> VolumeTranslator:
    """The plan's network with random weights; without the mapper, the paper's ablation."""
    translator = plan.networks["translator"]
    mixer = plan.networks["mixer"]
    assert isinstance(translator, TranslatorSpec) and isinstance(mixer, MixerSpec)
    return VolumeTranslator(translator, mixer if mapper else None)


@dataclass(frozen=True)
class ContextTranslation(Stage):
    """All slices of a volume give context, a contiguous slab is decoded and supervised.

    Source: LiFT Sec. 5.2, App. F.
    Differs: a short training first trains the translator alone, on thin slabs of many subjects,
        in a stage of the same form without context ("slice_translation").
    """

    plan: Plan
    mapper: bool
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    @property
    def has_context(self) -> bool:
        """Whether slices outside the slab are needed."""
        return self.mapper and self.name == STAGE

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """The whole volume, where the slices outside the slab give context."""
        count = self.schedule.decoded_slices
        return Windows(count, 1, "centre") if self.has_context else Slab(count, "centre")

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network, with the best translator of the stage before."""
        network = build_network(self.plan, mapper=self.has_context)
        if previous is not None:
            assert isinstance(previous, VolumeTranslator)
            network.translator.load_state_dict(previous.translator.state_dict())
        return network

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Nothing: a step needs no more than its own cases."""

    def loss(
        self, network: nn.Module, batch: Sequence[Example], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The three weighted terms of Eq. 9 on the decoded slabs, the mean over volumes."""
        groups = by_count(batch)
        terms = [self._group_loss(network, group) for group in groups]
        return mean_terms(terms, list(map(len, groups)))

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
                slice_batch=self.plan.inference.slice_batch,
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
            terms.append(slab_loss(predicted, target, self.plan.losses))
        return mean_terms(terms, list(map(len, compared.values())))

    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """Minus the mean PSNR (dB) over whole volumes, each contrast made from all others."""
        device = next(network.parameters()).device
        scores: dict[str, list[float]] = {}
        sharpness: dict[str, list[float]] = {}
        images: dict[str, np.ndarray] = {}
        for case in cases:
            present = store.describe(case).present
            voxels = torch.from_numpy(np.asarray(store.voxels(case), np.float32))
            brain = (voxels > 0).any(dim=0).numpy()
            for target in self.plan.targets:
                if target not in present or len(present) < 2:
                    continue
                request = Request(tuple(n for n in present if n != target), (target,))
                predicted = synthesize(
                    self.plan, [network], voxels.to(device), request, [0.0] * len(voxels)
                )[0].cpu()
                reference = voxels[self.plan.channel_names.index(target)]
                mse = float(F.mse_loss(predicted, reference))
                scores.setdefault(target, []).append(-10 * log10(max(mse, 1e-12)))
                sharpness.setdefault(target, []).append(
                    sharpness_in_plane(predicted.numpy(), reference.numpy(), brain, axis=0)
                )
                if not images:
                    images = {
                        name: voxels[self.plan.channel_names.index(name)].numpy()
                        for name in request.given
                    }
                    images |= {
                        f"{target} predicted": predicted.numpy(),
                        f"{target} reference": reference.numpy(),
                    }
        means = {target: float(np.mean(values)) for target, values in scores.items()}
        score = -float(np.mean(list(means.values())))
        return Validation(score, "psnr", means, images, sharpness=known_means(sharpness))


def slab_loss(predicted: Tensor, target: Tensor, weights: dict[str, float]) -> dict[str, Tensor]:
    """The weighted terms of LiFT Eq. 9 for slabs (B, C, n, H, W) in [0, 1], float32."""
    terms = {"l1": l1(predicted, target), "ms_ssim": ms_ssim_loss(predicted, target)}
    single = (
        target.shape[2] == 1
    )  # has no neighbours; the term stays, for processes that share a step
    terms["delta_z"] = predicted.new_zeros(()) if single else delta_z_l1(predicted, target)
    return {name: weights[name] * term for name, term in terms.items() if weights[name] > 0}
