"""The model card: what a model makes of what, from which data, how well, and what it is not for."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

import torch
from torch import nn

from liftnet.core.plan import ClipAndScale, Plan
from liftnet.core.recipe import Recipe, schedules
from liftnet.core.scores import AVERAGE, CohortScores, MetricSummary
from liftnet.methods import load_method
from liftnet.metrics.catalogue import cohort_name, explain, explain_cohort, short_name
from liftnet.pipeline.models.model_file import (
    SUFFIX,
    DatasetStatistics,
    FoldPapers,
    Manifest,
    Papers,
)
from liftnet.pipeline.share.contents import Measured
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = ["model_card"]

NOT_STATED = "Not stated by the person who exported the model: ask before you use it."
RESEARCH = (
    "Not stated by the person who exported the model. Take it as research: comparing methods on "
    "data like those that it was trained on."
)
NOT_FOR = (
    "Diagnosis, treatment planning or any other decision about a patient. liftnet is no medical "
    "device, and this model has not been validated as one.",
    "Showing or measuring what the sources do not show. A network can leave out a lesion that is "
    "there, and can draw one that is not.",
    "Other scanners, sequences, body parts, ages or diseases than those of the training data, "
    "without a test of one's own on such images.",
    "Passing synthetic images off as acquired ones.",
    "Finding out who was in the training data.",
)
FEW_CASES = 10  # ours: below, one case moves a mean by more than a tenth of its distance
SIZES = ("widths", "hidden_size", "latent_size", "code_size")  # of a network, as the recipe says
GENERATED_NOT_FOR = (
    "Diagnosis, or any statement about a patient.",
    "Statistics of a population: a generator varies less than people do, and its errors are not "
    "known.",
    "Training data for a medical product, without a test of what it learns from them.",
    "Passing generated volumes off as acquired ones.",
    "Finding out who was in the training data.",
)


def model_card(
    papers: Papers,
    network: nn.Module,
    measured: Measured | None,
    seen: str | None,
    sizes: Mapping[str, int],
) -> str:
    """The model card as Markdown.

    Args:
        papers: of the model, as they leave; without a card.
        network: of one fold.
        measured: scores that were measured elsewhere.
        seen: whether training cases were scored, in words.
        sizes: what else is in the file -> its bytes.
    """
    manifest, plan = papers.manifest, papers.plan
    sections = {
        "What it does": _purpose(manifest, plan),
        "How to use it": _use(manifest, plan, papers.recipe),
        "Training data": _data(manifest, plan, papers.fingerprint),
        "Licence": [_stated(manifest.licence) or NOT_STATED],
        "Intended use": [_stated(manifest.intended_use) or RESEARCH],
        "What it must not be used for": [f"- {x}" for x in _not_for(plan)],
        "Scores": _scores(manifest, measured, seen, papers.folds),
        "Training": _training(papers, network),
        "What is in the file, and what is not": _inside(papers, sizes),
    }
    parts = [f"# Model card: {plan.dataset}, plan {plan.name}\n"]
    for title, lines in sections.items():
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _stated(text: str) -> str:
    """A text of the user, without markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _purpose(manifest: Manifest, plan: Plan) -> Iterator[str]:
    task = load_task(plan.task)
    summary = task.summary.partition(" (")[0]  # the stages are those of the recipe: see Training
    yield f"Task `{plan.task}`: {summary}."
    yield ""
    if plan.sources:
        some = "any of " if len(plan.sources) > 1 else ""
        yield f"- given: {some}{_listed(plan, plan.sources)}"
        if set(plan.targets) == set(plan.sources):
            yield "- made: those of them that a case lacks"
        elif set(plan.targets) <= set(plan.sources):
            yield f"- made: {_listed(plan, plan.targets)}, where a case lacks it"
        else:
            yield f"- made: {_listed(plan, plan.targets)}"
    else:
        yield f"- made: {_listed(plan, plan.targets)}"
        size = " x ".join(map(str, (plan.grid.num_slices, *plan.grid.in_plane)))
        yield f"- size: {size} voxels of {_spacing(plan)} mm"
    method = load_method(manifest.method)
    yield f"- method: `{method.name}`, {method.summary}"


def _use(manifest: Manifest, plan: Plan, recipe: Recipe) -> Iterator[str]:
    number = int(plan.dataset[7:10])
    task = load_task(plan.task)
    own = manifest.method == task.default_method
    option = "" if own else f" --method {manifest.method}"
    synthesis = isinstance(task, SynthesisTask)
    source = "-i new_cases" if synthesis else "-n 10"
    yield "```"
    yield f"liftnet_import -i model{SUFFIX}"
    yield f"liftnet_predict -d {number} -p {plan.name}{option} {source} -o predicted"
    yield "```"
    yield ""
    yield (
        "`-d` and `-p` are those of the export; if you gave `liftnet_import` others, give those."
    )
    if not synthesis:
        return
    yield ""
    yield "The images of a case are one file per channel, on one grid:"
    yield ""
    yield "| file | channel | kind |"
    yield "|---|---|---|"
    for name in plan.channel_names:
        channel = plan.channel(name)
        kind = channel.modality + (", intensities in HU" if channel.modality == "CT" else "")
        role = "" if name in plan.sources else " (made, never given)"
        yield f"| CASE_{plan.file_number(name):04d}.nii.gz | {name} | {kind}{role} |"
    yield ""
    yield (
        f"Slices are {plan.grid.slice_axis}; the grid in training was {_spacing(plan)} mm (slices, "
        f"rows, columns). Prediction needs about {recipe.memory.prediction_gib:.1g} GiB of memory, "
        "beside the program itself."
    )
    for name in plan.targets:
        rule = plan.channel(name).normalization
        if isinstance(rule, ClipAndScale):
            yield f"{name} is made between {rule.low:g} and {rule.high:g} HU."
    if any(plan.channel(name).modality == "MR" for name in plan.targets):
        yield (
            "MR has no absolute unit: what is made lies in the range that is typical of the "
            "training data."
        )


def _data(manifest: Manifest, plan: Plan, found: DatasetStatistics | None) -> Iterator[str]:
    yield _stated(manifest.data) or NOT_STATED
    if found is None:
        return
    yield ""
    yield "| channel | kind | cases | mean | median | 0.1 to 99.9 percentile |"
    yield "|---|---|---|---|---|---|"
    for name in plan.channel_names:
        if name in found.channels:
            one = found.channels[name]
            yield (
                f"| {name} | {plan.channel(name).modality} | {one.num_cases} | {one.mean:.4g} | "
                f"{one.median:.4g} | {one.low:.4g} to {one.high:.4g} |"
            )
    yield ""
    yield (
        f"{found.num_cases} cases, of which a fold is trained on a part. Intensities are those of "
        "the files, medians over the cases: mean and median in the foreground, percentiles of the "
        "whole image."
    )


def _not_for(plan: Plan) -> tuple[str, ...]:
    return NOT_FOR if isinstance(load_task(plan.task), SynthesisTask) else GENERATED_NOT_FOR


def _scores(
    manifest: Manifest,
    measured: Measured | None,
    seen: str | None,
    folds: Mapping[str, FoldPapers],
) -> Iterator[str]:
    if measured is None:
        yield "No scores of an evaluation came with the model."
        if any(fold.score is not None for fold in folds.values()):
            yield (
                "The scores of validation during training are under Training; the checkpoint was "
                "chosen by them, so they are better than those of new cases."
            )
        return
    if set(measured.models) == {manifest.model}:
        yield f"Of images that these weights (`{manifest.model}`) have made."
    elif measured.models:
        made = ", ".join(f"`{model}`" for model in measured.models)
        yield (
            f"Of images that other weights have made: {made}, not `{manifest.model}`. They may be "
            "single folds of this model, or another training."
        )
    else:
        yield "It is not known which weights made the images that were scored."
    if seen is not None:
        yield ""
        yield f"**{seen}**"
    protocol = measured.scores.protocol
    yield ""
    yield f"Convention `{protocol.name}`: {protocol.description}"
    yield ""
    if isinstance(measured.scores, CohortScores):
        yield from _cohort_table(measured.scores)
        return
    yield from _table(measured.scores.summary, measured.units)


def _table(
    summary: Mapping[str, Mapping[str, MetricSummary]], units: Sequence[str]
) -> Iterator[str]:
    """Mean and 95 % interval of each metric and contrast; then what the metrics are."""
    contrasts = [name for name in summary if name != AVERAGE or len(summary) > 2]
    metrics = list(dict.fromkeys(m for name in contrasts for m in summary[name]))
    counts = {name: max(s.n for s in summary[name].values()) for name in contrasts}
    yield "| metric | " + " | ".join(f"{_heading(c)}, n = {counts[c]}" for c in contrasts) + " |"
    yield "|---" * (len(contrasts) + 1) + "|"
    for metric in metrics:
        cells = [_cell(summary[name].get(metric), counts[name]) for name in contrasts]
        yield f"| {short_name(metric)} | " + " | ".join(cells) + " |"
    yield ""
    yield "Mean over n cases (95 % bootstrap interval; none for a single case)."
    few = [f"{_heading(name)} n = {count}" for name, count in counts.items() if count < FEW_CASES]
    if few:
        yield f"Few cases: see the intervals ({', '.join(few)})."
    yield ""
    unit = "HU" if any("HU" in name for name in units) else ""
    for metric in metrics:
        yield f"- {short_name(metric)}: {explain(metric, unit)}"


def _heading(contrast: str) -> str:
    return "mean of a case's contrasts" if contrast == AVERAGE else contrast


def _cell(found: MetricSummary | None, count: int) -> str:
    """A mean and its interval; and of how many cases, if the column has more."""
    if found is None:
        return "-"
    fewer = "" if found.n == count else f", n = {found.n}"
    if not math.isfinite(found.mean):
        return f"infinite{fewer}"
    if found.n < 2:
        return f"{found.mean:.4g}{fewer}"
    return f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g}){fewer}"


def _cohort_table(scores: CohortScores) -> Iterator[str]:
    yield (
        f"{scores.num_generated} generated volumes of {scores.channel} against "
        f"{scores.num_real} real ones."
    )
    yield ""
    sizes = scores.num_generated, scores.num_real
    yield f"| features | metric | generated, n = {sizes[0]} | real, n = {sizes[1]} | good |"
    yield "|---|---|---|---|---|"
    for row in scores.rows:
        values = ["-" if v is None else f"{v:.4g}" for v in (row.generated, row.real)]
        yield f"| {row.group} | {cohort_name(row.metric)} | {' | '.join(values)} | {row.good} |"
    yield ""
    if min(sizes) < FEW_CASES:
        yield "Few volumes: these numbers have no intervals, and other volumes give others."
        yield ""
    for metric in dict.fromkeys(row.metric for row in scores.rows):
        yield f"- {cohort_name(metric)}: {explain_cohort(metric)}"
    for text in (*scores.notes, *scores.warnings):
        yield f"- {text}"


def _training(papers: Papers, network: nn.Module) -> Iterator[str]:
    manifest, recipe = papers.manifest, papers.recipe
    count = sum(p.numel() for p in network.parameters())
    yield f"- parameters: {count:,} per fold"
    sizes = list(_sizes(manifest.method, recipe))
    if sizes:
        yield f"- sizes, for `liftnet_plan --set`: `{' '.join(sizes)}`"
    for name, schedule in schedules(recipe).items():
        yield (
            f"- stage {name}: {schedule.num_steps:,} steps of {schedule.volumes_per_step} "
            f"volume(s), AdamW, averaged weights"
        )
    losses = getattr(recipe, "losses", {})
    if losses:
        yield f"- losses: {', '.join(f'{name} {weight:g}' for name, weight in losses.items())}"
    yield f"- seed: {papers.plan.seed}"
    yield f"- digest of the weights: `{manifest.model}`, in the JSON beside every image they make"
    yield f"- written by liftnet {manifest.liftnet}, torch {torch.__version__.split('+')[0]}"
    yield ""
    yield "| fold | training cases | checkpoint of step | validation during training |"
    yield "|---|---|---|---|"
    for name, fold in papers.folds.items():
        details = ", ".join(f"{k} {v:.4g}" for k, v in fold.details.items())
        metric = f"{fold.metric}: " if fold.metric else ""
        cases = fold.training_cases or "not known"
        yield f"| {name} | {cases} | {fold.step:,} | {metric}{details or '-'} |"
    yield ""
    yield "Every decision and its reason is in `plan.json` and `recipe.json` of each imported fold."


def _sizes(method: str, recipe: Recipe) -> Iterator[str]:
    """The widths and such of each network, as settings of a recipe."""
    for field in fields(recipe):
        for key in SIZES:
            value = getattr(getattr(recipe, field.name), key, None)
            if value is not None:
                text = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value
                yield f"{method}.{field.name}.{key}={text}"


def _inside(papers: Papers, sizes: Mapping[str, int]) -> Iterator[str]:
    yield "| part | bytes |"
    yield "|---|---|"
    for name, size in sizes.items():
        yield f"| {name} | {size:,} |"
    yield ""
    yield (
        "The header of the file holds digests of all of it. There are no images in it, no names of "
        "cases, no paths and nothing from the headers of image files. That weights give no "
        "training image away is not proven by this; see liftnet_probe."
    )
    if any(fold.plausibility is not None for fold in papers.folds.values()):
        yield ""
        yield (
            "Of each fold there are a few numbers of each of up to 50 training images, as their "
            "mean and spread, without names, and how many training cases had each channel, and "
            "their spacing: liftnet_predict tells what is unlike them."
        )


def _listed(plan: Plan, names: Sequence[str]) -> str:
    return ", ".join(f"{name} ({plan.channel(name).modality})" for name in names)


def _spacing(plan: Plan) -> str:
    return " x ".join(f"{mm:.3g}" for mm in plan.grid.spacing_mm)
