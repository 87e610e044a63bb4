"""The architecture, held by reading the syntax tree of every file of the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "liftnet"
# An import goes to a lower floor or stays in its own folder.
FLOORS = (
    {"core"},
    {"ops", "imageio"},
    {"host", "networks", "losses", "metrics", "augment", "data", "visual"},
    {"planning"},
    {"tasks"},
    {"pipeline"},
    {"cli"},
)
# A step of the pipeline imports from earlier steps or from its own folder.
STEPS = (
    "convert",
    "fingerprint",
    "plan",
    "preprocess",
    "models",
    "train",
    "predict",
    "evaluate",
    "compare",
    "probe",
    "report",
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
MOST_MODULES = 19  # of a folder
MANY_BY_DESIGN = {"cli"}  # one file per command
MIN_FILES = 60


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
        for line, what in [*import_problems(tree, place), *code_problems(tree, place)]:
            found.append(f"{place}:{line}: {what}")
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
    if own == "tasks" and len(target) > 1 and target[1] != "base":
        is_task = (PACKAGE / "tasks" / target[1]).is_dir() or "task" in target[1]
        if is_task and place.parts[1] != target[1]:
            return [f"imports task {target[1]}"]
    return []


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
    ("tasks/x_task/a.py", "from liftnet.tasks.y_task import b", "imports task y_task"),
    ("tasks/x_task/a.py", "from liftnet.tasks.missing_modality import b", "imports task missing"),
    ("tasks/base.py", "from liftnet.tasks.missing_modality import b", "imports task missing"),
    ("tasks/unconditional/a.py", "from liftnet.tasks.translation import b", "imports task transl"),
    ("tasks/x_task/a.py", "from .. import y_task", "imports task y_task"),
    ("pipeline/a.py", "def f():\n    import SimpleITK as sitk", "imports SimpleITK outside"),
    ("pipeline/a.py", "import urllib.request", "imports urllib, which reaches the network"),
    ("pipeline/a.py", "x = plan.task == 'translation'", "decides by a task's name"),
    ("pipeline/a.py", "x = 'unconditional' != task", "decides by a task's name"),
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


ALLOWED = [
    ("cli/a.py", "def f():\n    import torch"),
    ("imageio/a.py", "def f():\n    import SimpleITK as sitk"),
    ("tasks/missing_modality/a.py", "x = plan.task == 'missing_modality'"),
    ("tasks/missing_modality/a.py", "from liftnet.tasks.base import Task"),
    ("tasks/missing_modality/a.py", "from liftnet.tasks.missing_modality import rules"),
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
