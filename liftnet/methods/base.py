"""The abstract classes: how outputs are made from inputs, and what a training stage does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule
from liftnet.data.crops import Crop
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.ops.chunks import Chunk

__all__ = [
    "Ablates",
    "AnyRecipe",
    "Checks",
    "Generates",
    "Method",
    "Publishes",
    "Stage",
    "SupposesSynthesis",
    "Surveys",
    "Synthesizes",
    "Traces",
    "Validation",
    "countable",
]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
Memory = TypeVar("Memory")  # what a stage knows of all cases; None for most


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


class Stage(ABC, Generic[Memory]):
    """One training run: its network, crop and loss. Holds nothing that training fills in.

    A stage that does not check itself (`Checks`) is validated on whole volumes of its task.
    """

    name: str
    schedule: Schedule
    crop: Crop  # what of a case a step sees
    augmented: ClassVar[bool] = True  # whether the loop augments what the loss is given

    @abstractmethod
    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network, with submodules named as in `schedule.learning_rates`.

        It starts from what the stage before has trained, if there is one, with the weights that did
        best in validation.
        """

    @abstractmethod
    def loss(
        self,
        network: nn.Module,
        memory: Memory,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Named weighted terms; their sum is minimized. The examples are augmented already.

        `memory` is what `survey` has found, None without one. Where several processes train
        together, `batch` is the share of this one, `generator` is the same in all, and the mean of
        a term over processes is that of the whole step.
        """


class Method(ABC, Generic[AnyRecipe]):
    """How outputs are made from inputs: networks, stages, synthesis, sizes under a budget."""

    name: str = ""  # that of its file
    label: str  # as figures and tables write it
    summary: str
    serves: str  # "images from images" or "volumes from nothing"
    paper: str  # where it was published; empty for what is ours
    figures: ClassVar[Mapping[str, str]] = {}  # metric -> what was published, and where
    recipe: Any  # the type of its recipes, or a union of them
    closed_form: ClassVar[bool] = False  # fitted in seconds: what others have to be better than

    @abstractmethod
    def unfit(self, plan: Plan) -> str | None:
        """Why it cannot serve this plan, or None."""

    @abstractmethod
    def decide(self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool) -> AnyRecipe:
        """All its decisions under a plan, each with its reason.

        Args:
            plan: whose channels, grid and budget they are for.
            fingerprint: of the dataset.
            squeeze: whether networks too small to be good are taken rather than none.

        Raises:
            TooLargeError: If nothing fits the memory.
        """

    @abstractmethod
    def refresh(self, plan: Plan, recipe: AnyRecipe, *, estimate: bool = True) -> AnyRecipe:
        """The recipe with what follows from an edit brought up to date, and checked.

        The memory estimate takes a second or two; without `estimate` it stays as it is.

        Raises:
            PlanError: If values contradict each other.
        """

    @abstractmethod
    def stages(self, plan: Plan, recipe: AnyRecipe) -> tuple[Stage[Any], ...]:
        """The training stages, in order."""


@runtime_checkable
class Synthesizes(Protocol):
    """Methods that make images of a case from others of it."""

    def synthesize(
        self,
        plan: Plan,
        recipe: Any,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """All targets (T, D, H, W), float32 in network units, of an example of one item.

        Limits, the mean over folds, units and background are not its business.
        """


@runtime_checkable
class SupposesSynthesis(Protocol):
    """Methods whose synthesis depends on values, such as which sources are given."""

    def supposed_synthesis(
        self,
        plan: Plan,
        recipe: Any,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """What `synthesize` does with an example on "meta", which has no values."""


def countable(method: Synthesizes) -> Callable[..., Tensor]:
    """The synthesis of a method as it runs without values, to measure memory and operations."""
    return method.supposed_synthesis if isinstance(method, SupposesSynthesis) else method.synthesize


@runtime_checkable
class Generates(Protocol):
    """Methods that make volumes from random numbers."""

    def latent(self, plan: Plan, recipe: Any, seed: int, number: int) -> Tensor:
        """The latent (L,), float32 on the CPU, of volume `number` of a seed."""

    def generate(
        self,
        plan: Plan,
        recipe: Any,
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

    def codes(
        self,
        plan: Plan,
        recipe: Any,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """The code of every slice (D, K), float32, from which `generate` makes the volume."""

    def describe(self, plan: Plan, recipe: Any, network: nn.Module, volume: Tensor) -> Tensor:
        """Features (F,), float32 on the CPU, of a volume (D, H, W) in network units."""

    def feature_name(self, plan: Plan, recipe: Any) -> str:
        """What `describe` uses, in a few words: numbers of different features do not compare."""


@runtime_checkable
class Traces(Protocol):
    """Methods whose slices have vectors of their own to look at (`--save-trajectory`)."""

    def trajectory(
        self, plan: Plan, recipe: Any, network: nn.Module, example: Example, chunk: Chunk
    ) -> Tensor:
        """The vector of every slice (D, K), float32, that `synthesize` uses."""


@runtime_checkable
class Ablates(Protocol):
    """Methods that are another one without a part of it."""

    ablates: str  # the name of the other

    def without(self, recipe: Any) -> Any:
        """The recipe of the other without that part."""


@runtime_checkable
class Publishes(Protocol):
    """Methods of which others have published how they train them (`liftnet_plan --published`)."""

    def published(self, plan: Plan, recipe: Any) -> Any:
        """The recipe with their rates, schedule, losses and choice of weights; sizes stay.

        As many steps as theirs, unless the plan's budget has a number.
        """


@runtime_checkable
class Surveys(Protocol):
    """Stages that look at all training cases before their first step."""

    preparation: str  # what is done, for the user

    def survey(
        self, network: nn.Module, store: Store, training: Sequence[str], folder: Path
    ) -> Any:
        """What the loss needs of all training cases.

        May set what is not trained in the network. What takes long is kept in the folder.
        """


@runtime_checkable
class Checks(Protocol):
    """Stages whose networks make no images of the task, and which are scored by themselves."""

    def check(
        self,
        network: nn.Module,
        memory: Any,
        store: Store,
        cases: Sequence[str],
        history: Sequence[Mapping[str, float]],
    ) -> Validation:
        """The score, lower is better; `history` has the details of earlier validations."""
