"""Devices and number types."""

import pytest
import torch

from liftnet.ops.compute.precision import autocast, pick_device, supports_bfloat16, without_autocast


def test_pick_device():
    """A name gives its device; an unknown or absent one is refused with the choices."""
    assert pick_device("cpu").type == "cpu"
    assert pick_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu", "", "meta"):
        with pytest.raises(ValueError, match=f"expected one of the devices cpu.*, got '{name}'"):
            pick_device(name)


def test_autocast_follows_the_device():
    """Products are in bfloat16 exactly where that is native, and never without autocast."""
    cpu = torch.device("cpu")
    a = torch.rand(3, 4)
    with autocast(cpu):
        assert (a @ a.T).dtype == (torch.bfloat16 if supports_bfloat16(cpu) else torch.float32)
        with without_autocast(cpu):
            assert (a @ a.T).dtype == torch.float32
    with without_autocast(torch.device("meta")):
        assert (a @ a.T).dtype == torch.float32
    assert not supports_bfloat16(torch.device("meta"))
