"""Whole target volumes from the sources that a case has."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan, TranslatorSpec
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops import normalize
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
    """Targets (T, D, H, W) in network units from (C, D, H, W), the mean over networks.

    Any in-plane size is accepted, without seams: slices are padded with air about their centre,
    and larger ones than in training go through the network whole, fewer at a time.

    Source: LiFT Algorithm 2, Sec. 5.3.
    """
    given = [name in request.sources for name in plan.sources]
    rows = [plan.channel_names.index(name) for name in plan.sources]
    air = [background[row] for row in rows]
    translator = plan.networks["translator"]
    assert isinstance(translator, TranslatorSpec)
    stride = 2 ** (len(translator.widths) - 1)
    padded, (across, along) = pad_in_plane(source[rows].float(), plan.grid.in_plane, stride, air)
    padded = padded * torch.tensor(given, device=source.device)[:, None, None, None]
    condition = torch.tensor([given], dtype=torch.float32, device=source.device)
    planned = plan.grid.in_plane[0] * plan.grid.in_plane[1]
    area = padded.shape[2] * padded.shape[3]
    slice_batch = max(1, plan.inference.slice_batch * planned // area)
    outputs = [plan.targets.index(name) for name in request.targets]
    total = torch.zeros((), device=source.device)
    for network in networks:
        assert isinstance(network, VolumeTranslator | ResidualTranslator)
        with autocast(source.device):
            volume = network.synthesize(
                padded[None],
                condition,
                slice_batch=slice_batch,
                keep_features=plan.inference.passes == "one" and area <= planned,
            )
        total = total + volume[0, outputs][:, :, across, along].float()
    limits = [normalize.limits(plan.channel(name).normalization) for name in request.targets]
    low, high = (
        torch.tensor(ends, device=source.device).view(-1, 1, 1, 1)
        for ends in zip(*limits, strict=True)
    )
    return torch.clamp(total / len(networks), low, high)
