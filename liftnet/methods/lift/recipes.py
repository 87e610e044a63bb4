"""What the methods of this family decide: the two forms of LiFT-C, and the translator alone."""

from dataclasses import dataclass

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.recipe import Recipe, Schedule
from liftnet.core.storage.ranges import Weight

__all__ = ["JointRecipe", "ResidualRecipe", "SliceRecipe"]


@dataclass(frozen=True, kw_only=True)
class JointRecipe(Recipe):
    """Translator and mixer trained together."""

    translator: TranslatorSpec
    mixer: MixerSpec | None  # null: no slice knows of the others
    losses: dict[str, Weight]
    slice_translation: Schedule | None  # of a short training: first the translator alone
    context_translation: Schedule


@dataclass(frozen=True, kw_only=True)
class ResidualRecipe(Recipe):
    """A translator, and then a residual with context on top of it, frozen."""

    translator: TranslatorSpec
    mixer: MixerSpec
    residual: ResidualSpec
    losses: dict[str, Weight]
    slice_translation: Schedule
    residual_context: Schedule


@dataclass(frozen=True, kw_only=True)
class SliceRecipe(Recipe):
    """A translator of single slices."""

    translator: TranslatorSpec
    losses: dict[str, Weight]
    slice_translation: Schedule
