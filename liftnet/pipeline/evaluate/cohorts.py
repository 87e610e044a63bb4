"""Step 6 of a task that makes volumes from nothing: one cohort against another."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from liftnet.core.errors import CheckpointError
from liftnet.core.scores import COHORT_SCORES_VERSION, ClosestPair, CohortRow, CohortScores
from liftnet.core.storage.jsonable import write_json
from liftnet.host.lock import hold
from liftnet.host.origin import origin_since
from liftnet.host.parallel import threads_shared_by, worker_count
from liftnet.host.progress import mention, progress, say
from liftnet.methods.base import Generates
from liftnet.networks.medicalnet import MedicalNet, load_medicalnet
from liftnet.pipeline.evaluate.cohort_distances import measure_distances, nearest_rows, spread_rows
from liftnet.pipeline.evaluate.cohort_measures import (
    Cohorts,
    Control,
    choose_control,
    feature_rows,
    likeness_reads,
    likeness_rows,
    slice_reads,
    slice_rows,
)
from liftnet.pipeline.evaluate.cohort_setting import (
    CohortFiles,
    CohortSetting,
    find_cohort_setting,
    find_cohorts,
)
from liftnet.pipeline.evaluate.cohort_table import cohort_table, explanation, notes, warnings
from liftnet.pipeline.evaluate.cohort_volumes import Volumes, network_limits, read_cohort
from liftnet.pipeline.evaluate.files import refuse_same_folder
from liftnet.pipeline.evaluate.whole import remove_half_scored
from liftnet.pipeline.models.runs import find_device
from liftnet.version import __version__

__all__ = ["DEFAULT_PAIRS", "evaluate_cohort"]

DEFAULT_PAIRS = 200  # ours: pairs of brains spread by 0.04, so their mean errs by about 0.003
MEDICALNET = "MedicalNet ResNet-50"
Describe = Callable[[np.ndarray], torch.Tensor]  # a volume (D, H, W) in [0, 1] -> features (F,)


def evaluate_cohort(
    generated_folder: Path | str,
    real_folder: Path | str,
    task: str,
    *,
    training_folder: Path | str | None = None,
    protocol: str = "liftnet",
    medicalnet: Path | str | None = None,
    dataset: int | str | None = None,
    plan_name: str | None = None,
    fold: int | str | None = None,
    output: Path | str | None = None,
    device: str | None = None,
    pairs: int | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> CohortScores:
    """The scores of generated volumes as a cohort; also written as cohort_scores.json.

    Args:
        generated_folder: volumes named sample_0000_0000.nii.gz.
        real_folder: real volumes of the same channel number.
        task: that made the volumes.
        training_folder: what the network was trained on, if the real volumes are others.
        protocol: "liftnet" or "wdm".
        medicalnet: weights of MedicalNet's ResNet-50, for its features.
        dataset: id or name; by default the one that the JSON files name.
        plan_name: of grid and normalization; by default the one that the JSON files name.
        fold: whose encoder describes volumes; by default the first that is trained.
        output: folder for the scores; by default that of the generated volumes.
        device: where features are computed.
        pairs: of volumes for MS-SSIM, 200 by default.
        num_processes: files read at the same time.
        workspace: the workspace folder.

    Raises:
        LiftnetError: If the cohorts cannot be compared.
    """
    start = time.perf_counter()
    generated, target = Path(generated_folder), Path(output or generated_folder)
    folders = {"generated": generated, "real": Path(real_folder)}
    if training_folder is not None:
        folders["training"] = Path(training_folder)
    others = {"-r": folders["real"], "--training": folders.get("training")}
    refuse_same_folder(generated, others)
    setting = find_cohort_setting(
        generated,
        task,
        protocol,
        dataset=dataset,
        plan_name=plan_name,
        fold=fold,
        device=device,
        workspace=workspace,
    )
    files, channel = find_cohorts(folders, setting.digits)
    encoders = _encoders(setting, medicalnet, device)
    missing = setting.no_model
    if setting.protocol.own_grid is not None and medicalnet is None:
        missing = f"protocol {protocol} takes those of MedicalNet, whose weights --medicalnet names"
    mention(f"Protocol {protocol}: {setting.protocol.stated.description}")
    with (
        hold(target, "liftnet_evaluate"),
        tempfile.TemporaryDirectory(prefix="liftnet_cohorts_") as scratch,
    ):
        remove_half_scored(target)
        workers = worker_count(num_processes)
        cohorts = _read(files, setting, Path(scratch), workers)
        found = _measure(cohorts, encoders, DEFAULT_PAIRS if pairs is None else pairs, workers)
    num_generated, num_real, num_training = cohorts.sizes
    weak = warnings(cohorts, files, found.lengths, missing, found.rows)
    scores = CohortScores(
        version=COHORT_SCORES_VERSION,
        protocol=setting.protocol.stated,
        task=task,
        dataset=setting.dataset,
        plan=setting.plan_name,
        channel=setting.target or channel,
        generated_folder=str(generated.absolute()),
        real_folder=str(folders["real"].absolute()),
        training_folder=str(folders["training"].absolute()) if num_training else "",
        num_generated=num_generated,
        num_real=num_real,
        num_training=num_training,
        shape=cohorts.real.shape,
        features=found.lengths,
        rows=found.rows,
        closest=found.closest,
        notes=found.notes,
        warnings=tuple(weak),
        liftnet=__version__,
        made=origin_since(start, _where(setting, medicalnet, device)),
    )
    write_json(target / "cohort_scores.json", scores)
    _report(scores, target / "cohort_scores.json")
    return scores


class _Found(NamedTuple):
    """The numbers of cohorts."""

    rows: tuple[CohortRow, ...]
    lengths: dict[str, int]  # name of the features -> F
    closest: tuple[ClosestPair, ...]
    notes: tuple[str, ...]


def _measure(
    cohorts: Cohorts, encoders: Mapping[str, Describe], pairs: int, workers: int
) -> _Found:
    """Every metric of features, of slices and of voxels."""
    control = choose_control(*cohorts.sizes)
    rows: list[CohortRow] = []
    lengths, neighbours = {}, {}
    for name, describe in encoders.items():
        features = _describe_all(name, describe, cohorts)
        lengths[name] = features["real"].shape[1]
        thousandfold = name.startswith(MEDICALNET)
        found, neighbours[name] = feature_rows(name, features, control, thousandfold=thousandfold)
        rows += found
    rows += _compare_slices(cohorts, control, pairs)
    matrices = measure_distances(cohorts, workers)
    nearest, closest, probe = nearest_rows(matrices, cohorts)
    rows += [*spread_rows(matrices, control), *nearest]
    told = notes(cohorts, control, neighbours, pairs, probe)
    return _Found(tuple(rows), lengths, closest, tuple(told))


def _report(scores: CohortScores, path: Path) -> None:
    """Print the table and what it rests on."""
    say(cohort_table(scores))
    for line in explanation(scores):
        mention(line)
    say(f"Scores of {scores.num_generated} volumes: {path}")


def _encoders(
    setting: CohortSetting, medicalnet: Path | str | None, device: str | None
) -> dict[str, Describe]:
    """Name of the features -> how a volume is described, of every encoder there is."""
    found: dict[str, Describe] = {}
    model = setting.model
    if model is not None:
        method, plan, network = model.method, model.plan, model.networks[0]
        assert isinstance(method, Generates)
        low, high = network_limits(plan, setting.target)

        def by_own(volume: np.ndarray) -> torch.Tensor:
            scaled = torch.from_numpy(volume * np.float32(high - low) + np.float32(low))
            with torch.no_grad():
                return method.describe(plan, model.recipe, network, scaled.to(model.device))

        found[method.feature_name(plan, model.recipe)] = by_own
    if medicalnet is not None:
        where = find_device(device)
        resnet: MedicalNet = load_medicalnet(Path(medicalnet)).to(where).eval()

        def by_medicalnet(volume: np.ndarray) -> torch.Tensor:
            image = torch.from_numpy(volume)[None, None].to(where)  # in [0, 1], as WDM has it
            with torch.inference_mode():
                return resnet(image)[0].float().cpu()

        grid = "[0, 1] on the plan's grid"
        if setting.protocol.own_grid is not None:
            grid = f"protocol {setting.protocol.stated.name}"
        found[f"{MEDICALNET}, {grid}"] = by_medicalnet
    return found


def _where(setting: CohortSetting, medicalnet: Path | str | None, device: str | None) -> str:
    """The device that features were computed on."""
    if setting.model is not None:
        return str(setting.model.device)
    return "cpu" if medicalnet is None else str(find_device(device))


def _read(files: list[CohortFiles], setting: CohortSetting, scratch: Path, workers: int) -> Cohorts:
    """All volumes under the protocol, on disk."""
    total = sum(len(cohort.files) for cohort in files)
    found: dict[str, Volumes] = {}
    with progress("Read", total, unit="volume") as advance, threads_shared_by(workers):
        shape = None
        for cohort in files:
            found[cohort.what] = read_cohort(cohort, setting, scratch, workers, advance, shape)
            shape = found[cohort.what].shape
    return Cohorts(found["generated"], found["real"], found.get("training"))


def _describe_all(name: str, describe: Describe, cohorts: Cohorts) -> dict[str, np.ndarray]:
    """Features (N, F) of each cohort.

    Raises:
        CheckpointError: If they are not finite: the weights are damaged.
    """
    found = {}
    with progress("Features", sum(cohorts.sizes), unit="volume") as advance:
        for cohort, volumes in cohorts.by_name.items():
            watched = volumes.watched(advance)
            found[cohort] = np.stack([describe(volume).numpy() for volume in watched])
    if not all(np.isfinite(features).all() for features in found.values()):
        raise CheckpointError(
            f"The features are not finite: {name}", remedy="Check or replace the network's weights."
        )
    return found


def _compare_slices(cohorts: Cohorts, control: Control | None, pairs: int) -> list[CohortRow]:
    """What is computed from volumes one or two at a time."""
    total = likeness_reads(cohorts, pairs) + slice_reads(cohorts)
    with progress("Compare", total, unit="volume") as advance:
        return likeness_rows(cohorts, pairs, advance) + slice_rows(cohorts, control, advance)
