"""What pretrained weights give: validation of short trainings with and without, simulated heads.

    liftnet_demo
    cd liftnet_demo/workspace/results/Dataset001_Heads/default/lift
    python .../benchmarks/fine_tune.py fold_0

The new dataset has three of the four contrasts in another order, other heads, four to train on and
eight to validate on. The table holds the mean PSNR (dB) of the validation heads: after the last
step of each of the two stages, and with pretrained weights before the first step of each too.
"""

import argparse
import json
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from liftnet.core.geometry import Geometry
from liftnet.core.recipe import Recipe
from liftnet.core.storage.jsonable import write_json
from liftnet.data.phantom import make_phantom
from liftnet.imageio import write_image
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.pipeline.demo import AXES, SPACING_RANGES_MM
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.models.runs import read_run
from liftnet.pipeline.plan import plan
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.train.train import train

NAME = "Dataset002_Few"
CONTRASTS = ("t2f", "t1n", "t2w")  # not the order of the demo
TRAINING, VALIDATION = 4, 8
COHORT = 7  # not the demo's heads
STAGES = ("slice_translation", "context_translation")


def write_dataset(space: Path) -> None:
    """Heads of another cohort, with folds as wanted."""
    raw = space / "raw" / NAME
    cases = [f"head-{number:02d}" for number in range(TRAINING + VALIDATION)]
    for number, case in enumerate(cases):
        rng = np.random.default_rng([COHORT, number])
        d, h, w = (round(float(rng.uniform(low, high)), 2) for low, high in SPACING_RANGES_MM)
        head = make_phantom(number, seed=COHORT, spacing_mm=(d, h, w), contrasts=CONTRASTS)
        for i, name in enumerate(CONTRASTS):
            voxels = head.contrasts[name]
            grid = Geometry(voxels.shape, head.spacing_mm, (0.0, 0.0, 0.0), AXES)
            write_image(raw / "imagesTr" / f"{case}_{i:04d}.nii.gz", voxels, grid, dtype="int16")
    channels = {str(i): {"name": name} for i, name in enumerate(CONTRASTS)}
    facts = {"name": "Few", "task": "missing_modality", "channels": channels}
    write_json(raw / "dataset.json", facts)
    folds = [{"train": cases[:TRAINING], "validation": cases[TRAINING:]}]
    write_json(space / "preprocessed" / NAME / "splits.json", folds)


def psnr_of(folder: Path) -> list[float]:
    """PSNR (dB) of each validation, from the first stage to the last."""
    rows = [
        json.loads(line)
        for stage in STAGES
        for line in (folder / stage / "log.jsonl").read_text().splitlines()
    ]
    return [-row["validation"] for row in rows if "validation" in row]


def settings_of(source: Recipe, factor: float, seed: int) -> list[str]:
    """What makes the networks those of the source, and the learning rates `factor` times theirs."""
    assert isinstance(source, JointRecipe) and source.mixer is not None
    rates = {STAGES[0]: {"translator": 1e-3}, STAGES[1]: {"translator": 3e-4, "mixer": 2e-4}}
    return [
        f"lift.translator.widths={list(source.translator.widths)}",
        f"lift.mixer.hidden_size={source.mixer.hidden_size}",
        f"seed={seed}",
        *(f"lift.{stage}.validation_cases={VALIDATION}" for stage in STAGES),
        *(f"lift.{stage}.validate_every=100000" for stage in STAGES),  # at the end alone
        *(
            f"lift.{stage}.learning_rates.{part}={rate * factor}"
            for stage, parts in rates.items()
            for part, rate in parts.items()
        ),
    ]


def main() -> None:
    """Train with and without, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of a fold that liftnet_demo trained")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 80])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    _, _, source = read_run(options.source)
    variants = {
        "without": (None, 1.0),
        "with, the recipe's rates": (options.source, 1.0),
        "with, a tenth of the rates": (options.source, 0.1),
    }
    print("steps | seed | weights | PSNR of each validation (dB)")
    with TemporaryDirectory() as name:
        space = Path(name)
        write_dataset(space)
        with redirect_stdout(StringIO()):
            extract_fingerprint(workspace=space)
        for number, (steps, seed) in enumerate(product(options.steps, options.seeds)):
            for letter, (label, (pretrained, factor)) in zip("abc", variants.items(), strict=True):
                own = f"{letter}{number}"
                with redirect_stdout(StringIO()):
                    settings = settings_of(source, factor, seed)
                    plan(
                        workspace=space,
                        gpu_memory=0.1,
                        steps=steps,
                        settings=settings,
                        plan_name=own,
                    )
                    preprocess(workspace=space, plan_name=own)
                    [folder] = train(workspace=space, plan_name=own, pretrained=pretrained)
                scores = ", ".join(f"{score:.2f}" for score in psnr_of(folder))
                print(f"{steps} | {seed} | {label} | {scores}", flush=True)


if __name__ == "__main__":
    main()
