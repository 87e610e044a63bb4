"""Self-configuring 3D medical image synthesis. Each command is a function of the same name here.

What a function refuses it raises as a LiftnetError, which has `problem`, `where` and `remedy`.
"""

from importlib import import_module
from typing import Any

from liftnet.version import __version__

_FUNCTIONS = {  # where each is, in liftnet.pipeline
    "benchmark": "benchmark.benchmark",
    "compare": "compare.compare",
    "convert": "convert.convert",
    "demo": "demo",
    "doctor": "doctor.doctor",
    "download": "share.download",
    "evaluate": "evaluate.evaluate",
    "export": "share.export",
    "extract_fingerprint": "fingerprint.extract_fingerprint",
    "generate": "predict.generate",
    "import_model": "share.import_model",
    "list_methods": "methods",
    "plan": "plan",
    "plan_and_preprocess": "preprocess.plan_and_preprocess",
    "predict": "predict.predict",
    "preprocess": "preprocess.preprocess",
    "probe": "probe.probe",
    "report": "report.report",
    "train": "train.train",
}

_ERRORS = ("CheckpointError", "DatasetError", "GeometryError", "LiftnetError", "PlanError")

__all__ = ["__version__", *_FUNCTIONS, *_ERRORS]  # noqa: PLE0604 (texts)


def __getattr__(name: str) -> Any:
    """A public function or error, imported when it is first used: importing liftnet is quick."""
    if name not in _FUNCTIONS and name not in _ERRORS:
        raise AttributeError(f"module 'liftnet' has no attribute '{name}'")
    module = "core.errors" if name in _ERRORS else f"pipeline.{_FUNCTIONS[name]}"
    found = getattr(import_module(f"liftnet.{module}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
