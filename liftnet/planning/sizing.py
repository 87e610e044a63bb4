"""The largest network whose training fits the memory, and how it then predicts."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import log2
from typing import Literal, TypeVar

from liftnet.core.errors import PlanError
from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, Recipe
from liftnet.planning.cost import TRAINING_SHARE, Measurable, first_that_fits, largest_that_fits
from liftnet.planning.grid import stride_of

__all__ = ["SLICE_BATCHES", "fit_to_memory", "plan_inference", "plan_mixer", "plan_translator"]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
MAX_WIDTH = 512  # nnU-Net, 2D
# Base width and decoded slices, best first. 48: LiFT Tab. 10. Widths: ours, as pix2pix (64) and
# nnU-Net (32); a U-Net narrower than 32 gains more from width than from a longer slab.
SIZES = (
    (64, 48), (48, 48), (32, 48), (32, 32), (32, 24), (24, 24), (16, 24), (16, 16), (8, 16), (8, 8),
)  # fmt: skip
ONE_PASS_BATCH = 8  # ours: fewer at a time are slower on a GPU than two passes with more
USEFUL_PIXELS = 2**20  # ours: at a time, 32 slices of 192x160, enough to fill a large GPU
SLICE_BATCHES = (64, 32, 16, 8, 4, 2, 1)  # ours: larger ones gain no speed on a GPU or CPU


def fit_to_memory(
    plan: Plan,
    reasons: dict[str, str],
    *,
    sized: Callable[[tuple[int, ...], int, bool], AnyRecipe],
    stages: Callable[[AnyRecipe], Iterable[Measurable]],
) -> AnyRecipe:
    """The recipe with the largest network and slab whose training fits the memory budget.

    Args:
        plan: whose grid and budget it is for.
        reasons: receives why.
        sized: the recipe of these widths and slabs of this many slices, recomputing or not.
        stages: those of a recipe.

    Raises:
        TooLargeError: If not even the smallest network fits.
    """
    stride = stride_of(plan.grid)

    def recipe_of(base: int, slices: int, recompute: bool) -> AnyRecipe:
        widths = tuple(min(base * 2**i, MAX_WIDTH) for i in range(int(log2(stride)) + 1))
        return sized(widths, slices, recompute)

    # The paper's size is kept at the cost of time before it is given up.
    tried = [(*SIZES[0], False), (*SIZES[0], True), *((*size, False) for size in SIZES[1:])]
    chosen = largest_that_fits(plan, [recipe_of(*size) for size in tried], stages)
    size = f"the largest of {len(SIZES)} sizes that fits {plan.budget.memory_gib:g} GiB"
    reasons |= {
        "translator.widths": f"{size}; doubling to at most {MAX_WIDTH} (nnU-Net)",
        "translator.normalization": "ours: measured, see docs/explanation/context.md",
        "recompute": "the paper's size is held only without keeping the maps of blocks, which "
        "are computed again for the gradient (ours)"
        if chosen.recompute
        else "not needed: what the gradient needs is kept",
        "mixer": "bidirectional GRU over all slice descriptors (LiFT Eq. 7); what it "
        "reads and where its context enters: measured, see docs/explanation/context.md (ours)",
    }
    return chosen


def plan_inference(
    plan: Plan, recipe: AnyRecipe, *, needed: Callable[[AnyRecipe], float]
) -> AnyRecipe:
    """One pass where the kept maps fit with a useful batch of slices, else two; the largest batch.

    Args:
        plan: whose grid and budget it is for.
        recipe: of the networks.
        needed: GiB of a recipe's synthesis.

    Raises:
        PlanError: If not even single slices fit.
    """
    limit = TRAINING_SHARE * plan.budget.memory_gib
    useful = max(1, USEFUL_PIXELS // (plan.grid.in_plane[0] * plan.grid.in_plane[1]))
    depth = plan.grid.num_slices
    sizes = sorted({min(n, depth) for n in SLICE_BATCHES if n <= useful}, reverse=True)
    passes: Literal["one", "two"]
    for passes, least in ("one", min(ONE_PASS_BATCH, sizes[0])), ("two", 1):
        tried = [replace(recipe, inference=Inference(n, passes)) for n in sizes if n >= least]
        chosen, gib = first_that_fits(tried, needed, limit)
        if gib <= limit:
            break
    else:
        raise PlanError(
            f"Synthesis slice by slice needs {gib:.2g} GiB",
            where=f"a budget of {plan.budget.memory_gib:g} GiB",
            remedy="Raise --gpu-memory, or resample the images to a coarser spacing.",
        )
    reason = (
        "one pass keeps maps of all slices; two passes compute them again (LiFT Algorithm 2): "
        f"'{passes}' with {chosen.inference.slice_batch} slices at a time is the fastest "
        "that fits the budget"
    )
    return replace(chosen, reasons=chosen.reasons | {"inference": reason})


def plan_translator(sources: int, targets: int, widths: tuple[int, ...]) -> TranslatorSpec:
    """The 2D U-Net of these widths, told which of its sources are there."""
    return TranslatorSpec(
        source_channels=sources,
        target_channels=targets,
        condition_size=sources,
        widths=widths,
        convolutions_per_stage=2,  # nnU-Net
        normalization="none",
    )


def plan_mixer(
    widths: tuple[int, ...], inject: Literal["none", "bottleneck", "decoder"]
) -> MixerSpec:
    """The z-context mixer for a translator of these widths.

    LiFT Sec. 4.2 pools the mean of the bottleneck, lets the context in there only, and has no
    convolution along the slices. Where the context enters the decoder, it enters every stage, and
    the descriptors come from every stage (ours: measured, docs/explanation/context.md).
    """
    wide = inject == "decoder"
    return MixerSpec(
        descriptor="mean_std" if wide else "mean",
        descriptor_stages="all" if wide else "bottleneck",
        hidden_size=max(64, min(256, widths[-1] // 2)),  # ours: a context as wide as h_d
        num_layers=1,  # LiFT: "a bidirectional GRU"
        fourier_frequencies=8,  # ours: up to half a slice of 256
        inject=inject,
        through_plane_kernel=3 if wide else 0,
    )
