"""All steps on a small simulated dataset, to learn the commands and to see that all works."""

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from liftnet.core.arguments import checked
from liftnet.core.errors import CheckpointError, LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import AVERAGE, Scores
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import command_line
from liftnet.data.phantom import make_phantom
from liftnet.host.progress import mention, progress, say
from liftnet.host.text_table import aligned
from liftnet.imageio import read_image, write_image
from liftnet.ops import normalize
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate_pairs
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.report.report import report
from liftnet.pipeline.train.train import train
from liftnet.visual.figures import MontageRow, montage

__all__ = ["DEFAULT_FOLDER", "Size", "demo"]

DEFAULT_FOLDER = "liftnet_demo"
DATASET = "Dataset001_Heads"
CONTRASTS = ("t1n", "t1c", "t2w", "t2f")
# ours: coarse, so that a CPU trains in some minutes; every head has its own, as clinics have.
SPACING_RANGES_MM = ((4.6, 5.6), (3.0, 3.6), (3.0, 3.6))
SHOWN_METRICS = {"psnr": ("PSNR [dB]", 2), "ssim": ("SSIM", 3), "delta_z_mae": ("delta-z MAE", 4)}
SPACING_SEED = 1  # ours: another stream than the anatomy's
TOTAL_STEPS = 7
# ours: in a few hundred steps a small U-Net gets further with twice the plan's highest rate.
BASELINE = "regression_linear"
SETTINGS = ["lift.slice_translation.learning_rates.translator=0.002"]
# Voxel axes (D, H, W) of a phantom point to superior, posterior, left; world is LPS.
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True)
class Size:
    """How much the demo does. ours: three to eight minutes on two CPU cores."""

    training_cases: int = 16
    test_cases: int = 4  # one per contrast
    spacing_mm: tuple[float, float, float] | None = None  # None: every head has its own
    gpu_memory: float = 0.1
    steps: int = 1200


@dataclass(frozen=True)
class _Demo:
    """The folder and the device of a demo, and the steps that it takes with both methods."""

    root: Path
    device: str | None

    @property
    def workspace(self) -> Path:
        """The workspace of the demo."""
        return self.root / "workspace"

    def show(self, *words: Path | str) -> None:
        """Print a command as a user would write it."""
        mention(f"$ {command_line(words, workspace=self.workspace)}")

    def train(self, method: str | None = None) -> Path:
        """Train a method, by default the task's own, on one fold; returns its folder.

        Raises:
            LiftnetError: If the folder holds a demo of another version of liftnet.
        """
        self.show("liftnet_train", "-f", "0", *self._options(method))
        try:
            (fold,) = train(workspace=self.workspace, fold=[0], method=method, device=self.device)
        except CheckpointError as error:
            remedy = f"Remove {self.root}, or name another folder with -o."
            raise LiftnetError(error.problem, where=error.where, remedy=remedy) from None
        return fold

    def predict(self, inputs: Path, output: Path, method: str | None = None) -> None:
        """Synthesize what the cases of a folder lack, with a method."""
        words = ["--continue-prediction", *self._options(method)]
        self.show("liftnet_predict", "-i", inputs, "-o", output, *words)
        failures = predict(
            inputs,
            output,
            workspace=self.workspace,
            method=method,
            continue_prediction=True,
            device=self.device,
        )
        if failures:
            raise failures[0].error

    def _options(self, method: str | None) -> list[str]:
        options = {"--method": method, "-device": self.device}
        return [word for name, value in options.items() if value for word in (name, value)]


@checked
def demo(
    output_folder: Path | str = DEFAULT_FOLDER,
    *,
    device: str | None = None,
    size: Size | None = None,
) -> tuple[Scores, Scores]:
    """The scores of LiFT-C and of a linear regression on simulated heads, after all steps.

    The same call again keeps what is finished and goes on.

    Args:
        output_folder: receives the workspace, the predicted images, montage.png and a report.
        device: "cuda", "cpu" or "mps"; by default the best there is.
        size: how much to do; by default three to eight minutes' worth on two CPU cores.

    Raises:
        LiftnetError: If the folder holds a demo of another version of liftnet.
    """
    size = size or Size()
    run = _Demo(Path(output_folder), device)
    root, workspace = run.root, run.workspace
    raw, references = workspace / "raw" / DATASET, root / "references"
    inputs, predicted, baseline = raw / "imagesTs", root / "predicted", root / "regression"
    mention(
        f"{size.training_cases} simulated heads to train on, {size.test_cases} to test on, four MR "
        f"contrasts each, in {root}/\nThe line after $ is the command that does the step."
    )

    _announce(1, "Make the dataset (for your own images: liftnet_convert)")
    make_dataset(raw, references, size)
    mention(f"Every test head lacks one contrast, which lies in {references}/")

    _announce(2, "Measure it, decide everything, preprocess")
    dial = ["--gpu-memory", f"{size.gpu_memory:g}", "--steps", f"{size.steps}", "--set", *SETTINGS]
    run.show("liftnet_plan_and_preprocess", *dial)
    plan_and_preprocess(
        workspace=workspace, gpu_memory=size.gpu_memory, steps=size.steps, settings=SETTINGS
    )

    _announce(3, "Train LiFT-C on one fold")
    fold = run.train()
    mention(f"Curves and a first picture: {next(fold.glob('*/progress.png'), fold)}")

    _announce(4, "Synthesize what the test heads lack")
    run.predict(inputs, predicted)

    _announce(5, "Score it")
    run.show("liftnet_evaluate", "-i", predicted, "-r", references)
    ours = evaluate_pairs(predicted, references, workspace=workspace)

    _announce(6, "Compare with a linear regression of each voxel from its sources")
    run.train(BASELINE)
    run.predict(inputs, baseline, BASELINE)
    with redirect_stdout(StringIO()):  # its table is part of the one below
        trivial = evaluate_pairs(baseline, references, workspace=workspace)
    say(comparison({"LiFT-C": ours, "regression": trivial}))
    draw_montage(inputs, references, predicted, root / "montage.png")
    say(f"\nPicture of every test head: {root / 'montage.png'}")

    _announce(7, "Make a page of the comparison, to look at")
    compared, names = root / "comparison", ["regression", "LiFT-C"]
    run.show("liftnet_compare", "-i", baseline, predicted, "-o", compared, "--names", *names)
    with redirect_stdout(StringIO()):  # what it prints is on the page
        compare([baseline, predicted], compared, names=names, workspace=workspace)
    run.show("liftnet_report", "-i", compared, "-s", inputs)
    page = report(compared, sources=str(inputs), workspace=workspace)
    say(f"\nOpen {page} in a browser; it needs no network.")
    mention("Your own images: begin with liftnet_convert; liftnet_convert --help shows how.")
    return ours, trivial


def _announce(number: int, what: str) -> None:
    """Print the heading of a step."""
    mention(f"\n[{number}/{TOTAL_STEPS}] {what}")


def make_dataset(raw: Path, references: Path, size: Size) -> None:
    """Write the raw dataset and the contrasts that its test cases lack; files there are kept."""
    total = size.training_cases + size.test_cases
    with progress("Simulate", total) as advance:
        for number in range(total):
            test = number - size.training_cases
            lacking = _lacking(number) if test < 0 else test % len(CONTRASTS)
            folder = raw / ("imagesTr" if test < 0 else "imagesTs")
            paths = {
                name: (references if i == lacking else folder) / f"head-{number:02d}_{i:04d}.nii.gz"
                for i, name in enumerate(CONTRASTS)
                if test >= 0 or i != lacking
            }
            if not all(path.is_file() for path in paths.values()):
                _write_head(number, paths, size.spacing_mm)
            advance()
    description = {
        "name": "Heads",
        "task": "missing_modality",
        "channels": {str(i): {"name": name, "modality": "MR"} for i, name in enumerate(CONTRASTS)},
        "licence": "CC0-1.0",
        "reference": "simulated by liftnet_demo",
    }
    write_json(raw / "dataset.json", description)


def _lacking(number: int) -> int | None:
    """The channel that a training head lacks: every second head lacks one, each in turn."""
    return None if number % 2 == 0 else (number // 2) % len(CONTRASTS)


def _write_head(
    number: int, paths: dict[str, Path], spacing_mm: tuple[float, float, float] | None
) -> None:
    """Simulate one head and write these contrasts of it."""
    rng = np.random.default_rng([number, SPACING_SEED])
    drawn = [round(float(rng.uniform(low, high)), 2) for low, high in SPACING_RANGES_MM]
    spacing = spacing_mm or (drawn[0], drawn[1], drawn[2])
    head = make_phantom(number, spacing_mm=spacing, contrasts=CONTRASTS)
    for name, path in paths.items():
        voxels = head.contrasts[name]
        d, h, w = voxels.shape
        grid = Geometry((d, h, w), head.spacing_mm, (0.0, 0.0, 0.0), AXES)
        write_image(path, voxels, grid, dtype="int16")


def comparison(scores: dict[str, Scores]) -> str:
    """A table of methods and metrics by contrast; one line per metric and method.

    The mean over cases; of the average also the 95 % bootstrap interval.
    """
    first = next(iter(scores.values()))
    contrasts = [name for name in CONTRASTS if name in first.summary]
    lines = [["", "", *contrasts, "average over heads"]]
    for metric, (label, digits) in SHOWN_METRICS.items():
        for method, found in scores.items():
            values = [f"{found.summary[c][metric].mean:.{digits}f}" for c in contrasts]
            mean = found.summary[AVERAGE][metric]
            average = f"{mean.mean:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"
            lines.append(["" if method != next(iter(scores)) else label, method, *values, average])
    return "\n".join(aligned(lines))


def draw_montage(inputs: Path, references: Path, predicted: Path, picture: Path) -> None:
    """Draw one row per test head: what was given, what was made of it, what is true."""
    rows = []
    for sidecar in sorted(predicted.glob("*_0*.json")):
        facts = read_json(sidecar)
        case, name = facts["case"], f"{sidecar.stem}.nii.gz"
        reference, info = read_image(references / name)
        made, _ = read_image(predicted / name)
        sources = [
            (source, read_image(inputs / f"{case}_{CONTRASTS.index(source):04d}.nii.gz")[0])
            for source in facts["sources"]
        ]
        high = normalize.quantile(np.maximum(reference, 0).reshape(-1), 0.999)  # LiFT Sec. 5.2
        intensity = facts["intensity"]
        row = MontageRow(
            label=f"{case}: {facts['target']} from {', '.join(facts['sources'])}",
            sources=tuple(sources),
            predicted=normalize.apply(made, intensity["low"], intensity["high"]),
            reference=normalize.apply(reference, 0.0, high),
            spacing_mm=info.geometry.spacing_mm,
            target=facts["target"],
            unit="range of the reference",
        )
        rows.append(row)
    montage(rows, picture, title="liftnet_demo: simulated heads")
