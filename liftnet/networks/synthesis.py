"""Whole volumes through each of several networks, whatever their in-plane size."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Inference
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.in_plane import pad_in_plane
from liftnet.ops.precision import autocast

__all__ = ["synthesize_each"]


@torch.no_grad()
def synthesize_each(
    networks: Sequence[nn.Module],
    source: Tensor,
    given: Sequence[bool],
    background: Sequence[float],
    *,
    in_plane: tuple[int, int],
    inference: Inference,
) -> Iterator[Tensor]:
    """Each network's targets (T, D, H, W), float32, from a source (C, D, H, W).

    Any in-plane size is accepted, without seams: slices are padded with background about their
    centre, as in training, and larger ones than `in_plane` go through the network whole, fewer at
    a time. Channels that are not given are 0.

    Source: LiFT Algorithm 2.
    """
    present = torch.tensor(list(given), device=source.device)
    for network in networks:
        assert isinstance(network, VolumeTranslator | ResidualTranslator)
        stride = network.translator.stride
        padded, (rows, columns) = pad_in_plane(source.float(), in_plane, stride, background)
        area, planned = padded.shape[2] * padded.shape[3], in_plane[0] * in_plane[1]
        with autocast(source.device):
            volume = network.synthesize(
                (padded * present[:, None, None, None])[None],
                present[None].float(),
                slice_batch=max(1, inference.slice_batch * planned // area),
                keep_features=inference.passes == "one" and area <= planned,
            )
        yield volume[0][:, :, rows, columns].float()
