"""What is known of all real volumes: features of every slice in three planes, and codes."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from liftnet.core.errors import PlanError
from liftnet.core.plan import Plan
from liftnet.core.storage.checksum import file_crc32
from liftnet.core.storage.files import written_whole
from liftnet.core.storage.jsonable import read_json, write_sealed
from liftnet.data.array_file import StoredRows, new_array, stored_rows
from liftnet.data.store import Store, write_array
from liftnet.losses.feature_scale import FeatureScale, scale_of, stack_scales
from liftnet.methods.lift_u.batches import PLANES, real_volume
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.metrics.cohort import delta_z_profile, depth_reference
from liftnet.networks.volume_generator import VolumeGenerator, make_features, slice_features
from liftnet.ops.planes import plane_size, slices_of

__all__ = ["Bank", "load_bank", "make_bank", "plane_features", "supposed_bank"]

SCALE_VOLUMES = 256  # ours: enough for a mean distance, and its square is affordable
LEAST_SPREAD = 1e-6  # ours: a part that does not vary at all weighs nothing
FORMAT = 3
FACTS = "bank.json"
FILES = (*(f"{plane}.npy" for plane in PLANES), "codes.npy", "depth.npy", "scales.npz")


@dataclass(frozen=True)
class Bank:
    """Features and codes of N real volumes of one shape; features stay on the disk.

    Attributes:
        cases: the N volumes.
        features: plane -> (S, N, F) float16, slice by slice.
        balance: plane -> (F,), by which features are multiplied: each part of them (a map's means
            or deviations) then varies as much as any other.
        scales: plane -> where the balanced features of each slice lie and how far apart, (S, ...).
        varied: plane -> the slices in which volumes differ; the outermost may be air in all.
        codes: (N, D, c) float32.
        step: the mean difference between neighbouring slices, in network units.
        depth: (D, P), the reference of `depth_order`.
    """

    cases: tuple[str, ...]
    features: dict[str, StoredRows]
    balance: dict[str, Tensor]
    scales: dict[str, FeatureScale]
    varied: dict[str, tuple[int, ...]]
    codes: Tensor
    step: float
    depth: np.ndarray

    def positives(
        self, plane: str, indices: Sequence[int], volumes: Sequence[int], device: torch.device
    ) -> Tensor:
        """Balanced features (n, M, F), float32, of the same slices of M volumes."""
        rows = self.features[plane].rows(indices)[:, list(volumes)]
        found = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
        return found.float() * self.balance[plane].to(device)

    def scale(self, plane: str, indices: Sequence[int], device: torch.device) -> FeatureScale:
        """The scale of these slices."""
        chosen = self.scales[plane].at(torch.as_tensor(list(indices)))
        return FeatureScale(*(t.to(device) for t in (chosen.mean, chosen.distance, chosen.cv)))


class SupposedBank(Bank):
    """A bank without values, to count what a step holds of one."""

    def positives(
        self, plane: str, indices: Sequence[int], volumes: Sequence[int], device: torch.device
    ) -> Tensor:
        """Shapes as of those of a bank."""
        return torch.empty(len(indices), len(volumes), len(self.balance[plane]), device="meta")


def supposed_bank(plan: Plan, recipe: LiftURecipe) -> SupposedBank:
    """The bank of as many volumes of the plan's grid as a step compares with."""
    grid, positives = plan.grid, recipe.drift.positives
    shape = (grid.num_slices, *grid.in_plane)
    sizes = {plane: plane_size(shape, plane, slice_axis=grid.slice_axis) for plane in PLANES}
    with torch.device("meta"), torch.no_grad():
        features = make_features(recipe.features)
        widths = {p: slice_features(features, torch.empty(1, *sizes[p][1:]))[0] for p in PLANES}
        return SupposedBank(
            cases=("",) * positives,
            features={},
            balance={plane: widths[plane][0] for plane in PLANES},
            scales={
                plane: FeatureScale(
                    torch.empty(sizes[plane][0], widths[plane].shape[1]),
                    *torch.empty(2, sizes[plane][0]),
                )
                for plane in PLANES
            },
            varied={plane: tuple(range(sizes[plane][0])) for plane in PLANES},
            codes=torch.empty(positives, grid.num_slices, recipe.mapper.code_size),
            step=0.0,
            depth=np.empty((0, 0)),
        )


def plane_features(
    network: VolumeGenerator, plan: Plan, volumes: Tensor, plane: str, indices: Sequence[int]
) -> Tensor:
    """Features (n, B, F), not balanced, of slices of volumes (B, 1, D, H, W)."""
    slices = slices_of(volumes, plane, indices, slice_axis=plan.grid.slice_axis)
    found, _ = slice_features(network.features, slices.flatten(0, 1))
    return found.unflatten(0, (len(volumes), len(indices))).transpose(0, 1)


def make_bank(
    network: VolumeGenerator,
    plan: Plan,
    slice_batch: int,
    store: Store,
    cases: Sequence[str],
    folder: Path,
) -> Bank:
    """The bank of these cases in a folder: made once, read again where it fits.

    Source: LiFT Eq. 4. Differs: Algorithm 1 takes the volumes of the step; here all real features
    are made once, since they never change.
    """
    digest = _digest(network, slice_batch, store, cases)
    if _is_whole(folder, digest):
        return load_bank(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    widths = _write_features(network, plan, slice_batch, store, cases, folder)
    balances, scales, varied = {}, {}, {}
    for plane in PLANES:
        features = stored_rows(folder / f"{plane}.npy")
        varied[plane] = [i for i, rows in enumerate(features) if (rows != rows[0]).any()]
        balances[plane] = _balance(features, widths[plane])
        scales[plane] = _scales(features, balances[plane])
    volumes = (np.asarray(real_volume(plan, store, case), np.float32) for case in cases)
    steps = [float(delta_z_profile(volume).mean()) for volume in volumes]
    reference = depth_reference(
        np.asarray(real_volume(plan, store, case), np.float32) for case in cases
    )
    write_array(folder / "depth.npy", reference)
    _write_tensors(folder / "scales.npz", balances, scales)
    facts = {
        "format": FORMAT,
        "digest": digest,
        "cases": list(cases),
        "step": float(np.mean(steps)),
        "varied": varied,
        "checksums": {name: file_crc32(folder / name) for name in FILES},
    }
    write_sealed(folder / FACTS, facts)
    return load_bank(folder)


def _is_whole(folder: Path, digest: str) -> bool:
    """Whether a folder holds a bank of this digest, none of whose files is damaged."""
    try:
        facts = read_json(folder / FACTS)
        return bool(
            facts["digest"] == digest
            and all(file_crc32(folder / name) == facts["checksums"][name] for name in FILES)
        )
    except (PlanError, OSError, AttributeError, KeyError, TypeError):
        return False  # absent or damaged: it is made again


def load_bank(folder: Path) -> Bank:
    """A bank from its folder, which holds a whole one."""
    facts = read_json(folder / FACTS)
    with np.load(folder / "scales.npz") as stored:
        numbers = {name: torch.from_numpy(stored[name]) for name in stored.files}
    return Bank(
        cases=tuple(facts["cases"]),
        features={p: stored_rows(folder / f"{p}.npy") for p in PLANES},
        balance={p: numbers[f"{p}_balance"] for p in PLANES},
        scales={
            p: FeatureScale(*(numbers[f"{p}_{name}"] for name in ("mean", "distance", "cv")))
            for p in PLANES
        },
        varied={p: tuple(facts["varied"][p]) for p in PLANES},
        codes=torch.from_numpy(np.load(folder / "codes.npy")),
        step=facts["step"],
        depth=np.load(folder / "depth.npy"),
    )


@torch.no_grad()
def _write_features(
    network: VolumeGenerator,
    plan: Plan,
    slice_batch: int,
    store: Store,
    cases: Sequence[str],
    folder: Path,
) -> dict[str, Sequence[int]]:
    """Write the features of every slice of every case, and its codes; how wide feature parts are.

    Returns:
        plane -> width of each part.
    """
    device = next(network.parameters()).device
    shape = real_volume(plan, store, cases[0]).shape
    arrays: dict[str, np.memmap] = {}
    widths: dict[str, Sequence[int]] = {}
    codes = []
    for row, case in enumerate(cases):
        volume = torch.from_numpy(np.array(real_volume(plan, store, case), np.float32)).to(device)
        for plane in PLANES:
            count = plane_size(shape, plane, slice_axis=plan.grid.slice_axis)[0]
            for chunk in torch.arange(count).split(slice_batch):
                indices = chunk.tolist()
                slices = slices_of(
                    volume[None, None], plane, indices, slice_axis=plan.grid.slice_axis
                )
                found, widths[plane] = slice_features(network.features, slices[0])
                if plane not in arrays:
                    draft = folder / f".{plane}.npy.{os.getpid()}.tmp"
                    shape_of_all = (count, len(cases), found.shape[1])
                    arrays[plane] = new_array(draft, np.float16, shape_of_all)
                arrays[plane][indices, row] = found.half().cpu().numpy()
        codes.append(network.generator.encode(volume[:, None]).cpu())
    for plane, array in arrays.items():
        array.flush()
        (folder / f".{plane}.npy.{os.getpid()}.tmp").replace(folder / f"{plane}.npy")
    write_array(folder / "codes.npy", torch.stack(codes).numpy())
    return widths


def _balance(features: StoredRows, widths: Sequence[int]) -> Tensor:
    """One factor per feature (F,), equal within a part, after which parts vary alike."""
    total = np.zeros(features.shape[2])
    for rows in features:
        total += rows.astype(np.float64).var(axis=0)
    factors = []
    for part in np.split(total / len(features), np.cumsum(widths)[:-1]):
        spread = np.sqrt(part.sum())
        factors.append(np.full(len(part), 1 / spread if spread > LEAST_SPREAD else 0.0))
    return torch.from_numpy(np.concatenate(factors)).float()


def _scales(features: StoredRows, balance: Tensor) -> FeatureScale:
    """The scale of each slice's features."""
    picked = np.unique(np.linspace(0, features.shape[1] - 1, SCALE_VOLUMES).round().astype(int))
    scales = []
    for rows in features:
        some = torch.from_numpy(rows[picked].astype(np.float32)) * balance
        nothing = torch.zeros(())
        alike = bool((some == some[:1]).all())
        scales.append(FeatureScale(some[0], nothing, nothing) if alike else scale_of(some))
    return stack_scales(scales)


def _digest(network: VolumeGenerator, slice_batch: int, store: Store, cases: Sequence[str]) -> str:
    """Of everything that decides a bank: the frozen networks and the preprocessed cases."""
    digest = hashlib.sha256(json.dumps([FORMAT, slice_batch]).encode())
    for case in cases:
        digest.update(f"{case} {store.describe(case).key}".encode())
    for part in (network.features, network.generator):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _write_tensors(
    path: Path, balances: dict[str, Tensor], scales: dict[str, FeatureScale]
) -> None:
    arrays = {}
    for plane in PLANES:
        arrays[f"{plane}_balance"] = balances[plane].numpy()
        for name in ("mean", "distance", "cv"):
            arrays[f"{plane}_{name}"] = getattr(scales[plane], name).numpy()
    with written_whole(path, durable=False) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
