"""Step 6: score predicted images against references, under a named protocol."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.scores import CohortScores, Scores
from liftnet.host.lock import hold, part_name
from liftnet.host.origin import origin_since
from liftnet.host.parallel import part_of, worker_count
from liftnet.host.progress import mention
from liftnet.pipeline.evaluate.cohort_setting import find_generation
from liftnet.pipeline.evaluate.cohorts import evaluate_cohort
from liftnet.pipeline.evaluate.files import refuse_same_folder
from liftnet.pipeline.evaluate.parts import evaluate_part
from liftnet.pipeline.evaluate.scoring import (
    find_files,
    refuse_same_files,
    score_all,
)
from liftnet.pipeline.evaluate.setting import Setting, by_channel, find_setting, has_own_numbers
from liftnet.pipeline.evaluate.table import report
from liftnet.pipeline.evaluate.whole import (
    Evaluation,
    gather,
    remove_half_scored,
    require_scores,
    write_scores,
)

__all__ = ["beside", "evaluate", "evaluate_pairs", "refuse_unfit", "refuse_unused"]

DEFAULT_PROTOCOL = "liftnet"  # ours: the paper's range and grid, without the target's zeros


@checked
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
    num_parts: int = 1,
    part_id: int = 0,
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
        num_parts: for images only: split the cases over this many runs ...
        part_id: ... and score this part; the one that finishes last merges all.
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
        own: dict[str, object] = {"--training": training, "--medicalnet": medicalnet}
        own |= {"--pairs": pairs, "-p": plan_name, "-f": fold, "-device": device}
        _refuse(own, "volumes that are generated from nothing", predicted_folder)
        return evaluate_pairs(
            predicted_folder,
            reference_folder,
            protocol=protocol,
            dataset=dataset,
            output=output,
            sources=sources,
            masks=masks,
            num_parts=num_parts,
            part_id=part_id,
            num_processes=num_processes,
            workspace=workspace,
        )
    own = {"-s": sources, "-m": masks}
    own |= {"-num_parts": num_parts if num_parts != 1 else None, "-part_id": part_id or None}
    _refuse(own, "images that have a reference each", predicted_folder)
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
    num_parts: int = 1,
    part_id: int = 0,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Scores:
    """The scores of predicted images; also written as scores.json and scores.csv.

    Of several parts, each returns its own, and the one that finishes last those of all.

    Args:
        predicted_folder: files named CASE_0003.nii.gz, with the JSON that predict wrote.
        reference_folder: files of the same names; others, such as the sources, may be there.
        protocol: which convention of range, grid and mask; "lift", "cwdm", "brasyn",
            "synthrad2023", "synthrad2025" as published.
        dataset: id or name; gives channel names and slice axis where the JSON files do not.
        output: folder for the scores; by default the predicted folder.
        sources: folder of source images, for protocols that mask with one; by default the
            reference folder, or imagesTs beside it if that is called targetsTs.
        masks: folder of masks named CASE.nii.gz, for protocols of CT that need one; by default
            masksTs beside targetsTs or imagesTs.
        num_parts: split the cases over this many runs ...
        part_id: ... and score this part; the one that finishes last merges all.
        num_processes: cases worked on at the same time.
        workspace: the workspace folder.

    Raises:
        DatasetError: If no predicted image has a reference, the protocol needs masks and there
            is no folder of them, or no image could be scored.
        PlanError: If there is no such protocol.
    """
    start = time.perf_counter()
    part_of(num_parts, part_id)  # refuses one that does not exist
    predicted, reference = Path(predicted_folder), Path(reference_folder)
    apart = beside(reference, "images") if has_own_numbers(reference) else None
    source = (apart or reference) if sources is None else Path(sources)
    mask = beside(reference, "masks") if masks is None else Path(masks)
    refuse_same_folder(predicted, {"-r": reference})
    files, alone, broken = find_files(
        predicted, reference, source, mask, dataset=dataset, workspace=workspace
    )
    refuse_same_files(files)
    facts = by_channel((pair.channel, pair.facts) for case in files for pair in case.pairs)
    setting = find_setting(
        facts, protocol, reference=reference, dataset=dataset, workspace=workspace
    )
    stated = setting.protocol.stated
    refuse_unfit(setting, facts, mask=mask, reference=reference)
    refuse_unused(setting, facts, {"-s": sources, "-m": masks})
    mention(f"Protocol {stated.name}: {stated.description}")
    whole = Evaluation(
        setting=setting,
        files=tuple(files),
        without_reference=tuple(path.name for path in alone),
        broken=tuple(broken),
        predicted=predicted,
        reference=reference,
        source=source,
        mask=mask,
        output=predicted if output is None else Path(output),
    )
    workers = worker_count(num_processes)
    with hold(whole.output, "liftnet_evaluate", part=part_name(num_parts, part_id)):
        remove_half_scored(whole.output, part_name(num_parts, part_id))
        if num_parts > 1:
            return evaluate_part(whole, num_parts, part_id, workers)
        scores = gather(whole, *score_all(whole.files, setting, workers))
        scores = replace(scores, made=origin_since(start))
        require_scores(scores)
        write_scores(whole.output, scores)
    report(scores, whole.output / "scores.json")
    return scores


def refuse_unfit(
    setting: Setting, digits: Iterable[str], *, mask: Path | None, reference: Path
) -> None:
    """Refuse a protocol of CT that needs masks, where there is no folder of them.

    Raises:
        DatasetError: If so.
    """
    name = setting.protocol.stated.name
    if mask is None and setting.protocol.stated.needs_mask and _only_ct(setting, digits):
        raise DatasetError(
            f"Protocol {name} needs masks, and there is no folder of them",
            where=str(reference.absolute().parent),
            remedy="Name the folder of masks CASE.nii.gz with --masks, or use --protocol liftnet, "
            "which needs none.",
        )


def refuse_unused(
    setting: Setting, digits: Iterable[str], given: Mapping[str, Path | str | None]
) -> None:
    """Refuse folders that the protocol does not look into.

    Raises:
        LiftnetError: If one is given.
    """
    own = setting.protocol.stated
    only_mr = {setting.known.modalities.get(channel) for channel in digits} == {"MR"}
    masks = "masks of MR" if own.needs_mask and only_mr else "masks"
    used = {"-s": (own.needs_source, "sources"), "-m": (own.needs_mask and not only_mr, masks)}
    for option, folder in given.items():
        needed, what = used[option]
        if folder is not None and not needed:
            raise LiftnetError(
                f"{option} would do nothing: protocol {own.name} looks at no {what}",
                where=f"{option} {folder}",
                remedy=f"Leave out {option}, or name another --protocol.",
            )


def _only_ct(setting: Setting, digits: Iterable[str]) -> bool:
    """Whether all these channels are known to be CT; each other image is met on its own."""
    return all(setting.known.modalities.get(channel) == "CT" for channel in digits)


def beside(reference: Path, kind: str) -> Path | None:
    """The folder of sources or masks of the raw dataset in which the references lie, if any."""
    match = re.fullmatch(r"(images|targets)(Tr|Ts)", reference.absolute().name)
    if match is None:
        return None
    folder = reference.absolute().parent / f"{kind}{match[2]}"
    return folder if folder.is_dir() else None
