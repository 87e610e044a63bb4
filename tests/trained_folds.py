"""Folds with random weights, stored as if they were trained."""

from pathlib import Path

import torch

from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST
from liftnet.pipeline.plan import load_plan, load_recipe

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


def add_fold(workspace: Path, fold: str, seed: int, *, method: str = "lift") -> Path:
    """Store a network with random weights as if it were trained."""
    space = find_workspace(workspace)
    plan, used = load_plan(space, DATASET, "default"), load_method(method)
    recipe = load_recipe(space, plan, used)
    folder = space.run_folder(DATASET, "default") / method / f"fold_{fold}"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    torch.manual_seed(seed)
    network = used.stages(plan, recipe)[-1].build()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    network.translator.head.bias.data += 0.5
    weights = {"network": network.state_dict()}
    save_checkpoint(folder / STAGE / BEST, weights, {"step": 1})
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_checkpoint(folder / STAGE / LATEST, {**weights, "average": average}, {})
    return folder
