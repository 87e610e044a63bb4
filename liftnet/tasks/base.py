"""The abstract classes: what a task decides, how it makes volumes, what a training stage does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.dataset import Dataset
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Inference, Plan, Schedule
from liftnet.core.request import Request
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.data.crops import Crop
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.planning.grid import GridChoice

__all__ = [
    "Budget",
    "GenerationTask",
    "Stage",
    "SynthesisTask",
    "Task",
    "Validation",
]


@dataclass(frozen=True)
class Budget:
    """What a plan may use."""

    memory_gib: float
    bytes_per_number: int  # 2 where the device computes in bfloat16, else 4
    num_steps: int | None  # None: the task's own number
    feature_weights: Path | None = None  # of a feature network trained elsewhere
    grid: GridChoice | None = None  # what of the grid was set by hand


@dataclass(frozen=True)
class Validation:
    """The result of one validation: `score` (lower is better), details, and volumes to look at.

    `sharpness` is the in-plane gradient energy of predicted volumes over that of the real ones.
    """

    score: float
    metric: str  # what the details are: "psnr", "mae_hu"
    details: dict[str, float]  # per target
    images: dict[str, np.ndarray] = field(default_factory=dict)
    alarm: str | None = None  # why going on is useless; ends the training with this message
    remedy: str = ""
    remark: str = ""  # what the score does not rest on, said at the first validation
    sharpness: dict[str, float] = field(default_factory=dict)  # per target


class Stage(ABC):
    """One training run: its network, data, loss and validation."""

    name: str
    schedule: Schedule
    crop: Crop  # what of a case a step sees
    augmented: ClassVar[bool] = True  # whether the loop augments what the loss is given
    preparation: ClassVar[str] = ""  # what `survey` does, where that takes long

    @abstractmethod
    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network, with submodules named as in `schedule.learning_rates`.

        It starts from what the stage before has trained, if there is one, with the weights that did
        best in validation.
        """

    @abstractmethod
    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> None:
        """Take from all training cases what the loss needs of them, before the first step.

        May set what is not trained in the network. What takes long is kept in the folder.
        """

    @abstractmethod
    def loss(
        self, network: nn.Module, batch: Sequence[Example], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Named weighted terms; their sum is minimized. The examples are augmented already.

        Where several processes train together, `batch` is the share of this one, `generator`
        is the same in all, and the mean of a term over processes is that of the whole step.
        """

    @abstractmethod
    def validate(
        self,
        network: nn.Module,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]],
    ) -> Validation:
        """The score of whole volumes, lower is better.

        `history` has the details of earlier validations.
        """


class Task(ABC):
    """Everything that differs between tasks, and nothing else."""

    name: str
    summary: str
    least_images: int  # that a training case must have to be of use, in a dataset without targets
    protocols: Mapping[str, Protocol]  # conventions of scoring by name; "liftnet" is the default

    @abstractmethod
    def plan(self, dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
        """All decisions for a dataset, each with its reason."""

    @abstractmethod
    def refresh(self, plan: Plan, *, estimate: bool = True) -> Plan:
        """The plan with derived values brought up to date after an edit, and checked.

        The memory estimate takes a second or two; without `estimate` it stays as it is.

        Raises:
            PlanError: If values contradict each other.
        """

    @abstractmethod
    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Stage, ...]:
        """The training stages, in order."""

    @abstractmethod
    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether a case that has these channels can be trained and validated on."""

    @abstractmethod
    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """What a training step is given and makes of a case that `accepts` has passed."""

    @abstractmethod
    def run_name(self, *, mapper: bool) -> str:
        """The folder of a run. One name for both variants where one is a part of the other."""


class SynthesisTask(Task):
    """A task that makes images of a case from others of it."""

    @abstractmethod
    def request(self, plan: Plan, present: Sequence[str], wanted: Sequence[str] | None) -> Request:
        """What to synthesize for a case that has these channels.

        Raises:
            DatasetError: If the case has too little, or nothing is missing.
        """

    @abstractmethod
    def synthesize(
        self,
        plan: Plan,
        networks: Sequence[nn.Module],
        source: Tensor,
        request: Request,
        background: Sequence[float],
        *,
        notice: Callable[[Inference], None] | None = None,
    ) -> Tensor:
        """Targets (T, D, H, W) from a prepared source (C, D, H, W), the mean over networks.

        When memory runs out, less is taken at a time, and `notice` is told how.

        Both are in network units; `background` is the value of air in each of the C channels.
        """

    @abstractmethod
    def trajectory(
        self,
        plan: Plan,
        network: nn.Module,
        source: Tensor,
        request: Request,
        background: Sequence[float],
    ) -> Tensor:
        """The context vector of every slice (D, K), float32, that `synthesize` uses.

        Raises:
            ValueError: If the network was trained without a mixer.
        """

    @abstractmethod
    def as_compared(self, comparison: Comparison, protocol: str) -> Compared:
        """Both images as one of `protocols` compares them, for pictures and profiles.

        Raises:
            DatasetError: If the reference cannot be scored.
        """

    @abstractmethod
    def score_case(self, comparison: Comparison, protocol: str) -> CaseScore:
        """The metrics of one predicted image under one of `protocols`.

        Raises:
            DatasetError: If the reference cannot be scored.
            GeometryError: If the grid is not the protocol's.
        """


class GenerationTask(Task):
    """A task that makes volumes from random numbers."""

    @abstractmethod
    def latent(self, plan: Plan, seed: int, number: int) -> Tensor:
        """The latent (L,), float32 on the CPU, of volume `number` of a seed."""

    @abstractmethod
    def generate(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """A volume (D, H, W) in network units, within their limits, on the network's device.

        It depends on nothing but the arguments: not on what else is generated. The latent is
        multiplied by the temperature, the codes are smoothed over `sigma_z` slices.
        """

    @abstractmethod
    def trajectory(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """The code of every slice (D, K), float32, from which `generate` makes the volume."""

    @abstractmethod
    def describe(self, plan: Plan, network: nn.Module, volume: Tensor) -> Tensor:
        """Features (F,), float32 on the CPU, of a volume (D, H, W) in network units."""

    @abstractmethod
    def feature_name(self, plan: Plan) -> str:
        """What `describe` uses, in a few words: numbers of different features do not compare."""
