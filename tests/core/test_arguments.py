"""What every public function refuses before it does anything."""

import inspect
import math

import pytest

import liftnet
from liftnet.core.arguments import LIMITS, checked
from liftnet.core.errors import LiftnetError

FUNCTIONS = [getattr(liftnet, name) for name in liftnet.__all__ if name.islower()][1:]
NEEDED = {  # parameters without a default -> something that would do
    **{"predicted_folder": "p", "reference_folder": "r", "training_folder": "t"},
    **{"held_out_folder": "h", "output": "o", "input_folder": "i", "output_folder": "o"},
    **{"output_file": "o", "input_file": "i", "folders": ["a", "b"], "name": "resnet18"},
    **{"layout": "brats", "sources": ["s"], "dataset": 1, "num_volumes": 1},
    "methods": ["lift", "no_mapper"],
}


def parameters(wanted: str) -> list[tuple[str, str]]:
    """(function, parameter) of all parameters whose annotation holds a word."""
    return [
        (function.__name__, name)
        for function in FUNCTIONS
        for name, facts in inspect.signature(function).parameters.items()
        if wanted in str(facts.annotation)
    ]


def call(function: str, **options: object) -> None:
    """Call a public function with what it must have and these options."""
    own = getattr(liftnet, function)
    needed = {
        name: NEEDED[name]
        for name, facts in inspect.signature(own).parameters.items()
        if facts.default is inspect.Parameter.empty
    }
    own(**{**needed, **options})


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """Nothing is read or written but in a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(tmp_path / "space"))


@pytest.mark.parametrize(("function", "parameter"), parameters("Path"))
def test_no_path_is_empty(function, parameter, tmp_path):
    """An unset variable is not the current folder, whatever the function and the parameter."""
    listed = parameter in ("folders", "sources") and function in ("compare", "convert")
    for empty in ("", " "):
        with pytest.raises(LiftnetError, match=f"^{parameter} is empty") as caught:
            call(function, **{parameter: [empty, "b"] if listed else empty})
        assert caught.value.where == parameter
    assert not list(tmp_path.iterdir())


NUMBERS = {  # those of parts are looked at together, see test_preprocess_parts
    (function, parameter)
    for function, parameter in (*parameters("int"), *parameters("float"))
    if parameter not in ("dataset", "fold", "num_parts", "part_id", "explain_plan")
}


@pytest.mark.parametrize(("function", "parameter"), sorted(NUMBERS))
def test_no_number_is_absurd(function, parameter):
    """NaN, infinities, negatives and numbers beyond all measure are refused everywhere."""
    kinds = inspect.signature(getattr(liftnet, function)).parameters[parameter].annotation
    with_fractions = [math.nan, math.inf, -math.inf, -0.5] if "float" in str(kinds) else []
    for value in (*with_fractions, -1, 10**30):
        pair = parameter == "interpolate"
        with pytest.raises(LiftnetError) as caught:
            call(function, **{parameter: (0, value) if pair else value})
        remedy = str(caught.value.remedy)
        assert remedy == f"Use {LIMITS[parameter]}.", remedy


def test_numbers_that_are_something_are_taken():
    """Both ends are in, except where the least is none; a default is not looked at."""

    @checked
    def take(*, max_mb: float = 0.0, seed: int = 0, num_processes: int | None = None) -> float:
        return max_mb

    assert take() == 0 and take(max_mb=1e-9, seed=2**63 - 1, num_processes=1024) == 1e-9
    with pytest.raises(LiftnetError, match=r"max_mb is 0\n.*\n.*Use more than 0, at most 2000\."):
        take(max_mb=0)
    with pytest.raises(LiftnetError, match=r"num_processes is 1000000\n.*\n.*Use 1 to 1024\."):
        take(num_processes=1_000_000)
    assert inspect.signature(take).parameters.keys() <= LIMITS.keys()


@pytest.mark.parametrize(("function"), [f for f, p in parameters("str") if p == "plan_name"])
@pytest.mark.parametrize(
    "name", ["/tmp/x", "..", ".", "a/b", "a\\b", "a\x1b[2J", "a\n", "x" * 101, ".hidden", "a "]
)
def test_no_plan_name_leads_elsewhere(function, name):
    """A plan is one folder of its dataset, for every function that takes its name."""
    with pytest.raises(LiftnetError, match="cannot be the name of a plan") as caught:
        call(function, plan_name=name)
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)


def test_every_function_is_checked():
    """None is forgotten."""
    assert len(FUNCTIONS) == 19
    for function in FUNCTIONS:
        assert function.__wrapped__.__name__ == function.__name__
