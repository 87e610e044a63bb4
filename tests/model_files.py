"""Model files as somebody with bad intentions, or bad luck, would make them."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load, save

Tensors = dict[str, torch.Tensor]
Change = Callable[[bytes], bytes]
FIRST = b"fold_0/bias"  # the first tensor of the tiny method's file


class Code:
    """A pickle of this runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('pathlib').Path('pwned').touch()",)


def header_of(content: bytes) -> bytes:
    """The header of a file."""
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def with_header(content: bytes, header: bytes, length: int | None = None) -> bytes:
    """The file with another header, which may say that it is longer or shorter than it is."""
    size = (len(header) if length is None else length).to_bytes(8, "little")
    return size + header + content[8 + len(header_of(content)) :]


def papers_of(content: bytes) -> dict[str, Any]:
    """The papers of a file."""
    papers: dict[str, Any] = json.loads(json.loads(header_of(content))["__metadata__"]["liftnet"])
    return papers


def with_text(content: bytes, text: str) -> bytes:
    """The file with another text in place of its papers."""
    header = json.loads(header_of(content)) | {"__metadata__": {"liftnet": text}}
    return with_header(content, json.dumps(header).encode())


def with_papers(content: bytes, papers: dict[str, Any]) -> bytes:
    """The file with other papers, and the digest that they have."""
    rest = {key: value for key, value in papers.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return with_text(content, json.dumps({**rest, "sha256": digest}))


def papers(*keys: str, **changes: Any) -> Change:
    """A file whose papers have other values below these keys; what is None is missing."""

    def make(good: bytes) -> bytes:
        found = papers_of(good)
        node = found
        for key in keys:
            node = node[key]
        node.update(changes)
        for key, value in changes.items():
            if value is None:
                del node[key]
        return with_papers(good, found)

    return make


def in_header(old: bytes, new: bytes) -> Change:
    """A file whose header has other bytes in place of some."""

    def make(good: bytes) -> bytes:
        header = header_of(good)
        assert old in header
        return with_header(good, header.replace(old, new, 1))

    return make


def entry(**changes: Any) -> Change:
    """A file whose header says something else of the first tensor."""

    def make(good: bytes) -> bytes:
        header = json.loads(header_of(good))
        header[FIRST.decode()].update(changes)
        return with_header(good, json.dumps(header).encode())

    return make


def tensors(change: Callable[[Tensors], Tensors]) -> Change:
    """A file with other tensors and the same papers."""

    def make(good: bytes) -> bytes:
        text = json.loads(header_of(good))["__metadata__"]["liftnet"]
        return save(change(load(good)), {"liftnet": text})

    return make


def every(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """A file with each tensor changed."""
    return tensors(lambda found: {name: change(tensor) for name, tensor in found.items()})


def without(name: str) -> Change:
    """A file that lacks a tensor."""
    return tensors(lambda found: {n: tensor for n, tensor in found.items() if n != name})


def one_byte_more(good: bytes) -> bytes:
    """One bit of the weights changed."""
    return good[:-1] + bytes([good[-1] ^ 1])


def twice(good: bytes) -> bytes:
    """Two texts of one name, of which some programs read the first and others the second."""
    text = json.dumps(json.loads(header_of(good))["__metadata__"]["liftnet"]).encode()
    return in_header(text, text + b',"liftnet":' + text)(good)


def in_a_zip(good: bytes) -> bytes:
    """As an early liftnet exported models, or as somebody packed one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("manifest.json", b'{"version": 2}')
        archive.writestr("model.safetensors", good)
    return buffer.getvalue()


def torch_file(good: bytes) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save({"weights": Code()}, buffer)
    return buffer.getvalue()


def text_of(change: Callable[[str], str]) -> Change:
    """A file whose papers are another text."""

    def make(good: bytes) -> bytes:
        return with_text(good, change(json.dumps(papers_of(good))))

    return make


RESNET = {"kind": "ResNetSpec", "weights": "../resnet.pth", "sha256": "0"}
DEEP = "[" * 10**5 + "]" * 10**5
KINDS: dict[str, tuple[Change, str]] = {  # what -> (how, message)
    "zip": (in_a_zip, "A model is one safetensors file; this is a zip"),
    "pickle": (lambda _: pickle.dumps(Code()), "this is a pickle"),
    "torch.save file": (torch_file, "this is a pickle, as of torch.save, which can run code"),
    "pickle with a model behind it": (lambda good: pickle.dumps(Code()) + good, "is a pickle"),
    "web page": (lambda _: b"<!DOCTYPE html><html>log in</html>", "this is a web page"),
    "picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99), "this is something else"),
    "empty": (lambda _: b"", "this is empty"),
    "five bytes": (lambda good: good[:5], "this is something else"),
    "cut off": (lambda good: good[: len(header_of(good)) + 12], "damaged or cut off: .*covered"),
    "cut off in the header": (lambda good: good[:99], "cut off: .*invalid header length"),
    "bytes behind": (lambda good: good + b"#!/bin/sh", "damaged or cut off: .*covered"),
    "header that claims 8 EiB": (
        lambda good: with_header(good, header_of(good), 2**63),
        "The header claims 9223372036854775808 bytes; that of a model has at most 16777216",
    ),
    "header that claims the weights": (
        lambda good: with_header(good, header_of(good), len(header_of(good)) + 20),
        "damaged or cut off: .*invalid",
    ),
    "header of 32 MiB": (
        lambda good: with_header(good, header_of(good) + b" " * 2**25),
        "at most 16777216",
    ),
    "header that is no JSON": (in_header(b"{", b"{{"), "damaged or cut off: .*invalid JSON"),
    "header that is no text": (in_header(b"bias", b"bi\xffs"), "damaged or cut off: .*UTF-8"),
    "header nested 100 000 deep": (
        lambda good: with_header(good, b'{"x":' + DEEP.encode() + b"}"),
        "damaged or cut off: .*invalid JSON",
    ),
    "unknown type": (entry(dtype="F65"), "damaged or cut off: .*unknown variant"),
    "negative offset": (entry(data_offsets=[-16, 0]), "damaged or cut off: .*invalid value"),
    "offset beyond the end": (entry(data_offsets=[0, 2**40]), "damaged or cut off: .*invalid"),
    "tensors that share bytes": (entry(data_offsets=[16, 32]), "damaged or cut off: .*offset"),
    "shape of 2 ** 126 numbers": (entry(shape=[2**63, 2**63]), "damaged or cut off: .*overflow"),
    "shape of no numbers": (entry(shape=[0]), "damaged or cut off: .*invalid shape"),
    "tensor name twice": (in_header(b"fold_1/bias", FIRST), "damaged or cut off: .*offset"),
    "text twice": (twice, "The header is damaged: the key 'liftnet' occurs twice"),
    "more text": (in_header(b'{"liftnet":', b'{"evil":"x","liftnet":'), "it holds more than"),
    "more about a tensor": (entry(evil="x"), "it holds more than liftnet_export writes"),
    "no text": (lambda good: save(load(good)), "no model of liftnet_export"),
    "text that is no JSON": (text_of(lambda text: text[:-1]), "The header is damaged: "),
    "text that is a list": (text_of(lambda _: "[1]"), "no model of liftnet_export"),
    "text with NaN": (text_of(lambda text: text.replace("0.0", "NaN", 1)), "no finite number"),
    "text nested 100 000 deep": (text_of(lambda _: DEEP), "nested more than 64 deep"),
    "key of the papers twice": (
        text_of(lambda text: text[:-1] + ', "card": "other"}'),
        "the key 'card' occurs twice",
    ),
    "checkpoint of a training": (
        text_of(lambda _: '{"format": 1, "step": 2}'),
        "The file holds weights, but no model of liftnet_export",
    ),
    "changed papers": (
        text_of(lambda text: text.replace("CC0", "CC1")),
        "The header was changed: its SHA-256 differs",
    ),
    "newer format": (papers(version=4), "has format 4, this liftnet reads 3"),
    "older format": (papers(version=2), "has format 2, this liftnet reads 3"),
    "no format": (papers(version=None), "has format None"),
    "format in words": (papers(version="\x1b[2J"), r"has format \\x1b\[2J"),
    "unknown key": (papers(run="rm"), "Unknown key 'run'"),
    "no card": (papers(card=None), "Key 'card' is missing"),
    "card that is a number": (papers(card=1), "card: Expected a text, got 1"),
    "escape sequence in the card": (papers(card="# Card\n\x1b]0;evil\x07"), "control characters"),
    "escape sequence in the manifest": (papers("manifest", licence="\x1b[2J"), "control charact"),
    "second line in the manifest": (papers("manifest", data="x\nSHA-256 0"), "control charact"),
    "text from right to left": (papers("manifest", data="\u202ex"), "control charact"),
    "step that is no number": (papers("folds", "0", step="x"), "folds.0.step: Expected a whole"),
    "dataset name that is a path": (
        papers("plan", dataset="Dataset001_/../../x"),
        "plan.dataset: .*cannot be the name of a dataset",
    ),
    "plan name that is a path": (papers("plan", name=".."), "cannot be the name of a plan"),
    "no folds": (papers(folds={}), "The model has folds "),
    "fold name that is a path": (
        lambda good: papers(folds={"../0": papers_of(good)["folds"]["0"]})(good),
        r"The model has folds \.\./0",
    ),
    "changed bit of weights": (one_byte_more, "The weights have digest"),
    "weights of another training": (every(lambda tensor: tensor + 1), "The weights have digest"),
    "weights of another shape": (
        every(lambda tensor: torch.cat([tensor.reshape(-1), torch.zeros(1)])),
        r"fold_0/bias is \(5,\) torch.float32, in the recipe's network \(4,\) torch.float32",
    ),
    "weights of another type": (every(torch.Tensor.half), r"is \(4,\) torch.float16, in the"),
    "weights of NaN": (every(lambda tensor: tensor * torch.nan), "values that are not finite"),
    "weights that lack a tensor": (without("fold_1/bias"), "The file lacks fold_1/bias: it does"),
    "fold without weights": (
        lambda good: papers("folds", **{"2": papers_of(good)["folds"]["0"]})(good),
        "The file lacks fold_2/bias",
    ),
    "weights with a tensor more": (
        tensors(lambda found: {**found, "fold_0/stranger": torch.zeros(1)}),
        "The file has fold_0/stranger: it does not fit the recipe",
    ),
    "tensor of no numbers": (
        tensors(lambda found: {**found, "fold_0/nothing": torch.zeros(0)}),
        "The file has fold_0/nothing",
    ),
    "tensor with an escape sequence": (
        tensors(lambda found: {**found, "\x1b[2J": torch.zeros(1)}),
        r"The file has \\x1b\[2J",
    ),
    "tensor with a zero byte": (
        tensors(lambda found: {**found, "fold_0/bias\0.py": torch.zeros(1)}),
        "The header is damaged: it holds text that is none: NUL",
    ),
    "tensor that is a path": (
        tensors(lambda found: {**found, "../../evil": torch.zeros(1)}),
        r"The file has \.\./\.\./evil",
    ),
    "plan that is a list": (papers(plan=[1]), "plan: "),
    "plan of no known task": (papers("plan", task="os"), "No task 'os'"),
    "plan with an unknown key": (papers("plan", run="rm"), "plan: Unknown key 'run'"),
    "plan of huge volumes": (
        papers("plan", "grid", in_plane=[2**16, 2**16]),
        "plan.grid: A volume has more than",
    ),
    "plan that names a path": (
        papers("plan", "budget", feature_weights="/home/somebody/resnet.pth"),
        "plan.budget: It names a path on another machine",
    ),
    "plan of a newer version": (papers("plan", version=99), "plan: The plan has version 99"),
    "scores of a newer version": (papers(scores={"version": 99}), "scores: The scores have vers"),
    "scores that are a list": (papers(scores=[1]), "The model makes no sense"),
    "no recipe": (papers(recipe=None), "Key 'recipe' is missing"),
    "recipe that is a list": (papers(recipe=[1]), "recipe: "),
    "recipe with an escape sequence": (
        papers("recipe", "reasons", mapper="\x1b[2J"),
        "control characters",
    ),
    "recipe with an unknown key": (papers("recipe", run="rm"), "recipe: Unknown key 'run'"),
    "recipe of a newer version": (papers("recipe", version=99), "The recipe has version 99"),
    "recipe with a huge network": (
        papers("recipe", "mapper", hidden_size=10**9),
        "recipe.mapper.hidden_size: Expected a number from 0 to 65536, got 1000000000",
    ),
    "huge network that calls itself a schedule": (
        papers("recipe", "mapper", kind="Schedule", hidden_size=10**9),
        "recipe.mapper.kind: ",
    ),
    "recipe with a thousand stages": (
        papers("recipe", "features", widths=[1] * 1000),
        "recipe.features.widths: Expected at most 64 numbers",
    ),
    "recipe that names a path": (
        papers("recipe", features=RESNET),
        "recipe.features: It names a path on another machine",
    ),
    "recipe of another method": (
        papers("manifest", method="lift_u"),
        "recipe.kind: Expected LiftURecipe",
    ),
    "method that needs sources": (
        papers("manifest", method="lift"),
        "Method lift cannot serve the plan: it needs one source",
    ),
    "method that is a path": (papers("manifest", method="../lift_u"), "No method '../lift_u'"),
}
