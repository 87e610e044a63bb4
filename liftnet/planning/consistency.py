"""What the plan of a paired task must fulfil, also after it was edited by hand."""

from collections.abc import Iterable

from liftnet.core.errors import PlanError
from liftnet.core.plan import ClipAndScale, MixerSpec, Plan, TranslatorSpec
from liftnet.networks.blocks import GROUP_WIDTH

__all__ = ["check_paired", "contradiction", "refuse", "shared_problems"]

COUNTS = (
    "num_steps",
    "volumes_per_step",
    "windows_per_volume",
    "decoded_slices",
    "validate_every",
    "validation_cases",
)


def contradiction(problem: str) -> PlanError:
    """The error for a plan that contradicts itself."""
    return PlanError(f"The plan contradicts itself: {problem}", remedy="Correct plan.json.")


def refuse(problems: dict[str, bool]) -> None:
    """Raise the first of the problems that is there."""
    for problem, found in problems.items():
        if found:
            raise contradiction(problem)


def shared_problems(plan: Plan) -> dict[str, bool]:
    """What may be wrong in the plan of any task: problem -> whether it is there."""
    spec = plan.augmentation
    factors = ("scale", "brightness", "contrast", "gamma", "low_resolution")
    ranges = {f"{name}_range": getattr(spec, f"{name}_range") for name in factors}
    still = [name for name, schedule in plan.stages.items() if schedule.gradient_clip <= 0]
    return {
        **{
            f"augmentation.{name} {list(found)} is not a range of factors above 0": not (
                0 < found[0] <= found[1]
            )
            for name, found in ranges.items()
        },
        f"augmentation.low_resolution_range {list(spec.low_resolution_range)} goes beyond 1": (
            spec.low_resolution_range[1] > 1
        ),
        f"augmentation.blur_sigma {list(spec.blur_sigma)} is no range": (
            spec.blur_sigma[0] > spec.blur_sigma[1]
        ),
        f"stages.{', '.join(still)}.gradient_clip is 0: no step would move a weight": bool(still),
    }


def check_paired(
    plan: Plan, translator: TranslatorSpec, mixer: MixerSpec, losses: Iterable[str]
) -> None:
    """Refuse a plan of a translator and a mixer whose parts contradict each other."""
    counts = {
        "grid.num_slices": plan.grid.num_slices,
        "inference.slice_batch": plan.inference.slice_batch,
        "networks.mixer.hidden_size": mixer.hidden_size,
        "networks.mixer.num_layers": mixer.num_layers,
        "networks.translator.convolutions_per_stage": translator.convolutions_per_stage,
        **{
            f"stages.{stage}.{name}": getattr(schedule, name)
            for stage, schedule in plan.stages.items()
            for name in COUNTS
        },
    }
    small = [name for name, count in counts.items() if count < 1]
    rates = [schedule.learning_rates for schedule in plan.stages.values()]
    strangers = {name for each in rates for name in each} - set(plan.networks)
    kernel = mixer.through_plane_kernel
    stride = 2 ** (len(translator.widths) - 1)
    empty_ranges = [
        channel.name
        for channel in plan.channels
        if isinstance(rule := channel.normalization, ClipAndScale)
        and not (rule.low < rule.high and rule.limits[0] < rule.limits[1])
    ]
    unknown = (set(plan.targets) | set(plan.sources)) - set(plan.channel_names)
    refuse(
        {
            **shared_problems(plan),
            f"{', '.join(sorted(unknown))} are not channels": bool(unknown),
            f"the normalization of {', '.join(empty_ranges)} has a range whose low is not "
            "below high": bool(empty_ranges),
            "a target or a source is named twice": any(
                len(set(names)) < len(names) for names in (plan.targets, plan.sources)
            ),
            "there is no target": not plan.targets,
            "there is no source": not plan.sources,
            f"{', '.join(small)} must be 1 or more": bool(small),
            f"learning_rates name {', '.join(strangers)}; expected "
            + ", ".join(plan.networks): bool(strangers),
            "nothing is trained: learning_rates are empty": not all(rates),
            f"through_plane_kernel is {kernel}; expected 0 or an odd number": kernel < 0
            or (kernel != 0 and kernel % 2 == 0),
            f"widths {translator.widths} are not all multiples of {GROUP_WIDTH}": not (
                translator.widths
            )
            or any(w < 1 or w % GROUP_WIDTH for w in translator.widths),
            f"grid.spacing_mm {plan.grid.spacing_mm} is not positive": min(plan.grid.spacing_mm)
            <= 0,
            "grid.pad_to_box is true, and grid.box is null": plan.grid.pad_to_box
            and plan.grid.box is None,
            "seed is negative": plan.seed < 0,
            f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}": any(
                n < 1 or n % stride for n in plan.grid.in_plane
            ),
            f"the translator takes {translator.source_channels} channels and a code of "
            f"{translator.condition_size}, the plan has {len(plan.sources)} sources": {
                translator.source_channels,
                translator.condition_size,
            }
            != {len(plan.sources)},
            "source_dropout is not a probability": not 0 <= plan.source_dropout <= 1,
            "a loss weight is negative, or all are 0": not any(plan.losses.values())
            or min(plan.losses.values()) < 0,
            f"losses are {', '.join(plan.losses)}; expected {', '.join(losses)}": set(plan.losses)
            != set(losses),
        }
    )
