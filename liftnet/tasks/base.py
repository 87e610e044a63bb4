"""The two abstract classes: what a task decides, and what one of its training stages does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.dataset import Dataset
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan, Schedule
from liftnet.core.scores import CaseScore, Comparison, Protocol
from liftnet.data.store import Store, StoredCase

__all__ = ["Batch", "Budget", "Request", "Stage", "Task", "Validation"]


@dataclass(frozen=True)
class Budget:
    """What a plan may use."""

    memory_gib: float
    bytes_per_number: int  # 2 where the device computes in bfloat16, else 4
    num_steps: int | None  # None: the task's own number


@dataclass(frozen=True)
class Batch:
    """One volume of a training step: what of it is given, and what is decoded.

    Shape of the volume: (1, C, D, H, W), in the plan's channel order and in [0, 1].
    """

    case: str
    volume: Tensor
    start: int  # the first decoded slice
    count: int  # of decoded slices
    present: tuple[bool, ...]  # per channel: given as a source
    supervised: tuple[int, ...]  # channels that the loss compares

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device, as float32."""
        return replace(self, volume=self.volume.to(device, non_blocking=True).float())


@dataclass(frozen=True)
class Validation:
    """The result of one validation: `score` (lower is better), details, and volumes to look at."""

    score: float
    details: dict[str, float]
    images: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What to synthesize for one case."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]


class Stage(ABC):
    """One training run: its network, data, loss and validation."""

    name: str
    schedule: Schedule

    @abstractmethod
    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network, with submodules named as in `schedule.learning_rates`.

        It starts from what the stage before has trained, if there is one.
        """

    @abstractmethod
    def accepts(self, case: StoredCase) -> bool:
        """Whether a preprocessed case can be trained and validated on."""

    @abstractmethod
    def draw(self, store: Store, case: str, rng: np.random.Generator) -> Batch:
        """One step's data on the CPU; runs in worker processes."""

    @abstractmethod
    def loss(
        self, network: nn.Module, batches: Sequence[Batch], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Named weighted terms; their sum is minimized. Augments on the batches' device."""

    @abstractmethod
    def validate(self, network: nn.Module, store: Store, cases: Sequence[str]) -> Validation:
        """The score of whole volumes."""


class Task(ABC):
    """Everything that differs between tasks, and nothing else."""

    name: str
    summary: str
    protocols: Mapping[str, Protocol]  # conventions of scoring by name; "liftnet" is the default

    @abstractmethod
    def plan(self, dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
        """All decisions for a dataset, each with its reason."""

    @abstractmethod
    def refresh(self, plan: Plan) -> Plan:
        """The plan with derived values (the memory estimate) brought up to date after an edit.

        Raises:
            PlanError: If values contradict each other.
        """

    @abstractmethod
    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Stage, ...]:
        """The training stages, in order."""

    @abstractmethod
    def request(self, plan: Plan, present: Sequence[str], wanted: Sequence[str] | None) -> Request:
        """What to synthesize for a case that has these channels.

        Raises:
            DatasetError: If the case has too little, or nothing is missing.
        """

    @abstractmethod
    def synthesize(
        self, plan: Plan, networks: Sequence[nn.Module], source: Tensor, request: Request
    ) -> Tensor:
        """Targets (T, D, H, W) in [0, 1] from a prepared source (C, D, H, W), averaged."""

    @abstractmethod
    def score_case(self, comparison: Comparison, protocol: str) -> CaseScore:
        """The metrics of one predicted image under one of `protocols`.

        Raises:
            DatasetError: If the reference cannot be scored.
            GeometryError: If the grid is not the protocol's.
        """
