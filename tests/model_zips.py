"""Model files as somebody with bad intentions, or bad luck, would make them."""

import hashlib
import io
import json
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load, save

Files = dict[str, bytes]
WEIGHTS = "fold_0/weights.safetensors"
EPOCH = (1980, 1, 1, 0, 0, 0)


class Code:
    """A pickle of this runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('pwned').touch()",)


def unpacked(good: bytes) -> Files:
    """Name -> content."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def listed(files: Mapping[str, bytes], **changes: Any) -> Files:
    """The files with a manifest that lists them as they are."""
    manifest = json.loads(files["manifest.json"]) | changes
    manifest["files"] = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
        if name != "manifest.json"
    ]
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def entry(name: str, mode: int = stat.S_IFREG | 0o644, method: int = 0) -> zipfile.ZipInfo:
    """An entry of this name and kind."""
    info = zipfile.ZipInfo("x", EPOCH)
    info.filename = info.orig_filename = name
    info.external_attr, info.compress_type, info.create_system = mode << 16, method, 3
    return info


def packed(files: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """A zip of files, and of more entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, mock.patch("warnings.warn"):
        for name, content in files.items():
            archive.writestr(entry(name), content)
        for info, content in more:
            archive.writestr(info, content)
    return buffer.getvalue()


def stranger(name: str, **kind: int) -> Callable[[bytes], bytes]:
    """A good zip with one more entry of this name."""
    return lambda good: packed(unpacked(good), (entry(name, **kind), b"import os\n"))


def changed(name: str, change: Callable[[bytes], bytes], **manifest: Any) -> Callable[..., bytes]:
    """A zip whose manifest is right, with one file changed."""

    def make(good: bytes) -> bytes:
        files = unpacked(good)
        return packed(listed({**files, name: change(files[name])}, **manifest))

    return make


def with_manifest(**changes: Any) -> Callable[[bytes], bytes]:
    """A zip whose manifest says something else."""
    return lambda good: packed(listed(unpacked(good), **changes))


def edited(good: bytes, **fields: int) -> bytes:
    """A zip with other numbers in the headers of its weights, in both places."""
    places = {"flags": (6, 8, "<H"), "method": (8, 10, "<H"), "size": (22, 24, "<I")}
    content = bytearray(good)
    name = WEIGHTS.encode()
    local, central = content.find(name), content.rfind(name) - 46
    while content[local - 30 : local - 26] != b"PK\x03\x04":  # where the manifest names it
        local = content.find(name, local + 1)
    local -= 30
    for field, value in fields.items():
        first, second, form = places[field]
        struct.pack_into(form, content, local + first, value)
        struct.pack_into(form, content, central + second, value)
    return bytes(content)


def one_byte_more(good: bytes) -> bytes:
    """Weights with another value, and an old manifest."""
    files = unpacked(good)
    weights = bytearray(files[WEIGHTS])
    weights[-1] ^= 1
    return packed({**files, WEIGHTS: bytes(weights)})


def longer(good: bytes) -> bytes:
    """Weights that are longer than the manifest says."""
    files = unpacked(good)
    return packed({**files, WEIGHTS: files[WEIGHTS] + bytes(8)})


def missing(good: bytes) -> bytes:
    """Weights that are listed but not there."""
    files = unpacked(good)
    return packed({name: content for name, content in files.items() if name != WEIGHTS})


def bomb(good: bytes) -> bytes:
    """Weights of 64 MiB of zeros in 64 KB, with a manifest that says so."""
    files = listed({**unpacked(good), WEIGHTS: bytes(2**26)})
    weights = files.pop(WEIGHTS)
    return packed(files, (entry(WEIGHTS, method=zipfile.ZIP_DEFLATED), weights))


def hidden_bomb(good: bytes) -> bytes:
    """Weights that claim 1 MB and expand to 64 MiB."""
    files = unpacked(good)
    manifest = json.loads(listed({**files, WEIGHTS: bytes(10**6)})["manifest.json"])
    files["manifest.json"] = json.dumps(manifest).encode()
    del files[WEIGHTS]
    zipped = packed(files, (entry(WEIGHTS, method=zipfile.ZIP_DEFLATED), bytes(2**26)))
    return edited(zipped, size=10**6)


def overlapping(good: bytes) -> bytes:
    """Two entries that are the same bytes of the zip."""
    files = unpacked(good)
    content = bytearray(packed(files))
    at = content.rfind(b"README.md") - 46
    other = content.rfind(b"plan.json") - 46
    content[at + 42 : at + 46] = content[other + 42 : other + 46]
    return bytes(content)


def zero_byte(good: bytes) -> bytes:
    """A name that ends early for some programs."""
    return packed(unpacked(good), (entry("README.md?.py"), b"")).replace(
        b"README.md?.py", b"README.md\0.py"
    )


def torch_file(good: bytes) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save({"weights": Code()}, buffer)
    return buffer.getvalue()


def reshaped(weights: bytes) -> bytes:
    """Weights in which one tensor has one number more."""
    tensors = load(weights)
    name = min(tensors)
    tensors[name] = torch.cat([tensors[name].reshape(-1), torch.zeros(1)])
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def retyped(weights: bytes) -> bytes:
    """Weights in half precision."""
    tensors = {name: tensor.half() for name, tensor in load(weights).items()}
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def not_finite(weights: bytes) -> bytes:
    """Weights of NaN."""
    tensors = {name: tensor * torch.nan for name, tensor in load(weights).items()}
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def other_weights(weights: bytes) -> bytes:
    """Weights of another training."""
    tensors = {name: tensor + 1 for name, tensor in load(weights).items()}
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def more_weights(weights: bytes) -> bytes:
    """Weights with one tensor more."""
    tensors = load(weights) | {"network/stranger": torch.zeros(1)}
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def less_weights(weights: bytes) -> bytes:
    """Weights that lack one tensor."""
    tensors = load(weights)
    del tensors[min(tensors)]
    return save(tensors, {"liftnet": json.dumps({"format": 1, "step": 1})})


def json_with(*keys: str, **changes: Any) -> Callable[[bytes], bytes]:
    """A JSON file with other values below these keys."""

    def change(content: bytes) -> bytes:
        data = json.loads(content)
        node = data
        for key in keys:
            node = node[key]
        node.update(changes)
        return json.dumps(data).encode()

    return change


def unlisted(name: str) -> Callable[[bytes], bytes]:
    """A zip that neither has nor lists a file."""

    def make(good: bytes) -> bytes:
        files = unpacked(good)
        del files[name]
        return packed(listed(files))

    return make


ZIP64 = b"PK\x06\x07" + bytes(16)
KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {  # what -> (how, message)
    "path out of the folder": (stranger("../../evil.py"), "leads out of the folder"),
    "path out, further in": (stranger("fold_0/../../evil"), "leads out of the folder"),
    "absolute path": (stranger("/etc/cron.d/evil"), "is an absolute path"),
    "backslashes": (stranger("..\\..\\evil.py"), "has a backslash"),
    "drive letter": (stranger("C:evil.py"), "names a drive"),
    "zero byte in a name": (zero_byte, "has a zero byte in its name"),
    "escape sequence in a name": (stranger("\x1b[2J.json"), "has strange characters"),
    "symbolic link": (stranger("link", mode=stat.S_IFLNK | 0o777), "is a symbolic link"),
    "device": (stranger("null", mode=stat.S_IFCHR | 0o666), "is a special file"),
    "folder": (stranger("fold_0/", mode=stat.S_IFDIR | 0o755), "is a folder"),
    "a name twice": (stranger("plan.json"), "plan.json twice"),
    "names alike but for case": (stranger("PLAN.json"), "only in upper and lower case"),
    "file that is not listed": (stranger("extra.json"), "does not list"),
    "listed file that is missing": (missing, "lacks fold_0/weights.safetensors"),
    "program that is listed": (
        lambda good: packed(listed({**unpacked(good), "fold_0/run.py": b"import os\n"})),
        "which is no part of a model",
    ),
    "zip inside the zip": (
        lambda good: packed(listed({**unpacked(good), "more.zip": good})),
        "which is no part of a model",
    ),
    "pickle among the files": (
        lambda good: packed(listed({**unpacked(good), "model.pt": pickle.dumps(Code())})),
        "which is no part of a model",
    ),
    "pickle renamed .pt or .zip": (lambda _: pickle.dumps(Code()), "not a zip but a pickle"),
    "torch.save file": (torch_file, "is of torch.save"),
    "pickle with a zip behind it": (lambda good: pickle.dumps(Code()) + good, "but a pickle"),
    "pickle in place of weights": (
        changed(WEIGHTS, lambda _: pickle.dumps(Code())),
        "is no file of tensors",
    ),
    "pickle in place of the card": (
        changed("README.md", lambda _: pickle.dumps(Code())),
        "README.md is not a text file",
    ),
    "escape sequence in the card": (
        changed("README.md", lambda card: card + b"\x1b]0;evil\x07"),
        "README.md holds control characters",
    ),
    "escape sequence in the manifest": (with_manifest(licence="\x1b[2J"), "control characters"),
    "changed byte of weights": (one_byte_more, "its SHA-256 differs"),
    "longer weights": (longer, "it was changed"),
    "weights of another training": (changed(WEIGHTS, other_weights), "The weights have digest"),
    "newer format": (with_manifest(version=3), "has format 3, this liftnet reads 2"),
    "older format": (with_manifest(version=1), "has format 1, this liftnet reads 2"),
    "no format": (with_manifest(version=None), "has format None"),
    "dataset name that is a path": (
        with_manifest(dataset="Dataset001_/../../x"),
        "cannot be the name of a dataset",
    ),
    "plan name that is a path": (with_manifest(plan=".."), "cannot be the name of a plan"),
    "fold name that is a path": (with_manifest(folds=["../0"]), "names folds"),
    "dataset that is another": (
        with_manifest(dataset="Dataset009_Tiny"),
        "of another dataset than the manifest says",
    ),
    "bomb: 64 MiB in 64 KB": (bomb, "as a zip bomb does"),
    "bomb: says 1 MB, has 64 MiB": (hidden_bomb, "The zip is damaged"),
    "bomb: says 4 GiB": (lambda good: edited(good, size=2**32 - 2), "expands to 4294967294"),
    "200 entries": (
        lambda good: packed(unpacked(good), *((entry(f"f{i}"), b"") for i in range(200))),
        "a model has at most 100",
    ),
    "entries that share bytes": (overlapping, "in the bytes of another file"),
    "encrypted": (lambda good: edited(good, flags=1), "is encrypted"),
    "other compression": (lambda good: edited(good, method=14), "by method 14"),
    "comment": (lambda good: good[:-2] + b"\4\0evil", "end of the zip is missing"),
    "zip64": (lambda good: good[:-22] + ZIP64 + good[-22:], "belong to none of its files"),
    "bytes in front": (lambda good: b"PK\x03\x04" + bytes(60) + good, "belong to none"),
    "bytes behind": (lambda good: good + b"#!/bin/sh", "end of the zip is missing"),
    "cut off": (lambda good: good[: len(good) // 2], "end of the zip is missing"),
    "web page": (lambda _: b"<!DOCTYPE html><html>log in</html>", "but a web page"),
    "empty": (lambda _: b"", "The file is empty"),
    "damaged header of weights": (
        changed(WEIGHTS, lambda weights: b"\xff" * 8 + weights[8:]),
        "is no file of tensors",
    ),
    "weights of another shape": (changed(WEIGHTS, reshaped), "the recipe's is"),
    "weights with a tensor more": (changed(WEIGHTS, more_weights), "has what the recipe has not"),
    "weights that lack a tensor": (changed(WEIGHTS, less_weights), "it does not fit recipe.json"),
    "weights of another type": (changed(WEIGHTS, retyped), "is of type torch.float16"),
    "weights of NaN": (changed(WEIGHTS, not_finite), "values that are not finite"),
    "plan that is no JSON": (changed("plan.json", lambda _: b"{"), "plan.json is not JSON"),
    "plan nested 100 000 deep": (
        changed("plan.json", lambda _: b"[" * 10**5 + b"]" * 10**5),
        "plan.json is not JSON",
    ),
    "plan of no known task": (changed("plan.json", json_with(task="os")), "No task 'os'"),
    "plan with an unknown key": (changed("plan.json", json_with(run="rm")), "Unknown key 'run'"),
    "plan of huge volumes": (
        changed("plan.json", json_with("grid", in_plane=[2**16, 2**16])),
        "plan.json: a volume has more than",
    ),
    "plan that names a path": (
        changed("plan.json", json_with("budget", feature_weights="/home/somebody/resnet.pth")),
        "plan.json names a path on another machine",
    ),
    "plan of a newer version": (changed("plan.json", json_with(version=99)), "version 99"),
    "no recipe": (unlisted("recipe.json"), "does not list recipe.json"),
    "recipe that is no JSON": (changed("recipe.json", lambda _: b"{"), "recipe.json is not JSON"),
    "recipe nested 100 000 deep": (
        changed("recipe.json", lambda _: b"[" * 10**5 + b"]" * 10**5),
        "recipe.json is not JSON",
    ),
    "recipe that is a list": (changed("recipe.json", lambda _: b"[1]"), "recipe.json"),
    "recipe with an escape sequence": (
        changed("recipe.json", json_with("reasons", mapper="\x1b[2J")),
        "recipe.json holds control characters",
    ),
    "recipe with an unknown key": (
        changed("recipe.json", json_with(run="rm")),
        "Unknown key 'run'",
    ),
    "recipe of a newer version": (changed("recipe.json", json_with(version=99)), "version 99"),
    "recipe with a huge network": (
        changed("recipe.json", json_with("mapper", hidden_size=10**9)),
        "mapper.hidden_size is 1000000000; at most 65536",
    ),
    "huge network that calls itself a schedule": (
        changed("recipe.json", json_with("mapper", kind="Schedule", hidden_size=10**9)),
        r"recipe.json \(mapper.kind\)",
    ),
    "recipe with a thousand stages": (
        changed("recipe.json", json_with("features", widths=[1] * 1000)),
        "features.widths has 1000 values; at most 64",
    ),
    "recipe that names a path": (
        changed(
            "recipe.json",
            json_with(features={"kind": "ResNetSpec", "weights": "../resnet.pth", "sha256": "0"}),
        ),
        "recipe.json names a path on another machine",
    ),
    "recipe of another method": (
        with_manifest(method="lift_u"),
        "recipe.json .kind.: Expected LiftURecipe",
    ),
    "method that needs sources": (
        with_manifest(method="lift"),
        "method lift cannot serve the plan: it needs one source",
    ),
    "method that is a path": (with_manifest(method="../lift_u"), "No method '../lift_u'"),
}
