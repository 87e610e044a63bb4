"""The CT protocols beside an independent version by numpy, scipy and scikit-image.

    python benchmarks/check_ct_protocols.py --pairs FOLDER_OF_CASES
    python benchmarks/check_ct_protocols.py -i PREDICTED -r REFERENCE -m MASKS

FOLDER_OF_CASES holds CASE/ct.nii.gz and CASE/mask.nii.gz; the prediction is the CT blurred, biased
and noisy. Otherwise CASE_0000.nii.gz in two folders, masks CASE.nii.gz. One line per protocol and
metric: the mean over cases of both versions, and the largest difference of a case.
"""

import argparse
import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from liftnet.core.geometry import Triple, Volume, axis_order, turn
from liftnet.core.scores import Comparison
from liftnet.imageio import read_image
from liftnet.metrics.protocols.ct_protocols import PROTOCOLS

INDEPENDENT = runpy.run_path(
    str(Path(__file__).parents[1] / "tests" / "metrics" / "ct_reference.py")
)
BLUR_VOXELS, BIAS_HU, NOISE_HU = 0.8, 15.0, 60.0


def read(path: Path) -> np.ndarray:
    """A volume (z, y, x)."""
    return np.ascontiguousarray(placed(path).voxels[0])


def placed(path: Path) -> Volume:
    """A volume (1, z, y, x) and its grid."""
    voxels, info = read_image(path)
    return turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, "axial"))


def perturbed(reference: np.ndarray, seed: int) -> np.ndarray:
    """A stand-in for a prediction."""
    noise = np.random.default_rng(seed).normal(BIAS_HU, NOISE_HU, reference.shape)
    return (ndimage.gaussian_filter(reference, BLUR_VOXELS) + noise).astype(np.float32)


def cases(
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, Triple]]:
    """Name, predicted, reference, mask and spacing of every case."""
    if arguments.pairs:
        for seed, folder in enumerate(sorted(arguments.pairs.iterdir())):
            reference = read(folder / "ct.nii.gz")
            mask = read(folder / "mask.nii.gz") > 0
            spacing = placed(folder / "ct.nii.gz").geometry.spacing_mm
            yield folder.name, perturbed(reference, seed), reference, mask, spacing
        return
    for path in sorted(arguments.i.glob("*_0000.nii.gz")):
        case = path.name.removesuffix("_0000.nii.gz")
        mask = read(arguments.m / f"{case}.nii.gz") > 0
        spacing = placed(path).geometry.spacing_mm
        yield case, read(path), read(arguments.r / path.name), mask, spacing


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path)
    for option in ("-i", "-r", "-m"):
        parser.add_argument(option, type=Path)
    torch.set_num_threads(1)
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    names = []
    for case, predicted, reference, mask, spacing in cases(parser.parse_args()):
        names.append(case)
        pair = Comparison(
            case, "ct", predicted, reference, reference > 0, "", "axial", "CT", mask=mask,
            spacing_mm=spacing,
        )  # fmt: skip
        for protocol, convention in PROTOCOLS.items():
            found = convention.score_case(pair).metrics
            if protocol.startswith("synthrad"):
                other = INDEPENDENT[protocol](predicted, reference, mask)
            else:
                box = INDEPENDENT["paper_box"](mask, spacing) if protocol == "lift" else ...
                other = INDEPENDENT["lift"](predicted[box], reference[box])
            for metric, value in other.items():
                rows.setdefault((protocol, metric), []).append((found[metric], value))
    print(f"{len(names)} cases: {', '.join(names)}")
    print("| protocol | metric | liftnet | independent | largest difference | relative |")
    print("|---|---|---|---|---|---|")
    for (protocol, metric), values in rows.items():
        ours, others = np.array(values).T
        apart = np.abs(ours - others)
        print(
            f"| {protocol} | {metric} | {ours.mean():.6g} | {others.mean():.6g} "
            f"| {apart.max():.2g} | {(apart / np.abs(others)).max():.2g} |"
        )


if __name__ == "__main__":
    main()
