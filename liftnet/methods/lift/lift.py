"""LiFT-C, in the form that the plan's channels ask for."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.methods.base import Method, Stage
from liftnet.methods.lift import joint_rules, residual_rules
from liftnet.methods.lift.recipes import JointRecipe, ResidualRecipe
from liftnet.methods.lift.synthesis import SliceSynthesis
from liftnet.networks.synthesis import trajectory_of
from liftnet.ops.chunks import Chunk
from liftnet.planning.consistency import refuse

__all__ = ["METHOD"]


class Lift(SliceSynthesis, Method[JointRecipe | ResidualRecipe]):
    """A 2D translator, and a small network along the slice axis that makes a volume of slices."""

    label = "LiFT-C"
    summary = "2D translator lifted to 3D by context along the slice axis"
    serves = "images from images"
    paper = "LiFT, Sec. 4.2, 5.2, 5.3"
    figures: ClassVar[Mapping[str, str]] = {
        "psnr": "29.42 / 27.40 / 28.53 / 27.88 dB (T1n / T1c / T2w / T2f, LiFT Tab. 2); 28.49 dB "
        "(MR to CT, LiFT Tab. 3)",
        "mae_hu": "57.50 HU (LiFT Tab. 3)",
    }
    recipe = JointRecipe | ResidualRecipe

    def unfit(self, plan: Plan) -> str | None:
        """It needs a source."""
        return None if plan.sources else "it needs one source or more"

    def decide(
        self, plan: Plan, fingerprint: Fingerprint, *, squeeze: bool
    ) -> JointRecipe | ResidualRecipe:
        """Joint where targets are sources too, else the residual form."""
        if set(plan.sources) & set(plan.targets):
            return joint_rules.decide(plan)
        return residual_rules.decide(plan)

    def refresh(
        self, plan: Plan, recipe: JointRecipe | ResidualRecipe, *, estimate: bool = True
    ) -> JointRecipe | ResidualRecipe:
        """The recipe with its outputs and its memory estimate brought up to date."""
        if isinstance(recipe, JointRecipe):
            refuse({"mixer is null, which is method no_mapper": recipe.mixer is None}, "recipe")
            return joint_rules.refresh(plan, recipe, estimate=estimate)
        return residual_rules.refresh(plan, recipe, estimate=estimate)

    def stages(self, plan: Plan, recipe: JointRecipe | ResidualRecipe) -> tuple[Stage[Any], ...]:
        """The translator first, in a short training or the residual form; then with context."""
        if isinstance(recipe, JointRecipe):
            return joint_rules.stages_of(recipe)
        return residual_rules.stages_of(plan, recipe)

    def trajectory(
        self, plan: Plan, recipe: Any, network: nn.Module, example: Example, chunk: Chunk
    ) -> Tensor:
        """The context vector of every slice (D, 2 hidden).

        Source: LiFT Eq. 7, Fig. 7.
        """
        number = example.source.shape[1]
        return trajectory_of(
            network,
            example.source[0],
            example.given[0],
            example.air[0, :number],
            in_plane=plan.grid.in_plane,
            chunk=chunk,
        )


METHOD = Lift()
