"""What the 2D translator holds while it makes slices without a graph."""

from torch import nn

from liftnet.core.plan import TranslatorSpec
from liftnet.planning.memory import num_parameters

__all__ = ["decoded_per_slice", "kept_per_slice", "stored_weights"]


def kept_per_slice(spec: TranslatorSpec, in_plane: tuple[int, int]) -> int:
    """How many numbers the features of an encoded slice are: the bottleneck and all skips."""
    height, width = in_plane
    return sum(w * (height >> i) * (width >> i) for i, w in enumerate(spec.widths))


def decoded_per_slice(spec: TranslatorSpec, in_plane: tuple[int, int]) -> int:
    """How many numbers a slice takes while the finest decoder stage makes it.

    The maps of the stage before, those enlarged and joined to the skip (twice a map), a
    convolution's input and its result. The skips themselves are gone by then.
    """
    height, width = in_plane
    coarser = spec.widths[min(1, len(spec.widths) - 1)] * (height // 2) * (width // 2)
    return coarser + 4 * spec.widths[0] * height * width


def stored_weights(network: nn.Module, bytes_per_number: int) -> int:
    """Bytes of the weights in float32, and of their copies that autocast computes with."""
    copies = bytes_per_number if bytes_per_number < 4 else 0
    return (4 + copies) * num_parameters(network)
