"""A workspace whose every name, path and header says something that must not leave it."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from liftnet.core.recipe import with_schedules
from liftnet.core.storage.jsonable import write_json
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.train.train import train

PERSON = "Mustermann"  # in the names of cases
FOLDER = "WardSeven"  # in the path of the workspace
HEADER = {  # field of NIfTI-1 -> offset in the header, text
    "db_name": (14, "DbZorro"),
    "descrip": (148, "DescripZorro"),
    "aux_file": (228, "AuxZorro"),
    "intent_name": (328, "IntentZorro"),
}
USER = "userzorro"
HOST = "hostzorro"
NAME = "Dataset007_Phantom"
STAGE = "context_translation"
SETTINGS = [
    "lift.context_translation.decoded_slices=4",
    "lift.context_translation.validate_every=2",
    "lift.context_translation.validation_cases=1",
    "lift.context_translation.volumes_per_step=2",
    "lift.mixer.hidden_size=8",
]


def secrets() -> list[str]:
    """Every text that must not leave."""
    return [PERSON, FOLDER, USER, HOST, *(text for _, text in HEADER.values())]


def mark_header(path: Path) -> None:
    """Write the texts into the header of a compressed NIfTI file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for offset, text in HEADER.values():
        content[offset : offset + len(text)] = text.encode()
    path.write_bytes(gzip.compress(bytes(content), 1))


def train_telltale(root: Path, write_raw: Callable[[Path], Path]) -> tuple[Path, Path]:
    """A workspace with a trained fold, and a folder of new cases; all of it telltale."""
    space = root / FOLDER / "workspace"
    raw = write_raw(space)
    for path in sorted((raw / "imagesTr").iterdir()):
        mark_header(path)
        path.rename(path.with_name(f"{PERSON}-{path.name}"))
    described = json.loads((raw / "dataset.json").read_text())
    secret = {"reference": f"Dr. {PERSON}", "licence": f"asked {PERSON}"}
    write_json(raw / "dataset.json", described | secret)
    new = root / FOLDER / "new"
    new.mkdir()
    for channel in (0, 2):
        name = f"{PERSON}-p1_{channel:04d}.nii.gz"
        shutil.copy(raw / "imagesTr" / name, new / name)
    extract_fingerprint(workspace=space, num_processes=1)
    recipe = plan(workspace=space, gpu_memory=0.03, steps=6, settings=SETTINGS).recipe
    short = with_schedules(
        replace(recipe, slice_translation=None),
        {STAGE: replace(getattr(recipe, STAGE), num_steps=2)},
    )
    write_json(space / "preprocessed" / NAME / "default" / "recipes" / "lift.json", short)
    preprocess(workspace=space, num_processes=1)
    train(workspace=space, device="cpu")
    return space, new
