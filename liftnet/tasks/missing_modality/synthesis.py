"""Whole volumes of absent contrasts from the ones that are present."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan, TranslatorSpec
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.in_plane import pad_in_plane
from liftnet.ops.precision import autocast
from liftnet.tasks.base import Request

__all__ = ["synthesize"]


@torch.no_grad()
def synthesize(
    plan: Plan,
    networks: Sequence[nn.Module],
    source: Tensor,
    request: Request,
    background: Sequence[float],
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
    translator = plan.networks["translator"]
    assert isinstance(translator, TranslatorSpec)
    stride = 2 ** (len(translator.widths) - 1)
    padded, (rows, columns) = pad_in_plane(source, plan.grid.in_plane, stride, background)
    total = torch.zeros((), device=source.device)
    for network in networks:
        assert isinstance(network, VolumeTranslator)
        with autocast(source.device):
            volume = network.synthesize(
                padded[None],
                condition,
                slice_batch=plan.inference.slice_batch,
                keep_features=plan.inference.passes == "one",
            )
        total = total + volume[0, outputs][:, :, rows, columns].float().clamp(0, 1)
    subject = (source > 0).any(dim=0)
    return total / len(networks) * subject
