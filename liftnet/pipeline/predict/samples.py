"""One generated volume: its latent, its grid, its files."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from liftnet.core.geometry import SLICE_AXES, Geometry, Triple, Volume, axis_order, turn
from liftnet.core.plan import ChannelPlan, Plan
from liftnet.methods.base import Generates
from liftnet.ops import normalize
from liftnet.ops.compute.cost import Cost
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.predict.outputs import (
    is_finished,
    made_by,
    output_path,
    output_range,
    output_type,
    write_with_facts,
)

__all__ = [
    "Sample",
    "centred",
    "great_circle",
    "is_written",
    "list_samples",
    "sample_latent",
    "sample_path",
    "to_file_units",
    "write_sample",
]

STORED_TYPE = "int16"  # ours: that of most MR and CT files; float32 where it is too coarse
DISPLAY_LEVELS = 255  # ours: the steps that an 8-bit display shows of a float32 file
MIN_SINE = 1e-6  # ours: latents nearer than this lie on no one great circle


@dataclass(frozen=True)
class Sample:
    """A volume to generate, and what decides it besides the weights."""

    name: str  # of its files: sample_0003, or between_0003_0007_0001
    seed: int
    number: int
    temperature: float
    sigma_z: float
    interpolation: dict[str, Any] | None  # numbers from and to, and the weight of the second

    @property
    def facts(self) -> dict[str, Any]:
        """What its JSON says of its latent."""
        return {
            "seed": self.seed,
            "number": self.number,
            "temperature": self.temperature,
            "sigma_z": self.sigma_z,
            "interpolation": self.interpolation,
        }


def list_samples(
    num_volumes: int,
    seed: int,
    first: int,
    temperature: float,
    sigma_z: float,
    interpolate: tuple[int, int] | None,
) -> list[Sample]:
    """The volumes of a call, all parts together."""
    if interpolate is None:
        numbers = range(first, first + num_volumes)
        return [Sample(f"sample_{k:04d}", seed, k, temperature, sigma_z, None) for k in numbers]
    a, b = interpolate
    return [
        Sample(
            name=f"between_{a:04d}_{b:04d}_{k:04d}",
            seed=seed,
            number=k,
            temperature=temperature,
            sigma_z=sigma_z,
            interpolation={"from": a, "to": b, "weight": k / (num_volumes - 1)},
        )
        for k in range(num_volumes)
    ]


def sample_latent(sample: Sample, model: Model) -> Tensor:
    """The latent (L,) of a volume, on the CPU."""
    method, plan, recipe = model.method, model.plan, model.recipe
    assert isinstance(method, Generates)
    way = sample.interpolation
    if way is None:
        return method.latent(plan, recipe, sample.seed, sample.number)
    a, b = (method.latent(plan, recipe, sample.seed, way[end]) for end in ("from", "to"))
    return great_circle(a, b, way["weight"])


def great_circle(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """The latent (L,) at `weight` of the way from `a` to `b`; 0 and 1 give these exactly.

    On the straight line the middle would be shorter than any latent that is drawn.

    Source: Shoemake 1985 (slerp).
    """
    first, second = a.double(), b.double()
    cosine = float(first @ second) / max(float(first.norm() * second.norm()), 1e-30)
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    left, right = 1 - weight, weight
    if math.sin(angle) > MIN_SINE:
        left, right = (math.sin(part * angle) / math.sin(angle) for part in (left, right))
    return (left * first + right * second).to(a.dtype)


def write_sample(
    sample: Sample, made: np.ndarray, model: Model, output: Path, normalized: bool, cost: Cost
) -> None:
    """Write a volume (D, H, W) in network units, stored in the order x, y, z; then its JSON."""
    plan = model.plan
    channel = plan.channel(plan.targets[0])
    low, high = output_range(plan, channel.name, normalized)
    dtype = output_type({channel.name: STORED_TYPE}, low, high, channel.modality)
    image = to_file_units(made, channel, dtype, normalized=normalized)
    grid = centred(image, plan.grid.spacing_mm, plan.grid.slice_axis)
    stored = turn(Volume(image[None], grid), axis_order(grid, "axial"))
    facts = {
        "case": sample.name,
        "target": channel.name,
        "modality": channel.modality,
        "intensity": {"low": low, "high": high, "dtype": dtype},
        **sample.facts,
        **made_by(model, cost, made.shape),
    }
    write_with_facts(sample_path(sample, plan, output), stored.voxels[0], stored.geometry, facts)


def to_file_units(
    made: np.ndarray, channel: ChannelPlan, dtype: str, *, normalized: bool
) -> np.ndarray:
    """A volume of network units as it is stored, its background without noise.

    What lies within half a grey level of the background is background; nothing else is cut.
    """
    rule = channel.normalization
    low, high = normalize.typical_range(rule)
    background = normalize.background_value(rule, low, high)
    bottom, top = normalize.limits(rule)
    span = top - bottom if math.isfinite(top - bottom) else 1.0
    level = 1 / (high - low) if np.dtype(dtype).kind in "iu" else span / DISPLAY_LEVELS
    near = np.abs(made - np.float32(background)) <= 0.5 * level
    if normalized:
        return np.where(near, np.float32(background), made)
    air = np.float32(normalize.background(rule))
    return np.where(near, air, normalize.invert(made, low, high))


def centred(voxels: np.ndarray, spacing_mm: Triple, slice_axis: str) -> Geometry:
    """The grid of voxels (D, H, W) in a plan's axes whose centre is the origin of the world."""
    d, h, w = voxels.shape
    half = [(n - 1) / 2 * spacing for n, spacing in zip((d, h, w), spacing_mm, strict=True)]
    origin = [0.0, 0.0, 0.0]
    direction = np.zeros((3, 3))
    for axis, world in enumerate(SLICE_AXES[slice_axis]):
        direction[axis, world] = 1.0
        origin[world] = -half[axis]
    first, second, third = ((float(x), float(y), float(z)) for x, y, z in direction)
    x, y, z = origin
    return Geometry((d, h, w), spacing_mm, (x, y, z), (first, second, third))


def sample_path(sample: Sample, plan: Plan, output: Path) -> Path:
    """The image of a volume."""
    return output_path(output, plan, sample.name, plan.targets[0], ".nii.gz")


def is_written(sample: Sample, model: Model, output: Path, normalized: bool) -> bool:
    """Whether a volume is there, made by these weights from this latent, in these units."""
    expected = {
        "model": model.digest,
        "range": list(output_range(model.plan, model.plan.targets[0], normalized)),
        **sample.facts,
    }
    return is_finished(sample_path(sample, model.plan, output), expected)
