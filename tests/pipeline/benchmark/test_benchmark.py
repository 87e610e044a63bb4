"""A benchmark of small methods: one run, again, killed, in parts, with a failure, by minutes."""

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liftnet.cli import benchmark as command
from liftnet.core.benchmark import Benchmark, read_benchmark
from liftnet.core.comparison import read_comparison
from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.recipe import Recipe, Sampling
from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.host.lock import BusyError, hold
from liftnet.methods import load_method
from liftnet.pipeline.benchmark import budget, work
from liftnet.pipeline.benchmark.benchmark import benchmark
from liftnet.pipeline.plan import load_plan, load_recipe, num_steps, training_work
from liftnet.pipeline.predict import predict as prediction
from liftnet.pipeline.report.report import report
from liftnet.pipeline.train import train as training
from liftnet.pipeline.train.duration import StageCost
from liftnet.visual import figures

NAME = "Dataset007_Phantom"
METHODS = ("regression_quadratic", "lift")
ROWS = ["lift", "lift, mean of 2", "regression_quadratic"]  # the baseline first
CASES = ("p1", "p2")
VARYING = ("seconds", "peak_gib", "peak_memory_gib", "made", "command", "date")


def recipe_file(root: Path, method: str) -> Path:
    """Where the recipe of a method lies."""
    return find_workspace(root / "workspace").recipe_file(NAME, "default", method)


@pytest.fixture(scope="module", autouse=True)
def _without_figures() -> Iterator[None]:
    """Figures of training take longer than it does here, and nobody looks at them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "plot_progress", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def _data(_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned workspace in which lift samples, new cases that lack c, and their c."""
    root = tmp_path_factory.mktemp("benchmark")
    shutil.copytree(_prepared, root / "workspace")
    path = recipe_file(root, "lift")
    recipe = json.loads(path.read_text())
    write_json(path, recipe | {"sampling": {"sampler": "ddim", "num_steps": 3}})
    for case in CASES:
        for number in range(3):
            place = root / ("references" if number == 2 else "new") / f"{case}_{number:04d}.nii.gz"
            place.parent.mkdir(exist_ok=True)
            shutil.copy(root / "workspace" / "raw" / NAME / "imagesTr" / place.name, place)
    return root


@pytest.fixture
def data(_data: Path, tmp_path: Path) -> Path:
    """A copy of one's own, in which nothing is trained."""
    shutil.copytree(_data, tmp_path / "data")
    return tmp_path / "data"


def run(root: Path, *, methods: tuple[str, ...] = METHODS, **options: object) -> Benchmark:
    """The benchmark into "out"."""
    given = {"samples": 2, "device": "cpu", "num_processes": 1, **options}
    folders = root / "new", root / "references", root / "out"
    return benchmark(methods, *folders, workspace=root / "workspace", **given)


@pytest.fixture(scope="module")
def whole(_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything was run at once."""
    root = tmp_path_factory.mktemp("whole") / "data"
    shutil.copytree(_data, root)
    run(root)
    return root


@pytest.fixture
def done(whole: Path, tmp_path: Path) -> Path:
    """A copy of one's own of the finished run."""
    root = tmp_path / "data"
    shutil.copytree(whole, root)
    for path in (root / "out").rglob("scores.json"):
        path.write_text(path.read_text().replace(str(whole), str(root)))
    return root


def without(value: object) -> object:
    """JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {k: without(v) for k, v in value.items() if k not in VARYING}
    return [without(item) for item in value] if isinstance(value, list) else value


def results(root: Path) -> dict[str, object]:
    """All that a benchmark leaves, but for measured costs and places."""
    found: dict[str, object] = {}
    for path in sorted((root / "out").rglob("*")):
        name = str(path.relative_to(root))
        if path.suffix == ".json":
            found[name] = without(json.loads(path.read_text().replace(str(root), "ROOT")))
        elif path.is_file() and path.name != "benchmark.csv":
            found[name] = path.read_bytes()
    return found


def times(root: Path) -> dict[Path, int]:
    """When each file of trainings, predictions and scores was written."""
    kept = ("*.safetensors", "*.nii.gz", "cost.json", "scores.json", "p?_*.json")
    places = [root / "out", root / "workspace" / "results"]
    return {p: p.stat().st_mtime_ns for place in places for k in kept for p in place.rglob(k)}


def test_one_call_does_all(whole, capsys):
    """Rows, costs and metrics of every method; of one that samples two rows; equal operations."""
    found = read_benchmark(whole / "out" / "benchmark.json")
    comparison = read_comparison(whole / "out" / "comparison.json")
    assert [row.name for row in found.rows] == [m.name for m in comparison.methods] == ROWS
    assert not found.failures and found.best == "regression_quadratic"
    assert "No trained method is better than regression_quadratic" in found.verdict[0]
    rows = {row.name: row for row in found.rows}
    one, mean = rows["lift"], rows["lift, mean of 2"]
    assert mean.training == one.training
    assert mean.prediction.flops == 2 * one.prediction.flops
    form = rows["regression_quadratic"]
    assert (one.prediction.sampler_steps, form.prediction.sampler_steps) == (3, None)
    assert (whole / "out" / "lift_mean_of_2" / "p1_0002.nii.gz").is_file()
    space, method = find_workspace(whole / "workspace"), load_method("lift")
    plan = load_plan(space, NAME, "default")
    recipe = load_recipe(space, plan, method)
    assert one.training.flops == training_work(plan, method, recipe)
    assert one.training.steps == num_steps(recipe) == 6
    assert one.training.parameters > 10_000 and one.training.device == "cpu"
    assert form.closed_form and form.training.flops == 0
    with (whole / "out" / "benchmark.csv").open(newline="") as file:
        table = {line["method"]: line for line in csv.DictReader(file)}
    assert list(table) == ROWS
    (psnr,) = [r for r in comparison.results if (r.metric, r.contrast) == ("psnr", "c")]
    for name, line in table.items():
        own = psnr.means[name]
        kept = [float(line[key]) for key in ("psnr", "psnr_low", "psnr_high")]
        assert kept == [own.mean, own.low, own.high]
        assert float(line["training_pflop"]) == rows[name].training.flops / 1e15
    assert table["lift"]["psnr_gain"] == "baseline"


def test_the_same_call_again_does_nothing_anew(done, capsys, monkeypatch):
    """Trainings, predictions and scores stay; the table is printed again, and its page made."""
    before, files = results(done), times(done)
    words = ["--methods", *METHODS, "-i", "new", "-r", "references", "-o", "out"]
    words += ["--workspace", "workspace", "--samples", "2", "-device", "cpu", "-np", "1"]
    monkeypatch.setattr(sys, "argv", ["liftnet_benchmark", *words])
    monkeypatch.chdir(done)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert times(done) == files
    # Folders are named as this call names them.
    assert results(done)["out/benchmark.json"] == before["out/benchmark.json"]
    assert printed.count("Already trained") == len(METHODS)
    assert printed.count("Scored already") == len(ROWS)
    assert "Method 1 of 2: regression_quadratic" in printed and "Method 2 of 2: lift" in printed
    assert "\nregression_quadratic: PSNR " in printed and " s a volume\n" in printed
    assert "3 rows on 2 cases of Dataset007_Phantom" in printed
    assert "2 cases cannot show a difference between methods: with 2 tests, 7 or" in printed
    assert printed.rstrip().endswith("liftnet_report -i out --workspace workspace")

    page = report("out", num_cases=1, viewer=False, workspace="workspace").read_text()
    found = read_benchmark(Path("out/benchmark.json"))
    text = page.partition('<section id="pictures">')[0]
    assert "<h1>Benchmark of 3 methods: Dataset007_Phantom</h1>" in page
    assert all(f"<li>{sentence}</li>" in text for sentence in found.verdict)
    assert text.count('<table class="sortable dense">') == 2 and text.count("<svg") == 2
    assert 'regression_quadratic <span class="tag">best</span>' in text
    for row in found.rows:
        assert f'data-value="{row.prediction.seconds!r}"' in text


def test_a_page_of_another_comparison_has_no_benchmark(done):
    """Where the comparison was made anew, of other methods, that is said."""
    path = done / "out" / "benchmark.json"
    found = read_benchmark(path)
    write_json(path, replace(found, rows=found.rows[1:]))
    page = report(done / "out", num_cases=1, viewer=False, workspace=done / "workspace")
    assert "benchmark.json is not shown: it is of other methods" in page.read_text()
    assert 'id="benchmark"' not in page.read_text()


def killed(work_of_child: Callable[[], object]) -> None:
    """A fork of this process that dies in its work as of kill -9."""
    process = os.fork()
    if not process:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work_of_child()
        finally:
            os._exit(1)  # the fork must not go on with its parent's tests
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def die_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    """Let the manieth call of a function be the last thing that the process does."""
    real, calls = getattr(module, name), []

    def dying(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, dying)


def test_killed_twice_and_continued(data, whole, monkeypatch):
    """In the middle of a training, then of a prediction: the files of the undisturbed run."""
    for module, name, call in ((training, "take_step", 4), (prediction, "write_case", 3)):
        with monkeypatch.context() as patched:
            die_at(patched, module, name, call)
            killed(lambda: run(data))
    assert not (data / "out" / "benchmark.json").exists()
    assert (data / "out" / "lift" / "scores.json").exists()
    run(data)
    assert results(data) == results(whole)


def test_two_parts_are_one_run(data, whole, capsys):
    """The first to end names what is missing, the last makes the table."""
    first = run(data, num_parts=2, part_id=1)
    assert first.rows == () and first.failures == ()
    printed = capsys.readouterr().out
    assert "Method 2 of 2: lift" in printed and "Method 1 of 2" not in printed
    assert "No table yet: regression_quadratic to be done by other parts" in printed
    assert not (data / "out" / "comparison.json").exists()
    run(data, num_parts=2, part_id=0)
    assert results(data) == results(whole)


def test_a_failure_does_not_stop_the_others(done, capsys, monkeypatch):
    """Too little memory: said at once and at the end; a table of the rest; later it is whole."""
    methods = ("regression_linear", *METHODS)

    def failing(*arguments: object, method: str, **options: object) -> object:
        if method == methods[0]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return training.train(*arguments, method=method, **options)

    with monkeypatch.context() as patched:
        patched.setattr(work, "train", failing)
        found = run(done, methods=methods)
        assert [f.method for f in found.failures] == [methods[0]]
        assert "--gpu-memory GIB" in found.failures[0].remedy
        printed = capsys.readouterr().out
        assert printed.count("regression_linear failed: The memory is too small") == 2
        assert [row.name for row in found.rows] == ROWS
        page = report(done / "out", num_cases=1, viewer=False, workspace=done / "workspace")
        assert "regression_linear failed: The memory is too small" in page.read_text()
    # Another part that finds the failure takes it as the end of that method.
    other = run(done, methods=methods, num_parts=3, part_id=1)
    assert other.failures == found.failures and len(other.rows) == 3
    found = run(done, methods=methods)
    assert not found.failures and [row.name for row in found.rows] == [*ROWS[:2], *methods[:2]]
    assert found.equal.startswith("8.27e-06 PFLOP of training, as lift takes them; closed forms")


def test_what_is_trained_under_another_recipe_is_kept(done, capsys):
    """A longer budget: nothing is trained anew or thrown away; one row is no comparison."""
    path = recipe_file(done, "lift")
    recipe = json.loads(path.read_text())
    recipe.pop("checksum", None)
    recipe["context_translation"]["num_steps"] = 60
    write_json(path, recipe)
    before, planned = times(done), path.read_bytes()
    with pytest.raises(LiftnetError, match="nothing to compare: 1 of 2 methods worked"):
        run(done)
    printed = capsys.readouterr().out
    assert "lift failed: lift is trained already, and not with the recipe of an equal" in printed
    assert times(done) == before and path.read_bytes() == planned


def test_equal_operations(data, capsys):
    """Planned anew, with the nearest whole number of steps; then it stays as it is."""
    space = find_workspace(data / "workspace")
    plan, method = load_plan(space, NAME, "default"), load_method("no_mapper")
    asked = budget.equal_budget(space, plan, "lift", None)
    place = {"fold": "0", "folder": data / "out", "device": torch.device("cpu")}
    recipe = budget.equal_recipe(space, plan, method, asked, **place)
    work = training_work(plan, method, recipe)
    assert abs(work - asked.operations) <= work / num_steps(recipe) / 2
    assert " of no_mapper take " in capsys.readouterr().out
    again = budget.equal_recipe(space, plan, method, asked, **place)
    assert again == recipe == load_recipe(space, plan, method)
    assert capsys.readouterr().out == ""


def test_settings_by_hand_stay(data):
    """Planned anew for the budget, a recipe keeps what a user has set."""
    space = find_workspace(data / "workspace")
    plan = load_plan(space, NAME, "default")
    method = load_method("lift")
    recipe = load_recipe(space, plan, method)
    assert recipe.mixer.hidden_size == 8
    asked = budget.Budget("no_mapper", 100 * training_work(plan, method, recipe), None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(budget, "decide", lambda space, name, asked: pytest.fail(str(asked)))
        with pytest.raises(pytest.fail.Exception, match=r"lift\.mixer\.hidden_size=8"):
            budget.equal_recipe(
                space, plan, method, asked, fold="0", folder=data / "out", device="cpu"
            )


def test_minutes_are_kept(data, capsys, monkeypatch):
    """Steps that take the time; measured as slower later, they stay; too little time is said."""
    seconds = {"step": 0.5}

    def measured(method, plan, recipe, device):
        return [
            StageCost(stage.schedule, seconds["step"], 0.25)
            for stage in method.stages(plan, recipe)
        ]

    monkeypatch.setattr(budget, "measure_training", measured)
    space = find_workspace(data / "workspace")
    plan, method = load_plan(space, NAME, "default"), load_method("no_mapper")

    def found(folder: str) -> Recipe:
        place = {"fold": "0", "folder": data / folder, "device": torch.device("cpu")}
        asked = budget.equal_budget(space, plan, "lift", 1.0)
        assert str(asked).startswith("1 min of training, validations included; closed forms")
        return budget.equal_recipe(space, plan, method, asked, **place)

    first = found("out")
    stages = method.stages(plan, first)
    took = sum(StageCost(stage.schedule, 0.5, 0.25).seconds(1) for stage in stages)
    assert took == pytest.approx(60, rel=0.03)
    printed = capsys.readouterr().out
    assert f"{num_steps(first)} steps of no_mapper take about 0.996 min here" in printed
    assert load_recipe(space, plan, method) == first
    seconds["step"] = 500.0
    assert found("out") == first
    recipe_file(data, "no_mapper").unlink()
    assert found("out") == first  # another part, or a run that was killed before it was written
    with pytest.raises(PlanError, match="1 min are too few for no_mapper: with validations 1 step"):
        found("elsewhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("lift", "no_maper")}, "No method 'no_maper'.*Did you mean 'no_mapper'"),
        ({"methods": ("lift", "lift")}, "lift is named twice"),
        ({"methods": ("lift",)}, "of two or more methods, got 1"),
        ({"methods": ("lift", "lift_u")}, "Method lift_u cannot serve this plan"),
        ({"like": "lift", "minutes": 3.0}, "--like and --minutes are two budgets"),
        ({"like": "regression_quadratic"}, "Method regression_quadratic takes no training steps"),
        ({"like": "left"}, "No method 'left'"),
        ({"baseline": "pix2pix_unet"}, "No method 'pix2pix_unet' is compared"),
        ({"minutes": 0.0}, "minutes is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"num_parts": 2, "part_id": 2}, "Part 2 of 2 does not exist"),
        ({"target": ["d"]}, "'d'"),
        ({"protocol": "cvdm"}, "cvdm"),
        ({"sources": "new"}, "-s would do nothing"),
    ],
)
def test_refused_before_anything_is_trained(data, options, message):
    """What makes no sense ends at once, with a remedy."""
    with pytest.raises(LiftnetError, match=f"(?s){message}") as caught:
        run(data, **options)
    assert caught.value.remedy
    assert not (data / "out").exists() and not (data / "workspace" / "results").exists()


def test_every_case_needs_a_reference(data):
    """A folder that is not there, a case without its true image, and nothing to predict."""
    (data / "references" / "p2_0002.nii.gz").unlink()
    with pytest.raises(LiftnetError, match="1 case of 2 have no reference") as caught:
        run(data)
    assert "none for p2; there are p1_0002.nii.gz" in caught.value.where
    shutil.rmtree(data / "references")
    with pytest.raises(LiftnetError, match="folder of references"):
        run(data)
    shutil.copytree(data / "workspace" / "raw" / NAME / "imagesTr", data / "references")
    shutil.copy(data / "references" / "p1_0002.nii.gz", data / "new")
    (data / "new" / "p2_0000.nii.gz").unlink()
    (data / "new" / "p2_0001.nii.gz").unlink()
    with pytest.raises(LiftnetError, match="nothing to predict: no case lacks one of a, b, c"):
        run(data)
    assert not (data / "out").exists()


def test_one_run_at_a_time(done):
    """A second one is told so, also where the first is a part of other numbers."""
    with hold(done / "out", "liftnet_benchmark", part="part_0_of_2"):
        with pytest.raises(BusyError, match="Another run works here"):
            run(done)
        with pytest.raises(BusyError, match="Another run works here"):
            run(done, num_parts=3)


def test_rows_of_a_method_that_samples(tmp_path, workspace):
    """One sample and the mean of several; only the first where one sample is asked for."""
    space = find_workspace(workspace)
    method = load_method("lift")
    recipe = load_recipe(space, load_plan(space, NAME, "default"), method)
    (plain,) = work.places_of(method, recipe, 5, tmp_path)
    assert (plain.name, plain.samples, plain.folder) == ("lift", None, tmp_path / "lift")
    drawn = replace(recipe, sampling=Sampling("heun", 4))
    first, second = work.places_of(method, drawn, 5, tmp_path)
    assert (first.name, first.samples) == ("lift", 1)
    assert second.name == "lift, mean of 5" and second.folder == tmp_path / "lift_mean_of_5"
    assert work.places_of(method, drawn, 1, tmp_path) == [first]


def test_a_ct_with_its_masks(pairs, capsys):
    """Masks of a protocol that needs them, errors by region; that there is none is said before."""
    raw, out = pairs / "raw" / "Dataset009_Heads", pairs / "out"
    new = pairs / "new"
    new.mkdir()
    shutil.copy(raw / "imagesTs" / "t1_0000.nii.gz", new)  # the other has no mask
    shutil.move(raw / "masksTs", pairs / "masks")
    options = {"minutes": 1.0, "protocol": "synthrad2023", "workspace": pairs, "device": "cpu"}
    folders = new, raw / "targetsTs", out
    methods = ["conditional_median", "regression_linear"]
    with pytest.raises(LiftnetError, match="synthrad2023 needs masks, and there is no folder"):
        benchmark(methods, *folders, **options)
    assert not out.exists()
    found = benchmark(methods, *folders, masks=pairs / "masks", **options)
    assert found.best in methods and not found.failures
    assert "No trained method" not in capsys.readouterr().out  # all are closed forms
    with (out / "benchmark.csv").open(newline="") as file:
        first, _ = csv.DictReader(file)
    assert float(first["mae"]) > 0 and first["training_steps"] == "0.0"
