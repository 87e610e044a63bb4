"""The paper's ablation: LiFT-C without the network along the slice axis."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.methods.base import Method, Stage
from liftnet.methods.lift import joint_rules, residual_rules
from liftnet.methods.lift.lift import METHOD as WHOLE
from liftnet.methods.lift.recipes import JointRecipe, ResidualRecipe, SliceRecipe
from liftnet.methods.lift.synthesis import SliceSynthesis
from liftnet.planning.consistency import refuse

__all__ = ["METHOD"]

MIXER = "mixer"


class NoMapper(SliceSynthesis, Method[JointRecipe | SliceRecipe]):
    """The translator of LiFT-C, of the same size and as long a training; slices stay alone."""

    label = "LiFT-C without context"
    summary = "the 2D translator of lift alone, as the paper's ablation"
    serves = "images from images"
    paper = "LiFT, the ablation without the mapper"
    figures: ClassVar[Mapping[str, str]] = {
        "psnr": "28.97 / 27.30 / 28.40 / 26.46 dB (T1n / T1c / T2w / T2f, LiFT Tab. 2); 28.31 dB "
        "(MR to CT, LiFT Tab. 3)",
        "mae_hu": "59.40 HU (LiFT Tab. 3)",
    }
    recipe = JointRecipe | SliceRecipe
    ablates = "lift"

    def unfit(self, plan: Plan) -> str | None:
        """As LiFT-C."""
        return WHOLE.unfit(plan)

    def decide(
        self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool
    ) -> JointRecipe | SliceRecipe:
        """The recipe of LiFT-C without its mixer."""
        recipe = self.without(WHOLE.decide(plan, fingerprint, squeeze=squeeze))
        return self.refresh(plan, recipe)

    def without(self, recipe: JointRecipe | ResidualRecipe) -> JointRecipe | SliceRecipe:
        """A recipe of LiFT-C without mixer and residual."""
        if isinstance(recipe, JointRecipe):
            schedule = recipe.context_translation
            rates = {k: v for k, v in schedule.learning_rates.items() if k != MIXER}
            return replace(
                recipe,
                mixer=None,
                context_translation=replace(schedule, learning_rates=rates),
                reasons={k: v for k, v in recipe.reasons.items() if k.partition(".")[0] != MIXER},
            )
        kept = {field.name: getattr(recipe, field.name) for field in fields(SliceRecipe)}
        reasons = {k: v for k, v in recipe.reasons.items() if k.partition(".")[0] in kept}
        return SliceRecipe(**kept | {"reasons": reasons})

    def refresh(
        self, plan: Plan, recipe: JointRecipe | SliceRecipe, *, estimate: bool = True
    ) -> JointRecipe | SliceRecipe:
        """The recipe with its outputs and its memory estimate brought up to date."""
        if isinstance(recipe, JointRecipe):
            refuse({"there is a mixer, which is method lift": recipe.mixer is not None}, "recipe")
            return joint_rules.refresh(plan, recipe, estimate=estimate)
        return residual_rules.refresh(plan, recipe, estimate=estimate)

    def stages(self, plan: Plan, recipe: JointRecipe | SliceRecipe) -> tuple[Stage[Any], ...]:
        """The translator alone."""
        if isinstance(recipe, JointRecipe):
            return joint_rules.stages_of(recipe)
        return residual_rules.stages_of(plan, recipe)


METHOD = NoMapper()
