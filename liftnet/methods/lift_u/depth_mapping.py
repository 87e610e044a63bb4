"""Stages 2 and 3 of task A: the depth mapper, by distance of codes, then by tri-planar drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.data.crops import Crop, Nothing
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage, Validation
from liftnet.methods.lift_u.bank import Bank, make_bank, supposed_bank
from liftnet.methods.lift_u.batches import real_volume
from liftnet.methods.lift_u.drifting import code_terms, lifted_terms
from liftnet.methods.lift_u.generation import latent_from
from liftnet.methods.lift_u.monitors import check_samples
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.ops import normalize
from liftnet.ops.compute.transfer import to_device

__all__ = ["CODE_STAGE", "STAGE", "DepthMapping", "build_network"]

CODE_STAGE = "code_trajectories"
STAGE = "depth_mapping"
BANK, CHECKED = "bank", "bank_validation"  # folders beside those of the stages
LEAST_REAL = 4  # ours: six distances between real volumes; fewer say little about their spread


@dataclass
class Banks:
    """What is known of real volumes."""

    trained: Bank
    folder: Path
    checked: Bank | None = None  # of the validation cases, made when they are first needed


@dataclass(frozen=True)
class DepthMapping(Stage[Banks]):
    """Latents to volumes that vary as real ones do; only the mapper is trained.

    As `CODE_STAGE` by the energy distance between trajectories of codes, which costs next to
    nothing since no slice is made: drift needs a start that varies with the latent. As `STAGE` by
    the drift of features of the volumes themselves.

    Source: LiFT Sec. 4.1, Algorithm 1.
    """

    augmented: ClassVar[bool] = False  # there is nothing but a latent
    preparation: ClassVar[str] = "makes the features and codes of all training volumes, if need be"
    plan: Plan
    recipe: LiftURecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        recipe = self.recipe
        return recipe.code_trajectories if self.name == CODE_STAGE else recipe.depth_mapping

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """The seed of one volume; of the case nothing is needed."""
        return Nothing()

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The whole generator, with the best of what earlier stages trained."""
        return build_network(self.recipe, previous)

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> Banks:
        """The bank of real volumes; the mapper begins at their codes."""
        assert isinstance(network, VolumeGenerator)
        batch = self.recipe.inference.slice_batch
        bank = make_bank(network, self.plan, batch, store, training, folder.parent / BANK)
        if self.name == CODE_STAGE and self.recipe.drift.start == "real":
            network.mapper.start_at(bank.codes)
        return Banks(bank, folder.parent)

    def supposed(self) -> Banks:
        """A bank without values."""
        return Banks(supposed_bank(self.plan, self.recipe), Path())

    def loss(
        self,
        network: nn.Module,
        memory: Banks,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """How far trajectories of codes, or features of volumes, are from real ones."""
        assert isinstance(network, VolumeGenerator)
        device = next(network.parameters()).device
        seeds = [int(example.seeds) for example in batch]
        latents = to_device(
            torch.stack([latent_from(self.recipe.mapper, seed) for seed in seeds]), device
        )
        codes = network.codes(latents, self.plan.grid.num_slices)
        if self.name == CODE_STAGE:
            return code_terms(codes, memory.trained, self.recipe.drift, generator)
        return lifted_terms(network, codes, memory.trained, self.plan, self.recipe, generator)

    def check(
        self,
        network: nn.Module,
        memory: Banks,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]],
    ) -> Validation:
        """The energy distance of features of generated and real volumes, and the monitors.

        The real ones are the validation cases, which nothing was trained on, unless they are too
        few to show how volumes vary. Their features are made at the first validation, and kept.
        """
        assert isinstance(network, VolumeGenerator)
        trained = memory.trained
        remark = ""
        if len(cases) < LEAST_REAL:
            real = trained
            remark = (
                f"{len(cases)} validation cases are too few to show how volumes vary: the score "
                f"compares with the training cases (from {LEAST_REAL} on with those of validation)"
            )
        else:
            if memory.checked is None or memory.checked.cases != tuple(cases):
                batch, folder = self.recipe.inference.slice_batch, memory.folder / CHECKED
                made = make_bank(network, self.plan, batch, store, cases, folder)
                memory.checked = replace(made, balance=trained.balance)
            real = memory.checked
        found = check_samples(network, self.plan, self.recipe, trained, real, history)
        low, _ = normalize.limits(self.plan.channel(self.plan.targets[0]).normalization)
        volume = np.asarray(real_volume(self.plan, store, cases[0]), np.float32) - low
        return replace(found, images={**found.images, "real": volume}, remark=remark)


def build_network(recipe: LiftURecipe, previous: nn.Module | None = None) -> VolumeGenerator:
    """The whole generator; what earlier stages trained is taken from the network before."""
    network = VolumeGenerator(recipe.features, recipe.generator, recipe.mapper)
    if previous is not None:
        own = network.state_dict()
        network.load_state_dict(own | {k: v for k, v in previous.state_dict().items() if k in own})
    return network
