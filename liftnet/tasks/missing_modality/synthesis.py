"""Whole volumes of absent contrasts from the ones that are present."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.plan import Plan, TranslatorSpec
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
    background about its centre, as in training, and the padding is cut off again.

    Source: LiFT Algorithm 2, Sec. 5.2 (predictions are clipped to [0, 1]).
    Differs: the mask comes from the sources; the paper takes it from the target.
    """
    present = [name in request.sources for name in plan.channel_names]
    source = source.float() * torch.tensor(present, device=source.device)[:, None, None, None]
    outputs = [plan.targets.index(name) for name in request.targets]
    condition = torch.tensor([present], dtype=torch.float32, device=source.device)
    height, width = source.shape[2:]
    top, bottom = _padding(height, plan, 0)
    left, right = _padding(width, plan, 1)
    padded = F.pad(source, (left, right, top, bottom))
    total = torch.zeros(())
    for network in networks:
        assert isinstance(network, VolumeTranslator)
        with autocast(source.device):
            volume = network.synthesize(
                padded[None],
                condition,
                slice_batch=plan.inference.slice_batch,
                keep_features=plan.inference.passes == "one",
            )
        inner = volume[0, outputs, :, top : top + height, left : left + width]
        total = inner.float().clamp(0, 1) + total.to(source.device)
    subject = (source > 0).any(dim=0)
    return total / len(networks) * subject


def _padding(size: int, plan: Plan, axis: int) -> tuple[int, int]:
    """Background before and after a side: to the size of training slices, or up to a stride.

    The network sees the mean of whole slices, so the share of background must be as in training.
    """
    translator = plan.networks["translator"]
    assert isinstance(translator, TranslatorSpec)
    stride = 2 ** (len(translator.widths) - 1)
    total = max(plan.grid.in_plane[axis], -(-size // stride) * stride) - size
    return (total + 1) // 2, total // 2
