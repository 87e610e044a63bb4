"""Stages 2 and 3 of task A: the depth mapper, by distance of codes, then by tri-planar drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.plan import DriftSpec, Plan, Schedule
from liftnet.data.crops import Crop, Nothing
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.ops import normalize
from liftnet.tasks.base import Stage, Validation
from liftnet.tasks.unconditional.bank import Bank, make_bank
from liftnet.tasks.unconditional.batches import real_volume
from liftnet.tasks.unconditional.drifting import code_terms, lifted_terms
from liftnet.tasks.unconditional.generation import latent_from
from liftnet.tasks.unconditional.monitors import check_samples
from liftnet.tasks.unconditional.specs import networks_of

__all__ = ["CODE_STAGE", "STAGE", "DepthMapping", "build_network"]

CODE_STAGE = "code_trajectories"
STAGE = "depth_mapping"
BANK, CHECKED = "bank", "bank_validation"  # folders beside those of the stages
LEAST_REAL = 4  # ours: six distances between real volumes; fewer say little about their spread


@dataclass
class DepthMapping(Stage):
    """Latents to volumes that vary as real ones do; only the mapper is trained.

    As `CODE_STAGE` by the energy distance between trajectories of codes, which costs next to
    nothing since no slice is made: drift needs a start that varies with the latent. As `STAGE` by
    the drift of features of the volumes themselves.

    Source: LiFT Sec. 4.1, Algorithm 1.
    """

    augmented: ClassVar[bool] = False  # there is nothing but a latent
    preparation: ClassVar[str] = "makes the features and codes of all training volumes, if need be"
    plan: Plan
    name: str = STAGE
    bank: Bank | None = field(default=None, repr=False)
    checked: Bank | None = field(default=None, repr=False)  # of the validation cases
    folder: Path | None = None  # of the banks

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The plan's schedule of this stage."""
        return self.plan.stages[self.name]

    @property
    def spec(self) -> DriftSpec:
        """How the plan compares volumes."""
        assert self.plan.drift is not None
        return self.plan.drift

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """The seed of one volume; of the case nothing is needed."""
        return Nothing()

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The whole generator, with the best of what earlier stages trained."""
        return build_network(self.plan, previous)

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Make the bank of real volumes; let the mapper begin at their codes."""
        assert isinstance(network, VolumeGenerator)
        self.folder = folder.parent
        self.bank = make_bank(network, self.plan, store, training, self.folder / BANK)
        if self.name == CODE_STAGE and self.spec.start == "real":
            network.mapper.start_at(self.bank.codes)

    def loss(
        self, network: nn.Module, batch: Sequence[Example], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """How far trajectories of codes, or features of volumes, are from real ones."""
        assert isinstance(network, VolumeGenerator)
        assert self.bank is not None
        device = next(network.parameters()).device
        seeds = [int(example.seeds) for example in batch]
        latents = torch.stack([latent_from(self.plan, seed) for seed in seeds]).to(device)
        codes = network.codes(latents, self.plan.grid.num_slices)
        if self.name == CODE_STAGE:
            return code_terms(codes, self.bank, self.spec, generator)
        return lifted_terms(network, codes, self.bank, self.plan, generator)

    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]] = (),
    ) -> Validation:
        """The energy distance of features of generated and real volumes, and the monitors.

        The real ones are the validation cases, which nothing was trained on, unless they are too
        few to show how volumes vary. Their features are made at the first validation, and kept.
        """
        assert isinstance(network, VolumeGenerator)
        assert self.bank is not None and self.folder is not None
        remark = ""
        if len(cases) < LEAST_REAL:
            real = self.bank
            remark = (
                f"{len(cases)} validation cases are too few to show how volumes vary: the score "
                f"compares with the training cases (from {LEAST_REAL} on with those of validation)"
            )
        else:
            if self.checked is None or self.checked.cases != tuple(cases):
                made = make_bank(network, self.plan, store, cases, self.folder / CHECKED)
                self.checked = replace(made, balance=self.bank.balance)
            real = self.checked
        found = check_samples(network, self.plan, self.bank, real, history)
        low, _ = normalize.limits(self.plan.channel(self.plan.targets[0]).normalization)
        volume = np.asarray(real_volume(self.plan, store, cases[0]), np.float32) - low
        return replace(found, images={**found.images, "real": volume}, remark=remark)


def build_network(plan: Plan, previous: nn.Module | None = None) -> VolumeGenerator:
    """The whole generator; what earlier stages trained is taken from the network before."""
    features, generator, _, mapper = networks_of(plan)
    network = VolumeGenerator(features, generator, mapper)
    if previous is not None:
        own = network.state_dict()
        network.load_state_dict(own | {k: v for k, v in previous.state_dict().items() if k in own})
    return network
