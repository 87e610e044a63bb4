"""Sliding windows: where they lie, what they weigh, and that nothing depends on their number."""

import itertools

import pytest
import torch

from liftnet.ops.chunks import Chunk
from liftnet.ops.windows import over_windows, window_starts, window_weights

SIZE = (4, 6, 8)


@pytest.mark.parametrize("length", [4, 5, 9, 17, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_windows_cover_everything(length, overlap):
    """From the first voxel to the last, neighbours overlapping as much as was asked for."""
    starts = window_starts(length, 4, overlap)
    assert starts[0] == 0 and starts[-1] == length - 4
    steps = [b - a for a, b in itertools.pairwise(starts)]
    assert all(0 < step <= 4 * (1 - overlap) + 1 for step in steps)


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_what_is_put_in_comes_out(kind):
    """A function that changes nothing, whatever the overlap."""
    volume = torch.rand(2, 9, 13, 11)
    for overlap in (0.0, 0.5, 0.7):
        made = over_windows(lambda w: w, volume, SIZE, Chunk(3), overlap=overlap, kind=kind)
        torch.testing.assert_close(made, volume)


def test_the_middle_of_a_window_counts_most():
    """A window whose border is wrong does little harm, and weights fall from the middle on."""
    weights = window_weights((5, 5, 5), "gaussian", torch.device("cpu"))
    assert weights[2, 2, 2] == weights.max() and weights.min() > 0
    assert (weights[2, 2].diff()[:2] > 0).all() and (weights[2, 2].diff()[2:] < 0).all()

    def wrong_at_the_border(windows):
        inside = torch.zeros_like(windows)
        inside[:, :, 1:-1, 1:-1, 1:-1] = windows[:, :, 1:-1, 1:-1, 1:-1]
        return inside

    made = over_windows(wrong_at_the_border, torch.ones(1, 20, 20, 20), (8, 8, 8), Chunk(4))
    assert made[0, 4:-4, 4:-4, 4:-4].mean() > 0.95


def test_the_result_does_not_depend_on_how_many_are_taken_at_a_time():
    """To the last bit; when memory runs out, fewer are taken, and that is told."""
    volume, network = torch.rand(1, 10, 12, 14), torch.nn.Conv3d(1, 2, 3, padding=1)

    def each(windows):  # a convolution's sums may differ with the batch
        return torch.cat([network(window[None]) for window in windows])

    told = []
    with torch.no_grad():
        whole = over_windows(each, volume, SIZE, Chunk(100))
        assert torch.equal(over_windows(each, volume, SIZE, Chunk(1)), whole)

        def hungry(windows):
            if len(windows) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return each(windows)

        chunk = Chunk(9, notice=lambda less: told.append(less.size))
        assert torch.equal(over_windows(hungry, volume, SIZE, chunk), whole)
    assert told == [4, 2] and chunk.size == 2


def test_a_volume_smaller_than_a_window_is_refused():
    """It has to be padded before, with air."""
    with pytest.raises(ValueError, match="expected a volume of at least"):
        over_windows(lambda w: w, torch.rand(1, 3, 9, 9), SIZE, Chunk(1))


def test_what_is_done_is_told():
    """After every chunk, up to all of the volume."""
    told = []
    over_windows(lambda w: w, torch.rand(1, 9, 12, 14), SIZE, Chunk(5, watch=told.append))
    assert told == sorted(set(told)) and len(told) > 2 and told[-1] == 1.0
