"""CT as the median over bins of a source's intensity and of depth below the body's surface.

Bone and air are both dark in MR; how deep below the surface a voxel lies tells them apart.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from liftnet.core.errors import DatasetError
from liftnet.core.plan import ChannelPlan, ClipAndScale, Plan, ZScore
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage
from liftnet.methods.regression.recipe import ClosedForm, Fit, RegressionRecipe, Sums
from liftnet.ops import normalize
from liftnet.ops.chunks import Chunk

__all__ = ["METHOD", "depth_below_surface"]

INTENSITIES = 48  # ours
# ours: mm below the surface; outside the body is a bin of its own
DEPTHS_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0, 45.0)
LEVELS = 1024  # ours: of the target, about 3 HU wide
Z_RANGE = (-4.0, 6.0)  # ours: of z-scores, from air to the brightest tissue
FEW = 10  # ours: voxels; a bin with fewer takes the median of its intensity at any depth


def depth_below_surface(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """How far (mm) each voxel of a body (D, H, W) is below its surface; 0 outside.

    >>> depth_below_surface(np.ones((1, 1, 5), bool), (1, 9, 2)).ravel().tolist()
    [2.0, 4.0, 6.0, 4.0, 2.0]
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))  # the body may leave the grid along the slices
    found: np.ndarray = ndimage.distance_transform_edt(padded, sampling=spacing_mm)
    return found[:, 1:-1, 1:-1]


def range_of(channel: ChannelPlan) -> tuple[float, float]:
    """The network values over which a source's bins are laid."""
    rule = channel.normalization
    return Z_RANGE if isinstance(rule, ZScore) else normalize.limits(rule)


class MedianTable(nn.Module):
    """`table` (S, depth, intensity, T), the medians for each source alone; `known` (S, T)."""

    def __init__(self, sources: int, targets: int):
        super().__init__()
        shape = (sources, len(DEPTHS_MM) + 1, INTENSITIES, targets)
        self.register_buffer("table", torch.zeros(shape))
        self.register_buffer("known", torch.zeros(sources, targets))
        self.table: Tensor
        self.known: Tensor


def bins_of(values: Tensor, low: float, high: float, count: int) -> Tensor:
    """The bin of each value among `count` of one width, those beyond the ends in the outermost."""
    return ((values - low) * (count / (high - low))).long().clamp(0, count - 1)


def depth_bins(mask: np.ndarray, spacing_mm: Sequence[float]) -> Tensor:
    """The bin of depth of each voxel (D, H, W); 0 outside the body."""
    depth = np.digitize(depth_below_surface(mask, spacing_mm), DEPTHS_MM)
    return torch.from_numpy(np.where(mask, depth, 0))


class MedianFit(Fit):
    """Histograms of the target in every bin."""

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Tables of nothing."""
        return MedianTable(len(self.plan.sources), len(self.plan.targets))

    def add(self, sums: Sums, store: Store, case: str) -> None:
        """Add the histograms of a case: (source, target) -> counts (depth, intensity, level)."""
        plan, described = self.plan, store.describe(case)
        voxels = np.asarray(store.voxels(case), np.float32)
        depths = depth_bins(np.asarray(store.mask(case)), plan.grid.spacing_mm)
        shape = (len(DEPTHS_MM) + 1, INTENSITIES, LEVELS)
        for source in (name for name in plan.sources if name in described.present):
            image = torch.from_numpy(voxels[plan.channel_names.index(source)])
            bins = depths * INTENSITIES + bins_of(
                image, *range_of(plan.channel(source)), INTENSITIES
            )
            for target in (name for name in plan.targets if name in described.present):
                truth = torch.from_numpy(voxels[plan.channel_names.index(target)])
                low, high = normalize.limits(plan.channel(target).normalization)
                levels = bins * LEVELS + bins_of(truth, low, high, LEVELS)
                counts = torch.bincount(levels.flatten(), minlength=int(np.prod(shape)))
                key = (source, target)
                found = counts.numpy().reshape(shape)
                sums[key] = sums[key] + found if key in sums else found

    def solve(self, sums: Sums, network: nn.Module) -> None:
        """The median of every bin."""
        assert isinstance(network, MedianTable)
        plan = self.plan
        for (source, target), counts in sums.items():
            s, t = plan.sources.index(source), plan.targets.index(target)
            low, high = normalize.limits(plan.channel(target).normalization)
            table = low + (high - low) * torch.from_numpy(medians(counts))
            network.table[s, :, :, t] = table.to(network.table)
            network.known[s, t] = 1


def medians(counts: np.ndarray) -> np.ndarray:
    """The medians (depth, intensity), in shares of the range, of counts (depth, intensity, level).

    A bin with few voxels has the median of its intensity at any depth of the body, or else that of
    the nearest intensity that was seen.
    """
    inside = counts[1:].sum(axis=0)
    filled = np.flatnonzero(inside.sum(axis=1))
    if filled.size:  # else no mask holds a voxel
        centres = np.arange(len(inside))
        nearest = filled[np.abs(centres[:, None] - filled).argmin(axis=1)]
        inside = inside[nearest]
    else:
        inside = counts.sum(axis=(0, 1))[None].repeat(len(inside), axis=0)
    enough = counts.sum(axis=2, keepdims=True) >= FEW
    used = np.where(enough, counts, inside)
    below = used.cumsum(axis=2)
    half = below[..., -1:] / 2
    level = (below < half).sum(axis=2)
    before = np.where(
        level > 0, np.take_along_axis(below, np.maximum(level - 1, 0)[..., None], 2)[..., 0], 0
    )
    there = np.take_along_axis(used, level[..., None], 2)[..., 0]
    share: np.ndarray = (level + (half[..., 0] - before) / np.maximum(there, 1)) / counts.shape[2]
    return share


class ConditionalMedian(ClosedForm):
    """The median minimizes the absolute error, which a polynomial's mean does not."""

    label = "conditional median"
    summary = "CT as the median over bins of intensity and depth below the body's surface"
    why = f"{INTENSITIES} bins of intensity, {len(DEPTHS_MM)} of depth (ours)"

    def unfit(self, plan: Plan) -> str | None:
        """It makes CT under a mask of the body."""
        if not plan.sources:
            return "it needs one source or more"
        if any(not isinstance(plan.channel(t).normalization, ClipAndScale) for t in plan.targets):
            return "it makes CT only"
        return None if plan.grid.mask == "body" else "it needs a mask of the body"

    def stages(self, plan: Plan, recipe: RegressionRecipe) -> tuple[Stage[None], ...]:
        """One fit."""
        return (MedianFit(plan, recipe),)

    def synthesize(
        self,
        plan: Plan,
        recipe: RegressionRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """All targets (T, D, H, W) from the first source that is given and was seen in training.

        Raises:
            DatasetError: If there is none.
        """
        assert isinstance(network, MedianTable)
        wanted = example.made[0].to(network.known.device)
        usable = (network.known.bool() | ~wanted).all(dim=1) & example.given[0].bool()
        if not usable.any():
            raise DatasetError(
                "No training case has a source of this case together with its target",
                remedy="Give this case another source.",
            )
        s = int(usable.int().argmax())
        depths = depth_bins(example.mask[0, 0].cpu().numpy() > 0, plan.grid.spacing_mm)
        return _looked_up(plan, network, example, s, depths)

    def supposed_synthesis(
        self,
        plan: Plan,
        recipe: RegressionRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """The same from the first source, for a case that has no values."""
        depths = torch.empty(example.source.shape[2:], dtype=torch.int64, device="meta")
        return _looked_up(plan, network, example, 0, depths)


def _looked_up(plan: Plan, network: nn.Module, example: Example, s: int, depths: Tensor) -> Tensor:
    """The medians (T, D, H, W) of the bins of source `s` at these bins of depth (D, H, W)."""
    assert isinstance(network, MedianTable)
    bins = bins_of(example.source[0, s], *range_of(plan.channel(plan.sources[s])), INTENSITIES)
    return network.table[s][depths.to(bins.device), bins].movedim(-1, 0)


METHOD = ConditionalMedian()
