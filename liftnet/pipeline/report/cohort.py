"""The report of an evaluation of generated volumes: numbers, samples, the closest pairs."""

import base64
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError, LiftnetError, PlanError
from liftnet.core.geometry import SLICE_AXES, SliceAxis, array_axes
from liftnet.core.scores import CohortScores, read_cohort_scores
from liftnet.host.progress import progress, say
from liftnet.pipeline.evaluate.cohort_setting import (
    CohortFiles,
    CohortSetting,
    find_cohort_setting,
    find_cohorts,
)
from liftnet.pipeline.evaluate.cohort_volumes import read_onto_grid
from liftnet.pipeline.report.cohort_pairs import PairPicture, pair_picture
from liftnet.pipeline.report.cohort_sections import (
    measure_section,
    notes_section,
    numbers_section,
    origin_section,
    pair_section,
    verdict,
)
from liftnet.pipeline.report.order import few_volumes
from liftnet.pipeline.report.pictures import MB
from liftnet.pipeline.report.results import json_without_folders
from liftnet.visual.figures import sample_sheet
from liftnet.visual.html import Html, join, tag
from liftnet.visual.page import Page, Section, write_page

__all__ = ["find_cohort_file", "report_cohort"]

FILE = "cohort_scores.json"
OTHERS = ("comparison.json", "scores.json")  # a report is of these where they are there
SAMPLES = 8  # ours: of each cohort, two rows of a sheet
COLUMNS = 4  # of a sheet
LONGEST = 34  # ours: letters that fit above a sample


@dataclass(frozen=True)
class Viewed:
    """Where volumes are, and how they become (D, H, W) = (superior, posterior, left)."""

    setting: CohortSetting
    files: Mapping[str, CohortFiles]
    shape: tuple[int, int, int]  # on the common grid
    order: tuple[int, int, int]  # of its axes
    spacing_mm: tuple[float, float, float]  # in canonical axes
    slice_axis: int

    def read(self, cohort: str, name: str) -> np.ndarray:
        """One volume in [0, 1].

        Raises:
            LiftnetError: If its file is gone, damaged, or lies on another grid than when scored.
        """
        path = self.files[cohort].files.get(name)
        if path is None:
            raise DatasetError(f"{name} is no longer in the folder of {cohort} volumes")
        volume = read_onto_grid(path, self.setting)
        if volume.shape != self.shape:
            raise GeometryError(
                f"{name} has {volume.shape} voxels on the plan's grid, {self.shape} when scored"
            )
        return np.ascontiguousarray(volume.transpose(self.order))


def find_cohort_file(place: Path) -> Path | None:
    """The scores of cohorts to report on; None where there are others or none.

    Args:
        place: a folder, or the file itself.
    """
    if place.is_file():
        return place if place.name == FILE else None
    if any((place / name).is_file() for name in OTHERS):
        return None
    return place / FILE if (place / FILE).is_file() else None


def report_cohort(
    file: Path,
    path: Path,
    *,
    num_cases: int,
    dataset: int | str | None,
    max_mb: float,
    viewer: bool,
    workspace: Path | str | None,
    refused: Mapping[str, object] | None = None,
) -> Path:
    """The path of one HTML file of an evaluation of generated volumes.

    Args:
        file: cohort_scores.json.
        path: the HTML file.
        num_cases: of the closest pairs, at most.
        dataset: id or name; by default that of the scores.
        max_mb: of the volumes in the page; where they are larger, cubes of voxels are averaged.
        viewer: whether the viewer for 3D is put into the page.
        workspace: the workspace folder.
        refused: options that only fit images with references -> what was given.

    Raises:
        LiftnetError: If the scores are damaged, or an option does not fit.
    """
    start = time.perf_counter()
    if given := [name for name, value in (refused or {}).items() if value]:
        raise LiftnetError(
            "Generated volumes are reported as a cohort: no case has a reference or a source",
            where=", ".join(given),
            remedy="Leave the option out.",
        )
    try:
        scores = read_cohort_scores(file)
    except PlanError as error:
        error.where = f"{file}: {error.where}"
        raise
    viewed, problems = None, []
    try:
        viewed = _find_volumes(scores, dataset, workspace)
    except LiftnetError as error:
        problems.append(f"No volume is shown: {error.problem}")
    samples, pairs = None, []
    if viewed is not None:
        samples = _sample_section(viewed, problems)
        pairs = _pairs(scores, viewed, num_cases, max_mb, problems)
    page = _page(scores, file, samples, pairs, problems, viewer=viewer)
    write_page(page, path)
    for problem in problems:
        say(f"warning: {problem}")
    size, seconds = path.stat().st_size / MB, time.perf_counter() - start
    say(
        f"Report of {scores.num_generated} generated volumes, {len(pairs)} pairs shown: {path} "
        f"({size:.1f} MB, {seconds:.1f} s)"
    )
    return path


def _find_volumes(
    scores: CohortScores, dataset: int | str | None, workspace: Path | str | None
) -> Viewed:
    """What is needed to see volumes as the evaluation did.

    Raises:
        LiftnetError: If the plan or a folder is gone.
    """
    generated = Path(scores.generated_folder)
    setting = find_cohort_setting(
        generated,
        scores.task,
        scores.protocol.name,
        dataset=scores.dataset or None if dataset is None else dataset,
        plan_name=scores.plan or None,
        fold=None,
        device="cpu",
        workspace=workspace,
        network=False,
    )
    folders = {"generated": generated, "real": Path(scores.real_folder)}
    if scores.training_folder:
        folders["training"] = Path(scores.training_folder)
    cohorts, _ = find_cohorts(folders, setting.digits, fewest=1)
    axis: SliceAxis = "axial"
    if (own := setting.protocol.own_grid) is not None:
        spacing = own.spacing_mm
    else:
        assert setting.plan is not None  # every other protocol is that of a plan
        axis, spacing = setting.plan.grid.slice_axis, setting.plan.grid.spacing_mm
    z, y, x = (SLICE_AXES[axis].index(world) for world in (2, 1, 0))
    return Viewed(
        setting=setting,
        files={cohort.what: cohort for cohort in cohorts},
        shape=scores.shape,
        order=(z, y, x),
        spacing_mm=(spacing[z], spacing[y], spacing[x]),
        slice_axis=array_axes(axis)[0],
    )


def _sample_section(viewed: Viewed, problems: list[str]) -> Html | None:
    """Some volumes of both cohorts in one picture; None if none could be read."""
    cohorts = [viewed.files[what] for what in ("generated", "real")]
    count = min(SAMPLES, *(len(cohort.files) for cohort in cohorts))
    count = max(count // COLUMNS * COLUMNS, min(count, COLUMNS))  # each cohort in rows of its own
    found = []
    with progress("Samples", 2 * count, unit="volume") as advance:
        for cohort in cohorts:
            for name in _evenly(list(cohort.files), count):
                try:
                    label = f"{cohort.what} {name}"
                    label = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
                    found.append((label, viewed.read(cohort.what, name)))
                except LiftnetError as error:
                    problems.append(f"{name} is not among the samples: {error.problem}")
                advance()
    if not found:
        return None
    with tempfile.TemporaryDirectory(prefix="liftnet_report_") as folder:
        path = Path(folder) / "samples.png"
        sample_sheet(found, path, spacing_mm=viewed.spacing_mm, title="")
        picture = base64.b64encode(path.read_bytes()).decode()
    names = ", ".join(label for label, _ in found)
    words = (
        "Middle slices in three planes, generated volumes first, then as many real ones; taken at "
        "even steps from the list of names, not by how they look. All have one grey scale."
    )
    image = tag("img", src=f"data:image/png;base64,{picture}", alt=f"Three planes each of {names}")
    return join(tag("figure", image), tag("p", words, class_="note"))


def _evenly(names: Sequence[str], count: int) -> list[str]:
    """Some names at even steps from the first to the last."""
    places = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [names[place] for place in places]


def _pairs(
    scores: CohortScores, viewed: Viewed, count: int, max_mb: float, problems: list[str]
) -> list[PairPicture]:
    """The closest pairs as the viewer shows them."""
    known = "training" if scores.training_folder else "real"
    chosen = scores.closest[:count]
    found = []
    for number, pair in enumerate(chosen):
        try:
            found.append(
                pair_picture(
                    pair,
                    (viewed.read(pair.cohort, pair.volume), viewed.read(known, pair.neighbour)),
                    known=known,
                    spacing_mm=viewed.spacing_mm,
                    slice_axis=viewed.slice_axis,
                    number=number,
                    max_bytes=max_mb * MB / len(chosen),
                )
            )
        except LiftnetError as error:
            problems.append(f"{pair.volume} and {pair.neighbour} are not shown: {error.problem}")
    return found


def _page(
    scores: CohortScores,
    file: Path,
    samples: Html | None,
    pairs: Sequence[PairPicture],
    problems: Iterable[str],
    *,
    viewer: bool,
) -> Page:
    shown = {pair.data["id"] for pair in pairs}
    found: list[tuple[str, str, Html | None]] = [
        ("samples", "Samples", samples),
        ("pictures", "Closest pairs", pair_section(scores, pairs) if pairs else None),
        ("summary", "Numbers", numbers_section(scores, shown)),
        ("measure", "How it was measured", measure_section(scores)),
        ("notes", "What the numbers rest on", notes_section(scores)),
        ("origin", "How it was made", origin_section(scores)),
    ]
    name = f": {scores.dataset}" if scores.dataset else ""
    training = f", {scores.num_training} training" if scores.num_training else ""
    return Page(
        title=f"Generated volumes{name}",
        subtitle=f"{scores.task}, {scores.num_generated} generated volumes, {scores.num_real} real"
        f"{training} ({scores.channel}), protocol {scores.protocol.name}; liftnet "
        f"{scores.liftnet}",
        verdict=verdict(scores),
        warnings=[*scores.warnings, *few_volumes(scores), *problems],
        sections=[Section(key, title, content) for key, title, content in found if content],
        cases=[pair.data for pair in pairs],
        volumes={key: text for pair in pairs for key, text in pair.texts.items()},
        results=json_without_folders(file),
        viewer_3d=viewer,
    )
