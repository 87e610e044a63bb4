"""A small simulated MR and CT dataset: heads with a skull, noise in the MR's air, some masks."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image

NAME = "Dataset009_Heads"
CASES = {  # case -> shape along (superior, posterior, left) and whether it has a mask
    "h1": ((12, 34, 29), True),
    "h2": ((11, 33, 30), False),
    "h3": ((13, 35, 28), True),
    "h4": ((12, 32, 31), False),
    "t1": ((12, 34, 29), True),
    "t2": ((10, 33, 30), False),
}
SPACING = (2.5, 1.0, 1.0)


def make_pair(seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """MR and CT, int16 (D, H, W), of one head that lies off the middle, and its mask."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    grid[1] += 0.1
    radius = np.sqrt((grid**2 * np.array([0.9, 1.7, 1.9])[:, None, None, None]).sum(0))
    tissue = ndimage.gaussian_filter(rng.random(shape), (0.7, 1.5, 1.5))
    tissue = (tissue - tissue.min()) / np.ptp(tissue)
    inside, skull = radius < 1, (radius < 0.9) & (radius > 0.8)
    mr = np.where(skull, 60, 300 + 500 * tissue) * inside + rng.gamma(2, 8, shape)
    ct = np.where(inside, np.where(skull, 900 + 200 * tissue, 60 * tissue), -1000)
    return mr.astype(np.int16), ct.astype(np.int16), inside


def canonical(shape: tuple[int, int, int]) -> Geometry:
    """A grid whose axes point to superior, posterior, left."""
    return Geometry(shape, SPACING, (-31.0, 17.5, 4.25), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def write_pairs(workspace: Path) -> Path:
    """The raw dataset: four cases to train on, two to test; masks for some of them."""
    folder = workspace / "raw" / NAME
    channel = {"mr": {"name": "mr", "modality": "MR"}, "ct": {"name": "ct", "modality": "CT"}}
    facts = {"name": "Heads", "task": "translation", "channels": {"0": channel["mr"]}}
    write_json(folder / "dataset.json", {**facts, "targets": {"0": channel["ct"]}})
    for seed, (case, (shape, has_mask)) in enumerate(CASES.items()):
        part = "Ts" if case.startswith("t") else "Tr"
        mr, ct, inside = make_pair(seed, shape)
        grid = canonical(shape)
        write_image(folder / f"images{part}" / f"{case}_0000.nii.gz", mr, grid, dtype="int16")
        write_image(folder / f"targets{part}" / f"{case}_0000.nii.gz", ct, grid, dtype="int16")
        if has_mask:
            path = folder / f"masks{part}" / f"{case}.nii.gz"
            write_image(path, inside.astype(np.uint8), grid, dtype="uint8")
    return folder
