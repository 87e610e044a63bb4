"""Folds with random weights, stored as if they were trained."""

import shutil
from pathlib import Path

import torch

from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST
from liftnet.pipeline.plan import read_plan
from liftnet.tasks import load_task

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


def add_fold(workspace: Path, fold: str, seed: int, *, mapper: bool = True) -> Path:
    """Store a network with random weights as if it were trained."""
    variant = "lift_c" if mapper else "no_mapper"
    folder = workspace / "results" / DATASET / "default" / variant / f"fold_{fold}"
    source = workspace / "preprocessed" / DATASET / "default" / "plan.json"
    (folder / STAGE).mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder / "plan.json")
    decided = read_plan(source)
    torch.manual_seed(seed)
    network = load_task(decided.task).stages(decided, mapper=mapper)[-1].build()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    network.translator.head.bias.data += 0.5
    weights = {"network": network.state_dict()}
    save_checkpoint(folder / STAGE / BEST, weights, {"step": 1})
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_checkpoint(folder / STAGE / LATEST, {**weights, "average": average}, {})
    return folder
