"""Methods by name, and what each of them can do."""

import pytest

from liftnet.core.errors import PlanError
from liftnet.core.recipe import Recipe
from liftnet.methods import load_method, method_names, places
from liftnet.methods.base import Ablates, Generates, Method, Synthesizes, Traces
from liftnet.tasks import load_task, task_names
from liftnet.tasks.base import SynthesisTask

UNITS = {"psnr": " dB (", "mae_hu": " HU ("}  # of published figures, which name their source


@pytest.mark.parametrize("name", method_names())
def test_every_method_is_what_its_file_says(name):
    """It has the name of its file, words for a table, a recipe, and makes one kind of output."""
    method = load_method(name)
    assert isinstance(method, Method) and load_method(name) is method
    assert method.name == name == places()[name].rpartition(".")[2]
    assert all((method.label, method.summary, method.serves))
    assert method.figures.keys() <= UNITS.keys()
    assert all(unit in method.figures.get(name, unit) for name, unit in UNITS.items())
    assert isinstance(method, Synthesizes) != isinstance(method, Generates)
    kinds = getattr(method.recipe, "__args__", (method.recipe,))
    assert all(issubclass(kind, Recipe) for kind in kinds)
    if isinstance(method, Ablates):
        assert method.ablates in method_names() and method.ablates != name


def test_what_the_papers_methods_can_do():
    """LiFT-C shows its context, the ablation has none and says of what; LiFT-U makes volumes."""
    lift, alone, generator = map(load_method, ("lift", "no_mapper", "lift_u"))
    assert isinstance(lift, Traces) and not isinstance(alone, Traces)
    assert isinstance(alone, Ablates) and alone.ablates == "lift"
    assert isinstance(generator, Generates)


@pytest.mark.parametrize("name", task_names())
def test_the_default_method_of_a_task_is_there(name):
    """It makes what the task is about."""
    task = load_task(name)
    kind = Synthesizes if isinstance(task, SynthesisTask) else Generates
    assert isinstance(load_method(task.default_method), kind)


def test_a_wrong_name_is_met_with_the_right_one():
    """Or with all there are, where none is near."""
    with pytest.raises(PlanError, match="No method 'no_maper'") as caught:
        load_method("no_maper")
    assert caught.value.remedy == "Did you mean 'no_mapper'?"
    with pytest.raises(PlanError, match="No method 'zzzz'") as caught:
        load_method("zzzz")
    assert all(name in str(caught.value.remedy) for name in method_names())
    for word in ("base", "joint", "", "lift.lift", "../lift"):
        with pytest.raises(PlanError, match="No method"):
            load_method(word)
