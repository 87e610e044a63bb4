"""How outputs are made from inputs. A file with a line `METHOD = ` is a method of its name."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from liftnet.core.errors import PlanError
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.methods.base import Method

__all__ = ["load_method", "method_names", "places"]

DECLARED = "\nMETHOD = "


@cache
def places() -> dict[str, str]:
    """Name of a method -> its module; files are read, not imported."""
    here = Path(__file__).parent
    found = {
        path.stem: ".".join(("liftnet.methods", *path.relative_to(here).with_suffix("").parts))
        for path in here.rglob("*.py")
        if DECLARED in path.read_text(encoding="utf-8")
    }
    return dict(sorted(found.items()))


def method_names() -> list[str]:
    """The methods there are."""
    return list(places())


def load_method(name: str) -> Method[Any]:
    """The method of this name.

    Raises:
        PlanError: If there is no such method.
    """
    if name not in places():
        raise PlanError(f"No method '{name}'", remedy=did_you_mean(name, method_names()))
    method = cast(Method[Any], import_module(places()[name]).METHOD)
    method.name = name
    return method
