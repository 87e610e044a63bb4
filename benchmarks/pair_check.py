"""Is a misregistered pair flagged, and how exact is the shift that is measured?

    python benchmarks/pair_check.py FOLDER [FOLDER ...] [--source mr] [--target ct]

Each case is a folder with SOURCE.nii.gz and TARGET.nii.gz (or CASE-SOURCE.nii.gz ...) at any depth
below one of the folders, as in SynthRAD. Every target is moved by 0, 1, 2, 4 and 8 mm in a random
direction, half of them along an axis and half oblique, with linear interpolation (a whole number
of voxels is no exception), and measured as `liftnet_extract_fingerprint` does. The row 0 is the
pair as it is: what is flagged there is a false alarm, if the pair is good. Needs no workspace.

A pair that is skull-stripped with one mask shares its outline, which makes 0 easier than it is.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from liftnet.core.geometry import Volume, axis_order, turn
from liftnet.imageio import read_image
from liftnet.ops.mask import foreground
from liftnet.ops.registration import find_shift
from liftnet.pipeline.fingerprint.extract_fingerprint import measure
from liftnet.pipeline.fingerprint.pair_check import describe_shift, pair_problems

DISTANCES_MM = (0.0, 1.0, 2.0, 4.0, 8.0)


def find_pairs(folders: list[Path], source: str, target: str) -> list[tuple[Path, Path]]:
    """The files (source, target) of every case below the folders."""
    pairs = []
    for folder in folders:
        for path in sorted(folder.rglob(f"*{source}.nii.gz")):
            other = path.with_name(path.name.replace(f"{source}.nii.gz", f"{target}.nii.gz"))
            if other.is_file():
                pairs.append((path, other))
    return pairs


def main() -> None:
    """Print one row per distance, and every false alarm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--source", default="mr")
    parser.add_argument("--target", default="ct")
    arguments = parser.parse_args()
    names = (arguments.source, arguments.target)
    ct = {name for name in names if name.endswith("ct")}
    pairs = find_pairs(arguments.folders, *names)
    rng = np.random.default_rng(0)
    rows: dict[float, list[tuple[bool, float, float]]] = {mm: [] for mm in DISTANCES_MM}
    alarms = []
    seconds = []
    for number, paths in enumerate(pairs):
        images = [read_image(path) for path in paths]
        stored = Volume(np.stack([voxels for voxels, _ in images]), images[0][1].geometry)
        volume = turn(stored, axis_order(stored.geometry, "axial"))
        direction = rng.normal(size=3)
        if number % 2:
            direction = np.eye(3)[number // 2 % 3] * np.sign(direction[0])
        direction /= np.linalg.norm(direction)
        for mm in DISTANCES_MM:
            voxels = volume.voxels
            if mm:
                offset = direction * mm / volume.geometry.spacing_mm
                moved = ndimage.shift(voxels[1], offset, order=1, mode="nearest")
                voxels = np.stack([voxels[0], moved])
            case = measure(Volume(voxels, volume.geometry), names, targets=names[1:], ct=ct)
            subject = foreground(voxels[:1], "nonzero")
            started = time.process_time()
            find_shift(voxels[0], voxels[1], subject, volume.geometry.spacing_mm)
            seconds.append(time.process_time() - started)
            shift = case.pair_shift_mm.get("-".join(names), (np.nan,) * 3)
            flagged = bool(pair_problems({paths[0].parent.name: case}, {}))
            error = float(np.linalg.norm(np.subtract(shift, direction * mm)))
            rows[mm].append((flagged, float(np.linalg.norm(shift)), error))
            if flagged and not mm:
                alarms.append(f"{paths[0].parent.name}: {describe_shift(shift)}")
    print(f"{len(pairs)} pairs, {np.mean(seconds):.2f} s of CPU time to measure a shift\n")
    print("| shifted by (mm) | flagged | measured (mm) | mean error (mm) | largest error (mm) |")
    print("|---|---|---|---|---|")
    for mm, found in rows.items():
        flags, lengths, errors = np.array(found).T
        between = f"{np.nanmin(lengths):.2f} to {np.nanmax(lengths):.2f}"
        print(
            f"| {mm:g} | {int(flags.sum())} of {len(pairs)} | {between} "
            f"| {np.nanmean(errors):.2f} | {np.nanmax(errors):.2f} |"
        )
    print(f"\nFalse alarms: {', '.join(alarms) or 'none'}")


if __name__ == "__main__":
    main()
