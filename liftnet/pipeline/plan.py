"""Step 2: let the task decide about the data, and a method about itself."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from liftnet.core.arguments import checked
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import PLAN_VERSION, Budget, Plan
from liftnet.core.recipe import RECIPE_VERSION, Recipe, schedules
from liftnet.core.storage.files import remove_drafts
from liftnet.core.storage.jsonable import (
    did_you_mean,
    from_json,
    read_json,
    replace_path,
    to_json,
    write_sealed,
)
from liftnet.core.storage.migration import refuse_other
from liftnet.core.storage.strict_json import parse_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.lock import hold, refuse_busy
from liftnet.host.progress import mention, say
from liftnet.imageio.raw_dataset import load_dataset
from liftnet.methods import load_method, method_names
from liftnet.methods.base import Ablates, Method, Publishes
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.planning.cost import TooLargeError, training_flops
from liftnet.planning.feeding import BY_HAND, plan_feeding
from liftnet.planning.grid import GridChoice, refuse_other_foreground
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = [
    "DEFAULT_PLAN",
    "Asked",
    "Decided",
    "apply_setting",
    "by_hand",
    "decide",
    "explain",
    "fitting_methods",
    "is_like",
    "load_plan",
    "load_recipe",
    "method_of",
    "num_steps",
    "parse_plan",
    "parse_recipe",
    "plan",
    "read_plan",
    "read_recipe",
    "recipe_of_length",
    "training_work",
    "write_recipe",
]

DEFAULT_PLAN = "default"
LIKE_ROUNDS, LIKE_TOLERANCE = 4, 0.01  # ours: to find the steps, and how near is the same
DEFAULT_GIB = 8.0  # nnU-Net's default target
KEYLESS = object()  # what a reason is about that is not one setting
FIXED = ("version", "task", "dataset", "name", "budget")
PLAN_REMEDY = "Make the plan again with liftnet_plan."
Decision = TypeVar("Decision", Plan, Recipe)


@dataclass(frozen=True)
class Asked:
    """What a user asks of a plan."""

    method: str | None = None
    gpu_memory: float | None = None
    steps: int | None = None
    features: Path | str | None = None
    plan_name: str = DEFAULT_PLAN
    settings: tuple[str, ...] = ()
    like: str | None = None
    published: bool = False

    def words(self) -> Iterator[str]:
        """The same on a command line."""
        if self.method is not None:
            yield from ("--method", self.method)
        if self.plan_name != DEFAULT_PLAN:
            yield from ("-p", self.plan_name)
        if self.gpu_memory is not None:
            yield from ("--gpu-memory", f"{self.gpu_memory:g}")
        if self.steps is not None:
            yield from ("--steps", str(self.steps))
        if self.features is not None:
            yield from ("--features", str(self.features))
        if self.published:
            yield "--published"
        if self.settings:
            yield from ("--set", *self.settings)


class Decided(NamedTuple):
    """What is decided about the data, and for one method."""

    plan: Plan
    recipe: Recipe


@checked
def plan(
    dataset: int | str | None = None,
    *,
    method: str | None = None,
    gpu_memory: float | None = None,
    steps: int | None = None,
    features: Path | str | None = None,
    plan_name: str = DEFAULT_PLAN,
    settings: list[str] | None = None,
    like: str | None = None,
    published: bool = False,
    explain_plan: bool = False,
    workspace: Path | str | None = None,
) -> Decided:
    """Decide everything for a dataset from its fingerprint; write plan.json and a recipe.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        method: whose recipe; by default the task's own.
        gpu_memory: GiB that training may use; by default that of the GPU present, else 8.
        steps: length of training; by default the method's own.
        features: a file of weights of a feature network trained elsewhere, for generation.
        plan_name: several plans of one dataset live side by side.
        settings: `key=value` pairs that override decisions, such as `seed=1`; those of the method
            begin with its name: `lift.losses.delta_z=1`.
        like: a method of this plan: as many steps as make the floating-point operations of the
            training the same. The plan stays as it is.
        published: train as those who published the method do, in place of ours.
        explain_plan: print each decision with its reason.
        workspace: the workspace folder.

    Returns:
        The plan, and the recipe of the method.

    Raises:
        PlanError: If there is no fingerprint, or a setting does not fit.
        DatasetError: If there is no such dataset.
        LiftnetError: If a training that uses the plan is going on.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    run = space.run_folder(name, plan_name)
    refuse_busy(run)
    given = tuple(settings or ())
    asked = Asked(method, gpu_memory, steps, features, plan_name, given, like, published)
    decided = decide(space, name, asked)
    used = method_of(decided.plan, method)
    target = space.plan_file(name, plan_name)
    with hold(target.parent, "liftnet_plan"):
        refuse_busy(run)
        remove_drafts(target)
        _remove_outdated(space, decided.plan, used)
        write_sealed(target, decided.plan)
        write_recipe(space, decided, used)
    if explain_plan:
        say(explain(decided.plan))
        say(explain(decided.recipe, prefix=f"{used.name}."))
    memory = decided.recipe.memory
    if memory.training_gib > memory.budget_gib:
        say(
            f"warning: training needs about {memory.training_gib:.2g} GiB, "
            f"more than the budget of {memory.budget_gib:g} GiB"
        )
    if "size" in decided.recipe.reasons:
        say(f"{used.name}: {decided.recipe.reasons['size']}")
    say(
        f"Plan for {used.name}, whose training takes {memory.training_gib:.2g} of "
        f"{memory.budget_gib:g} GiB of memory: {target}"
    )
    return decided


def decide(space: Workspace, name: str, asked: Asked) -> Decided:
    """The plan of a dataset and the recipe of a method; nothing is written.

    Raises:
        PlanError: If there is none of that length, in that memory, with those settings.
    """
    if asked.like is not None:
        return _decide_like(space, name, asked, asked.like)
    raw = load_dataset(space.raw / name)
    fingerprint = read_fingerprint(
        space.fingerprint_file(name),
        f"Run {space.command('liftnet_plan_and_preprocess', name, asked.plan_name)}, with the same "
        "options: it measures the dataset first.",
    )
    task = load_task(raw.description.task)
    if asked.features is not None and isinstance(task, SynthesisTask):
        raise PlanError(
            f"Task '{task.name}' has no use for --features: it compares images voxel by voxel",
            remedy="Leave --features out.",
        )
    method = load_method(asked.method or task.default_method)
    budget = find_budget(asked)
    of_plan, of_method = _split_settings(asked.settings, method)

    def plans(choice: GridChoice | None) -> list[Plan]:
        found = task.plans(raw, fingerprint, budget, asked.plan_name, choice)
        return [_with_settings(one, of_plan) for one in found]

    choice = None
    candidates = plans(choice)
    for wanted in _chosen_grids(candidates[0]):
        if wanted.sized:  # a size must fit the networks of the grid that it belongs to
            free = list(task.plans(raw, fingerprint, budget, asked.plan_name, choice))
            recipe = _first_that_fits(method, fingerprint, list(map(task.refresh, free))).recipe
            method.refresh(task.refresh(candidates[0]), recipe, estimate=False)
        choice = wanted
        candidates = plans(choice)
    chosen, recipe = _first_that_fits(method, fingerprint, [task.refresh(p) for p in candidates])
    recipe = _without_part(space, chosen, method) or recipe
    if chosen.reasons.get("grid.foreground") == BY_HAND:
        refuse_other_foreground(chosen, fingerprint)
    _refuse_without_effect(chosen, of_plan)
    _refuse_unreadable(Plan, chosen)
    if asked.published:
        recipe = _as_published(method, chosen, recipe)
    return Decided(chosen, _completed(method, chosen, recipe, of_method, fingerprint))


def _as_published(method: Method[Any], plan: Plan, recipe: Recipe) -> Recipe:
    """The recipe as others have published it.

    Raises:
        PlanError: If there is no such thing.
    """
    if not isinstance(method, Publishes):
        raise PlanError(
            f"Nobody has published another recipe of {method.name} than that of liftnet",
            where="--published",
            remedy="Leave --published out.",
        )
    found: Recipe = method.published(plan, recipe)
    return found


def _completed(
    method: Method[Any],
    plan: Plan,
    recipe: Recipe,
    settings: Sequence[str],
    fingerprint: Fingerprint,
) -> Recipe:
    """The recipe with the user's settings and all that follows from them."""
    recipe = method.refresh(plan, _with_settings(recipe, settings, of=method.name))
    recipe = plan_feeding(plan, recipe, fingerprint)
    _refuse_without_effect(recipe, settings, of=method.name)
    _refuse_unreadable(method.recipe, recipe)
    return recipe


def _refuse_unreadable(kind: type[Any], decided: Decision) -> None:
    """Refuse a value that the file, once written, could not be read with."""
    from_json(kind, parse_json(json.dumps(to_json(decided))), where="the plan")


def _decide_like(space: Workspace, name: str, asked: Asked, like: str) -> Decided:
    """The stored plan, and a recipe whose training takes the operations of another method's.

    Raises:
        PlanError: If there is no such number of steps, or options ask for another plan.
    """
    plan = load_plan(space, name, asked.plan_name)
    method, other = method_of(plan, asked.method), method_of(plan, like)
    of_plan, of_method = _split_settings(asked.settings, method)
    given = {"--steps": asked.steps, "--features": asked.features, "--set": of_plan or None}
    refused = [option for option, value in given.items() if value is not None]
    if method.name == other.name or refused:
        raise PlanError(
            f"{refused[0]} cannot be used with --like, which keeps the plan and finds the steps"
            if refused
            else f"{method.name} cannot be planned like itself",
            where=f"--like {like}",
            remedy=f"Leave out {refused[0]}." if refused else "Name another with --method.",
        )
    goal = training_work(plan, other, load_recipe(space, plan, other))
    steps = None
    for _ in range(LIKE_ROUNDS):
        recipe = recipe_of_length(
            space,
            plan,
            method,
            steps,
            settings=of_method,
            gpu_memory=asked.gpu_memory,
            published=asked.published,
        )
        work = training_work(plan, method, recipe)
        if is_like(recipe, work, goal):
            break
        steps = max(1, round(num_steps(recipe) * goal / work))
    else:
        raise PlanError(
            f"No number of steps makes the training of {method.name} as long as that of {like}: "
            f"{num_steps(recipe)} steps take {_peta(work)} PFLOP, {like} takes {_peta(goal)}",
            where=f"--like {like}",
            remedy="Leave out settings of steps, or choose the steps yourself: --steps N.",
        )
    say(
        f"{steps} steps of {method.name} take {_peta(work)} PFLOP, as the training of {like} "
        f"does ({_peta(goal)})"
    )
    return Decided(plan, recipe)


def recipe_of_length(
    space: Workspace,
    plan: Plan,
    method: Method[Any],
    steps: int | None,
    *,
    settings: Sequence[str] = (),
    gpu_memory: float | None = None,
    published: bool = False,
) -> Recipe:
    """The recipe of a method under a stored plan, for a training of so many steps in all.

    Args:
        space: where the plan is stored.
        plan: which stays as it is.
        method: whose recipe.
        steps: None: as many as the method takes by itself.
        settings: of the method, without its name.
        gpu_memory: GiB, in place of the plan's.
        published: as others have published it.

    Raises:
        PlanError: If nothing fits the memory, or a setting does not fit.
    """
    remedy = "Run liftnet_plan_and_preprocess."
    fingerprint = read_fingerprint(space.fingerprint_file(plan.dataset), remedy)
    memory = plan.budget.memory_gib if gpu_memory is None else gpu_memory
    tried = replace(plan, budget=replace(plan.budget, num_steps=steps, memory_gib=memory))
    recipe = _first_that_fits(method, fingerprint, [tried]).recipe
    if published:
        recipe = _as_published(method, tried, recipe)
    return _completed(method, tried, recipe, settings, fingerprint)


def num_steps(recipe: Recipe) -> int:
    """The steps of all stages."""
    return sum(schedule.num_steps for schedule in schedules(recipe).values())


def is_like(recipe: Recipe, work: int, goal: int) -> bool:
    """Whether the operations of a training are as many, or no whole number of steps is nearer."""
    steps = num_steps(recipe)
    return abs(work / goal - 1) <= LIKE_TOLERANCE or round(steps * goal / work) == steps


def by_hand(recipe: Recipe) -> list[str]:
    """The `key=value` that a user has set, as its reasons note them."""
    values = to_json(recipe)
    return [
        f"{key}={json.dumps(reduce(getitem, key.split('.'), values))}"
        for key, reason in recipe.reasons.items()
        if reason == BY_HAND
    ]


def _peta(operations: int) -> str:
    """To three digits, written out.

    >>> _peta(1_934_000_000_000_000_000), _peta(12_345_678_900_000)
    ('1,930', '0.0123')
    """
    return f"{float(f'{operations / 1e15:.3g}'):,g}"


def training_work(plan: Plan, method: Method[Any], recipe: Recipe) -> int:
    """The floating-point operations of a whole training.

    Raises:
        PlanError: If there is no step, or they cannot be counted on tensors without values.
    """
    stages = [stage for stage in method.stages(plan, recipe) if stage.schedule.num_steps]
    try:
        work = sum(stage.schedule.num_steps * training_flops(plan, stage) for stage in stages)
    except RuntimeError:
        work = 0
    if not work:
        raise PlanError(
            f"The operations of the training of {method.name} cannot be counted"
            if stages
            else f"Method {method.name} takes no training steps",
            where="--like",
            remedy="Choose the steps yourself: --steps N." if stages else "Name another method.",
        )
    return work


def _first_that_fits(
    method: Method[Any], fingerprint: Fingerprint, plans: Sequence[Plan]
) -> Decided:
    """The best of the plans on whose grid the training of a method fits the memory.

    Raises:
        PlanError: If none does, or the method cannot serve them.
    """
    _refuse_unfit(method, plans[0])
    tried = [(one, False) for one in plans] + [(plans[-1], True)]
    problem = ""
    for one, squeeze in tried:
        try:
            return Decided(one, method.decide(one, fingerprint, squeeze=squeeze))
        except TooLargeError as error:
            problem = str(error)
    raise PlanError(
        problem,
        where=f"a budget of {plans[0].budget.memory_gib:g} GiB",
        remedy="Raise --gpu-memory, or resample the images to a coarser spacing.",
    )


def fitting_methods(plan: Plan) -> Iterator[str]:
    """The methods that can serve a plan."""
    return (name for name in method_names() if load_method(name).unfit(plan) is None)


def method_of(plan: Plan, name: str | None) -> Method[Any]:
    """The method of this name, by default that of the plan's task.

    Raises:
        PlanError: If there is none, or it cannot serve the plan.
    """
    method = load_method(name or load_task(plan.task).default_method)
    _refuse_unfit(method, plan)
    return method


def _refuse_unfit(method: Method[Any], plan: Plan) -> None:
    why = method.unfit(plan)
    if why is not None:
        raise PlanError(
            f"Method {method.name} cannot serve this plan: {why}",
            where="--method",
            remedy=f"Those that can: {', '.join(fitting_methods(plan))}.",
        )


def find_budget(asked: Asked) -> Budget:
    """The memory to plan for, and whether the device there computes in bfloat16."""
    import torch

    from liftnet.ops.compute.precision import supports_bfloat16

    has_gpu, gib = torch.cuda.is_available(), asked.gpu_memory
    if gib is None:
        total = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else DEFAULT_GIB
        gib = float(int(total))
    native = not has_gpu or supports_bfloat16(torch.device("cuda"))
    features = None if asked.features is None else str(asked.features)
    return Budget(gib, 2 if native else 4, asked.steps, features)


def _split_settings(settings: Sequence[str], method: Method[Any]) -> tuple[list[str], list[str]]:
    """The settings of the plan, and those of the method without its name.

    Raises:
        PlanError: If one is of another method, or of none.
    """
    of_plan, of_method = [], []
    known = [field.name for field in fields(Plan)]
    for setting in settings:
        key = setting.partition("=")[0]
        word, dot, _ = key.partition(".")
        if dot and word == method.name:
            of_method.append(setting.removeprefix(f"{word}."))
        elif dot and word in method_names():
            raise PlanError(
                f"The setting is one of method {word}, the recipe is that of {method.name}",
                where=f"--set {setting}",
                remedy=f"Plan that method: --method {word}.",
            )
        elif word in known:
            of_plan.append(setting)
        else:
            raise PlanError(
                f"The plan has no setting '{key}'",
                where=f"--set {setting}",
                remedy=_nearest_setting(key, method),
            )
    return of_plan, of_method


def _nearest_setting(key: str, method: Method[Any]) -> str:
    """A sentence that names what a setting that is not there may have been meant to be."""
    words, known = key.split("."), _keys_of(method)
    if words == [method.name]:
        return f"Name a key of its recipe: {method.name}.KEY=value."
    start = next((number for number, word in enumerate(words) if word in known), None)
    if start is not None:
        return f"Did you mean '{'.'.join([method.name, *words[start:]])}'?"
    settable = [field.name for field in fields(Plan) if field.name not in FIXED]
    return did_you_mean(words[0], [*settable, method.name])


def _keys_of(method: Method[Any]) -> set[str]:
    """The first words of the settings that a method has."""
    kinds = getattr(method.recipe, "__args__", (method.recipe,))
    return {field.name for kind in kinds for field in fields(kind)}


def _with_settings(decided: Decision, settings: Sequence[str], *, of: str = "") -> Decision:
    for setting in settings:
        decided = apply_setting(decided, setting, of=of)
    return decided


def _chosen_grids(decided: Plan) -> list[GridChoice]:
    """What was set by hand and moves the rest of the plan: without sizes, then with them.

    A size must fit the networks of the grid that it belongs to, so that grid is planned first. A
    box has its own size, in voxels of the spacing, whatever the spacing is.
    """
    by_hand = {
        field.name: getattr(decided.grid, field.name)
        for field in fields(GridChoice)
        if decided.reasons.get(f"grid.{field.name}") == BY_HAND
    }
    whole = GridChoice(**by_hand)
    spacing_mm = None if whole.box else whole.spacing_mm
    free = replace(whole, in_plane=None, num_slices=None, box=None, spacing_mm=spacing_mm)
    chosen = [free, whole] if whole.sized else [whole]
    return [choice for choice in chosen if choice != GridChoice()]


def _refuse_without_effect(decided: Decision, settings: Sequence[str], *, of: str = "") -> None:
    """Refuse a setting that the rest of the plan has overruled.

    Raises:
        PlanError: Naming it, and the value that it has.
    """
    prefix = of and f"{of}."
    for setting in settings if _with_settings(decided, settings) != decided else ():
        if apply_setting(decided, setting) != decided:
            key = setting.partition("=")[0]
            raise PlanError(
                f"{prefix}{key} follows from other settings of this plan, and cannot be set to "
                "that",
                where=f"--set {prefix}{setting}",
                remedy="Leave it out. docs/reference/plan-json.md says what moves what.",
            )


def apply_setting(decided: Decision, setting: str, *, of: str = "") -> Decision:
    """The plan or recipe with one `key=value` applied; the value is JSON or a plain word.

    `of` is the method whose recipe it is, which is not in the key.
    """
    key, separator, text = setting.partition("=")
    prefix = of and f"{of}."
    if not separator:
        raise PlanError(f"'{prefix}{setting}' is not key=value", remedy="For example --set seed=1")
    try:
        value: Any = parse_json(text)
    except ValueError:
        value = text
    parts = key.split(".")
    if parts[0] in FIXED:
        raise PlanError(
            f"'{prefix}{parts[0]}' says what the plan is for, and cannot be set",
            where=f"--set {prefix}{setting}",
            remedy="Use -p for the name of the plan, -d for its dataset, --gpu-memory and --steps "
            "for its budget.",
        )
    named = decided.channel_names if isinstance(decided, Plan) else ()
    if parts[0] == "channels" and len(parts) > 1 and parts[1] in named:
        parts[1] = str(named.index(parts[1]))
    changed = replace_path(decided, ".".join(parts), value, of=of)
    return replace(changed, reasons={**changed.reasons, key: BY_HAND})


def _remove_outdated(space: Workspace, decided: Plan, method: Method[Any]) -> None:
    """Delete recipes that were made for another plan of this name, or from this method's.

    They are made again when their method is trained.
    """
    path = space.plan_file(decided.dataset, decided.name)
    try:
        same = _about_data(read_plan(path)) == _about_data(decided)
    except PlanError:  # none, or of another version
        same = False
    for other in method_names():
        recipe = space.recipe_file(decided.dataset, decided.name, other)
        follows = isinstance(made := load_method(other), Ablates) and made.ablates == method.name
        if recipe.is_file() and other != method.name and (not same or follows):
            recipe.unlink()
            why = f"follows from that of {method.name}" if same else "was made before this plan"
            say(f"The recipe of {other} {why}: training makes it again")


def _about_data(plan: Plan) -> Plan:
    return replace(plan, reasons={}, budget=Budget(0.0, 4, None))


def write_recipe(space: Workspace, decided: Decided, method: Method[Any]) -> None:
    """Store what a method decides under a plan of a workspace."""
    path = space.recipe_file(decided.plan.dataset, decided.plan.name, method.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(path)
    write_sealed(path, decided.recipe)


def load_plan(space: Workspace, dataset_name: str, plan_name: str) -> Plan:
    """The plan of a dataset in a workspace."""
    path = space.plan_file(dataset_name, plan_name)
    if not path.is_file():
        known = sorted(p.parent.name for p in path.parent.parent.glob("*/plan.json"))
        raise PlanError(
            f"No plan '{plan_name}' for {dataset_name}",
            where=str(path),
            remedy=f"Plans there are: {', '.join(known)}."
            if known
            else f"Run {space.command('liftnet_plan_and_preprocess', dataset_name, plan_name)}",
        )
    return read_plan(path)


def load_recipe(space: Workspace, plan: Plan, method: Method[Any]) -> Recipe:
    """The recipe of a method under a plan of a workspace; made and written if there is none.

    Raises:
        PlanError: If it is damaged, or the method cannot serve the plan.
    """
    path = space.recipe_file(plan.dataset, plan.name, method.name)
    if path.is_file():
        return read_recipe(path, plan, method)
    fingerprint = read_fingerprint(
        space.fingerprint_file(plan.dataset),
        f"Run {space.command('liftnet_plan', plan.dataset, plan.name)}",
    )
    recipe = _without_part(space, plan, method)
    if recipe is None:
        recipe = _first_that_fits(method, fingerprint, [plan]).recipe
    recipe = plan_feeding(plan, recipe, fingerprint)
    write_recipe(space, Decided(plan, recipe), method)
    mention(f"Recipe of {method.name}: {path}")
    return recipe


def _without_part(space: Workspace, plan: Plan, method: Method[Any]) -> Recipe | None:
    """The recipe of an ablation, from that of the whole method under the same plan, if it is there.

    Raises:
        PlanError: If that is damaged.
    """
    if not isinstance(method, Ablates):
        return None
    file = space.recipe_file(plan.dataset, plan.name, method.ablates)
    stored = space.plan_file(plan.dataset, plan.name)
    if not file.is_file() or replace(read_plan(stored), reasons={}) != replace(plan, reasons={}):
        return None  # or it was made for other data, or another budget
    recipe = method.without(read_recipe(file, plan, load_method(method.ablates)))
    made: Recipe = method.refresh(plan, recipe)
    return made


def read_plan(path: Path) -> Plan:
    """A plan file, checked.

    Raises:
        PlanError: If it is damaged, of another version, or contradicts itself.
    """
    return parse_plan(read_json(path), where=path)


def parse_plan(data: Any, *, where: Path | str) -> Plan:
    """A plan from the JSON of a file, checked.

    Raises:
        PlanError: If it is of another version, or contradicts itself; names the place.
    """
    refuse_other(data, PLAN_VERSION, what="The plan has", where=where, remedy=PLAN_REMEDY)
    decided = from_json(Plan, data, where=where)
    try:
        return load_task(decided.task).refresh(decided)
    except PlanError as error:
        error.where = error.where or str(where)
        raise


def read_recipe(path: Path, plan: Plan, method: Method[Any]) -> Recipe:
    """The file of a recipe, checked.

    Raises:
        PlanError: If it is damaged, of another version, or contradicts itself or its plan.
    """
    return parse_recipe(read_json(path), plan, method, where=path)


def parse_recipe(data: Any, plan: Plan, method: Method[Any], *, where: Path | str) -> Recipe:
    """A recipe from the JSON of a file, checked.

    Raises:
        PlanError: If it is of another version, or contradicts itself or its plan; names the place.
    """
    remedy = f"Make it again with liftnet_plan --method {method.name}."
    refuse_other(data, RECIPE_VERSION, what="The recipe has", where=where, remedy=remedy)
    recipe: Recipe = from_json(method.recipe, data, where=where)
    try:
        refreshed: Recipe = method.refresh(plan, recipe, estimate=False)
    except PlanError as error:
        error.where = error.where or str(where)
        raise
    return refreshed


def explain(decided: Plan | Recipe, *, prefix: str = "") -> str:
    """One paragraph per decision: setting = value, because ...; or of several settings at once."""
    lines = []
    data = to_json(decided)
    listed = data.get("channels", ())
    channels = {str(i): c for i, c in enumerate(listed)} | {c["name"]: c for c in listed}
    for key, reason in decided.reasons.items():
        node: Any = {**data, "channels": channels}
        for part in key.split("."):
            if isinstance(node, list):
                node = dict(zip(map(str, range(len(node))), node, strict=True))
            node = node.get(part, KEYLESS) if isinstance(node, dict) else KEYLESS
        value = "" if node is KEYLESS else f" = {json.dumps(_without_kind(node))}"
        lines.append(f"{prefix}{key}{value}\n    {reason}")
    return "\n".join(lines)


def _without_kind(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_kind(v) for k, v in node.items() if k != "kind"}
    return node
