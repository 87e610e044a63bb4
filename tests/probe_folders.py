"""Folders of heads for a probe: 12 of training, 10 held out, 4 in the place of predictions."""

from pathlib import Path

import numpy as np
import pytest
from cohort_folders import save
from scipy import ndimage

import liftnet
from liftnet.core.probe import Probe, ProbeChannel, ProbeDistances

SIZE = (12, 20, 16)


def head(seed: int) -> np.ndarray:
    """An ellipsoid with a smooth texture of its own, on zeros."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1.3, 1.3, n) for n in SIZE), indexing="ij")
    a, b, c = rng.uniform(0.9, 1.1, 3)
    inside = (z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2 < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(SIZE), 1.5)
    return np.where(inside, 100 + 40 * texture / texture.std(), 0).clip(0).astype(np.float32)


def fill(root: Path) -> Path:
    """The folder, with 12 training and 10 held-out volumes of MR, and 4 new ones of "query"."""
    for folder, first, count in (("training", 0, 12), ("held", 20, 10), ("query", 40, 4)):
        for i in range(count):
            save(root / folder, f"{folder}-{i:02d}", head(first + i))
    return root


def run(space: Path, **options: object) -> Probe:
    """The probe of the folders."""
    options = {"task": "unconditional", "num_processes": 1, "workspace": space / "w"} | options
    return liftnet.probe(
        space / "query", space / "training", space / "held", space / "out", **options
    )


def only(found: Probe) -> tuple[ProbeChannel, ProbeDistances]:
    """The only channel of a probe, and its distances."""
    (channel,) = found.channels
    assert channel.verdict == found.verdict
    assert channel.distances is not None
    return channel, channel.distances


def out_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without the breaks of its lines."""
    return " ".join(capsys.readouterr().out.split())
