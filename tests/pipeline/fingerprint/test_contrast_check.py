"""Exchanged contrasts are seen, and right ones are never called exchanged."""

import numpy as np
import pytest
from scipy import ndimage

from liftnet.pipeline.fingerprint.contrast_check import (
    BINS,
    ContrastFacts,
    contrast_facts,
    exchanged,
    intensity_histogram,
)

TISSUES = {"t1n": (150, 350, 550), "t1c": (150, 360, 545), "t2w": (900, 450, 300)}  # fluid to white


def histograms(seed: int) -> dict[str, np.ndarray]:
    """Of the three contrasts of one simulated brain."""
    rng = np.random.default_rng(seed)
    shape = (12, 26, 30)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    order = np.argsort(np.argsort(field, axis=None)).reshape(shape) / field.size
    tissue = np.digitize(order, [rng.uniform(0.1, 0.2), rng.uniform(0.5, 0.6)])
    inside = np.ones(shape, bool)
    inside[:2] = False
    found = {}
    for name, values in TISSUES.items():
        image = np.asarray(values, float)[tissue] * (1 + 0.06 * rng.standard_normal(shape))
        found[name] = intensity_histogram(image * rng.uniform(0.5, 2), inside)
    return found


@pytest.fixture(scope="module")
def known() -> ContrastFacts:
    """Of eight training cases."""
    return contrast_facts([histograms(seed) for seed in range(8)])


def test_right_and_exchanged_images(known):
    """T1 and T2 can be told apart, T1 before and after contrast agent cannot."""
    for seed in range(20, 40):
        new = histograms(seed)
        assert exchanged([known], new) == []
        one, two = new["t1n"], new["t2w"]
        assert exchanged([known], {"t1n": two, "t2w": one}) == [("t1n", "t2w")]
        assert exchanged([known], {"t2w": one, "t1n": two}) == [("t2w", "t1n")]
        assert exchanged([known, known], {"t1n": two, "t2w": one}) == [("t1n", "t2w")]
        assert exchanged([known], {"t1n": new["t1c"], "t1c": one}) == []


def test_what_is_not_known_is_not_judged(known):
    """An image unlike training's, few cases, older facts, and facts that another program wrote."""
    new = histograms(30)
    wrong = {"t1n": new["t2w"], "t2w": new["t1n"]}
    flat = np.full(BINS, 1 / BINS)
    assert exchanged([known], {"t1n": new["t2w"], "t2w": flat}) == []
    two = contrast_facts([histograms(seed) for seed in range(2)])
    damaged = ContrastFacts({"t1n": [0.5], "t2w": [0.5]}, known.farthest, known.pairs)
    for facts in ([two], [ContrastFacts()], [damaged], []):
        assert exchanged(facts, wrong) == []
    assert exchanged([ContrastFacts(), known], wrong) == [("t1n", "t2w")]  # one fold knows
