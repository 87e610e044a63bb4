"""TensorBoard events of a training run, written where the package tensorboard is installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.host.progress import say
from liftnet.ops.compute.processes import is_first
from liftnet.visual.panels import row_numbers
from liftnet.visual.planes import Spacing, grey_planes, shared_windows

__all__ = ["EVENTS", "Events", "open_events", "write_images", "write_row"]

EVENTS = "events"  # folder of a stage

Events = Any  # a SummaryWriter of torch.utils.tensorboard; None where nothing is written


@contextmanager
def open_events(folder: Path, *, after: int) -> Iterator[Events]:
    """Yield a writer of the events after a step, or None if tensorboard is not installed.

    What an earlier run has written of later steps, before it was killed, is hidden by TensorBoard.
    Only the first process writes.
    """
    if not is_first():
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        yield None
        return
    except (ImportError, AttributeError, TypeError) as error:  # it does not fit its own libraries
        say(f"warning: tensorboard is installed but cannot be imported, so no events: {error}")
        yield None
        return
    writer = SummaryWriter(log_dir=str(folder), purge_step=after + 1)
    try:
        yield writer
    finally:
        writer.close()


def write_row(events: Events, row: Mapping[str, Any]) -> None:
    """Write the numbers of a row of the log, tagged group/name, at its step."""
    if events is None:
        return
    for group, name, value in row_numbers(row):
        events.add_scalar(f"{group}/{name}".replace(" ", "_"), value, row["step"])
    events.flush()  # a killed run keeps what its log has


def write_images(
    events: Events, step: int, case: str, images: Mapping[str, np.ndarray], spacing_mm: Spacing
) -> None:
    """Write the middle slices of volumes (D, H, W) in three planes, tagged case/label."""
    if events is None:
        return
    windows = shared_windows(tuple(images.items()))
    for (label, volume), window in zip(images.items(), windows, strict=True):
        picture = grey_planes(volume, spacing_mm, window)
        events.add_image(f"{case}/{label}".replace(" ", "_"), picture, step, dataformats="HW")
    events.flush()
