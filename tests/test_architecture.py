"""The architecture, held by reading the syntax tree of every file of the package."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "liftnet"
# An import goes to a lower floor or stays in its own folder.
FLOORS = (
    {"core"},
    {"ops", "imageio"},
    {"host", "networks", "losses", "metrics", "augment", "data", "visual"},
    {"planning"},
    {"tasks", "methods"},
    {"pipeline"},
    {"cli"},
)
# A step of the pipeline imports from earlier steps or from its own folder.
STEPS = (
    "convert",
    "fingerprint",
    "plan",
    "methods",
    "preprocess",
    "models",
    "train",
    "predict",
    "evaluate",
    "compare",
    "probe",
    "report",
    "benchmark",
    "share",
    "doctor",
    "demo",
)
FLOOR_OF = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}
LIGHT = {"core", "cli"}  # import no torch when they are imported themselves
HEAVY = {"torch", "safetensors", "batchgenerators"}
FORBIDDEN_IMPORTS = {"torchvision", "pickle", "nibabel"}
REACHING_OUT = {"urllib", "http", "ftplib", "smtplib", "requests", "aiohttp", "httpx"}
# Only what a user asks for by name uses the network; parsing an address is in the same file.
MAY_REACH_OUT = {"pipeline/share/download.py", "pipeline/share/fetch.py"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}
MOST_MODULES = 16  # of a folder
MANY_BY_DESIGN = {"cli"}  # one file per command
MIN_FILES = 60
MOST_LINES = 60  # of a function after its docstring
# Where the name of a task or method may stand besides its own place.
MAY_NAME = ("pipeline/demo.py", "cli/")
NAMED = {  # elsewhere; none may be added
    ("metrics/protocols/ct_protocols.py", "lift"),  # the paper's convention of scoring
    ("metrics/protocols/mr_protocols.py", "lift"),
    ("metrics/protocols/mr_protocols.py", "cwdm"),
    ("pipeline/convert/convert.py", "missing_modality"),  # where a user names no task
    ("pipeline/convert/convert.py", "translation"),
    ("pipeline/evaluate/setting.py", "missing_modality"),
}


def problems(root: Path) -> list[str]:
    """Everything in the package at `root` that breaks a rule, as "file:line: what"."""
    found = []
    graph: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        place = path.relative_to(root)
        if place.stem in FORBIDDEN_NAMES or set(place.parts) & FORBIDDEN_NAMES:
            found.append(f"{place}: name says nothing")
        for check in (import_problems, code_problems, name_problems, length_problems):
            found += [f"{place}:{line}: {what}" for line, what in check(tree, place)]
        name = ".".join(("liftnet", *place.with_suffix("").parts)).removesuffix(".__init__")
        graph[name] = {target for target, _, deep in imports(tree, place) if not deep}
    found += crowded(root)
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def imports(tree: ast.AST, place: Path) -> Iterator[tuple[str, int, bool]]:
    """(imported module, line, inside a function) of every import; relative ones made absolute."""
    for node, deep in walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, deep
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = ("liftnet", *place.parts[:-1])[: len(place.parts) + 1 - node.level]
                base = ".".join([*folder, base] if base else folder)
            for alias in node.names:  # a name may be a module of the folder
                yield f"{base}.{alias.name}", node.lineno, deep


def walk(node: ast.AST, deep: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it lies in a function."""
    for child in ast.iter_child_nodes(node):
        inside = deep or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, inside
        yield from walk(child, inside)


def import_problems(tree: ast.AST, place: Path) -> Iterator[tuple[int, str]]:
    """(line, problem) of every import that a file at `place` must not have."""
    own = place.parts[0] if len(place.parts) > 1 else {"__main__.py": "cli"}.get(place.name, "")
    for target, line, deep in imports(tree, place):
        first, *rest = target.split(".")
        if first in FORBIDDEN_IMPORTS:
            yield line, f"imports {first}"
        elif first in REACHING_OUT and place.as_posix() not in MAY_REACH_OUT:
            yield line, f"imports {first}, which reaches the network"
        elif first == "SimpleITK" and own != "imageio":
            yield line, "imports SimpleITK outside imageio"
        elif first in HEAVY and own in LIGHT and not deep:
            yield line, f"imports {first} at module level"
        elif first == "liftnet" and rest and rest[0] != "version":
            yield from ((line, what) for what in floor_problem(place, own, rest))


def floor_problem(place: Path, own: str, target: list[str]) -> list[str]:
    """What is wrong with an import of `liftnet.<target>` by a file of the folder `own`."""
    folder = target[0]
    if folder not in FLOOR_OF:
        return [f"imports liftnet.{folder}, which is on no floor"]
    if own not in FLOOR_OF:
        return [f"{place} is on no floor and imports liftnet.{folder}"]
    if folder != own:
        lower = FLOOR_OF[folder] < FLOOR_OF[own]
        return [] if lower else [f"imports {folder}, which is not below {own}"]
    if own == "pipeline" and len(target) > 1:
        return step_problem(Path(*place.parts[1:]), target[1])
    if len(target) > 1 and target[1] in siblings(own) and place_in(place) != target[1]:
        return [f"imports {target[1]}, which is another of {own}"]
    return []


@cache
def siblings(folder: str) -> set[str]:
    """The tasks, or the families of methods, which do not know of each other."""
    if folder not in ("tasks", "methods"):
        return set()
    inside = (PACKAGE / folder).iterdir()
    names = {path.stem for path in inside if path.is_dir() or path.suffix == ".py"}
    return names - {"base", "paired", "__init__", "__pycache__"}


def place_in(place: Path) -> str:
    """The task, or the family of methods, that a file belongs to."""
    return place.parts[1].removesuffix(".py")


@cache
def homes() -> dict[str, set[str]]:
    """Name of a task or method -> its place in tasks/ or methods/."""
    found = {name: {f"tasks/{name}"} for name in siblings("tasks")}
    for path in sorted((PACKAGE / "methods").rglob("*.py")):
        if "\nMETHOD = " in path.read_text(encoding="utf-8"):
            family = place_in(path.relative_to(PACKAGE))
            found.setdefault(path.stem, set()).add(f"methods/{family}")
    return found


def name_problems(tree: ast.AST, place: Path) -> Iterator[tuple[int, str]]:
    """(line, problem) of texts that are the name of a task or method, away from its place."""
    where = place.as_posix()
    home = f"{place.parts[0]}/{place_in(place)}" if len(place.parts) > 1 else where
    defaults = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "default_method"
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or node.value not in homes():
            continue
        allowed = home in homes()[node.value] or where.startswith(MAY_NAME)
        allowed = allowed or (place.parts[0] == "tasks" and id(node) in defaults)
        if not allowed and (where, node.value) not in NAMED:
            yield node.lineno, f"names {node.value}"


def length_problems(tree: ast.AST, place: Path) -> Iterator[tuple[int, str]]:
    """(line, problem) of functions that are too long to read at once."""
    for name, line, length in lengths(tree):
        if length > MOST_LINES:
            yield line, f"{name} has {length} lines"


def lengths(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines after its docstring) of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            start = first.end_lineno if documented else first.lineno - 1
            yield node.name, node.lineno, (node.end_lineno or 0) - (start or 0)


def step_problem(place: Path, target: str) -> list[str]:
    """What is wrong with an import of the step `target` by a file at `place` in pipeline/."""
    own = place.parts[0].removesuffix(".py")
    if own not in STEPS:
        return [f"pipeline/{own} is not among the steps"]
    if target not in STEPS:
        return [f"imports pipeline.{target}, which is not among the steps"]
    earlier = STEPS.index(target) <= STEPS.index(own)
    return [] if earlier else [f"imports the step {target}, which is not before {own}"]


def crowded(root: Path) -> Iterator[str]:
    """Folders that hold more modules than a reader can keep in mind."""
    for folder in sorted({path.parent for path in root.rglob("*.py")}):
        count = len([path for path in folder.glob("*.py") if path.stem != "__init__"])
        place = folder.relative_to(root)
        if count > MOST_MODULES and place.as_posix() not in MANY_BY_DESIGN:
            yield f"{place}: {count} modules"


def code_problems(tree: ast.AST, place: Path) -> Iterator[tuple[int, str]]:
    """(line, problem) of comparisons with a task's name, of pickled loading and import knots."""
    for node, _ in walk(tree):
        if isinstance(node, ast.Compare) and place.parts[0] != "tasks":
            sides = [node.left, *node.comparators]
            if any(map(names_task, sides)) and any(map(holds_text, sides)):
                yield node.lineno, "decides by a task's name"
        elif isinstance(node, ast.Match) and names_task(node.subject):
            yield node.lineno, "decides by a task's name"
        elif isinstance(node, ast.Call):
            wanted = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            called = ast.unparse(node.func)
            if "weights_only" in wanted and wanted["weights_only"] is not True:
                yield node.lineno, "loads with weights_only other than True"
            elif called == "torch.load" and "weights_only" not in wanted:
                yield node.lineno, "torch.load without weights_only=True"
            elif called.endswith((".load", ".loads")) and "pickle" in called:
                yield node.lineno, "loads a pickle"
        elif isinstance(node, ast.Name) and node.id == "TYPE_CHECKING":
            yield node.lineno, "imports under TYPE_CHECKING: move what two need down"


def names_task(node: ast.AST) -> bool:
    """Whether an expression is `task` or `something.task`, also of `something.task.name`."""
    if isinstance(node, ast.Attribute):
        return node.attr == "task" or (node.attr == "name" and names_task(node.value))
    return isinstance(node, ast.Name) and node.id == "task"


def holds_text(node: ast.AST) -> bool:
    """Whether an expression holds a constant text."""
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in ast.walk(node))


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle of imports at module level per start, if there is any."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            done.add(name)
            for target in sorted(edges(name)):
                visit(target, [*path, name])

    def edges(name: str) -> set[str]:
        # `from a.b import c` is the module a.b.c if there is one, else the module a.b.
        parents = {t: t.rpartition(".")[0] for t in graph[name]}
        return {t if t in graph else p for t, p in parents.items() if t in graph or p in graph} - {
            name
        }

    for name in sorted(graph):
        visit(name, [])
    return found


def test_package_keeps_the_rules():
    """No file of liftnet breaks a rule; and there are files to look at."""
    assert len(list(PACKAGE.rglob("*.py"))) >= MIN_FILES
    found = problems(PACKAGE)
    assert not found, "\n".join(found)


def test_every_folder_has_a_floor():
    """A new folder is put on a floor before anything is written into it."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == FLOOR_OF.keys()


VIOLATIONS = [
    ("core/a.py", "import torch", "imports torch at module level"),
    ("cli/a.py", "from torch import nn", "imports torch at module level"),
    ("core/a.py", "from liftnet.ops import ssim", "imports ops, which is not below core"),
    ("ops/a.py", "import liftnet.imageio.read", "imports imageio, which is not below ops"),
    ("losses/a.py", "from liftnet.metrics.similarity import psnr", "which is not below losses"),
    ("losses/a.py", "from liftnet import metrics", "imports metrics, which is not below losses"),
    ("losses/a.py", "from ..metrics import similarity", "which is not below losses"),
    ("tasks/x.py", "def f():\n    from liftnet.pipeline import train", "which is not below tasks"),
    ("tasks/x.py", "from liftnet.tasks.missing_modality import b", "missing_modality, which is an"),
    ("tasks/base.py", "from liftnet.tasks.missing_modality import b", "is another of tasks"),
    ("tasks/__init__.py", "import liftnet.tasks.translation", "is another of tasks"),
    ("tasks/unconditional.py", "from . import translation", "translation, which is another"),
    ("tasks/x.py", "from liftnet.methods import load_method", "methods, which is not below tasks"),
    ("methods/x.py", "from liftnet.tasks.base import Task", "tasks, which is not below methods"),
    ("methods/lift_u/a.py", "from liftnet.methods.lift.joint import b", "lift, which is another"),
    ("methods/lift_u/a.py", "from ..lift import joint", "lift, which is another of methods"),
    ("methods/x.py", "from liftnet.methods import lift_u", "lift_u, which is another"),
    ("methods/base.py", "from liftnet.methods.lift import joint", "is another of methods"),
    ("methods/__init__.py", "import liftnet.methods.lift.lift", "is another of methods"),
    ("pipeline/methods.py", "from liftnet.pipeline.train import feed", "which is not before"),
    ("pipeline/a.py", "x = load_task('translation')", "names translation"),
    ("pipeline/a.py", "x = {'lift': 1}", "names lift"),
    ("methods/base.py", "x = 'lift_u'", "names lift_u"),
    ("methods/lift_u/a.py", "x = 'lift'", "names lift"),
    ("methods/lift/a.py", "x = 'translation'", "names translation"),
    ("tasks/translation.py", "x = 'lift'", "names lift"),
    ("tasks/translation.py", "x = 'unconditional'", "names unconditional"),
    ("pipeline/a.py", "class A:\n    default_method = 'lift'", "names lift"),
    ("pipeline/evaluate/setting.py", "x = 'translation'", "names translation"),
    ("pipeline/a.py", "def f():\n    import SimpleITK as sitk", "imports SimpleITK outside"),
    ("pipeline/a.py", "import urllib.request", "imports urllib, which reaches the network"),
    ("pipeline/a.py", "x = plan.task == 'a'", "decides by a task's name"),
    ("pipeline/a.py", "x = 'a' != task", "decides by a task's name"),
    ("pipeline/a.py", "x = d.task in ('a', 'b')", "decides by a task's name"),
    ("pipeline/a.py", "x = plan.task.name == 'a'", "decides by a task's name"),
    ("pipeline/a.py", "match plan.task:\n    case 'a':\n        pass", "decides by a task's name"),
    ("pipeline/a.py", "x = torch.load(p, weights_only=False)", "weights_only other than True"),
    ("pipeline/a.py", "x = torch.load(p)", "torch.load without weights_only"),
    ("pipeline/a.py", "import pickle", "imports pickle"),
    ("pipeline/a.py", "x = joblib.numpy_pickle.load(f)", "loads a pickle"),
    ("networks/a.py", "import torchvision.models", "imports torchvision"),
    ("networks/a.py", "from torchvision import ops", "imports torchvision"),
    ("ops/utils.py", "", "name says nothing"),
    ("ops/misc/__init__.py", "", "name says nothing"),
    ("pipeline/plan.py", "from liftnet.pipeline.train import feed", "train, which is not before"),
    ("pipeline/convert/a.py", "from liftnet.pipeline import plan", "which is not before convert"),
    ("pipeline/convert/a.py", "from liftnet.pipeline.x import y", "is not among the steps"),
    ("pipeline/x.py", "from liftnet.pipeline.plan import y", "pipeline/x is not among the steps"),
    ("extra/a.py", "from liftnet.core import errors", "is on no floor"),
    ("ops/a.py", "from liftnet.extra import b", "which is on no floor"),
    ("ops/a.py", "if TYPE_CHECKING:\n    import numpy", "under TYPE_CHECKING"),
]


@pytest.mark.parametrize(("place", "code", "message"), VIOLATIONS)
def test_a_violation_is_found(tmp_path, place, code, message):
    """Each rule bites, at the right file, and only once."""
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")
    (found,) = problems(tmp_path)
    assert message in found
    assert found.startswith(place)


def test_a_crowded_folder_is_found(tmp_path):
    """One module too many; the commands have a file each, however many there are."""
    for folder in ("ops", "cli"):
        for number in range(MOST_MODULES + 1):
            path = tmp_path / folder / f"a{number}.py"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    assert problems(tmp_path) == [f"ops: {MOST_MODULES + 1} modules"]
    (tmp_path / "ops/a0.py").unlink()
    assert problems(tmp_path) == []


def test_a_circle_is_found(tmp_path):
    """Two files of one folder that import each other; not so where one imports when called."""
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops/a.py").write_text("from liftnet.ops.b import f", encoding="utf-8")
    (tmp_path / "ops/b.py").write_text("from liftnet.ops import a", encoding="utf-8")
    assert problems(tmp_path) == ["circle: liftnet.ops.a -> liftnet.ops.b -> liftnet.ops.a"]
    (tmp_path / "ops/b.py").write_text("def f():\n    from liftnet.ops import a", encoding="utf-8")
    assert problems(tmp_path) == []


def body(lines: int) -> str:
    """A function of so many lines after a docstring of three."""
    return 'def f():\n    """One.\n\n    """\n' + "    x = 1\n" * lines


def test_a_long_function_is_found(tmp_path):
    """One line too many, also of a method and without a docstring; a docstring does not count."""
    path = tmp_path / "ops/a.py"
    path.parent.mkdir()
    path.write_text(body(MOST_LINES), encoding="utf-8")
    assert problems(tmp_path) == []
    path.write_text(body(MOST_LINES + 1), encoding="utf-8")
    assert problems(tmp_path) == [f"ops/a.py:1: f has {MOST_LINES + 1} lines"]
    bare = "class A:\n    def g(self):\n" + "        x = 1\n" * (MOST_LINES + 1)
    path.write_text(bare, encoding="utf-8")
    assert problems(tmp_path) == [f"ops/a.py:2: g has {MOST_LINES + 1} lines"]


@pytest.mark.parametrize(("place", "name"), sorted(NAMED))
def test_what_is_listed_as_named_is_named(place, name):
    """A file that no longer names it leaves the list; each is the name of a task or method."""
    tree = ast.parse((PACKAGE / place).read_text(encoding="utf-8"))
    assert name in homes()
    assert any(isinstance(n, ast.Constant) and n.value == name for n in ast.walk(tree))


def test_tasks_and_methods_are_known():
    """The rules look at what is there."""
    assert siblings("tasks") == {"missing_modality", "translation", "unconditional"}
    assert {"lift", "lift_u"} <= siblings("methods")
    assert homes()["translation"] == {"tasks/translation"}
    assert homes()["no_mapper"] == homes()["lift"] == {"methods/lift"}


ALLOWED = [
    ("cli/a.py", "def f():\n    import torch"),
    ("imageio/a.py", "def f():\n    import SimpleITK as sitk"),
    ("tasks/missing_modality.py", "x = plan.task == 'missing_modality'"),
    ("tasks/missing_modality.py", "from liftnet.tasks.base import Task"),
    ("tasks/missing_modality.py", "class A:\n    default_method = 'lift'"),
    ("methods/lift/a.py", "from liftnet.methods.base import Method\nx = ('lift', 'no_mapper')"),
    ("methods/lift/a.py", "from liftnet.methods.lift import b\nfrom liftnet.methods import c"),
    ("pipeline/methods.py", "from liftnet.methods import d\nfrom liftnet.pipeline.plan import e"),
    ("pipeline/demo.py", "x = 'missing_modality'"),
    ("cli/a.py", "x = 'lift'"),
    ("pipeline/a.py", "'A task such as translation, which is lift by default'"),
    (
        "pipeline/train/a.py",
        "from liftnet.pipeline.plan import a\nfrom liftnet.pipeline import train",
    ),
    ("pipeline/a.py", "from liftnet.host import lock\nfrom liftnet.version import x"),
    ("pipeline/a.py", "x = torch.load(p, weights_only=True)\ny = plan.task == other.task"),
]


@pytest.mark.parametrize(("place", "code"), ALLOWED)
def test_what_is_right_passes(tmp_path, place, code):
    """The rules do not forbid what the architecture asks for."""
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")
    assert problems(tmp_path) == []
