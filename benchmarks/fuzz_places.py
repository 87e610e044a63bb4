"""The entry points that benchmarks/fuzz.py tries: how each gets its input, and what it must do.

An entry is made from a folder with a small trained workspace. `write` puts a damaged input in its
place and gives its bytes; `call` reads it as a user's command does, and raises WrongAnswerError if
what it took is not what is in the file.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import read_json

sys.path.append(str(Path(__file__).parents[1] / "tests" / "fuzz"))
import mutations
from fuzz_checks import WrongAnswerError, check_taken

ROOT = Path(__file__).parents[1]
ODD = ROOT.parent / "shared" / "data" / "odd_nifti" / "files"
LARGEST_SEED = 70_000  # bytes: larger odd files only make it slow
NAME = "Dataset001_Fuzz"
SHAPE = (8, 24, 20)
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
SETTINGS = [
    "lift.mixer.hidden_size=8",
    "lift.context_translation.decoded_slices=4",
    "lift.context_translation.validate_every=2",
    "lift.context_translation.volumes_per_step=1",
]
MHA_FIELDS = (
    b"ElementDataFile = /etc/passwd", b"ElementDataFile = LIST", b"ElementDataFile = x.raw",
    b"NDims = 100", b"NDims = 0", b"HeaderSize = -1", b"HeaderSize = 1000000000000",
    b"ElementNumberOfChannels = 1000", b"CompressedData = True", b"CompressedDataSize = 99999999",
    b"BinaryDataByteOrderMSB = True", b"ElementType = MET_DOUBLE", b"BinaryData = False",
    b"DimSize = 10000 10000 10000", b"ElementToIntensityFunctionSlope = nan", b"Comment = " + b"x" *
    5000, b"TransformMatrix = 1 1 1 1 1 1 1 1 1", b"ObjectType = Tube",
)  # fmt: skip
NRRD_FIELDS = (
    b"data file: /etc/passwd", b"datafile: x.raw", b"data file: LIST", b"dimension: 16",
    b"dimension: 1", b"encoding: bzip2", b"encoding: hex", b"encoding: ascii", b"encoding: gzip",
    b"line skip: -1", b"byte skip: -1", b"byte skip: 1000000000000", b"sizes: 10000 10000 10000",
    b"endian: big", b"type: double", b"type: block", b"kinds: vector domain domain", b"key:=value",
    b"space: left-posterior-superior-time", b"space directions: none (1,0,0) (0,1,0)",
    b"space origin: (nan,0,0)", b"units: \"mm\" \"mm\" \"mm\"", b"# " + b"x" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One entry point: an input is written, then read. A command may end with its own code."""

    write: Callable[[Random], int]
    call: Callable[[], None]
    command: bool = False


def prepare(place: Path) -> None:
    """A small trained workspace with predictions, scores and a comparison."""
    import torch

    from liftnet.core.storage.jsonable import write_json
    from liftnet.imageio import write_image
    from liftnet.pipeline.compare.compare import compare
    from liftnet.pipeline.evaluate.evaluate import evaluate
    from liftnet.pipeline.predict.predict import predict
    from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
    from liftnet.pipeline.train.train import train

    torch.set_num_threads(1)
    raw = place / "workspace" / "raw" / NAME
    geometry = Geometry(SHAPE, (3.0, 2.0, 2.0), (-10.0, 5.0, 2.5), AXES)
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = sum(g**2 for g in grid) < 1.2
    for case in range(4):
        tissue = rng.random(SHAPE)
        for i, image in enumerate((800 * tissue + 100, 900 - 700 * tissue)):
            voxels = np.where(inside, image, 0)
            path = raw / "imagesTr" / f"c{case}_{i:04d}.nii.gz"
            write_image(path, voxels, geometry, dtype="int16")
            if i == 0 and case < 2:
                write_image(place / "new" / f"c{case}_0000.nii.gz", voxels, geometry, dtype="int16")
    channels = {str(i): {"name": n, "modality": "MR"} for i, n in enumerate(("t1", "t2"))}
    write_json(
        raw / "dataset.json", {"name": "Fuzz", "task": "missing_modality", "channels": channels}
    )
    shared: Any = {"workspace": place / "workspace"}
    plan_and_preprocess(steps=2, gpu_memory=0.03, settings=SETTINGS, num_processes=1, **shared)
    train(fold=["0"], device="cpu", compiled=False, **shared)
    for name in ("one", "two"):
        output = place / name
        predict(
            place / "new", output, device="cpu", save_trajectory=True, num_processes=1, **shared
        )
        if name == "two":
            for path in output.glob("*.nii.gz"):
                write_image(path, 500 * inside + 9.0, geometry, dtype="int16")
        evaluate(output, raw / "imagesTr", num_processes=1, **shared)
    compare([place / "one", place / "two"], place / "both", num_processes=1, **shared)


# --- entries ---


def json_entry(
    place: Path, work: Path, source: str, read: Callable[[Path], object], *, exact: bool = True
) -> Entry:
    """A reader of one JSON file."""
    seed = read_json(place / source)  # without its checksum, which would find every change
    target = work / Path(source).name

    def write(rng: Random) -> int:
        content = mutations.damage_json(rng, seed)
        target.write_bytes(content)
        return len(content)

    def call() -> None:
        taken = read(target)
        if exact:
            check_taken(target, taken)

    return Entry(write, call)


def bytes_entry(
    seeds: Sequence[bytes],
    target: Path,
    ways: Sequence[Callable[[Random, bytes], bytes]],
    call: Callable[[], None],
) -> Entry:
    """A reader of one file that is damaged in one of several ways."""

    def write(rng: Random) -> int:
        content = mutations.pick(rng, ways, rng.choice(list(seeds)))
        target.write_bytes(content)
        return len(content)

    return Entry(write, call)


def command_entry(
    place: Path, work: Path, damaged: Mapping[str, str], arguments: Sequence[str]
) -> Entry:
    """A command whose folder has one damaged file.

    Args:
        place: the folder of `prepare`.
        work: where the copy lies that is damaged.
        damaged: file, relative to both -> "image" or "json".
        arguments: the command's name and its options; {} is `work`.
    """
    shutil.copytree(place, work, dirs_exist_ok=True)
    last: list[str] = []

    def write(rng: Random) -> int:
        for name in last:
            shutil.copyfile(place / name, work / name)
        name = rng.choice(list(damaged))
        last[:] = [name]
        content = (place / name).read_bytes()
        if damaged[name] == "json":
            content = mutations.damage_json(rng, json.loads(content))
        else:
            content = rng.choice((_image_in_gzip, mutations.damage_bytes))(rng, content)
        (work / name).write_bytes(content)
        return len(content)

    filled = [part.replace("{}", str(work)) for part in arguments]
    return Entry(write, partial(run_command, filled), command=True)


def _image_in_gzip(rng: Random, content: bytes) -> bytes:
    import gzip

    return gzip.compress(mutations.damage_nifti(rng, gzip.decompress(content)), 1)


def values_entry(place: Path, work: Path) -> Entry:
    """Commands with strange values of their options; each writes only below `work`."""
    shutil.copytree(place, work, dirs_exist_ok=True)
    space = ["--workspace", f"{work}/workspace"]
    score = ["liftnet_evaluate", "-i", f"{work}/one", "-r", f"{work}/workspace/raw/{NAME}/imagesTr"]
    forms = [
        *(["liftnet_plan", "-p", "other", option, "@", *space] for option in
          ("-d", "--method", "--steps", "--gpu-memory", "--features", "-p", "--set", "--set")),
        ["liftnet_plan", "-p", "other", "--explain", "--set", "@=@", *space],
        *(["liftnet_plan", "-p", "other", "--explain", "--set", f"{key}=@", *space] for key in
          ("seed", "lift.losses.l1", "grid.in_plane", "grid.spacing_mm", "name", "task", "version",
           "lift.mixer", "lift.translator.widths", "channels.t1.normalization", "reasons",
           "lift.context_translation.learning_rates", "targets", "sources", "lift.inference.passes",
           "lift.mixer.num_layers", "lift.context_translation.num_steps", "channels.@")),
        *(["liftnet_preprocess", option, "@", *space] for option in
          ("-d", "-p", "-np", "-num_parts", "-part_id")),
        *(["liftnet_predict", "-i", f"{work}/new", "-o", f"{work}/out", option, "@", *space]
          for option in ("-d", "-f", "-p", "--method", "--target", "-m", "-num_parts", "-part_id",
                         "-chk", "-device", "-np", "-n", "--seed")),
        *(["liftnet_predict", "-n", "2", "-o", f"{work}/out", option, "@", *space]
          for option in ("-n", "--seed", "--first", "--temperature", "--sigma-z", "-f")),
        *(["liftnet_train", option, "@", "--c", "-p", "none", *space]
          for option in ("-d", "-f", "-p", "--method", "-device")),
        *([*score, option, "@", *space] for option in
          ("-d", "--protocol", "-s", "-m", "-p", "-f", "-num_parts", "-part_id", "--pairs", "-np")),
        *(["liftnet_compare", "-i", f"{work}/one", f"{work}/two", "-o", f"{work}/cmp", option, "@",
           *space] for option in ("--metrics", "--names", "--protocol", "-d", "-np")),
        *(["liftnet_report", "-i", f"{work}/one", option, "@", *space]
          for option in ("--cases", "--num-cases", "--by", "-s", "-d", "--max-mb")),
        ["liftnet_convert", "@", f"{work}/new", "-d", "1", *space],
        ["liftnet_convert", "folders", f"t1={work}/new", "@", "-d", "@", *space],
        ["liftnet_convert", "folders", "@=@", f"t1={work}/new", "-d", "@", *space],
    ]  # fmt: skip
    chosen: list[str] = []

    def write(rng: Random) -> int:
        words = mutations.strange_words()
        form = rng.choice(forms)
        chosen[:] = [_filled(part, rng, words) for part in form]
        return sum(map(len, chosen))

    return Entry(write, lambda: run_command(chosen), command=True)


def _filled(part: str, rng: Random, words: Sequence[str]) -> str:
    while "@" in part:
        part = part.replace("@", rng.choice(words).replace("@", ""), 1)
    return part


def run_command(arguments: Sequence[str]) -> None:
    """A console command in this process; its exit code 1 is a refusal, another one a crash."""
    from importlib import import_module

    from liftnet.core.errors import LiftnetError

    with _quiet() as printed:
        sys.argv = list(arguments)
        try:
            import_module(f"liftnet.cli.{arguments[0].removeprefix('liftnet_')}").main()
        except SystemExit as end:
            code = end.code or 0
        else:
            code = 0
    text = printed.read_text(errors="replace")
    if "Traceback (most recent call last)" in text or code not in (0, 1, 2):
        raise WrongAnswerError(f"exit code {code}: {text[-300:]}")
    if code:
        raise LiftnetError(text[-300:] or "ended without a word")


@contextmanager
def _quiet() -> Any:
    """What is printed as an error goes to a file, which is given."""
    import os
    import tempfile

    path = Path(tempfile.gettempdir()) / f"fuzz_output_{os.getpid()}"
    out, err = sys.stdout, sys.stderr
    with (
        path.open("w", encoding="utf-8", errors="backslashreplace") as second,
        Path(os.devnull).open("w", encoding="utf-8") as first,
    ):
        sys.stdout, sys.stderr = first, second  # as a terminal has them
        try:
            yield path
        finally:
            sys.stdout, sys.stderr = out, err


def image_seeds(kind: str, folder: Path) -> list[bytes]:
    """Valid files of one format: made ones, and the small odd ones that are there."""
    rng = np.random.default_rng(0)
    found = [p.read_bytes() for p in sorted(ODD.glob(f"*.{kind}"))] if ODD.is_dir() else []
    found = [content for content in found if len(content) <= LARGEST_SEED]
    if kind == "nii":
        values = rng.normal(size=3 * 4 * 5).tolist()
        made = [
            mutations.valid_nifti(values, (3, 4, 5), version=version, order=order)
            for version in (1, 2)
            for order in "<>"
        ]
        return 3 * made + found
    import SimpleITK as sitk

    made = []
    for dtype in ("int16", "float32"):
        for packed in (False, True):
            image = sitk.GetImageFromArray((100 * rng.normal(size=(5, 4, 3))).astype(dtype))
            image.SetSpacing((1.5, 2.0, 2.5))
            path = folder / f"seed.{kind}"
            sitk.WriteImage(image, str(path), useCompression=packed)
            made.append(path.read_bytes())
    return made
