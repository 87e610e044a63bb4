"""What every public function refuses at once: empty texts, names of no plan, impossible numbers."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from liftnet.core.errors import LiftnetError
from liftnet.core.names import check_folder_name, check_text

__all__ = ["LIMITS", "Limits", "checked"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Limits(NamedTuple):
    """The least and the most of a number."""

    least: float
    most: float
    open: bool = False  # whether the least itself is too little

    def __str__(self) -> str:
        least = f"more than {self.least:g}, at most" if self.open else f"{self.least:g} to"
        return f"{least} {self.most}"

    def hold(self, value: float) -> bool:
        """Whether a number lies within; NaN never does."""
        return self.least < value <= self.most or (value == self.least and not self.open)


# By the name of the parameter, for every function that has it. ours: nobody needs more, and
# numbers far beyond come from a slip of the finger or a variable that holds something else.
LIMITS = {
    "first": Limits(0, 10**9),
    "gpu_memory": Limits(0, 10_000, open=True),  # GiB
    "interpolate": Limits(0, 10**9),
    "max_mb": Limits(0, 2_000, open=True),  # no browser opens more
    "minutes": Limits(0, 10**6, open=True),
    "num_cases": Limits(0, 1_000),
    "num_processes": Limits(1, 1_024),  # threads, each with a volume in memory
    "num_volumes": Limits(1, 10**6),
    "pairs": Limits(1, 10**6),
    "sampler_steps": Limits(1, 1_000),  # levels of noise
    "samples": Limits(1, 10**4),
    "seed": Limits(0, 2**63 - 1),
    "sigma_z": Limits(0, 1_000),  # slices
    "steps": Limits(1, 10**9),
    "temperature": Limits(0, 1_000),
}


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function, which first refuses arguments that cannot be meant.

    An empty text comes from a variable of the shell that is not set, and a path of that kind
    would be the current folder. The error's `where` is the parameter; the command line puts the
    option there.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def called(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
        for name, value in signature.bind(*args, **options).arguments.items():
            if value is not None and value is not signature.parameters[name].default:
                for one in _each(value):
                    _check(name, one)
        return function(*args, **options)

    return called


def _each(value: object) -> Iterable[object]:
    """The values of a list or a mapping, or the one value."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


def _check(name: str, value: object) -> None:
    """Refuse one value of a parameter.

    Raises:
        LiftnetError: If it cannot be meant.
    """
    if isinstance(value, str | Path):
        check_text(str(value), where=name)
    if name == "plan_name":
        check_folder_name(str(value), "plan", where=name)
    limits = LIMITS.get(name)
    if limits is None or not isinstance(value, int | float) or limits.hold(value):
        return
    shown = f"{value:g}" if isinstance(value, float) or abs(value) > 1e15 else str(value)
    raise LiftnetError(f"{name} is {shown}", where=name, remedy=f"Use {limits}.")
