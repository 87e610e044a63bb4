"""Stage 1 of task A: the slice generator, principal components refined against a critic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import CriticSpec, FeatureSpec, GeneratorSpec, ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.data.crops import Crop, Planes
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.losses.adversarial import with_frozen
from liftnet.methods.base import Stage, Validation
from liftnet.methods.lift_u.batches import in_plane, real_volume, slices_in
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.metrics.similarity import psnr
from liftnet.networks.features import ResNet18, load_resnet18
from liftnet.networks.slice_generator import PatchDiscriminator, SliceGenerator
from liftnet.networks.volume_generator import feature_maps, make_features
from liftnet.ops import normalize
from liftnet.ops.compute.precision import autocast
from liftnet.ops.compute.processes import mean_over_ranks
from liftnet.ops.compute.transfer import to_device
from liftnet.ops.item_random import item_normal, item_uniform

__all__ = ["STAGE", "GeneratorNetwork", "SliceGeneration", "adversarial_terms", "feature_error"]

STAGE = "slice_generation"
COMPONENT_NUMBERS = 2**27  # ours: half a GiB of slices to find the components in
DISTURBANCE = 1.0  # ours: as much as real codes differ
MIXED = 64  # ours: volumes in a mixture; more look the same
SHARES, STRENGTH = 2, 3  # streams of random numbers; the augmentation has those from 1000 on


class GeneratorNetwork(nn.Module):
    """What stage 1 trains: `generator` and `critic`; `features` are frozen."""

    def __init__(
        self, features: FeatureSpec | ResNetSpec, generator: GeneratorSpec, critic: CriticSpec
    ):
        super().__init__()
        self.features = make_features(features)
        self.generator = SliceGenerator(generator)
        self.critic = PatchDiscriminator(critic.widths, spectral=False)


@dataclass(frozen=True)
class SliceGeneration(Stage[Tensor]):
    """Slices from their own codes, disturbed by those of others, with L1, features and a critic.

    The mapper will give codes between those of real slices, which the components alone show as
    ghosts of several brains. So codes are disturbed by random mixtures of what other volumes have
    at the same depth, and the generator learns to give the slice that was disturbed.

    Source: LiFT Sec. 4.1, Tab. 10 (Adam 2e-4, 128 axial slices).
    Differs: the paper names neither architecture nor loss. Slices that have codes give what the
        mapper can start from, and a ceiling that can be measured.
    """

    preparation: ClassVar[str] = "finds the components and codes of all training slices"
    plan: Plan
    recipe: LiftURecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        return self.recipe.slice_generation

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """Slices of one volume along the slice axis."""
        return Planes({self.plan.grid.slice_axis: self.schedule.windows_per_volume})

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Generator and critic with random weights, over the best features of stage 0."""
        recipe = self.recipe
        network = GeneratorNetwork(recipe.features, recipe.generator, recipe.critic)
        if previous is not None:
            network.features.load_state_dict(previous.features.state_dict())  # type: ignore[union-attr]
        return network

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> Tensor:
        """The codes (N, D, c) of all training volumes.

        Finds the principal components, if the generator has none that it was trained with.

        Reads a feature network that was trained elsewhere.
        """
        assert isinstance(network, GeneratorNetwork)
        if not network.generator.components.any():
            network.generator.fit(self._some_slices(store, training))
        device = network.generator.mean.device
        volumes = (np.array(real_volume(self.plan, store, c), np.float32) for c in training)
        codes = torch.stack(
            [network.generator.encode(torch.from_numpy(v).to(device)[:, None]) for v in volumes]
        )
        spec = self.recipe.features
        if isinstance(spec, ResNetSpec):
            assert isinstance(network.features, ResNet18)
            trained = load_resnet18(Path(spec.weights), sha256=spec.sha256)
            network.features.load_state_dict(trained.state_dict())
        return codes

    def supposed(self) -> Tensor:
        """The codes without values."""
        depth, size = self.plan.grid.num_slices, self.recipe.generator.code_size
        return torch.empty(MIXED, depth, size, device="meta")

    def _some_slices(self, store: Store, training: Sequence[str]) -> Tensor:
        """Slices (N, 1, H, W), evenly from all training volumes, that fit the memory."""
        rows, columns = self.plan.grid.in_plane
        most = COMPONENT_NUMBERS // (rows * columns)
        step = -(-len(training) * self.plan.grid.num_slices // most)
        parts = [
            np.asarray(real_volume(self.plan, store, case)[i % step :: step], np.float32)
            for i, case in enumerate(training)
        ]
        return torch.from_numpy(np.concatenate(parts))[:, None]

    def loss(
        self,
        network: nn.Module,
        memory: Tensor,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """L1, features, and both sides of a critic.

        The critic's share is not weighted as such: its gradient at the slices has
        `losses.adversarial` times the size of that of L1 and features together.
        """
        assert isinstance(network, GeneratorNetwork)
        weights = self.recipe.losses
        drawn = in_plane(batch, self.plan.grid.slice_axis)
        real = slices_in(drawn)
        codes = network.generator.encode(real) + self._disturbance(memory, drawn, generator)
        with autocast(real.device):
            made = network.generator(codes)
        terms = {
            "l1": weights["l1"] * F.l1_loss(made, real),
            "features": weights["features"] * feature_error(network.features, made, real),
        }
        if weights["adversarial"] > 0:
            terms |= adversarial_terms(
                network.critic, made, real, terms["l1"] + terms["features"], weights["adversarial"]
            )
        return terms

    def _disturbance(self, all_codes: Tensor, drawn: Example, generator: torch.Generator) -> Tensor:
        """Offsets (n, c): at each depth a random mixture of volumes, less their mean.

        With the covariance of the real codes at that depth, times a random square of at most
        `DISTURBANCE`.
        """
        device = generator.device
        seeds = to_device(drawn.seeds, all_codes.device)
        depths = to_device(torch.tensor(drawn.windows), all_codes.device)
        order = torch.randperm(len(all_codes), generator=generator, device=device)
        known = all_codes[order[:MIXED, None], depths]
        shares = item_normal(seeds, SHARES, (len(known),)).T
        strength = DISTURBANCE * item_uniform(seeds, STRENGTH)
        weights = shares * strength / math.sqrt(len(known))
        return torch.einsum("vn,vnc->nc", weights, known - known.mean(dim=0))

    @torch.no_grad()
    def check(
        self,
        network: nn.Module,
        memory: Tensor,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]],
    ) -> Validation:
        """L1 and features of whole volumes from their own codes: the ceiling of all that follows.

        "sharpness" is the size of in-plane differences relative to the real ones; "components"
        the peak signal-to-noise ratio (dB) of the components alone.
        """
        assert isinstance(network, GeneratorNetwork)
        device = next(network.parameters()).device
        low, high = normalize.limits(self.plan.channel(self.plan.targets[0]).normalization)
        scores, details = [], []
        images: dict[str, np.ndarray] = {}
        for case in cases:
            voxels = np.array(real_volume(self.plan, store, case), np.float32)
            real = torch.from_numpy(voxels).to(device)
            plain = network.generator.project(network.generator.encode(real[:, None]))[:, 0]
            chunks, errors = [], []
            for chunk in real[:, None].split(self.recipe.inference.slice_batch):
                with autocast(device):
                    made = network.generator(network.generator.encode(chunk))
                chunks.append(made[:, 0].clamp(low, high))
                error = feature_error(network.features, made, chunk)
                errors.append(float(error) * len(chunk) / len(real))
            made = torch.cat(chunks)
            l1 = float(F.l1_loss(made, real))
            weights = self.recipe.losses
            scores.append(weights["l1"] * l1 + weights["features"] * sum(errors))
            details.append(
                {
                    "psnr": psnr(made.cpu().numpy(), voxels, data_range=high - low),
                    "components": psnr(
                        plain.clamp(low, high).cpu().numpy(), voxels, data_range=high - low
                    ),
                    "sharpness": float(made.diff(dim=-1).abs().mean())
                    / max(float(real.diff(dim=-1).abs().mean()), 1e-12),
                }
            )
            images = images or {"real": real.cpu().numpy(), "from its codes": made.cpu().numpy()}
        means = {name: float(np.mean([d[name] for d in details])) for name in details[0]}
        return Validation(float(np.mean(scores)), "reconstruction", means, images)


def feature_error(features: nn.Module, made: Tensor, real: Tensor) -> Tensor:
    """The mean absolute difference of maps, each relative to how much the real one varies.

    Slices are (N, 1, H, W). Gradients flow to `made` alone.
    """
    with autocast(real.device):
        with torch.no_grad():
            wanted = feature_maps(features, real)
        found = feature_maps(features, made)
    errors = [
        (a.float() - b.float()).abs().mean() / spread(b.float()).clamp(min=1e-3)
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(errors).mean()


def spread(maps: Tensor) -> Tensor:
    """The standard deviation of maps, over all processes that train together."""
    mean = mean_over_ranks(maps.mean())
    return mean_over_ranks((maps - mean).square().mean()).sqrt()


def adversarial_terms(
    critic: nn.Module, made: Tensor, real: Tensor, anchor: Tensor, share: float
) -> dict[str, Tensor]:
    """The generator's term and the critic's hinge loss, in one step for both.

    Each trains its own part: the generator's term sees the critic's weights as constants, the
    critic's sees the slices so. The generator's gradient at the slices is brought to `share` of
    that of `anchor`.

    Source: hinge loss of Lim and Ye 2017; the balance as in VQGAN (Esser et al. 2021, Eq. 7), at
        the slices instead of the last layer.
    """
    critic.eval()  # its power iterations follow the critic's own steps only
    with autocast(made.device):
        believed = -with_frozen(critic)(made).mean()
    critic.train()
    (toward_real,) = torch.autograd.grad(anchor, made, retain_graph=True)
    (toward_belief,) = torch.autograd.grad(believed, made, retain_graph=True)
    sizes = (mean_over_ranks(g.square().sum()).sqrt() for g in (toward_real, toward_belief))
    real_size, belief_size = sizes
    weight = share * real_size / belief_size.clamp(min=1e-12)
    with autocast(made.device):
        on_real, on_made = critic(real), critic(made.detach())
    return {
        "adversarial": weight.detach() * believed,
        "critic": F.relu(1 - on_real).mean() + F.relu(1 + on_made).mean(),
    }
