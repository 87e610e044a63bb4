"""Every decision of one method under a plan: what recipes/METHOD.json holds."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypeVar

from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Amount, Count, Layers, Range, Share, Size

__all__ = [
    "RECIPE_VERSION",
    "AugmentationSpec",
    "Inference",
    "MemoryEstimate",
    "Recipe",
    "Sampler",
    "Sampling",
    "Schedule",
    "schedules",
    "with_schedules",
]

RECIPE_VERSION = 1
Sampler = Literal["ancestral", "ddim", "euler", "heun"]


@dataclass(frozen=True)
class AugmentationSpec:
    """Probabilities per item, and ranges. Geometry is shared by sources and targets."""

    flip_probability: Annotated[tuple[float, float, float], Between(0, 1)]  # along D, H, W
    rotation_probability: Share
    rotation_degrees: Amount
    scale_probability: Share
    scale_range: Range
    shear_probability: Share
    shear_range: Amount
    elastic_probability: Share
    elastic_displacement: Amount  # fraction of the in-plane size
    elastic_control_points: Annotated[int, Between(2, 1000)]
    noise_probability: Share
    noise_std: Amount
    blur_probability: Share
    blur_sigma: Range
    brightness_probability: Share
    brightness_range: Range
    contrast_probability: Share
    contrast_range: Range
    gamma_probability: Share
    gamma_range: Range
    low_resolution_probability: Share
    low_resolution_range: Range
    bias_field_probability: Share
    bias_field_strength: Amount


@dataclass(frozen=True)
class Schedule:
    """One training stage. A submodule without a learning rate is frozen."""

    num_steps: Count
    volumes_per_step: Count
    windows_per_volume: Count  # slabs decoded and supervised per volume
    decoded_slices: Count  # contiguous slices of each
    learning_rates: dict[str, Annotated[float, Between(0, 1e3)]]
    weight_decay: Amount
    betas: Annotated[tuple[float, float], Between(0, 0.9999999)]
    warmup_steps: Count
    final_rate: Share  # the decay ends at this fraction of the learning rate
    gradient_clip: Amount
    ema_half_life: Annotated[int, Between(0, 1e9)]  # steps; 0: the weights themselves predict
    validate_every: Count  # steps
    validation_cases: Count  # at most so many whole volumes per validation
    checkpoint_minutes: Amount
    loader_workers: Layers  # threads that read cases ahead
    decay: Literal["cosine", "linear", "none"] = "cosine"  # of the rates, to `final_rate`
    decay_from: Share = 0.0  # share of the steps after which it begins
    clip_each: bool = False  # the gradient of each part by itself: of a generator, of its critic
    keep: Literal["best", "last"] = "best"  # the validated weights that predict


@dataclass(frozen=True)
class Inference:
    """How whole volumes are synthesized."""

    slice_batch: Count
    passes: Literal["one", "two"]  # one: keep the skips; two: LiFT Algorithm 2


@dataclass(frozen=True)
class Sampling:
    """How a method draws one of the volumes that a case may have; `liftnet_predict` can override.

    The mean of several samples is nearer to the truth in PSNR and smoother than any of them.
    """

    sampler: Sampler
    num_steps: Size  # from noise, or from the source, to a volume
    samples: Size = 1  # whose mean is the result
    validation_steps: Size = 1  # in training, where a volume of all steps would take too long


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of tensors, without the libraries themselves, in GiB."""

    budget_gib: Amount
    bytes_per_number: Size  # 2: bfloat16, 4: float32
    training_gib: Amount
    prediction_gib: Amount
    dataset_gib: Amount = 0.0  # all preprocessed training cases


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every method decides; each adds its networks, losses and a schedule for each stage.

    Edit the file, or use `--set METHOD.key=value`.
    """

    version: int = RECIPE_VERSION
    augmentation: AugmentationSpec | None  # null: nothing is changed
    inference: Inference
    memory: MemoryEstimate
    reasons: dict[str, str]  # setting -> why it has its value, and the source of the rule
    recompute: bool = False  # maps of blocks for the gradient, instead of keeping them
    feeding: Literal["resident", "read"] = "read"  # training cases: held in memory, or as needed
    sampling: Sampling | None = None  # null: nothing is drawn

    @property
    def draws(self) -> bool:
        """Whether a case has several possible results."""
        return self.sampling is not None


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def schedules(recipe: Recipe) -> dict[str, Schedule]:
    """The schedules of a recipe by the names of its stages."""
    values = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    return {name: value for name, value in values.items() if isinstance(value, Schedule)}


def with_schedules(recipe: AnyRecipe, changed: dict[str, Schedule]) -> AnyRecipe:
    """The recipe with other schedules of some stages."""
    values: dict[str, Any] = dict(changed)
    return replace(recipe, **values)
