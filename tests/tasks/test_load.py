"""Tasks by name, and the two kinds there are."""

import pytest

from liftnet.core.errors import PlanError
from liftnet.tasks import load_generation, load_synthesis, load_task, task_names
from liftnet.tasks.base import GenerationTask, SynthesisTask

SYNTHESIS = ["missing_modality", "translation"]
GENERATION = ["unconditional"]


def test_every_folder_is_a_task_of_one_kind():
    """Names are those of the folders; each task has its name and is of exactly one kind."""
    assert task_names() == sorted(SYNTHESIS + GENERATION)
    for name in task_names():
        task = load_task(name)
        assert task.name == name
        assert isinstance(task, SynthesisTask) == (name in SYNTHESIS)
        assert isinstance(task, GenerationTask) == (name in GENERATION)
        assert task.protocols
        assert task.least_images >= 1
    with pytest.raises(PlanError, match="No task 'uncondtional'") as caught:
        load_task("uncondtional")
    assert "unconditional" in str(caught.value.remedy)


def test_a_task_is_narrowed_to_its_kind():
    """The right kind is given back; the wrong one is an error that says which option to give."""
    assert all(load_synthesis(name) is load_task(name) for name in SYNTHESIS)
    assert all(load_generation(name) is load_task(name) for name in GENERATION)
    with pytest.raises(PlanError, match="'unconditional' makes volumes from nothing") as caught:
        load_synthesis("unconditional")
    assert "-n, and no -i" in caught.value.remedy
    with pytest.raises(PlanError, match="'translation' makes images from others") as caught:
        load_generation("translation")
    assert "-i, and no -n" in caught.value.remedy
    for narrow in (load_synthesis, load_generation):
        with pytest.raises(PlanError, match="No task 'nothing'"):
            narrow("nothing")
