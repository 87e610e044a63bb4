"""Which method is best on these data, at this budget: one call that trains and compares all."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.benchmark import (
    BENCHMARK,
    BENCHMARK_VERSION,
    Benchmark,
    BenchmarkFailure,
    BenchmarkRow,
)
from liftnet.core.errors import LiftnetError
from liftnet.core.scores import read_scores
from liftnet.core.storage.files import write_together
from liftnet.core.storage.jsonable import json_text
from liftnet.core.workspace import find_workspace
from liftnet.host.lock import BusyError, hold, part_name
from liftnet.host.origin import origin_since
from liftnet.host.parallel import part_of
from liftnet.host.progress import keep_quiet, mention, say
from liftnet.pipeline.benchmark.budget import equal_budget
from liftnet.pipeline.benchmark.rows import Place, cost_of
from liftnet.pipeline.benchmark.setting import (
    Setting,
    check_files,
    find_methods,
    pick,
    pick_budget,
)
from liftnet.pipeline.benchmark.table import as_csv, report, say_failures
from liftnet.pipeline.benchmark.verdict import Verdict, find_verdict
from liftnet.pipeline.benchmark.work import Done, found_already, work_on
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.compare.floor import closed_forms, without_floor
from liftnet.pipeline.compare.results import common_rows
from liftnet.pipeline.convert.recognise import Inputs
from liftnet.pipeline.evaluate.evaluate import DEFAULT_PROTOCOL
from liftnet.pipeline.models.runs import find_device
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.predict.inputs import refuse_one_folder
from liftnet.tasks import load_synthesis
from liftnet.version import __version__

__all__ = ["benchmark"]

NONE = Verdict("", (), ())
PATIENCE, PAUSE = 10, 0.5  # ours: tries, and seconds between them, while another part ends


@checked
def benchmark(
    methods: Sequence[str],
    input_folder: Inputs,
    reference_folder: Path | str,
    output: Path | str,
    dataset: int | str | None = None,
    *,
    like: str | None = None,
    minutes: float | None = None,
    baseline: str | None = None,
    fold: int | str = "0",
    plan_name: str = DEFAULT_PLAN,
    target: Sequence[str] | None = None,
    masks: Path | str | None = None,
    sources: Path | str | None = None,
    protocol: str = DEFAULT_PROTOCOL,
    samples: int = 5,
    num_parts: int = 1,
    part_id: int = 0,
    device: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Benchmark:
    """Several methods trained at an equal budget, and compared on new cases.

    The same call again goes on where the last one stopped. What is trained, predicted or scored
    already stays. A method that fails is left out of the table.

    Args:
        methods: two or more.
        input_folder: of new cases, as for `predict`.
        reference_folder: their true images, as for `evaluate`.
        output: folder for the predictions of each method, and for the table.
        dataset: id or name, planned and preprocessed.
        like: the method whose operations of training all others take, as its recipe stands; by
            default the task's own.
        minutes: of training for every method, in place of that.
        baseline: the method that others are compared with; by default the task's own, if it is
            among them, else the first.
        fold: that is trained, and predicts.
        plan_name: which plan.
        target: contrasts to predict even where they are present.
        masks: folder of masks, for plans and protocols that use them.
        sources: as for `evaluate`.
        protocol: how images are scored.
        samples: of a method that draws one of many results, the mean of so many is another row.
        num_parts: split the methods over this many runs ...
        part_id: ... and do this part of them; the last one makes the table.
        device: "cuda", "cpu" or "mps".
        num_processes: files worked on at the same time.
        workspace: the workspace folder.

    Returns:
        The table. It has no rows yet where other parts have work to do.

    Raises:
        LiftnetError: If the call makes no sense, a case has no reference, or fewer than two
            methods have a row. All but the last before anything is trained.
    """
    start = time.perf_counter()
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    part = part_of(num_parts, part_id)
    plan = load_plan(space, name, plan_name)
    load_synthesis(plan.task)  # refuses one whose volumes have no references
    found = find_methods(plan, methods)
    default = pick_budget(plan, like, minutes)
    first = pick(baseline or (default if default in methods else methods[0]), methods, "--baseline")
    folder = Path(output)
    refuse_one_folder(input_folder, folder)
    files = check_files(
        plan,
        input_folder,
        Path(reference_folder),
        protocol=protocol,
        target=target,
        masks=None if masks is None else Path(masks),
        sources=None if sources is None else Path(sources),
        workspace=workspace,
    )
    setting = Setting(
        space=space,
        workspace=workspace,
        plan=plan,
        fold=str(fold),
        methods=found,
        baseline=first,
        budget=equal_budget(space, plan, default, minutes),
        samples=samples,
        files=files,
        output=folder,
        device=find_device(device),
        num_processes=num_processes,
    )
    say(f"{len(found)} methods, each with {setting.budget}")
    done: dict[str, Done] = {}
    with hold(folder, "liftnet_benchmark", part=part_name(num_parts, part_id)):
        for number in range(len(found))[part]:
            method = found[number]
            say(f"\nMethod {number + 1} of {len(found)}: {method.name}")
            done[method.name] = work_on(setting, method)
    made = _made_of_all(setting, done, start)
    say_failures(made.failures)
    return made


def _made_of_all(setting: Setting, done: Mapping[str, Done], start: float) -> Benchmark:
    """The table of all methods, written and printed; without rows while some are to be done.

    Raises:
        LiftnetError: If there are fewer than two rows.
    """
    every = {
        method.name: done.get(method.name) or found_already(setting, method)
        for method in setting.methods
    }
    failures = [found.failure for found in every.values() if found and found.failure]
    if missing := [name for name, found in every.items() if found is None]:
        say(
            f"\nNo table yet: {', '.join(missing)} to be done by other parts. The last of them "
            "makes the table."
        )
        own = [found.failure for found in done.values() if found.failure]
        return _benchmark(setting, (), own, NONE, start)
    places = [place for found in every.values() if found for place in found.places]
    if len(places) < 2:
        say_failures(failures)
        raise LiftnetError(
            f"There is nothing to compare: {len(places)} of {len(every)} methods worked",
            where=str(setting.output),
            remedy="Do as it says above, and run the same command again: what is done is kept.",
        )
    places.sort(key=lambda place: place.method != setting.baseline)  # it comes first
    for _ in range(PATIENCE):
        try:
            return _table(setting, places, failures, start)
        except BusyError:
            time.sleep(PAUSE)
    say("\nAnother part is at work here, and makes the table.")
    return _benchmark(setting, (), failures, NONE, start)


def _table(
    setting: Setting, places: Sequence[Place], failures: Sequence[BenchmarkFailure], start: float
) -> Benchmark:
    """Compare all rows, write and print the table."""
    plan, output = setting.plan, setting.output
    with keep_quiet():
        comparison = compare(
            [place.folder for place in places],
            output,
            names=[place.name for place in places],
            workspace=setting.workspace,
        )
    run = setting.space.run_folder(plan.dataset, plan.name)
    rows = tuple(cost_of(place, run, setting.fold) for place in places)
    scores = {place.name: read_scores(place.folder / "scores.json").cases for place in places}
    found = find_verdict(rows, common_rows(scores)[0], comparison.main_metrics)
    made = _benchmark(setting, rows, failures, found, start)
    contents = {
        output / "benchmark.csv": as_csv(made, comparison),
        output / BENCHMARK: json_text(made),
    }
    with hold(output, "liftnet_benchmark"):
        write_together(contents)
    report(made, comparison, output)
    forms = closed_forms(plan)
    if forms and not any(row.closed_form for row in rows):
        mention(without_floor(forms, " add it to --methods."))
    return made


def _benchmark(
    setting: Setting,
    rows: tuple[BenchmarkRow, ...],
    failures: Sequence[BenchmarkFailure],
    verdict: Verdict,
    start: float,
) -> Benchmark:
    return Benchmark(
        version=BENCHMARK_VERSION,
        dataset=setting.plan.dataset,
        plan=setting.plan.name,
        fold=setting.fold,
        equal=str(setting.budget),
        minutes=setting.budget.minutes,
        rows=rows,
        failures=tuple(failures),
        best=verdict.best,
        alike=verdict.alike,
        verdict=verdict.sentences,
        liftnet=__version__,
        made=origin_since(start, str(setting.device)),
    )
