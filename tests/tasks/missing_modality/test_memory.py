"""The memory estimate against what autograd really keeps."""

import pytest
import torch

from liftnet.pipeline.plan import apply_setting
from liftnet.tasks.missing_modality.context_translation import STAGE, build_network, slab_loss
from liftnet.tasks.missing_modality.memory import (
    GIB,
    synthesis_gib,
    synthesis_gigaflop,
    training_gib,
)
from liftnet.tasks.missing_modality.rules import refresh
