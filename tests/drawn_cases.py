"""What a training step sees of cases of one's choice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from liftnet.core.plan import Plan
from liftnet.data import crops
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods.base import Stage
from liftnet.tasks import load_task


def drawn(
    plan: Plan,
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    seed: int | Sequence[int] = 0,
    *,
    thinnest: int | None = None,
) -> list[Example]:
    """As the loop draws it, on the processor in float32, not augmented."""
    task, rng = load_task(plan.task), np.random.default_rng(seed)
    examples: list[Example] = []
    for case in cases:
        request = task.draw_request(plan, store.describe(case).present, rng)
        examples += crops.draw(store, plan, request, stage.crop, case, rng, thinnest=thinnest)
    return [example.to(torch.device("cpu")) for example in examples]
