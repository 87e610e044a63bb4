"""What the doctor finds among the programs: liftnet, Python, and every dependency."""

import configparser
import importlib
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from liftnet.version import __version__

__all__ = ["Finding", "Level", "check_programs"]

Level = Literal["ok", "warning", "problem"]
MODULES = {"scikit-image": "skimage", "acvl-utils": "acvl_utils", "zlib-ng": "zlib_ng"}
NEEDED_FOR = {  # what fails without it, and what does not
    "torch": "nothing but liftnet_convert works without it",
    "SimpleITK": "reading and writing images (convert, preprocess, predict, evaluate) fails; "
    "training on preprocessed cases works",
    "scikit-image": "data with noise in the air (Otsu's threshold) fail; training works",
    "scipy": "preprocessing, evaluation and pictures fail",
    "matplotlib": "pictures and reports fail",
    "zlib-ng": "reading .nii.gz fails; training works",
    "typer": "the commands fail; the functions of the package work",
    "rich": "bars of progress fail",
    "safetensors": "training and prediction fail",
    "batchgenerators": "training on preprocessed cases works",
    "acvl-utils": "training on preprocessed cases works",
}


class Finding(NamedTuple):
    """One line of the doctor's."""

    area: str
    level: Level
    text: str
    remedy: str = ""


def check_programs() -> Iterator[Finding]:
    """Versions of liftnet, Python and every dependency, against what is required."""
    yield Finding("liftnet", "ok", __version__)
    python = platform.python_version()
    least = _python_required()
    if sys.version_info[: len(least)] < least:
        wanted = ".".join(map(str, least))
        yield Finding(
            "python", "problem", f"{python}, {wanted} or newer is needed",
            f"Make an environment with Python {wanted}.",
        )  # fmt: skip
    else:
        yield Finding("python", "ok", f"{python}, {platform.system()} {platform.machine()}")
    for name, minimum in _requirements():
        yield _check_dependency(name, minimum)
    if _version("torchvision") is not None:
        yield Finding(
            "torchvision", "ok", f"{_version('torchvision')}, which liftnet does not use: harmless"
        )


def _requirements() -> list[tuple[str, str]]:
    """(name, least version) of each dependency, as the installed package or setup.cfg has them."""
    try:
        lines = metadata.requires("liftnet") or []
    except metadata.PackageNotFoundError:
        lines = _setup().get("options", "install_requires", fallback="").split("\n")
    pairs = (re.fullmatch(r"([\w.-]+)\s*>=\s*([\d.]+)", line.strip()) for line in lines)
    return [(pair[1], pair[2]) for pair in pairs if pair]


def _python_required() -> tuple[int, ...]:
    try:
        text = metadata.metadata("liftnet")["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        text = _setup().get("options", "python_requires", fallback="")
    return _numbers(text.removeprefix(">="))


def _setup() -> configparser.ConfigParser:
    """setup.cfg of a copy of liftnet that is not installed; empty if there is none."""
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parents[3] / "setup.cfg", encoding="utf-8")
    return parser


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.5.1+cpu is (2, 5, 1)."""
    match = re.match(r"\s*(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _check_dependency(name: str, minimum: str) -> Finding:
    version = _version(name)
    consequence = NEEDED_FOR.get(name, "liftnet needs it")
    install = f'pip install "{name}>={minimum}"'
    try:
        module = importlib.import_module(MODULES.get(name, name))
    except ModuleNotFoundError as error:
        missing = error.name or name
        what = "is not installed" if version is None else f"{version} lacks {missing}"
        return Finding(name, "problem", f"{what}: {consequence}", install)
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
        first = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        again = f'pip install --force-reinstall "{name}>={minimum}"'
        return Finding(name, "problem", f"{version} is broken ({first}): {consequence}", again)
    version = version or str(getattr(module, "__version__", ""))
    if version and _numbers(version) < _numbers(minimum):
        return Finding(name, "problem", f"{version}, {minimum} or newer is needed", install)
    return Finding(name, "ok", f"{version or 'of unknown version'} (needed: {minimum})")
