"""How a method that samples draws images: as its recipe has it, or as the user asks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.pipeline.models.model import Model

__all__ = ["with_sampling"]

OPTIONS = {"samples": "--samples", "sampler": "--sampler", "num_steps": "--sampler-steps"}


def with_sampling(model: Model, seed: int, asked: Mapping[str, Any]) -> Model:
    """The model with what a user asks of its sampling.

    Args:
        model: trained.
        seed: of what is random about images of a case.
        asked: setting of the sampling -> its value, None where nothing is asked.

    Raises:
        LiftnetError: If the method does not sample, or cannot do so.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    words = [f"{OPTIONS[name]} {value}" for name, value in asked.items()]
    if seed:
        words.append(f"--seed {seed}")
    sampling = model.recipe.sampling
    if sampling is None:
        if words:
            raise LiftnetError(
                f"{model.method.name} draws nothing at random: a case has one result",
                where=" ".join(words),
                remedy="Leave these options out.",
            )
        return model
    recipe = replace(model.recipe, sampling=replace(sampling, **asked))
    try:
        recipe = model.method.refresh(model.plan, recipe, estimate=False)
    except PlanError as error:
        raise LiftnetError(error.problem, where=" ".join(words), remedy=error.remedy) from error
    return replace(model, recipe=recipe, seed=seed)
