"""The abstract class: what goes in and comes out, in which units, and how it is scored."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from liftnet.core.dataset import Dataset
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, Plan
from liftnet.core.probe import ProbedBy
from liftnet.core.request import Request
from liftnet.data.example import Example
from liftnet.metrics.protocols.base import PairProtocol
from liftnet.metrics.protocols.cohort_protocols import CohortProtocol
from liftnet.planning.grid import GridChoice

__all__ = ["GenerationTask", "SynthesisTask", "Task"]


class Task(ABC):
    """Everything that differs between tasks, and nothing of how outputs are made."""

    name: str
    summary: str
    default_method: str
    least_images: int  # that a training case must have to be of use, in a dataset without targets
    protocols: Mapping[str, PairProtocol] | Mapping[str, CohortProtocol]  # "liftnet" by default
    probed_by: ProbedBy | None = None  # what distances to training volumes compare; None: nothing

    @abstractmethod
    def plans(
        self,
        dataset: Dataset,
        fingerprint: Fingerprint,
        budget: Budget,
        name: str,
        choice: GridChoice | None = None,
    ) -> Iterator[Plan]:
        """All decisions about the data, best first; the first whose method fits is taken.

        Args:
            dataset: the raw dataset.
            fingerprint: of it.
            budget: noted in the plan.
            name: of the plan.
            choice: what of the grid was set by hand.

        Raises:
            DatasetError: If the dataset is not one of this task.
        """

    @abstractmethod
    def refresh(self, plan: Plan) -> Plan:
        """The plan with what follows from an edit brought up to date, and checked.

        Raises:
            PlanError: If values contradict each other.
        """

    @abstractmethod
    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether a case that has these channels can be trained and validated on."""

    @abstractmethod
    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """What a training step is given and makes of a case that `accepts` has passed."""


class SynthesisTask(Task):
    """A task that makes images of a case from others of it."""

    protocols: Mapping[str, PairProtocol]

    @abstractmethod
    def request(self, plan: Plan, present: Sequence[str], wanted: Sequence[str] | None) -> Request:
        """What to synthesize for a case that has these channels.

        Raises:
            DatasetError: If the case has too little, or nothing is missing.
        """

    @abstractmethod
    def finish(self, plan: Plan, made: Tensor, example: Example) -> Tensor:
        """Targets (T, D, H, W) of one network within their limits; air where nothing can be."""

    @abstractmethod
    def checked_requests(self, plan: Plan, present: Sequence[str]) -> list[Request]:
        """What of a case is made from what when it is validated on in training."""

    @abstractmethod
    def judge(self, plan: Plan, target: str, made: Tensor, reference: Tensor) -> float:
        """The validation metric of a whole target volume (D, H, W) in network units."""

    @abstractmethod
    def judged_by(self, plan: Plan) -> tuple[str, int]:
        """What `judge` measures: "psnr", "mae_hu"; and 1 where lower is better, else -1."""


class GenerationTask(Task):
    """A task that makes volumes from random numbers."""

    protocols: Mapping[str, CohortProtocol]
