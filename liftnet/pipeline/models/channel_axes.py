"""Which axis of which weight stands for the channels of a plan."""

import re
from collections.abc import Sequence

__all__ = ["channel_axis"]


def channel_axis(
    name: str, shape: Sequence[int], sources: Sequence[str], targets: Sequence[str]
) -> tuple[int, tuple[str, ...]] | None:
    """The axis of a tensor that has one entry per channel, and what each entry stands for.

    None where no axis does, or the shape is not that of a network of these channels.

    >>> channel_axis("translator.head.bias", (2,), ("mr",), ("ct", "pet"))
    (0, ('target ct', 'target pet'))
    """
    given = tuple(f"source {channel}" for channel in sources)
    made = tuple(f"target {channel}" for channel in targets)
    if name == "translator.encoder.0.convolutions.0.weight":
        axis, entries = 1, given
    elif re.fullmatch(r"translator\.(encoder|decoder)\.\d+\.modulation\.weight", name):
        axis, entries = 1, given  # the condition says which sources are there
    elif re.fullmatch(r"(translator\.head|residual\.leave)\.(weight|bias)", name):
        axis, entries = 0, made
    elif name == "residual.enter.weight":  # the baseline, the source, the finest decoder maps
        maps = shape[1] - len(given) - len(made) if len(shape) > 1 else 0
        axis, entries = 1, (*made, *given, *(f"map {i} of {maps}" for i in range(maps)))
    else:
        return None
    return (axis, entries) if len(shape) > axis and shape[axis] == len(entries) else None
