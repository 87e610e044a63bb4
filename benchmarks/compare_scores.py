"""Two or more evaluated folders beside each other: means, paired differences, Wilcoxon p.

    python benchmarks/compare_scores.py BASELINE_FOLDER OTHER_FOLDER [...] [--metrics psnr ssim]

Each folder holds the scores.json of liftnet_evaluate on the same cases and with the same protocol.
A difference is taken image by image; its interval is a bootstrap over cases.
"""

import argparse
from pathlib import Path

import numpy as np

from liftnet.core.scores import CaseScore, read_scores
from liftnet.metrics.statistics import summarize, wilcoxon


def by_image(folder: Path) -> dict[tuple[str, str], CaseScore]:
    """(case, contrast) -> scores of one folder."""
    return {(row.case, row.contrast): row for row in read_scores(folder / "scores.json").cases}


def main() -> None:
    """Print one table per metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--metrics", nargs="+", default=["psnr", "ssim", "delta_z_mae"])
    arguments = parser.parse_args()
    scores = {folder.name: by_image(folder) for folder in arguments.folders}
    first = arguments.folders[0].name
    images = sorted(set.intersection(*(set(rows) for rows in scores.values())))
    contrasts = sorted({contrast for _, contrast in images})
    for metric in arguments.metrics:
        print(f"\n{metric}, {len({case for case, _ in images})} cases")
        print(f"| folder | {' | '.join(contrasts)} | difference from {first} | p |")
        print("|---" * (len(contrasts) + 3) + "|")
        for name, rows in scores.items():
            cells = []
            for contrast in contrasts:
                s = summarize([rows[i].metrics[metric] for i in images if i[1] == contrast])
                cells.append(f"{s.mean:.4g} [{s.low:.4g}, {s.high:.4g}]")
            differences: dict[str, list[float]] = {}
            for case, contrast in images:
                pair = (rows[case, contrast], scores[first][case, contrast])
                change = pair[0].metrics[metric] - pair[1].metrics[metric]
                differences.setdefault(case, []).append(change)
            d = summarize([float(np.mean(values)) for values in differences.values()])
            p = wilcoxon(*([r[i].metrics[metric] for i in images] for r in (rows, scores[first])))
            row = f"| {name} | {' | '.join(cells)} | {d.mean:+.3g} [{d.low:+.3g}, {d.high:+.3g}]"
            print(f"{row} | {p:.2g} |")


if __name__ == "__main__":
    main()
