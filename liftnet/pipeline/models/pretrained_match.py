"""What of the weights of one network fits another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.pipeline.models.channel_axes import channel_axis

__all__ = ["TensorMatch", "differences", "fit", "match_tensors"]

OTHER_SPACING = 1.1  # ours: a tenth finer or coarser is within what augmentation scales


@dataclass(frozen=True)
class TensorMatch:
    """What becomes of one tensor of the new network."""

    name: str
    how: Literal["matched", "reshaped", "new"]
    numbers: int  # it has
    taken: int  # of them from the file
    note: str  # which channels are taken and which are new, or why nothing is taken
    axis: int = 0  # of the channels, where it is reshaped
    entries: tuple[tuple[int, int], ...] = ()  # along it: own, in the file


def match_tensors(
    own: Mapping[str, Tensor], plan: Plan, file: Mapping[str, Tensor], file_plan: Plan
) -> list[TensorMatch]:
    """What becomes of each tensor of `own`: a layer whose shapes differ is taken not at all.

    Only along the axis of channels may two tensors differ; there, entries are matched by the
    names of the channels, in whatever order the plans have them.
    """
    matches = [_match(name, tensor, plan, file, file_plan) for name, tensor in own.items()]
    broken = {_layer(m.name) for m in matches if m.how == "new" and not m.note.startswith("none")}
    return [
        TensorMatch(m.name, "new", m.numbers, 0, "another tensor of its layer does not fit")
        if m.how != "new" and _layer(m.name) in broken
        else m
        for m in matches
    ]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _match(
    name: str, tensor: Tensor, plan: Plan, file: Mapping[str, Tensor], file_plan: Plan
) -> TensorMatch:
    def new(note: str) -> TensorMatch:
        return TensorMatch(name, "new", tensor.numel(), 0, note)

    if name not in file:
        return new("not in the file")
    shape, other = tuple(tensor.shape), tuple(file[name].shape)
    axes = channel_axis(name, shape, plan.sources, plan.targets)
    other_axes = channel_axis(name, other, file_plan.sources, file_plan.targets)
    if axes is None or other_axes is None or axes == other_axes:
        if shape != other:
            return new(f"its shape is {list(shape)}, in the file {list(other)}")
        return TensorMatch(name, "matched", tensor.numel(), tensor.numel(), "")
    axis, entries = axes
    if shape[:axis] + shape[axis + 1 :] != other[:axis] + other[axis + 1 :]:
        return new(f"its shape is {list(shape)}, in the file {list(other)}")
    pairs = tuple((i, other_axes[1].index(e)) for i, e in enumerate(entries) if e in other_axes[1])
    if not pairs:
        return new("none of its channels is in the file")
    taken = [entries[i] for i, _ in pairs if not entries[i].startswith("map")]
    fresh = [entry for entry in entries if entry not in other_axes[1]]
    note = f"taken {', '.join(taken)}" + (f"; new {', '.join(fresh)}" if fresh else "")
    numbers = tensor.numel() // len(entries) * len(pairs)
    return TensorMatch(name, "reshaped", tensor.numel(), numbers, note, axis, pairs)


@torch.no_grad()
def fit(
    own: Mapping[str, Tensor], file: Mapping[str, Tensor], matches: list[TensorMatch]
) -> dict[str, Tensor]:
    """The tensors of `own` that take something from the file, with that put in; on the CPU."""
    fitted = {}
    for match in matches:
        if match.how == "matched":
            fitted[match.name] = file[match.name]
        elif match.how == "reshaped":
            mixed = own[match.name].detach().cpu().clone()
            for mine, theirs in match.entries:
                mixed.select(match.axis, mine).copy_(file[match.name].select(match.axis, theirs))
            fitted[match.name] = mixed
    return fitted


def differences(plan: Plan, file_plan: Plan) -> list[str]:
    """In words, what weights of another plan were trained for that this plan does not do."""
    found = []
    if plan.task != file_plan.task:
        found.append(f"the task was {file_plan.task}, here it is {plan.task}")
    if plan.grid.slice_axis != file_plan.grid.slice_axis:
        found.append(f"slices were {file_plan.grid.slice_axis}, here {plan.grid.slice_axis}")
    ratios = [
        max(a / b, b / a)
        for a, b in zip(plan.grid.spacing_mm, file_plan.grid.spacing_mm, strict=True)
    ]
    if max(ratios) > OTHER_SPACING:
        spacings = [" x ".join(f"{mm:.3g}" for mm in p.grid.spacing_mm) for p in (file_plan, plan)]
        found.append(f"the spacing was {spacings[0]} mm, here it is {spacings[1]} mm")
    both = [name for name in plan.channel_names if name in file_plan.channel_names]
    other = [name for name in both if _scale(plan, name) != _scale(file_plan, name)]
    return found + [f"{name} was normalized in another way" for name in other]


def _scale(plan: Plan, name: str) -> dict[str, object]:
    """The normalization of a channel without what is measured on each dataset."""
    rule = plan.channel(name).normalization
    facts = {key: value for key, value in vars(rule).items() if not key.startswith("typical")}
    return {"kind": type(rule).__name__, **facts}
