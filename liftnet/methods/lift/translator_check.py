"""What a recipe with a translator must fulfil, whichever its form."""

from collections.abc import Iterable

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.networks.blocks import GROUP_WIDTH
from liftnet.planning.consistency import check_recipe, refuse

__all__ = ["check_translator"]


def check_translator(
    plan: Plan,
    recipe: Recipe,
    translator: TranslatorSpec,
    mixer: MixerSpec | None,
    parts: Iterable[str],
    known_losses: Iterable[str],
    losses: dict[str, float],
) -> None:
    """Refuse a recipe whose parts contradict each other, or its plan.

    Raises:
        PlanError: Naming the first contradiction.
    """
    check_recipe(recipe, parts, losses)
    counts = {"translator.convolutions_per_stage": translator.convolutions_per_stage}
    kernel = 0
    if mixer is not None:
        kernel = mixer.through_plane_kernel
        counts |= {
            "mixer.hidden_size": mixer.hidden_size,
            "mixer.num_layers": mixer.num_layers,
        }
    small = [name for name, count in counts.items() if count < 1]
    stride = 2 ** (len(translator.widths) - 1)
    refuse(
        {
            f"{', '.join(small)} must be 1 or more": bool(small),
            f"through_plane_kernel is {kernel}; expected 0 or an odd number": kernel < 0
            or (kernel != 0 and kernel % 2 == 0),
            f"widths {translator.widths} are not all multiples of {GROUP_WIDTH}": not (
                translator.widths
            )
            or any(w < 1 or w % GROUP_WIDTH for w in translator.widths),
            f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}": any(
                n < 1 or n % stride for n in plan.grid.in_plane
            ),
            f"the translator takes {translator.source_channels} channels and a code of "
            f"{translator.condition_size}, the plan has {len(plan.sources)} sources": {
                translator.source_channels,
                translator.condition_size,
            }
            != {len(plan.sources)},
            f"losses are {', '.join(losses) or 'none'}; expected {', '.join(known_losses)}": set(
                losses
            )
            != set(known_losses),
        },
        "recipe",
    )
