"""Tests of the random numbers per item against scipy and against Python's integers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from liftnet.ops.item_random import item_bits, item_normal, item_uniform

SEEDS = torch.tensor([0, 1, -5, 2**62, 123456789])
LAST = 2**64 - 1
# of seeds 0 and 7 and stream 2
PINNED_BITS = [
    [833576254290507114, 7518694502714540967],
    [7781137402269926631, 8665992178726160025],
]
PINNED_UNIFORM = [
    [0.04518824815750122, 0.4075891971588135],
    [0.42181628942489624, 0.46978431940078735],
]
PINNED_NORMAL = [[-1.4330744, -1.8332750, -0.0345632], [0.7704228, -0.5726828, -0.7979004]]


def mixed(bits: int) -> int:
    """Returns SplitMix64's output function of 64 bits, on Python's integers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & LAST
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & LAST
    return bits ^ (bits >> 31)


def expected_bits(seed: int, stream: int, position: int) -> int:
    """Returns the number at a position, 0 to 2^64 - 1, by Python's integers."""
    step = 0x9E3779B97F4A7C15
    key = mixed(mixed(seed + step & LAST) + step * (stream + 1) & LAST)
    return mixed(key + step * (position + 1) & LAST)


def test_bits_equal_unbounded_integers():
    """Wrapped int64 arithmetic with masked shifts is the arithmetic modulo 2^64."""
    for stream in (0, 3, 1000):
        bits = item_bits(SEEDS, stream, 7)
        expected = [
            [expected_bits(seed, stream, position) for position in range(7)]
            for seed in SEEDS.tolist()
        ]
        assert [[bit & LAST for bit in row] for row in bits.tolist()] == expected


def test_first_output_is_splitmix64():
    """The published generator, seeded with 0, starts with this number."""
    assert mixed(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_known_values():
    """A trained run can be repeated only while these stay."""
    assert item_bits(torch.tensor([0, 7]), 2, 2).tolist() == PINNED_BITS
    uniform = item_uniform(torch.tensor([0, 7]), 2, (2,))
    assert uniform.tolist() == PINNED_UNIFORM
    normal = item_normal(torch.tensor([0, 7]), 2, (3,))
    np.testing.assert_allclose(normal.numpy(), PINNED_NORMAL, atol=1e-6)


def test_uniform_is_the_top_of_the_bits():
    """24 bits, which float32 holds exactly."""
    uniform = item_uniform(SEEDS, 4, (9,))
    for row, seed in zip(uniform.tolist(), SEEDS.tolist(), strict=True):
        assert row == [(expected_bits(seed, 4, i) >> 40) / 2**24 for i in range(9)]


@pytest.mark.parametrize("seeds", [torch.arange(2000), torch.arange(2000) << 40])
@pytest.mark.parametrize("stream", [0, 17])
def test_uniform_is_uniform_along_and_across_items(seeds, stream):
    """Kolmogorov and Smirnov find nothing, nor does chi-square on pairs of neighbours."""
    drawn = item_uniform(seeds, stream, (50,)).numpy()
    assert drawn.min() >= 0 and drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.001
    assert stats.kstest(drawn[:, 0], "uniform").pvalue > 0.001
    for first, second in ((drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:])):
        counts, _, _ = np.histogram2d(first.ravel(), second.ravel(), bins=16, range=[[0, 1]] * 2)
        assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_every_bit_is_even():
    """Each of the 64 bits is one half of the time, for counted seeds and for counted positions."""
    places = torch.arange(64)
    for bits in (item_bits(torch.arange(40000), 5, 1), item_bits(torch.tensor([3]), 5, 40000)):
        ones = ((bits.flatten()[:, None] >> places) & 1).sum(dim=0)
        deviation = (ones - 20000).abs().double() / math.sqrt(10000)
        assert deviation.max() < 4.5


def test_one_bit_of_the_seed_changes_half_of_the_number():
    """Avalanche: 32 of 64 bits differ on average, whichever bit of the seed is turned."""
    seeds = torch.arange(400) * 977
    places = torch.arange(64)
    for place in (0, 1, 31, 62):
        changed = item_bits(seeds, 0, 1) ^ item_bits(seeds ^ (1 << place), 0, 1)
        differing = ((changed >> places) & 1).sum(dim=1).double().mean()
        assert differing == pytest.approx(32, abs=1)


def test_streams_and_seeds_are_unrelated():
    """Numbers of neighbouring streams and of neighbouring seeds are not correlated."""
    count = 20000
    rows = [
        item_normal(torch.tensor([seed]), stream, (count,))[0]
        for seed, stream in ((1, 0), (1, 1), (2, 0), (2, 1), (0, 2), (0, 1))
    ]
    correlation = torch.corrcoef(torch.stack(rows)).fill_diagonal_(0)
    assert correlation.abs().max() < 4.5 / math.sqrt(count)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 7)])
@pytest.mark.parametrize("draw", [item_uniform, item_normal])
def test_item_alone_equals_item_in_a_batch(draw, shape):
    """Bit for bit, in any order; the shape is that of one item."""
    together = draw(SEEDS, 6, shape)
    assert together.shape == (len(SEEDS), *shape) and together.dtype == torch.float32
    for index in range(len(SEEDS)):
        assert torch.equal(together[index], draw(SEEDS[index : index + 1], 6, shape)[0])
    assert torch.equal(together.flip(0), draw(SEEDS.flip(0), 6, shape))


def test_more_uniform_numbers_start_alike():
    """What is drawn first stays when more is asked for."""
    assert torch.equal(item_uniform(SEEDS, 1, (9,))[:, :4], item_uniform(SEEDS, 1, (4,)))


def test_normal_is_normal():
    """Kolmogorov and Smirnov find nothing; four moments and the tails are those of the law."""
    drawn = item_normal(torch.arange(20), 8, (30000,)).numpy().astype(np.float64)
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.001
    assert abs(drawn.mean()) < 4 / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(1, abs=4 / math.sqrt(2 * drawn.size))
    assert abs(stats.skew(drawn.ravel())) < 4 * math.sqrt(6 / drawn.size)
    assert abs(stats.kurtosis(drawn.ravel())) < 4 * math.sqrt(24 / drawn.size)
    beyond = int((np.abs(drawn) > 3).sum())
    assert stats.binomtest(beyond, drawn.size, 2 * stats.norm.sf(3)).pvalue > 0.001


def test_the_two_normals_of_one_number_are_unrelated():
    """Neither they nor their squares are correlated."""
    first, second = item_normal(torch.tensor([11]), 0, (200000,))[0].split(100000)
    for power in (1, 2):
        pair = torch.stack((first**power, second**power))
        assert abs(torch.corrcoef(pair)[0, 1]) < 4.5 / math.sqrt(100000)


def test_nothing_is_drawn_for_nobody():
    """No items and no numbers are fine."""
    assert item_normal(SEEDS[:0], 0, (3,)).shape == (0, 3)
    assert item_uniform(SEEDS, 0, (2, 0)).shape == (5, 2, 0)


def test_seeds_are_not_written_to():
    """The seeds that go in are the same afterwards."""
    seeds = SEEDS.clone()
    item_normal(seeds, 0, (4,))
    assert torch.equal(seeds, SEEDS)


def test_wrong_calls_say_what_was_expected():
    """Shape, type and stream are checked."""
    with pytest.raises(ValueError, match=r"expected \(B,\) int64 seeds, got \(5, 1\) torch.int64"):
        item_uniform(SEEDS[:, None], 0)
    with pytest.raises(ValueError, match=r"expected \(B,\) int64 seeds, got \(5,\) torch.int32"):
        item_normal(SEEDS.int(), 0)
    with pytest.raises(ValueError, match="expected a stream that is not negative, got -1"):
        item_bits(SEEDS, -1, 2)


class _OnlyMeta(TorchDispatchMode):
    """Refuses every tensor that has data, and so every wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operation and look at what came out."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            assert result.is_meta, f"{func} made a tensor on {result.device}"
        return result


def test_needs_no_values_on_the_host():
    """It runs on tensors without data, so it cannot wait for the device."""
    with _OnlyMeta():
        assert item_normal(SEEDS.to("meta"), 3, (3, 5)).shape == (5, 3, 5)
        assert item_uniform(SEEDS.to("meta"), 3).shape == (5,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    """The integers agree bit for bit, the normal numbers to the rounding of the logarithm."""
    on_cuda = SEEDS.cuda()
    assert torch.equal(item_bits(on_cuda, 3, 1001).cpu(), item_bits(SEEDS, 3, 1001))
    assert torch.equal(item_uniform(on_cuda, 3, (7, 9)).cpu(), item_uniform(SEEDS, 3, (7, 9)))
    torch.testing.assert_close(
        item_normal(on_cuda, 3, (7, 9)).cpu(), item_normal(SEEDS, 3, (7, 9)), rtol=0, atol=1e-5
    )
