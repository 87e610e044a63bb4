"""Whole volumes when memory runs out: what is tried next, what is kept, what is given up."""

import weakref

import pytest
import torch
from torch import Tensor

from liftnet.core.errors import LiftnetError
from liftnet.core.network_specs import TranslatorSpec
from liftnet.networks.synthesis import slices_at_a_time, synthesize_volume
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.chunks import Chunk

SIZE = (8, 12)
ERRORS = {
    "device": torch.OutOfMemoryError("CUDA out of memory."),
    "host": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    "python": MemoryError(),
}


class Limited(VolumeTranslator):
    """A network for which larger batches than `most`, or one pass, are too much."""

    def __init__(self, most: int, *, one_pass: bool = True, error: BaseException | None = None):
        super().__init__(TranslatorSpec(2, 1, 2, (8, 16), 1, "none"), None)
        self.most, self.one_pass, self.error = most, one_pass, error
        self.tried: list[tuple[int, bool]] = []

    def synthesize(self, source: Tensor, condition: Tensor, *, slice_batch, keep_features):
        """As the network, or the error."""
        self.tried.append((slice_batch, keep_features))
        if slice_batch > self.most or (keep_features and not self.one_pass):
            raise self.error or torch.OutOfMemoryError("CUDA out of memory.")
        return super().synthesize(
            source, condition, slice_batch=slice_batch, keep_features=keep_features
        )


def volume(network: Limited, chunk: Chunk, size: tuple[int, int] = SIZE) -> Tensor:
    """The targets that it makes."""
    source = torch.rand(2, 5, *size, generator=torch.Generator().manual_seed(3))
    given, air = torch.ones(2), torch.zeros(2)
    return synthesize_volume(network, source, given, air, in_plane=SIZE, chunk=chunk)


def telling(size: int, passes: str) -> tuple[Chunk, list[tuple[int, str]]]:
    """A chunk, and all that it becomes."""
    told: list[tuple[int, str]] = []
    return Chunk(size, passes, lambda chunk: told.append((chunk.size, chunk.passes))), told


@pytest.mark.parametrize("error", ERRORS)
def test_fewer_slices_at_a_time(error):
    """The batch is halved until it fits; the volume is the same, and the caller is told."""
    network, (chunk, told) = Limited(9, error=ERRORS[error]), telling(64, "one")
    got = volume(network, chunk)
    assert network.tried == [(64, True), (32, True), (16, True), (8, True)]
    assert told == [(n, "one") for n in (32, 16, 8)]
    expected = volume(network, Chunk(8))
    torch.testing.assert_close(got, expected, atol=0, rtol=0)


def test_then_two_passes():
    """Once few slices are too many, features are no longer kept; then fewer again."""
    network, (chunk, told) = Limited(2, one_pass=False), telling(16, "one")
    volume(network, chunk)
    assert network.tried == [(16, True), (8, True), (8, False), (4, False), (2, False)]
    assert told[-1] == (2, "two")


def test_what_worked_is_kept_for_the_next_network():
    """The second network starts where the first ended."""
    first, second, chunk = Limited(4), Limited(4), Chunk(16, "two")
    for network in (first, second):
        volume(network, chunk)
    assert second.tried == [(4, False)]


def test_larger_slices_than_planned():
    """They are taken fewer at a time from the start, and halved from there."""
    network, chunk = Limited(2), Chunk(24)
    volume(network, chunk, size=(16, 18))  # 3 times as large
    assert network.tried == [(8, False), (4, False), (2, False)]
    again = Limited(2)
    volume(again, chunk, size=(16, 18))
    assert again.tried == [(2, False)]


def test_not_even_one_slice():
    """With nothing left to try, the error says what was too large and what to do."""
    network = Limited(0)
    with pytest.raises(LiftnetError) as caught:
        volume(network, Chunk(2))
    assert network.tried == [(2, True), (2, False), (1, False)]
    assert "too small for a single slice of 8x12" in caught.value.problem
    assert caught.value.where == "device cpu" and "coarser spacing" in caught.value.remedy


def test_other_errors_are_not_hidden():
    """An error with another cause comes through at once."""
    network = Limited(0, error=RuntimeError("expected 4 channels"))
    with pytest.raises(RuntimeError, match="expected 4 channels"):
        volume(network, Chunk(8))
    assert len(network.tried) == 1


def test_nothing_of_a_failed_try_is_kept():
    """Memory of the try that failed is free when the next begins."""
    alive = []

    class Holding(Limited):
        def synthesize(self, source, condition, *, slice_batch, keep_features):
            alive.append(sum(flag() is not None for flag in made))
            large = torch.ones(3)
            made.append(weakref.ref(large))
            return super().synthesize(
                source, condition, slice_batch=slice_batch, keep_features=keep_features
            )

    made: list[weakref.ref] = []
    network = Holding(2)
    volume(network, Chunk(8, "two"))
    assert alive == [0, 0, 0]


def test_a_processor_takes_few_slices_at_a_time():
    """Whatever the plan allows; a GPU takes what is planned."""
    few = [
        slices_at_a_time(planned, 192 * 160, torch.device(device))
        for device in ("cpu", "cuda")
        for planned in (64, 3.7, 0.4)
    ]
    assert few == [8, 3, 1, 64, 3, 1]
    assert slices_at_a_time(64, 1024 * 1024, torch.device("cpu")) == 1
