"""The boxes that a 3D network may be trained on, and the levels that a U-Net has in one."""

from collections.abc import Sequence

__all__ = ["boxes", "step_of", "strides_of"]

LEAST_EDGE = 4  # nnU-Net: of the coarsest map
LARGEST_STEP = 32  # nnU-Net: five halvings of its largest boxes
SAME_SPACING = 2.0  # nnU-Net: axes whose voxels are less alike are not halved together

Box = tuple[int, int, int]  # voxels along (D, H, W)


def step_of(shape: Sequence[int]) -> Box:
    """By what the sides of a box grow: the largest power of 2 that still leaves an edge of 4.

    >>> step_of((155, 240, 10))
    (32, 32, 2)
    """
    d, h, w = (
        max(2**i for i in range(LARGEST_STEP.bit_length()) if 2**i * LEAST_EDGE <= max(n, 4))
        for n in shape
    )
    return d, h, w


def boxes(shape: Sequence[int], stride: Sequence[int], least: int) -> list[Box]:
    """Boxes with sides of multiples of a stride, largest first.

    From one that holds the whole shape on, the largest side shrinks, until none can without being
    less than `least`.

    >>> boxes((20, 64, 64), (4, 16, 16), 32)
    [(20, 64, 64), (20, 48, 64), (20, 48, 48), (20, 32, 48), (20, 32, 32)]
    """
    d, h, w = (-(-n // step) * step for n, step in zip(shape, stride, strict=True))
    found = [(d, h, w)]
    while True:
        box = list(found[-1])
        free = [axis for axis in range(3) if box[axis] - stride[axis] >= least]
        if not free:
            return found
        largest = max(free, key=lambda axis: box[axis])
        box[largest] -= stride[largest]
        d, h, w = box
        found.append((d, h, w))


def strides_of(box: Box, spacing_mm: Sequence[float], most: int) -> tuple[Box, ...]:
    """How a U-Net halves a box from level to level, at most so many times.

    An axis is halved while it is even, keeps an edge of 4, and its spacing is below twice the
    finest of those that can be halved, too.

    Source: nnU-Net, `get_pool_and_conv_props`.

    >>> strides_of((12, 64, 64), (5.0, 1.0, 1.0), 5)
    ((1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2))
    """
    size, spacing = list(box), list(spacing_mm)
    strides: list[Box] = []
    while len(strides) < most:
        free = [i for i in range(3) if size[i] % 2 == 0 and size[i] >= 2 * LEAST_EDGE]
        if not free:
            break
        finest = min(spacing[i] for i in free)
        d, h, w = (2 if i in free and spacing[i] < SAME_SPACING * finest else 1 for i in range(3))
        strides.append((d, h, w))
        for axis, stride in enumerate((d, h, w)):
            size[axis] //= stride
            spacing[axis] *= stride
    return tuple(strides)
