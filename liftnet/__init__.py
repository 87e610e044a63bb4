"""Self-configuring 3D medical image synthesis. Each command is a function of the same name here."""

from importlib import import_module
from typing import Any

from liftnet.version import __version__

_FUNCTIONS = (
    "compare",
    "convert",
    "demo",
    "doctor",
    "download",
    "evaluate",
    "export",
    "extract_fingerprint",
    "generate",
    "import_model",
    "plan",
    "plan_and_preprocess",
    "predict",
    "preprocess",
    "probe",
    "report",
    "train",
)

__all__ = ["__version__", *_FUNCTIONS]  # noqa: PLE0604 (a tuple of texts)


def __getattr__(name: str) -> Any:
    """A public function, imported when it is first used: importing liftnet imports no torch."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'liftnet' has no attribute '{name}'")
    function = getattr(import_module(f"liftnet.pipeline.{name}"), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS})
