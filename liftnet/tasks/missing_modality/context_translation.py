"""The one training stage of task B: U-Net and z-context mixer together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.augment.apply import augment
from liftnet.core.plan import MixerSpec, Plan, Schedule, TranslatorSpec
from liftnet.data.store import Store, StoredCase
from liftnet.losses.reconstruction import l1, ms_ssim_loss
from liftnet.losses.through_plane import delta_z_l1
from liftnet.metrics.sharpness import known_means, sharpness_in_plane
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.depth import draw_starts
from liftnet.ops.in_plane import fit_in_plane
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Batch, Request, Stage, Validation, draw_seeds
from liftnet.tasks.missing_modality.synthesis import synthesize
from liftnet.tasks.slab_groups import by_count, mean_terms

__all__ = [
    "SLICE_STAGE",
    "STAGE",
    "ContextTranslation",
    "SlabBatch",
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
class SlabBatch(Batch):
    """One volume of a training step: what of it is given, and what is decoded.

    Attributes:
        volume: (1, C, D, H, W), in the plan's channel order and in [0, 1].
        given: (1, C), 1 for channels that are a source.
        seeds: (1,) for what is random in a step.
        start: the first decoded slice.
        count: how many are decoded.
        supervised: channels that the loss compares.
    """

    volume: Tensor
    given: Tensor
    seeds: Tensor
    start: int
    count: int
    supervised: tuple[int, ...]


@dataclass(frozen=True)
class ContextTranslation(Stage[SlabBatch]):
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

    def accepts(self, case: StoredCase) -> bool:
        """Whether the case has a target, and a source beside it."""
        return len(case.present) > 1 and bool(set(case.present) & set(self.plan.targets))

    def draw(
        self, store: Store, case: str, rng: np.random.Generator, *, thinnest: int | None = None
    ) -> SlabBatch:
        """A whole volume with some contrasts hidden, and a slab at a random height."""
        plan = self.plan
        described = store.describe(case)
        hidden = draw_hidden(plan, described.present, rng)
        supervised = tuple(
            i for i, name in enumerate(plan.channel_names) if name in hidden & set(plan.targets)
        )
        present = tuple(
            name in described.present and name not in hidden for name in plan.channel_names
        )
        depth = described.shape[0]
        count = min(self.schedule.decoded_slices, depth, thinnest or depth)
        (start,) = draw_starts(rng, depth, count, 1)
        span = slice(None)
        if not self.has_context:
            span, start = slice(start, start + count), 0
        background = [0.0] * len(plan.channels)
        voxels = fit_in_plane(store.slab(case, span), plan.grid.in_plane, background)
        given = torch.tensor([present], dtype=torch.float32)
        return SlabBatch(case, voxels[None], given, draw_seeds(1, rng), start, count, supervised)

    def loss(
        self, network: nn.Module, batches: Sequence[SlabBatch], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The three weighted terms of Eq. 9 on the decoded slabs, the mean over volumes."""
        groups = by_count(batches)
        terms = [self._group_loss(network, group) for group in groups]
        return mean_terms(terms, list(map(len, groups)))

    def _group_loss(self, network: nn.Module, batches: Sequence[SlabBatch]) -> dict[str, Tensor]:
        """The terms of volumes whose slabs have equally many slices."""
        assert isinstance(network, VolumeTranslator)
        device = batches[0].volume.device
        conditions = torch.cat([batch.given for batch in batches])
        pairs = augmented(batches, self.plan)
        count = batches[0].count
        with autocast(device):
            decoded = network(
                [source for source, _ in pairs],
                conditions,
                starts=[batch.start for batch in batches],
                count=count,
                slice_batch=self.plan.inference.slice_batch,
            )
        compared: dict[int, list[tuple[Tensor, Tensor]]] = {}  # by the number of channels
        for batch, (source, whole), slab in zip(batches, pairs, decoded.split(1), strict=True):
            span = slice(batch.start, batch.start + count)
            subject = (source[:, :, span] > 0).any(dim=1, keepdim=True)
            target = torch.stack([whole[:, i, span] for i in batch.supervised], dim=1)
            outputs = [
                self.plan.targets.index(self.plan.channel_names[i]) for i in batch.supervised
            ]
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
                        for name in request.sources
                    }
                    images |= {
                        f"{target} predicted": predicted.numpy(),
                        f"{target} reference": reference.numpy(),
                    }
        means = {target: float(np.mean(values)) for target, values in scores.items()}
        score = -float(np.mean(list(means.values())))
        return Validation(score, "psnr", means, images, sharpness=known_means(sharpness))


def augmented(batches: Sequence[SlabBatch], plan: Plan) -> list[tuple[Tensor, Tensor]]:
    """Sources, and all channels as targets, of each volume, all slices of it moved alike.

    Volumes of one shape go through at once.
    """
    alike = len({batch.volume.shape for batch in batches}) == 1
    pairs = []
    for group in [batches] if alike else [[batch] for batch in batches]:
        volume = torch.cat([batch.volume for batch in group])
        given = torch.cat([batch.given for batch in group])[:, :, None, None, None]
        seeds = torch.cat([batch.seeds for batch in group])
        source, target = augment(volume * given, volume, plan.augmentation, seeds)
        pairs += list(zip(source.split(1), target.split(1), strict=True))
    return pairs


def draw_hidden(plan: Plan, present: Sequence[str], rng: np.random.Generator) -> set[str]:
    """The contrasts to hide in one step: at least one target, and at least one source is kept.

    One target is hidden always, as the paper's protocol has it; with probability
    `source_dropout` a random number of others too, each count equally likely.
    """
    targets = [name for name in present if name in plan.targets]
    first = targets[rng.integers(len(targets))]
    others = [name for name in present if name != first]
    hidden = {first}
    if len(others) > 1 and rng.random() < plan.source_dropout:
        count = int(rng.integers(1, len(others)))
        hidden |= set(rng.permutation(others)[:count].tolist())
    return hidden


def slab_loss(predicted: Tensor, target: Tensor, weights: dict[str, float]) -> dict[str, Tensor]:
    """The weighted terms of LiFT Eq. 9 for slabs (B, C, n, H, W) in [0, 1], float32."""
    terms = {"l1": l1(predicted, target), "ms_ssim": ms_ssim_loss(predicted, target)}
    single = (
        target.shape[2] == 1
    )  # has no neighbours; the term stays, for processes that share a step
    terms["delta_z"] = predicted.new_zeros(()) if single else delta_z_l1(predicted, target)
    return {name: weights[name] * term for name, term in terms.items() if weights[name] > 0}
