"""Volumes as text in a page."""

import base64
import gzip

import numpy as np
import pytest

from liftnet.visual.volume_text import decode, encode

SHAPE = (5, 7, 9)


def test_a_volume_comes_back_to_half_a_step():
    """Noise with values outside of the range: clipped, then rounded to the nearest step."""
    volume = np.random.default_rng(0).normal(size=SHAPE) * 900
    stored = encode(volume, low=-1000, high=2000, step=4.0)
    assert np.abs(decode(stored) - np.clip(volume, -1000, 2000)).max() <= 2.0
    whole = np.rint(np.clip(volume, -1000, 2000))
    assert np.array_equal(decode(encode(whole, low=-1000, high=2000, step=1.0)), whole)


def test_the_whole_range_of_16_bits_is_kept():
    """Neighbours that differ by more than 15 bits hold: differences are modulo 2**16."""
    volume = np.zeros(SHAPE)
    volume[..., ::2] = 65535
    stored = encode(volume, low=0, high=65535, step=1.0)
    assert np.array_equal(decode(stored), volume)


def test_bytes_are_as_the_page_reads_them():
    """Low bytes of zigzag differences along W first, then the high ones; the same every time."""
    volume = np.array([[[5, 3, 700]]], float)
    stored = encode(volume, low=0, high=1000, step=1.0)
    raw = np.frombuffer(gzip.decompress(base64.b64decode(stored.text)), np.uint8)
    changes = [2 * 5, 2 * 2 - 1, 2 * 697]  # zigzag: 2n for n >= 0, -2n - 1 below
    assert raw.tolist() == [c & 255 for c in changes] + [c >> 8 for c in changes]
    assert encode(volume, low=0, high=1000, step=1.0) == stored


@pytest.mark.parametrize(("high", "step"), [(0.0, 1.0), (1.0, 0.0), (1.0, 2.0), (1e6, 1.0)])
def test_a_range_without_steps_is_refused(high, step):
    """No step, or more than 16 bits of them."""
    with pytest.raises(ValueError, match="expected 1 to 65535 steps"):
        encode(np.zeros(SHAPE), low=0.0, high=high, step=step)
