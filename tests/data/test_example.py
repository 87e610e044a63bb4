"""What goes to a device and what stays, and items joined."""

import torch

from liftnet.data.example import Example, joined

MOVING = ("source", "target", "mask", "air", "given")
STAYING = ("made", "seeds")


def example(seed: int, *, items: int = 1, windows: tuple[int, ...] = (0,)) -> Example:
    """Two sources and a target on slabs as the store has them."""
    numbers = torch.Generator().manual_seed(seed)
    voxels = torch.rand(items, 4, 3, 5, 4, generator=numbers).half()
    return Example(
        case=f"c{seed}",
        source=voxels[:, :2],
        target=voxels[:, 2:3],
        mask=voxels[:, 3:] > 0.5,
        air=torch.rand(items, 3, generator=numbers),
        given=torch.rand(items, 2, generator=numbers).round(),
        made=torch.rand(items, 1, generator=numbers) > 0.5,
        seeds=torch.arange(items) + 2**62 + seed,
        windows=windows,
        count=3,
    )


def test_what_decides_stays_on_the_processor():
    """`made` and `seeds` neither move nor change; all else moves, numbers as float32."""
    before = example(1)
    moved = before.to(torch.device("meta"))
    for name in STAYING:
        assert getattr(moved, name) is getattr(before, name), name
    for name in MOVING:
        tensor = getattr(moved, name)
        assert (tensor.device.type, tensor.dtype) == ("meta", torch.float32), name
    listed = {id(tensor) for tensor in before.tensors()}
    assert listed == {id(getattr(before, name)) for name in MOVING}
    near = before.to(torch.device("cpu"))
    assert torch.equal(near.source.half(), before.source)
    assert torch.equal(near.mask > 0.5, before.mask)


def test_joined_items_keep_their_order():
    """Every tensor in turn, each case named once, windows one after another."""
    each = (example(1, windows=(4, 0)), example(2, items=2, windows=(7,)), example(1))
    whole = joined(each)
    assert (whole.case, whole.windows, whole.count) == ("c1, c2", (4, 0, 7, 0), 3)
    for name in MOVING + STAYING:
        parts = getattr(whole, name).split([1, 2, 1])
        for part, one in zip(parts, each, strict=True):
            assert torch.equal(part, getattr(one, name)), name
