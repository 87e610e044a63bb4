"""Which transforms are carried out: what the plan allows on a device, what an item needs otherwise.

A device is fast and must not be waited for: the whole batch goes through every transform that the
plan contains, most items with neutral parameters. The processor knows at no cost what is neutral,
and most transforms are rare: it takes item after item, each through its own transforms only, while
it is in the cache.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch

from liftnet.augment.ranges import IntensityParameters, SpatialParameters
from liftnet.augment.spatial import is_deformed, is_turned
from liftnet.core.plan import AugmentationSpec

__all__ = ["CHANGES", "FLIPS", "MOVES", "applied", "one_by_one", "planned"]

FLIPS = ("flip along D", "flip along H", "flip along W")
TURNS = ("rotation", "scale", "shear", "elastic")
MOVES = frozenset((*FLIPS, "turn"))  # "turn": what needs new values between the voxels
CHANGES = frozenset(
    ("gamma", "contrast", "brightness", "bias_field", "blur", "low_resolution", "noise")
)

Parameters = TypeVar("Parameters", SpatialParameters, IntensityParameters)


def planned(spec: AugmentationSpec) -> frozenset[str]:
    """Returns the names of what may happen to an item: `MOVES`, "elastic", `CHANGES`."""
    flips = {name for name, p in zip(FLIPS, spec.flip_probability, strict=True) if p > 0}
    names = {name for name in CHANGES if getattr(spec, f"{name}_probability") > 0}
    if any(getattr(spec, f"{name}_probability") > 0 for name in TURNS):
        names.add("turn")
    if spec.elastic_probability > 0:
        names.add("elastic")
    return frozenset(flips | names)


def applied(geometry: SpatialParameters, changes: IntensityParameters) -> list[frozenset[str]]:
    """Returns the names of what does happen to each item; waits for the device."""
    happens = dict(zip(FLIPS, geometry.flip.unbind(1), strict=True))
    happens["turn"] = is_turned(geometry)
    if geometry.control_points is not None:
        happens["elastic"] = is_deformed(geometry.control_points)
    happens["gamma"] = (changes.gamma != 1).any(dim=1)
    happens["contrast"] = (changes.contrast != 1).any(dim=1)
    happens["brightness"] = (changes.brightness != 1).any(dim=1)
    happens["bias_field"] = (changes.bias_strength != 0).any(dim=1)
    happens["blur"] = (changes.blur_sigma > 0).any(dim=1)
    happens["low_resolution"] = (changes.zoom != 1).any(dim=1)
    happens["noise"] = changes.noise_std != 0
    table = torch.stack(list(happens.values()), dim=1).tolist()
    return [
        frozenset(name for name, true in zip(happens, row, strict=True) if true) for row in table
    ]


def one_by_one(parameters: Parameters) -> list[Parameters]:
    """Returns the parameters of each item by itself, as a batch of one."""
    fields = {
        field.name: getattr(parameters, field.name) for field in dataclasses.fields(parameters)
    }
    columns = {name: values.split(1) for name, values in fields.items() if values is not None}
    rows = zip(*columns.values(), strict=True)
    return [dataclasses.replace(parameters, **dict(zip(columns, row, strict=True))) for row in rows]
