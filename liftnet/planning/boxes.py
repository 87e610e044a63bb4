"""Boxes of voxels that a 3D network is trained on: the whole volume, and smaller ones."""

__all__ = ["boxes"]

Box = tuple[int, int, int]


def boxes(shape: Box, stride: Box, least: int) -> list[Box]:
    """Boxes (D, H, W) from the whole volume down, largest first.

    Each has sides that are multiples of the network's stride; from one to the next the longest
    side, as a share of the volume's, is a stride shorter, down to sides of `least` voxels.

    >>> boxes((40, 64, 64), (16, 16, 16), 32)
    [(48, 64, 64), (32, 64, 64), (32, 48, 64), (32, 48, 48), (32, 32, 48), (32, 32, 32)]
    """
    whole = [-(-side // step) * step for side, step in zip(shape, stride, strict=True)]
    ends = [min(side, -(-least // step) * step) for side, step in zip(whole, stride, strict=True)]
    box, found = list(whole), []
    while True:
        found.append((box[0], box[1], box[2]))
        shares = [
            side / full if side > end else 0.0
            for side, full, end in zip(box, whole, ends, strict=True)
        ]
        if not any(shares):
            return found
        axis = shares.index(max(shares))
        box[axis] -= stride[axis]
