"""The entry points of benchmarks/fuzz.py that read bytes: images, arrays, checkpoints, weights."""

import gzip
import hashlib
import json
import os
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import fuzz_checks as checks
import fuzz_places as places
import mutations
from fuzz_places import NAME, Entry

from liftnet.core.storage.jsonable import read_json

__all__ = ["bombs", "checkpoint", "exported", "image", "stored", "weights"]

BOMB_BYTES = 2**30  # what a megabyte expands to; eight of them are one file


def image(place: Path, work: Path, *, kind: str, packed: bool | None) -> Entry:
    """An image file by its header, by its bytes, or compressed."""
    seeds = places.image_seeds(kind, work)
    if kind == "mha":
        ways = [partial(mutations.damage_text_header, end=b"ElementDataFile",
                        fields=places.MHA_FIELDS), mutations.damage_bytes]  # fmt: skip
    elif kind == "nrrd":
        ways = [partial(mutations.damage_text_header, end=b"\n\n", fields=places.NRRD_FIELDS),
                mutations.damage_bytes]  # fmt: skip
    elif packed is None:
        ways = [mutations.damage_bytes]
    elif packed:
        kind += ".gz"
        ways = [lambda rng, data: mutations.compressed(rng, mutations.damage_nifti(rng, data)),
                mutations.compressed]  # fmt: skip
    else:
        ways = [mutations.damage_nifti]
    target = work / f"image.{kind}"
    return places.bytes_entry(seeds, target, ways, lambda: checks.check_image(target))


def bombs(place: Path, work: Path) -> Entry:
    """Files that are small and claim much: in the header, by compression, by a hole in the file."""
    valid = mutations.valid_nifti([0.0] * 8, (2, 2, 2))
    target, hole = work / "image.nii.gz", work / "image.nii"
    packed = mutations.gzip_bomb(valid, BOMB_BYTES)
    sizes = ((10_000, 10_000, 10_000), (32767, 32767, 32767), (1000, 1000, 1000), (2, 2, 2),
             (32767, 32767, 1), (2000, 1000, 500))  # fmt: skip
    chosen = [target]

    def write(rng: Random) -> int:
        data = bytearray(packed if rng.random() < 0.6 else valid)
        claimed = bytearray(valid[:352])
        struct.pack_into("<8h", claimed, 40, 3, *rng.choice(sizes), 1, 1, 1, 1)
        struct.pack_into("<h", claimed, 70, rng.choice((2, 4, 16, 64)))
        chosen[0] = target
        if rng.random() < 0.3:
            chosen[0] = hole
            hole.write_bytes(claimed)
            os.truncate(hole, rng.choice((352, 10**6, 10**10, 10**12)))
            return 352
        if data[:2] == b"\x1f\x8b":
            data = bytearray(gzip.compress(bytes(claimed), 1) + 8 * packed)
        else:
            data = bytearray(gzip.compress(bytes(claimed) + bytes(1000), 1))
        target.write_bytes(data)
        return len(data)

    def call() -> None:
        from liftnet.imageio import read_image

        array, info = read_image(chosen[0])
        if array.shape != info.geometry.shape or array.size > 10**9:
            raise checks.WrongAnswerError(f"{array.shape}")

    return Entry(write, call)


def stored(place: Path, work: Path) -> Entry:
    """The array of a stored case."""
    source = place / "workspace" / "preprocessed" / NAME / "default" / "cases"
    seeds = [path.read_bytes() for path in sorted(source.glob("*.npy"))]
    known = read_json(source / "c0.json")  # a checksum would find every flip
    (work / "case.json").write_text(json.dumps({**known, "checksums": {}}))
    zipped = next((place / "one" / "trajectories").glob("*.npz")).read_bytes()
    head = lambda rng, data: mutations.damage_bytes(rng, data[:128]) + data[128:]  # noqa: E731
    return places.bytes_entry(
        [*3 * seeds, zipped], work / "case.npy", [head, mutations.damage_bytes],
        lambda: checks.use_array(work))  # fmt: skip


def checkpoint(place: Path, work: Path) -> Entry:
    """A checkpoint: header, facts and tensors."""
    folder = place / "workspace" / "results" / NAME / "default" / "lift" / "fold_0"
    source = min(folder.glob("*/checkpoint_latest.safetensors"))  # of the last stage
    data = source.read_bytes()
    target = work / "checkpoint_latest.safetensors"
    return places.bytes_entry(
        [data], target, [partial(damage_header, seal=False), mutations.damage_bytes],
        lambda: checks.use_checkpoint(target, folder))  # fmt: skip


def exported(place: Path, work: Path) -> Entry:
    """A model of liftnet_export: header, papers whose digest is right all the same, tensors."""
    from liftnet.pipeline.share.export import export

    target = work / "model.safetensors"
    data = export(target, workspace=place / "workspace").read_bytes()
    return places.bytes_entry(
        [data], target, [partial(damage_header, seal=True), mutations.damage_bytes],
        lambda: checks.use_model(target))  # fmt: skip


def damage_header(rng: Random, data: bytes, *, seal: bool) -> bytes:
    """A safetensors file of liftnet with another header, or another text in it.

    `seal` puts the digest into the text that it would have if it had been written so.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    content = mutations.damage_json(rng, header)
    if rng.random() < (0.8 if seal else 0.5):
        text = mutations.damage_json(rng, json.loads(header["__metadata__"]["liftnet"]))
        if seal:
            with suppress(ValueError, AttributeError, TypeError, RecursionError):  # no object
                papers = json.loads(text)
                papers.pop("sha256", None)
                digest = hashlib.sha256(json.dumps(papers, sort_keys=True).encode()).hexdigest()
                text = json.dumps({**papers, "sha256": digest}).encode()
        header["__metadata__"] = {"liftnet": text.decode("utf-8", "replace")}
        content = json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + data[8 + size :]


def weights(place: Path, work: Path) -> Entry:
    """Files of a feature network: two forms of torch's, and safetensors."""
    import torch
    from safetensors.torch import save_file

    from liftnet.networks.features import FrozenNorm

    state: Any = FrozenNorm(8).state_dict()
    odd: list[Any] = [{}, {1: torch.ones(2)}, {"state_dict": 5}, [state], {"a": "b"}, None]
    made = []
    for i, content in enumerate([state, state, state, {"state_dict": state}, *odd]):
        torch.save(content, work / "x.pth", _use_new_zipfile_serialization=i % 2 == 0)
        made.append((work / "x.pth").read_bytes())
    save_file(state, work / "x.safetensors")
    tensors = work / "y.safetensors"
    tensors.write_bytes((work / "x.safetensors").read_bytes())
    valid, target = tensors.read_bytes(), work / "x.pth"
    chosen = [target]

    def write(rng: Random) -> int:
        chosen[0] = tensors if rng.random() < 0.3 else target
        content = valid if chosen[0] is tensors else rng.choice(made)
        content = content if rng.random() < 0.02 else mutations.damage_bytes(rng, content)
        chosen[0].write_bytes(content)
        return len(content)

    return Entry(write, lambda: checks.use_weights(chosen[0]))
