"""The steps of liftnet on a small dataset: what each runs, what it makes, what is equal of that."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.errors import CheckpointError
from liftnet.core.geometry import Geometry
from liftnet.imageio import write_image
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.share.export import export
from liftnet.pipeline.share.import_model import import_model
from liftnet.pipeline.train.train import train

__all__ = [
    "DATASET",
    "STEPS",
    "Step",
    "broken_files",
    "content",
    "files_of",
    "list_steps",
    "marks_of",
    "remove",
    "write_sources",
]

DATASET = "Dataset007_Faults"
CHANNELS = ("a", "b", "c")
TRAINING, TEST = 8, 10  # cases
STEPS = 6  # of training
SETTINGS = [
    "lift.context_translation.decoded_slices=4",
    "lift.context_translation.validate_every=3",
    "lift.context_translation.validation_cases=1",
    "lift.context_translation.volumes_per_step=2",
    "lift.context_translation.checkpoint_minutes=0",
    "lift.slice_translation.checkpoint_minutes=0",
    "lift.mixer.hidden_size=8",
]
VARYING = (
    "seconds",
    "peak_memory_gib",
    "date",
    "command",
)  # keys of JSON files that differ from run to run


@dataclass(frozen=True)
class Step:
    """A step of liftnet: what runs, what it makes, and what counts as finished."""

    name: str
    run: Callable[[], object]
    made: tuple[Path, ...]  # deleted before each trial
    marks: str = ""  # pattern of files that are never made twice
    sources: tuple[Path, ...] = ()  # folders of images that it reads


def write_sources(folder: Path) -> None:
    """Three contrasts of small random heads, a folder each; more of them to predict."""
    for number in range(TRAINING + TEST):
        test = number >= TRAINING
        shape = (8 + number % 3, 24 + number % 5, 30 + number % 4)
        grid = Geometry(shape, (4.0, 2.4, 2.1), (1, 2, 3), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
        rng = np.random.default_rng(number)
        axes = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        inside = (axes**2).sum(0) < 1
        tissue = 0.5 + 0.3 * np.sin(4 * axes[1] + number) * axes[2] + 0.1 * rng.random(shape)
        images = (1000 * tissue, 1500 * tissue**2, 700 * (1 - 0.5 * tissue))
        for i, (name, image) in enumerate(zip(CHANNELS, images, strict=True)):
            path = folder / name / f"case{number:02d}.nii.gz"
            if test:
                part = "references" if i == 2 else "inputs"
                path = folder / part / f"case{number:02d}_{i:04d}.nii.gz"
            write_image(path, np.where(inside, np.rint(image), 0), grid, dtype="int16")


def list_steps(root: Path) -> list[Step]:
    """The steps in their order; each needs what those before it have made."""
    space, sources = root / "space", root / "sources"
    prepared, results = space / "preprocessed" / DATASET, space / "results"
    here: dict[str, Any] = {"workspace": space}
    both = {**here, "device": "cpu", "num_processes": 2}
    layout = [f"{name}={sources / name}" for name in CHANNELS]
    out, drawn = root / "predicted", root / "generated"

    def score_parts() -> None:
        for part in (0, 1):
            evaluate(out, sources / "references", output=root / "parts", num_parts=2, part_id=part)

    return [
        Step(
            "generate",
            lambda: generate(12, drawn, 8, continue_prediction=True, **both),
            (drawn,),
            "sample_*.json",
        ),
        Step(
            "convert",
            lambda: convert("folders", layout, 7, name="Faults", copy=True, **here),
            (space / "raw",),
            sources=tuple(sources / name for name in CHANNELS),
        ),
        Step(
            "extract_fingerprint",
            lambda: extract_fingerprint(7, **here),
            (prepared,),
            sources=(space / "raw",),
        ),
        Step(
            "plan",
            lambda: plan(7, gpu_memory=0.03, steps=STEPS, settings=SETTINGS, **here),
            (prepared / "default",),
        ),
        Step(
            "preprocess",
            lambda: preprocess(7, num_processes=2, **here),
            (prepared / "default" / "cases",),
            "*.json",
            (space / "raw",),
        ),
        Step(
            "train",
            lambda: train(7, device="cpu", **here),
            (results / DATASET, prepared / "splits.json"),
        ),
        Step(
            "predict",
            lambda: predict(sources / "inputs", out, 7, continue_prediction=True, **both),
            (out,),
            "*.json",
            (sources / "inputs",),
        ),
        Step(
            "evaluate",
            lambda: evaluate(out, sources / "references", output=root / "scores"),
            (root / "scores",),
            sources=(sources / "references",),
        ),
        Step("evaluate, two parts", score_parts, (root / "parts",)),
        Step(
            "export",
            lambda: export(root / "exported" / "model.safetensors", 7, overwrite=True, **here),
            (root / "exported",),
        ),
        Step(
            "import",
            lambda: import_model(
                root / "exported" / "model.safetensors",
                overwrite=True,
                workspace=root / "elsewhere",
            ),
            (root / "elsewhere",),
        ),
    ]


def remove(step: Step) -> None:
    """Delete what a step has made."""
    for path in step.made:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def files_of(step: Step) -> dict[str, Path]:
    """Every file that a step has made, hidden ones too, but no events and no `.previous`."""
    found = {}
    for folder in step.made:
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.is_file() and path.parent.name != "events" and path.suffix != ".previous":
                found[str(path.relative_to(folder.parent))] = path
    return found


def content(path: Path) -> object:
    """What must be equal of a file: its bytes, without times and pictures of times."""
    if path.name == "progress.png":
        return "a picture"
    if path.suffix == ".json":
        return _without(json.loads(path.read_text()), VARYING)
    if path.name == "log.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{k: v for k, v in row.items() if not k.endswith("_per_step")} for row in rows]
    return path.read_bytes()


def _without(value: object, keys: tuple[str, ...]) -> object:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


def broken_files(step: Step, reference: dict[str, object]) -> list[str]:
    """Files that bear their final name and are not whole."""
    broken = []
    for name, path in files_of(step).items():
        if any(part.startswith(".") for part in Path(name).parts) or path.name == "log.jsonl":
            continue
        if path.suffix == ".safetensors" and "/exported/" not in path.as_posix():
            try:
                load_checkpoint(path)
            except CheckpointError:
                broken.append(name)
        elif name in reference and "part_" not in name and content(path) != reference[name]:
            broken.append(name)
    return broken


def marks_of(step: Step) -> dict[Path, tuple[int, int]]:
    """The finished pieces of work, and which file stands for each."""
    if not step.marks:
        return {}
    paths = [path for folder in step.made for path in folder.glob(step.marks)]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
