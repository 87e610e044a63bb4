"""Whole volumes through each of several networks, whatever their size and the memory left."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from liftnet.core.errors import LiftnetError
from liftnet.core.plan import Inference
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.host_memory import is_out_of_memory
from liftnet.ops.in_plane import pad_in_plane
from liftnet.ops.precision import autocast

__all__ = ["slices_at_a_time", "synthesize_each", "trajectory_of"]

# ours: 8 slices of 192x160 at a time. Measured on a CPU: with 16 it is 4 % faster, and the peak of
# resident memory grows by a half, as freed buffers of that size do not fit the next ones.
HOST_PIXELS = 2**18
ONE_PASS_BATCH = 8  # ours: with fewer slices a GPU is slower than with two passes


@torch.no_grad()
def synthesize_each(
    networks: Sequence[nn.Module],
    source: Tensor,
    given: Sequence[bool],
    background: Sequence[float],
    *,
    in_plane: tuple[int, int],
    inference: Inference,
    notice: Callable[[Inference], None] | None = None,
) -> Iterator[Tensor]:
    """Each network's targets (T, D, H, W), float32, from a source (C, D, H, W).

    Any in-plane size is accepted, without seams: slices are padded with background about their
    centre, as in training, and larger ones than `in_plane` go through the network whole, fewer at
    a time. Channels that are not given are 0. When memory runs out, fewer slices are taken at a
    time, then two passes.

    Args:
        networks: of one task.
        source: in network units.
        given: which channels the case has.
        background: of each channel.
        in_plane: the size of slices in training.
        inference: how many slices at a time, and whether in one pass.
        notice: is told what is done from there on, each time that memory ran out.

    Source: LiFT Algorithm 2.

    Raises:
        LiftnetError: If memory does not suffice for one slice at a time in two passes.
    """
    present = torch.tensor(list(given), device=source.device)
    for network in networks:
        assert isinstance(network, VolumeTranslator | ResidualTranslator)
        stride = network.translator.stride
        padded, (rows, columns) = _padded(source, present, background, in_plane, stride)
        area = padded.shape[2] * padded.shape[3]
        growth = area / (in_plane[0] * in_plane[1])
        volume = None
        while volume is None:
            batch = slices_at_a_time(inference.slice_batch / growth, area, source.device)
            keep = inference.passes == "one" and growth <= 1
            try:
                with autocast(source.device):
                    volume = network.synthesize(
                        padded[None],
                        present[None].float(),
                        slice_batch=batch,
                        keep_features=keep,
                    )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if volume is None:  # outside of the handler, whose traceback holds what was made
                if source.device.type == "cuda":
                    torch.cuda.empty_cache()
                inference = _less(inference, batch, keep, growth, padded)
                if notice is not None:
                    notice(inference)
        yield volume[0][:, :, rows, columns].float()


@torch.no_grad()
def trajectory_of(
    network: nn.Module,
    source: Tensor,
    given: Sequence[bool],
    background: Sequence[float],
    *,
    in_plane: tuple[int, int],
    inference: Inference,
) -> Tensor:
    """The context vectors (D, 2 hidden), float32, from which `synthesize_each` makes a volume.

    Arguments as there. Takes less memory than two passes over as many slices at a time.

    Raises:
        ValueError: If the network has no mixer.
    """
    assert isinstance(network, VolumeTranslator | ResidualTranslator)
    present = torch.tensor(list(given), device=source.device)
    stride = network.translator.stride
    padded, _ = _padded(source, present, background, in_plane, stride)
    area = padded.shape[2] * padded.shape[3]
    planned = inference.slice_batch * in_plane[0] * in_plane[1] / area
    batch = slices_at_a_time(planned, area, source.device)
    with autocast(source.device):
        condition = present[None].float()
        return network.trajectory(padded[None], condition, slice_batch=batch).float()


def _padded(
    source: Tensor,
    present: Tensor,
    background: Sequence[float],
    in_plane: tuple[int, int],
    stride: int,
) -> tuple[Tensor, tuple[slice, slice]]:
    """A source as a network takes it, and where the slices lie in it."""
    padded, place = pad_in_plane(source.float(), in_plane, stride, background)
    padded *= present[:, None, None, None]
    return padded, place


def slices_at_a_time(planned: float, area: int, device: torch.device) -> int:
    """How many slices of so many pixels are taken where so many are planned."""
    most = HOST_PIXELS / area if device.type == "cpu" else planned
    return max(1, int(min(planned, most)))


def _less(inference: Inference, batch: int, keep: bool, growth: float, padded: Tensor) -> Inference:
    """The next setting that takes less memory than `batch` slices that were too many."""
    if keep and batch <= ONE_PASS_BATCH:
        return replace(inference, passes="two", slice_batch=batch)
    if batch > 1:
        return replace(inference, slice_batch=max(1, int(batch // 2 * growth)))
    raise LiftnetError(
        f"The memory is too small for a single slice of {padded.shape[2]}x{padded.shape[3]}",
        where=f"device {padded.device}",
        remedy="Free memory on this device, use another one, or plan with a coarser spacing.",
    )
