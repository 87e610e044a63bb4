"""Does each metric of a generated cohort say what it should, on real volumes spoilt in known ways?

    python benchmarks/cohort_metrics.py FOLDER [--ending t1n.nii.gz] [--shape 40 48 36]

FOLDER holds one skull-stripped volume per subject. They are turned to axial, scaled to [0, 1] and
resampled to the shape. A sixth of the subjects is held out; the rest is divided into two halves:
one plays training set and real cohort, the other the generated cohort, as it is and spoilt. The
first row, real against real, is what the other rows are read against. Features are the mean,
standard deviation and mean gradient along each axis of 4 x 4 x 4 blocks: good enough to see these
faults, and no encoder of anything. Needs no workspace.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from liftnet.core.geometry import Volume, axis_order, turn
from liftnet.imageio import read_image
from liftnet.metrics import cohort, distribution
from liftnet.ops.resample import resample

BLOCKS = 4
Volumes = list[np.ndarray]


def read(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The volume (D, H, W) with D to superior, in [0, 1]."""
    voxels, info = read_image(path)
    turned = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, "axial"))
    image = resample(turned.voxels, shape)[0].clip(min=0)
    return (image / np.quantile(image, 0.999)).clip(max=1)


def describe(volume: np.ndarray) -> np.ndarray:
    """Features (F,) of a volume: statistics of the blocks that it is divided into."""
    maps = [volume, *(np.abs(g) for g in np.gradient(volume))]
    found = []
    for number, image in enumerate(maps):
        blocks = [image]
        for axis in range(3):
            blocks = [part for b in blocks for part in np.array_split(b, BLOCKS, axis=axis)]
        found += [block.mean() for block in blocks]
        found += [block.std() for block in blocks] if number == 0 else []
    return np.array(found)


def spoilers(
    rng: np.random.Generator, training: Volumes
) -> dict[str, Callable[[Volumes], Volumes]]:
    """What is done to the generated cohort, by name."""

    def noisy(volume: np.ndarray) -> np.ndarray:
        return (volume + 0.002 * rng.standard_normal(volume.shape)).astype(np.float32)

    def nearly_ordered(volume: np.ndarray) -> np.ndarray:
        return volume[np.argsort(np.arange(len(volume)) + rng.uniform(-3, 3, len(volume)))]

    return {
        "real": lambda volumes: volumes,
        "blurred, sd 1": lambda volumes: [ndimage.gaussian_filter(v, 1) for v in volumes],
        "noise, sd 0.1": lambda volumes: [
            (v + 0.1 * rng.standard_normal(v.shape)).astype(np.float32) for v in volumes
        ],
        "slice gain, sd 0.2": lambda volumes: [
            (v * (1 + 0.2 * rng.standard_normal((len(v), 1, 1)))).astype(np.float32)
            for v in volumes
        ],
        "slices shuffled": lambda volumes: [v[rng.permutation(len(v))] for v in volumes],
        "shuffled within +-3": lambda volumes: [nearly_ordered(v) for v in volumes],
        "upside down": lambda volumes: [v[::-1] for v in volumes],
        "one brain, copied": lambda volumes: [noisy(volumes[0]) for _ in volumes],
        "five brains, copied": lambda volumes: [noisy(volumes[i % 5]) for i in range(len(volumes))],
        "means of two": lambda volumes: [
            (v + w) / 2 for v, w in zip(volumes, volumes[1:] + volumes[:1], strict=True)
        ],
        "training copied": lambda volumes: [noisy(v) for v in training],
    }


def main() -> None:
    """Print one row per way of spoiling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ending", default="t1n.nii.gz")
    parser.add_argument("--shape", type=int, nargs=3, default=(40, 48, 36))
    parser.add_argument("--pairs", type=int, default=300)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob(f"*{arguments.ending}"))
    volumes = [read(path, tuple(arguments.shape)) for path in paths]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(volumes))
    half = len(volumes) * 5 // 12
    training, others, unseen = (
        [volumes[i] for i in part]
        for part in (order[:half], order[half : 2 * half], order[2 * half :])
    )
    real, held_out = (np.stack([describe(v) for v in part]) for part in (training, unseen))
    among = (cdist(real, real) + np.diag(np.full(len(real), np.inf))).min(axis=1)
    steps, reference = cohort.delta_z_profiles(training), cohort.depth_reference(training)
    among_real = cohort.ms_ssim_among(training, data_range=1.0, pairs=arguments.pairs, seed=0)
    print(f"{half} training, {half} generated, {len(unseen)} held out, {real.shape[1]} features")
    print(f"MS-SSIM among training volumes: {among_real:.3f}\n")
    for row, (name, spoil) in enumerate(spoilers(rng, training).items()):
        generated = spoil(others)
        features = np.stack([describe(v) for v in generated])
        profiles = cohort.delta_z_profiles(generated)
        between, apart = cdist(features, real), cdist(held_out, real).min(axis=1)
        near = distribution.NeighbourDistances(between.min(axis=1), among, apart)
        values = {
            "FD": distribution.frechet_distance(features, real),
            "KID x1e3": 1e3 * distribution.kernel_distance(features, real),
            "energy": distribution.energy_distance(features, real),
            **distribution.precision_recall_coverage(features, real),
            **distribution.spread_ratios(features, real),
            "copied": distribution.memorization(near)["copied_fraction"],
            "MS-SSIM": cohort.ms_ssim_among(
                generated, data_range=1.0, pairs=arguments.pairs, seed=0
            ),
            "dz distance": cohort.delta_z_distance(profiles, steps),
            "dz ratio": cohort.delta_z_ratio(profiles, steps),
            "depth order": cohort.depth_order(generated, reference),
        }
        if row == 0:
            print(f"| generated | {' | '.join(n.removesuffix('_ratio') for n in values)} |")
            print("|" + "---|" * (len(values) + 1))
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in values.values())} |", flush=True)


if __name__ == "__main__":
    main()
