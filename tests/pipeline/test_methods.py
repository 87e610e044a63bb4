"""The list of methods: all there are, or those that serve a plan, with their sizes."""

import pytest
from small_generation import make_plan, make_recipe

import liftnet
from liftnet.core.errors import PlanError
from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method, method_names
from liftnet.pipeline.methods import list_methods
from liftnet.pipeline.plan import load_plan, load_recipe


def rows(printed: str) -> dict[str, list[str]]:
    """The cells of each line of a table, by the first."""
    lines = (line.split("  ") for line in printed.splitlines() if "  " in line)
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {first: others for first, *others in cells}


def test_without_a_dataset_all_are_listed(capsys):
    """Name, what it is for, what it is and where it was published; no workspace is needed."""
    assert list_methods() == method_names()
    found = rows(capsys.readouterr().out)
    assert list(found) == ["method", *method_names()]
    for name in method_names():
        method = load_method(name)
        assert found[name] == [method.serves, method.summary, method.paper or "-"]
    assert {"lift", "no_mapper", "lift_u"} <= found.keys()


def test_those_that_serve_a_plan(workspace, capsys):
    """Not one that makes volumes from nothing; the default is named."""
    found = list_methods(7, workspace=workspace)
    assert {"lift", "no_mapper"} <= set(found) and "lift_u" not in found
    printed = capsys.readouterr().out
    assert set(rows(printed)) == {"method", *found}
    assert "Default: lift." in printed


def test_those_that_serve_generation(tmp_path, capsys):
    """None that needs a source."""
    plan = make_plan()
    write_json(find_workspace(tmp_path).plan_file(plan.dataset, plan.name), plan)
    (tmp_path / "raw" / plan.dataset).mkdir(parents=True)
    found = list_methods(plan.dataset, workspace=tmp_path)
    assert "lift_u" in found and not {"lift", "no_mapper"} & set(found)
    assert "Default: lift_u." in capsys.readouterr().out


def test_sizes_appear_with_recipes(workspace, capsys):
    """The numbers of the network that predicts; a list makes no recipe."""
    space = find_workspace(workspace)
    plan, alone = load_plan(space, "Dataset007_Phantom", "default"), load_method("no_mapper")

    def sizes() -> dict[str, str]:
        list_methods(7, workspace=workspace)
        return {name: row[-1] for name, row in rows(capsys.readouterr().out).items()}

    before = sizes()
    assert before["no_mapper"] == "no recipe yet"
    assert not space.recipe_file(plan.dataset, plan.name, "no_mapper").exists()
    recipe = load_recipe(space, plan, alone)
    capsys.readouterr()
    after = sizes()
    assert after["lift"] == before["lift"]
    network = alone.stages(plan, recipe)[-1].build()
    counted = sum(tensor.numel() for tensor in network.state_dict().values())
    assert after["no_mapper"] == f"{counted:,}"
    assert int(after["lift"].replace(",", "")) > counted > 1000


def test_the_size_of_a_generator(tmp_path, capsys):
    """Features, generator and mapper, which make a volume; not the critic."""
    plan, recipe, space = make_plan(), make_recipe(), find_workspace(tmp_path)
    write_json(space.plan_file(plan.dataset, plan.name), plan)
    write_json(space.recipe_file(plan.dataset, plan.name, "lift_u"), recipe)
    (tmp_path / "raw" / plan.dataset).mkdir(parents=True)
    list_methods(plan.dataset, workspace=tmp_path)
    size = rows(capsys.readouterr().out)["lift_u"][-1]
    network = load_method("lift_u").stages(plan, recipe)[-1].build()
    assert {name for name, _ in network.named_children()} == {"features", "generator", "mapper"}
    assert size == f"{sum(tensor.numel() for tensor in network.state_dict().values()):,}"


def test_a_plan_that_is_not_there(workspace):
    """The plans there are, are named."""
    with pytest.raises(PlanError, match="No plan 'other'") as caught:
        list_methods(7, plan_name="other", workspace=workspace)
    assert "default" in caught.value.remedy


def test_it_is_a_function_of_liftnet():
    """Under a name that is no folder's."""
    assert liftnet.list_methods is list_methods
