"""The stage of this family, and what it has in common with synthesis."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.network_specs import TimeUNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.data.crops import Crop, Patch, Slab
from liftnet.data.example import Example, joined
from liftnet.data.scaling import scaled_sources, to_unit
from liftnet.data.store import Store
from liftnet.losses.reconstruction import weighted_mean
from liftnet.methods.base import Stage
from liftnet.methods.denoising.recipes import DenoisingRecipe, VolumeRecipe, process_of
from liftnet.methods.denoising.spaces import Bands, Slices, Space
from liftnet.networks.time_unet import TimeUNet
from liftnet.ops.compute.precision import autocast
from liftnet.ops.compute.transfer import to_device
from liftnet.ops.item_random import item_normal, item_uniform
from liftnet.ops.wavelet import BANDS, haar

__all__ = ["Denoiser", "Denoising", "Given", "ScaledDenoising", "code_size", "given_of", "rows_of"]

TIMES = 1000.0  # of the network's embedding, which is made for levels from 0 to 1000
TIME_STREAM, NOISE_STREAM = 9001, 9002  # of an item's random numbers; augmentation has others
SURVEYED = 16  # ours: training cases whose sub-bands are measured
EMPTY = 1e-6  # ours: a sub-band below this deviation keeps its scale


class Denoiser(nn.Module):
    """The network, and the scales of what it refines."""

    scales: Tensor

    def __init__(self, spec: TimeUNetSpec):
        super().__init__()
        self.unet = TimeUNet(spec)
        if spec.dimensions == 3:
            self.register_buffer("scales", Bands.published())

    def space(self) -> Space:
        """Where it refines images."""
        return Bands(self.scales) if self.unet.spec.dimensions == 3 else Slices()

    def forward(self, x: Tensor, sources: Tensor, times: Tensor, code: Tensor) -> Tensor:
        """What it says of x (N, C, ...) beside sources (N, S, ...) at times (N,) from 0 to 1."""
        said: Tensor = self.unet(torch.cat([x, sources], dim=1), TIMES * times, code)
        return said


def rows_of(plan: Plan) -> list[int]:
    """The sources that can ever be given: of a lone target that is a source, the others."""
    return [row for row, name in enumerate(plan.sources) if plan.targets != (name,)]


def code_size(plan: Plan) -> int:
    """The length of the code of what is given and wanted; 0 where that is always the same."""
    fixed = len(plan.targets) == 1 and plan.source_dropout == 0
    return 0 if fixed else len(rows_of(plan)) + len(plan.targets)


@dataclass(frozen=True)
class Given:
    """What a network is told of items (B, ...): as it refines them, and in [-1, 1]."""

    sources: Tensor
    mean: Tensor  # of the sources that are given
    code: Tensor  # (B, K)


def given_of(plan: Plan, example: Example, space: Space, wanted: Sequence[int]) -> Given:
    """What is known of items, of which each wants one target.

    Args:
        plan: whose channels they have.
        example: of B items.
        space: where images are refined.
        wanted: a target for each item.
    """
    rows = rows_of(plan)
    there = example.given[:, rows]
    scaled = scaled_sources(plan, example)[:, rows]
    count = there.sum(dim=1).clamp(min=1)[:, None, None, None, None]
    code = example.source.new_zeros(len(there), 0)
    if code_size(plan):
        targets = to_device(torch.eye(len(plan.targets))[list(wanted)], there.device)
        code = torch.cat([there, targets], dim=1)
    mean = scaled.sum(dim=1, keepdim=True) / count
    return Given(space.enter(scaled, there), space.enter(mean), code)


@dataclass(frozen=True)
class Denoising(Stage[None]):
    """The network says what an image is, or which way it lies, at random times of the process."""

    plan: Plan
    recipe: DenoisingRecipe
    name: str = "denoising"

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's."""
        return self.recipe.denoising

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """A box of a volume, or a slice."""
        return Patch(self.recipe.crop) if isinstance(self.recipe, VolumeRecipe) else Slab(1)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The network with random weights, whose answer is 0."""
        return Denoiser(self.recipe.network)

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The mean square of what the network says less what it is to say.

        Each item makes one of the targets that are asked for. Outside the mask, where the plan has
        one, errors count less, as for every method.
        """
        assert isinstance(network, Denoiser)
        items, space, process = joined(batch), network.space(), process_of(self.recipe)
        pairs = zip(items.made, items.seeds.tolist(), strict=True)
        wanted = [_chosen(made, seed) for made, seed in pairs]
        seeds = items.seeds.to(items.source.device)
        given = given_of(self.plan, items, space, wanted)
        targets = to_unit(self.plan, items.target)
        image = space.enter(torch.stack([targets[i, [row]] for i, row in enumerate(wanted)]))
        times = process.draw(item_uniform(seeds, TIME_STREAM))
        noise = item_normal(seeds, NOISE_STREAM, tuple(image.shape[1:]))
        with autocast(image.device):
            x = process.blend(image, given.mean, noise, times)
            said = network(x, given.sources, times, given.code)
        error = (said.float() - process.answer(image, given.mean, noise)).square()
        weights = None
        if items.mask.shape[1]:
            outside = self.recipe.losses["outside_mask"]
            weights = space.weights(outside + (1 - outside) * items.mask)
        return {"mse": self.recipe.losses["mse"] * weighted_mean(error, weights)}


def _chosen(made: Tensor, seed: int) -> int:
    """One of the targets that an item asks for."""
    asked = made.nonzero()[:, 0].tolist()
    return int(asked[seed % len(asked)])


@dataclass(frozen=True)
class ScaledDenoising(Denoising):
    """The same, with each sub-band divided by its deviation in training cases."""

    preparation: str = "Measure the sub-bands of training cases"

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Set the scales of the network: fine details so weigh as much as coarse shapes."""
        assert isinstance(network, Denoiser)
        names, every = self.plan.targets, max(1, len(training) // SURVEYED)
        rows = [self.plan.channel_names.index(name) for name in names]
        variances = []
        for case in sorted(training)[::every]:
            voxels = torch.from_numpy(np.asarray(store.voxels(case)[rows], np.float32))
            even = voxels[:, *(slice(n // 2 * 2) for n in voxels.shape[1:])]
            bands = haar((to_unit(self.plan, even[None]) + 1) / 2).unflatten(1, (-1, BANDS))[0]
            present = store.describe(case).present
            variances += [
                band.double().flatten(1).var(dim=1)
                for name, band in zip(names, bands, strict=True)
                if name in present
            ]
        deviations = torch.stack(variances).mean(dim=0).sqrt().float()
        kept = torch.where(deviations > EMPTY, deviations, Bands.published())
        network.scales.copy_(kept)
