"""The zip file in which a trained model travels: what it holds, and that it holds nothing else."""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructError
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.fingerprint import ChannelStatistics
from liftnet.core.names import check_folder_name
from liftnet.core.storage.jsonable import from_json
from liftnet.core.storage.strict_json import parse_json
from liftnet.pipeline.models.model_zip import (
    MAX_EXPANDED,
    MAX_TEXT,
    check_entries,
    check_frame,
    refused,
    shown,
)

__all__ = [
    "CARD",
    "COHORT_SCORES",
    "DATASET",
    "FINGERPRINT",
    "IMPORTED",
    "MANIFEST",
    "MODEL_FILE_VERSION",
    "PLAN",
    "PLAUSIBILITY",
    "RECIPE",
    "SCORES",
    "TRAINING_FACTS",
    "WEIGHTS",
    "DatasetStatistics",
    "FileEntry",
    "Manifest",
    "check_text",
    "parse_file",
    "unpack_model",
]

MODEL_FILE_VERSION = 2
MANIFEST = "manifest.json"
CARD = "README.md"
PLAN = "plan.json"
RECIPE = "recipe.json"
DATASET = "dataset.json"
FINGERPRINT = "fingerprint.json"
SCORES = "scores.json"
COHORT_SCORES = "cohort_scores.json"
WEIGHTS = "weights.safetensors"  # in a folder per fold
PLAUSIBILITY = "plausibility.json"  # in a folder per fold
TRAINING_FACTS = "training_facts.json"  # likewise
IMPORTED = "model_card"  # the folder of a run in which an imported model's papers lie
NEEDED = (CARD, PLAN, RECIPE, DATASET)
OPTIONAL = (FINGERPRINT, SCORES, COHORT_SCORES)
CHUNK = 2**20  # ours: bytes read at a time


@dataclass(frozen=True)
class DatasetStatistics:
    """What fingerprint.json of the zip holds: the dataset as a whole, and none of its cases."""

    version: int  # of the fingerprint
    dataset: str
    foreground: str
    num_cases: int
    channels: dict[str, ChannelStatistics]


@dataclass(frozen=True)
class FileEntry:
    """A file of the zip, the manifest itself left out."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds: which model this is, and every file with its digest."""

    version: int
    liftnet: str
    task: str
    dataset: str
    plan: str
    method: str
    folds: tuple[str, ...]
    model: str  # digest of the weights, as in the JSON beside every image that they make
    data: str  # where the training data come from
    licence: str
    intended_use: str
    files: tuple[FileEntry, ...]


def unpack_model(path: Path, folder: Path) -> Manifest:
    """The manifest of a model file, whose content is checked and then unpacked into a folder.

    Nothing is unpacked but the files that such a zip has, each with the size and SHA-256 that the
    manifest says. What is inside them is not looked at here.

    Raises:
        LiftnetError: If anything about the zip is not as `liftnet_export` writes it.
    """
    check_frame(path)
    try:
        with ZipFile(path) as archive:
            entries = {info.orig_filename: info for info in check_entries(archive, path)}
            manifest = _read_manifest(archive, entries, path)
            _check_listing(entries, manifest, path)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MANIFEST).write_bytes(archive.read(entries[MANIFEST]))
            for entry in manifest.files:
                _unpack(archive, entries[entry.name], entry, folder / entry.name, path)
    except (
        BadZipFile,
        EOFError,
        RuntimeError,  # of which the one for an unknown compression is a kind
        StructError,
        ValueError,
        zlib.error,
    ) as error:
        raise refused(f"The zip is damaged: {shown(str(error))}", path) from None
    return manifest


def parse_file(content: bytes, name: str, path: Path) -> Any:
    """The parsed content of a JSON file of the zip, all of whose texts can be printed.

    Raises:
        LiftnetError: If it is not JSON, or could play tricks on a terminal.
    """
    try:
        data = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise refused(f"{name} is not JSON: {shown(str(error))}", path) from None
    for text in _texts(data):
        if not text.isprintable():
            raise refused(f"{name} holds control characters: {shown(text)}", path)
    return data


def _texts(node: Any) -> Iterator[str]:
    """Every text below a node of JSON, keys as well."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def check_text(content: bytes, name: str, path: Path) -> None:
    """Refuse a text file that holds anything but text.

    Raises:
        LiftnetError: If it is not UTF-8, or holds control characters.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(f"{name} is not a text file", path) from None
    if any(unicodedata.category(c) in ("Cc", "Cf") and c != "\n" for c in text):
        raise refused(f"{name} holds control characters", path)


def _read_manifest(archive: ZipFile, entries: dict[str, ZipInfo], path: Path) -> Manifest:
    """The manifest, if it can be read and its version is known."""
    if MANIFEST not in entries:
        raise refused(
            f"The zip has no {MANIFEST}",
            path,
            "Give a file that liftnet_export has written, as it is, not one packed again.",
        )
    data = parse_file(archive.read(entries[MANIFEST]), MANIFEST, path)
    version = data.get("version") if isinstance(data, dict) else None
    if version != MODEL_FILE_VERSION:
        newer = isinstance(version, int) and version > MODEL_FILE_VERSION
        raise refused(
            f"The model file has format {shown(str(version))}, this liftnet reads "
            f"{MODEL_FILE_VERSION}",
            path,
            "Install a newer liftnet." if newer else "Ask for it to be exported again.",
        )
    try:
        return from_json(Manifest, data, where=MANIFEST)
    except PlanError as error:
        where = f" ({shown(error.where)})" if error.where else ""
        raise refused(f"{MANIFEST}{where}: {shown(error.problem)}", path) from None


def _check_listing(entries: dict[str, ZipInfo], manifest: Manifest, path: Path) -> None:
    """Refuse a zip that does not hold what the manifest says, or whose manifest says too much."""
    for what, name in (("dataset", manifest.dataset), ("plan", manifest.plan)):
        try:
            check_folder_name(name, what)
        except LiftnetError as error:
            raise refused(error.problem, path) from None
    if not manifest.folds or not all(re.fullmatch(r"[0-9]{1,4}|all", f) for f in manifest.folds):
        raise refused(f"{MANIFEST} names folds {shown(', '.join(manifest.folds))}", path)
    listed = [entry.name for entry in manifest.files]
    _refuse_names(listed, manifest.folds, path)
    there = set(entries) - {MANIFEST}
    for name in sorted(there - set(listed)):
        raise refused(f"The zip holds {shown(name)}, which its {MANIFEST} does not list", path)
    for name in sorted(set(listed) - there):
        raise refused(f"The zip lacks {shown(name)}, which its {MANIFEST} lists", path)
    for entry in manifest.files:
        size = entries[entry.name].file_size
        if size != entry.size:
            raise refused(
                f"{entry.name} has {size} bytes, {MANIFEST} says {entry.size}: it was changed", path
            )


def _refuse_names(listed: Sequence[str], folds: Collection[str], path: Path) -> None:
    """Refuse files that a model does not consist of."""
    weights = {f"fold_{fold}/{WEIGHTS}" for fold in folds}
    papers = {f"fold_{fold}/{name}" for fold in folds for name in (PLAUSIBILITY, TRAINING_FACTS)}
    allowed = {*NEEDED, *OPTIONAL, *weights, *papers}
    for name in listed:
        if name not in allowed:
            raise refused(f"The zip holds {shown(name)}, which is no part of a model", path)
        if listed.count(name) > 1 or len(set(folds)) != len(folds):
            raise refused(f"{MANIFEST} lists {shown(name)} or its fold twice", path)
    for name in (*NEEDED, *sorted(weights)):
        if name not in listed:
            raise refused(f"{MANIFEST} does not list {name}, without which there is no model", path)


def _unpack(archive: ZipFile, info: ZipInfo, entry: FileEntry, target: Path, path: Path) -> None:
    """Write one file, counting its bytes, and compare its SHA-256."""
    limit = MAX_EXPANDED if entry.name.endswith(WEIGHTS) else MAX_TEXT
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0
    with archive.open(info) as file, target.open("xb") as out:
        while block := file.read(CHUNK):
            count += len(block)
            if count > min(limit, entry.size):
                raise refused(f"{entry.name} expands to more than its {entry.size} bytes", path)
            digest.update(block)
            out.write(block)
    if count != entry.size or digest.hexdigest() != entry.sha256:
        raise refused(f"{entry.name} is not the file that was exported: its SHA-256 differs", path)
