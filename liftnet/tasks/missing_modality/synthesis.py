"""Whole volumes of absent contrasts from the ones that are present."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Request

__all__ = ["synthesize"]


@torch.no_grad()
def synthesize(
    plan: Plan, networks: Sequence[nn.Module], source: Tensor, request: Request
) -> Tensor:
    """Targets (T, D, H, W) in [0, 1] from a source (C, D, H, W), the mean over networks.

    Zero wherever every source is zero. Any in-plane size is accepted: it is padded with
    background to a multiple of the U-Net's stride, and the padding is cut off again.

    Source: LiFT Algorithm 2, Sec. 5.2 (predictions are clipped to [0, 1]).
    Differs: the mask comes from the sources; the paper takes it from the target.
    """
    present = [name in request.sources for name in plan.channel_names]
    source = source.float() * torch.tensor(present, device=source.device)[:, None, None, None]
    outputs = [plan.targets.index(name) for name in request.targets]
    condition = torch.tensor([present], dtype=torch.float32, device=source.device)
    height, width = source.shape[2:]
    total = torch.zeros(())
    for network in networks:
        assert isinstance(network, VolumeTranslator)
        stride = network.translator.stride
        padded = F.pad(source, (0, -width % stride, 0, -height % stride))
        with autocast(source.device):
            volume = network.synthesize(
                padded[None],
                condition,
                slice_batch=plan.inference.slice_batch,
                keep_features=plan.inference.passes == "one",
            )
        total = volume[0, outputs, :, :height, :width].float().clamp(0, 1) + total.to(source.device)
    subject = (source > 0).any(dim=0)
    return total / len(networks) * subject
