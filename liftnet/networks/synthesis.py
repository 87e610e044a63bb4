"""Whole volumes through a network of slices, whatever their size and the memory left."""

import torch
from torch import Tensor, nn

from liftnet.core.errors import LiftnetError
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.host_memory import is_out_of_memory
from liftnet.ops.compute.precision import autocast
from liftnet.ops.in_plane import pad_in_plane

__all__ = ["slices_at_a_time", "synthesize_volume", "trajectory_of"]

# ours: 8 slices of 192x160 at a time. Measured on a CPU: with 16 it is 4 % faster, and the peak of
# resident memory grows by a half, as freed buffers of that size do not fit the next ones.
HOST_PIXELS = 2**18
ONE_PASS_BATCH = 8  # ours: with fewer slices a GPU is slower than with two passes


@torch.no_grad()
def synthesize_volume(
    network: nn.Module,
    source: Tensor,
    given: Tensor,
    air: Tensor,
    *,
    in_plane: tuple[int, int],
    chunk: Chunk,
) -> Tensor:
    """A network's targets (T, D, H, W), float32, from a source (C, D, H, W).

    Any in-plane size is accepted, without seams: slices are padded with background about their
    centre, as in training, and larger ones than `in_plane` go through the network whole, fewer at
    a time. Channels that are not given are 0. When memory runs out, fewer slices are taken at a
    time, then two passes.

    Args:
        network: that makes slices.
        source: in network units.
        given: (C,), 1 for channels that the case has.
        air: (C,), the background of each channel.
        in_plane: the size of slices in training.
        chunk: how many slices at a time, and whether in one pass.

    Source: LiFT Algorithm 2.

    Raises:
        LiftnetError: If memory does not suffice for one slice at a time in two passes.
    """
    assert isinstance(network, VolumeTranslator | ResidualTranslator)
    padded, (rows, columns) = _padded(source, given, air, in_plane, network.translator.stride)
    area = padded.shape[2] * padded.shape[3]
    growth = area / (in_plane[0] * in_plane[1])
    volume = None
    while volume is None:
        batch = slices_at_a_time(chunk.size / growth, area, source.device)
        keep = chunk.passes == "one" and growth <= 1
        try:
            with autocast(source.device):
                volume = network.synthesize(
                    padded[None], given[None], slice_batch=batch, keep_features=keep
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if volume is None:  # outside of the handler, whose traceback holds what was made
            if source.device.type == "cuda":
                torch.cuda.empty_cache()
            _take_less(chunk, batch, keep, growth, padded)
    made: Tensor = volume[0][:, :, rows, columns].float()
    return made


@torch.no_grad()
def trajectory_of(
    network: nn.Module,
    source: Tensor,
    given: Tensor,
    air: Tensor,
    *,
    in_plane: tuple[int, int],
    chunk: Chunk,
) -> Tensor:
    """The context vectors (D, 2 hidden), float32, from which `synthesize_volume` makes a volume.

    Arguments as there. Takes less memory than two passes over as many slices at a time.

    Raises:
        ValueError: If the network has no mixer.
    """
    assert isinstance(network, VolumeTranslator | ResidualTranslator)
    padded, _ = _padded(source, given, air, in_plane, network.translator.stride)
    area = padded.shape[2] * padded.shape[3]
    planned = chunk.size * in_plane[0] * in_plane[1] / area
    batch = slices_at_a_time(planned, area, source.device)
    with autocast(source.device):
        return network.trajectory(padded[None], given[None], slice_batch=batch).float()


def _padded(
    source: Tensor, given: Tensor, air: Tensor, in_plane: tuple[int, int], stride: int
) -> tuple[Tensor, tuple[slice, slice]]:
    """A source as a network takes it, and where the slices lie in it."""
    padded, place = pad_in_plane(source.float(), in_plane, stride, air)
    padded *= given[:, None, None, None]
    return padded, place


def slices_at_a_time(planned: float, area: int, device: torch.device) -> int:
    """The planned number of slices, reduced on a CPU to what fits its cache."""
    most = HOST_PIXELS / area if device.type == "cpu" else planned
    return max(1, int(min(planned, most)))


def _take_less(chunk: Chunk, batch: int, keep: bool, growth: float, padded: Tensor) -> None:
    """Take less memory from here on than `batch` slices, which were too many.

    Raises:
        LiftnetError: If there is no less.
    """
    if keep and batch <= ONE_PASS_BATCH:
        chunk.shrink(batch, "two")
    elif batch > 1:
        chunk.shrink(max(1, int(batch // 2 * growth)), chunk.passes)
    else:
        raise LiftnetError(
            f"The memory is too small for a single slice of {padded.shape[2]}x{padded.shape[3]}",
            where=f"device {padded.device}",
            remedy="Free memory on this device, use another one, or plan with a coarser spacing.",
        )
