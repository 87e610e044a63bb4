"""Step 6: score predicted images against references, under a named protocol."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from liftnet.core.dataset import find_masks
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.jsonable import write_json, write_text
from liftnet.core.scores import SCORES_VERSION, CaseScore, CohortScores, ScoreFailure, Scores
from liftnet.pipeline.cohort_setting import find_generation
from liftnet.pipeline.evaluate_cohort import evaluate_cohort
from liftnet.pipeline.parallel import in_parallel, threads_shared_by, worker_count
from liftnet.pipeline.progress import progress, say
from liftnet.pipeline.score_setting import Facts, find_setting, has_own_numbers, read_facts
from liftnet.pipeline.score_table import TABLE_WIDTH, as_csv, explanation, summarize, table
from liftnet.pipeline.scoring import CaseFiles, Pair, find_images, score_files
from liftnet.version import __version__

__all__ = ["evaluate", "evaluate_pairs"]

DEFAULT_PROTOCOL = "liftnet"  # ours: the paper's range and grid, without the target's zeros
SHOWN_NAMES = 4  # ours: enough of each folder's names to see what is different


def evaluate(
    predicted_folder: Path | str,
    reference_folder: Path | str,
    *,
    protocol: str = DEFAULT_PROTOCOL,
    dataset: int | str | None = None,
    output: Path | str | None = None,
    sources: Path | str | None = None,
    masks: Path | str | None = None,
    training: Path | str | None = None,
    medicalnet: Path | str | None = None,
    pairs: int | None = None,
    plan_name: str | None = None,
    fold: int | str | None = None,
    device: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Scores | CohortScores:
    """The scores of predicted images, one by one, or of generated volumes, as a cohort.

    Volumes are generated if the JSON files beside them name such a task, or, without any, if the
    dataset is of such a task.

    Args:
        predicted_folder: files with the JSON that predict or generate wrote.
        reference_folder: references of the same names, or any real volumes for a cohort.
        protocol: which convention; see `evaluate_pairs` and `evaluate_cohort`.
        dataset: id or name.
        output: folder for the scores; by default the predicted folder.
        sources: for images only.
        masks: for images only.
        training: for a cohort only: what the network was trained on.
        medicalnet: for a cohort only: weights for Fréchet distances.
        pairs: for a cohort only: of volumes for MS-SSIM.
        plan_name: for a cohort only: of grid and normalization.
        fold: for a cohort only: whose encoder describes volumes.
        device: for a cohort only: where features are computed.
        num_processes: cases worked on at the same time.
        workspace: the workspace folder.

    Raises:
        LiftnetError: If an option does not fit, or nothing can be scored.
    """
    task = find_generation(
        Path(predicted_folder), dataset=dataset, plan_name=plan_name, workspace=workspace
    )
    if task is None:
        own = {"--training": training, "--medicalnet": medicalnet, "--pairs": pairs}
        own |= {"-p": plan_name, "-f": fold, "-device": device}
        _refuse(own, "volumes that are generated from nothing", predicted_folder)
        return evaluate_pairs(
            predicted_folder,
            reference_folder,
            protocol=protocol,
            dataset=dataset,
            output=output,
            sources=sources,
            masks=masks,
            num_processes=num_processes,
            workspace=workspace,
        )
    _refuse({"-s": sources, "-m": masks}, "images that have a reference each", predicted_folder)
    return evaluate_cohort(
        predicted_folder,
        reference_folder,
        task,
        training_folder=training,
        protocol=protocol,
        medicalnet=medicalnet,
        dataset=dataset,
        plan_name=plan_name,
        fold=fold,
        output=output,
        device=device,
        pairs=pairs,
        num_processes=num_processes,
        workspace=workspace,
    )


def _refuse(options: Mapping[str, object], kind: str, folder: Path | str) -> None:
    """Refuse options that are for the other kind of evaluation.

    Raises:
        LiftnetError: If one is given.
    """
    given = [name for name, value in options.items() if value is not None]
    if given:
        what = f"{', '.join(given)} {'is' if len(given) == 1 else 'are'}"
        raise LiftnetError(
            f"{what} only for {kind}; those of {folder} are not",
            where=given[0],
            remedy="Leave it out. Volumes count as generated if the JSON files beside them name "
            "such a task, or, without any, if -d names a dataset of such a task.",
        )


def evaluate_pairs(
    predicted_folder: Path | str,
    reference_folder: Path | str,
    *,
    protocol: str = DEFAULT_PROTOCOL,
    dataset: int | str | None = None,
    output: Path | str | None = None,
    sources: Path | str | None = None,
    masks: Path | str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Scores:
    """The scores of predicted images; also written as scores.json and scores.csv.

    Args:
        predicted_folder: files named CASE_0003.nii.gz, with the JSON that predict wrote.
        reference_folder: files of the same names; others, such as the sources, may be there.
        protocol: which convention of range, grid and mask; "lift", "cwdm", "brasyn",
            "synthrad2023", "synthrad2025" as published.
        dataset: id or name; gives channel names and slice axis where the JSON files do not.
        output: folder for the scores; by default the predicted folder.
        sources: folder of source images, for protocols that mask with one; by default the
            reference folder, or imagesTs beside it if that is called targetsTs.
        masks: folder of masks named CASE.nii.gz, for protocols that score inside one; by default
            masksTs beside targetsTs or imagesTs.
        num_processes: cases worked on at the same time.
        workspace: the workspace folder.

    Raises:
        DatasetError: If no predicted image has a reference, the protocol needs masks and there
            is no folder of them, or no image could be scored.
        PlanError: If there is no such protocol.
    """
    predicted, reference = Path(predicted_folder), Path(reference_folder)
    apart = _beside(reference, "images") if has_own_numbers(reference) else None
    source = (apart or reference) if sources is None else Path(sources)
    target = predicted if output is None else Path(output)
    mask = _beside(reference, "masks") if masks is None else Path(masks)
    files, alone, broken = find_files(predicted, reference, source, mask)
    facts: dict[str, list[Facts]] = {}
    for pair in (pair for case in files for pair in case.pairs):
        facts.setdefault(pair.channel, []).extend([pair.facts] if pair.facts else [])
    setting = find_setting(
        facts, protocol, reference=reference, dataset=dataset, workspace=workspace
    )
    if setting.protocol.needs_mask and mask is None:
        raise DatasetError(
            f"Protocol {protocol} scores inside a mask, and there is no folder of masks",
            where=str(reference.absolute().parent),
            remedy="Name the folder of masks CASE.nii.gz with --masks.",
        )
    say(f"Protocol {setting.protocol.name}: {setting.protocol.description}")
    rows: list[CaseScore] = []
    failures = list(broken)
    workers = min(worker_count(num_processes), max(1, len(files)))
    with progress("Evaluate", len(files)) as advance, threads_shared_by(workers):
        pairs = in_parallel(lambda f: score_files(f, setting), files, workers)
        for _, (scored, failed) in pairs:
            rows += scored
            failures += failed
            advance()
    failures.sort(key=lambda failure: failure.case)
    rows.sort(key=lambda row: (row.case, row.contrast))
    if not rows:
        _report_failures(failures)
        raise DatasetError(
            "None of the predicted images could be scored",
            where=str(predicted),
            remedy="The lines above say why, case by case.",
        )
    scores = Scores(
        version=SCORES_VERSION,
        protocol=setting.protocol,
        task=setting.task,
        dataset=setting.dataset,
        slice_axis=setting.slice_axis,
        predicted_folder=str(predicted.absolute()),
        reference_folder=str(reference.absolute()),
        sources_folder=str(source.absolute()) if setting.protocol.needs_source else "",
        summary=summarize(rows),
        cases=tuple(rows),
        without_reference=tuple(path.name for path in alone),
        failures=tuple(failures),
        liftnet=__version__,
    )
    write_json(target / "scores.json", scores)
    write_text(target / "scores.csv", as_csv(rows))
    _report(scores, target)
    return scores


def _beside(reference: Path, kind: str) -> Path | None:
    """The folder of sources or masks of the raw dataset in which the references lie, if any."""
    match = re.fullmatch(r"(images|targets)(Tr|Ts)", reference.absolute().name)
    if match is None:
        return None
    folder = reference.absolute().parent / f"{kind}{match[2]}"
    return folder if folder.is_dir() else None


def find_files(
    predicted: Path, reference: Path, source: Path, mask: Path | None
) -> tuple[list[CaseFiles], list[Path], list[ScoreFailure]]:
    """The cases to score, predicted files without a reference, and files with a broken JSON.

    Raises:
        DatasetError: If a folder is missing, or no predicted file has a reference.
    """
    found, strangers = find_images(predicted, "predicted")
    for path in strangers:
        say(f"warning: {path.name} is not named like CASE_0003; left out")
    references, _ = find_images(reference, "reference")
    sources = references if source == reference else find_images(source, "source")[0]
    masks = {} if mask is None else find_masks(mask)
    files, alone, broken = [], [], []
    for case, images in sorted(found.items()):
        pairs = []
        for channel, path in sorted(images.items()):
            if channel not in references.get(case, {}):
                alone.append(path)
                continue
            try:
                pairs.append(Pair(channel, path, read_facts(path)))
            except LiftnetError as error:
                broken.append(ScoreFailure(case, str(error)))
        if pairs:
            own_sources, own_mask = sources.get(case, {}), masks.get(case)
            files.append(CaseFiles(case, tuple(pairs), references[case], own_sources, own_mask))
    if not files and not broken:
        raise DatasetError(
            "No predicted image has a reference of the same name",
            where=f"predicted {predicted}: {_some_names(found)}; "
            f"reference {reference}: {_some_names(references)}",
            remedy="Name both CASE_0003.nii.gz: same case, same channel number.",
        )
    return files, alone, broken


def _some_names(found: dict[str, dict[str, Path]]) -> str:
    names = [path.name for images in found.values() for path in images.values()]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more if names else "no image named CASE_0003"


def _report(scores: Scores, output: Path) -> None:
    """Print the table, what it rests on, and what was not scored."""
    width = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns
    say(table(scores.summary, width))
    for line in explanation(scores.cases, scores.slice_axis, width):
        say(line)
    origins: dict[str, int] = {}
    for row in scores.cases:
        origin = row.notes.get("predicted_range", "").split(":")[0]
        origins[origin] = origins.get(origin, 0) + 1
    for origin, count in sorted(origins.items()):
        if origin:
            say(f"range of the predicted images: {origin} ({count} of {len(scores.cases)})")
    for name in scores.without_reference:
        say(f"warning: {name} has no reference; not scored")
    _report_failures(scores.failures)
    say(f"Scores of {len(scores.cases)} images: {output / 'scores.json'}, scores.csv")


def _report_failures(failures: Sequence[ScoreFailure]) -> None:
    for failure in failures:
        say(f"failed: {failure.case}: {failure.problem}")
