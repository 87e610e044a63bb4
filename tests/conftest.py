"""A small simulated dataset, and a workspace in which it is planned and preprocessed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from head_pairs import write_pairs
from scipy import ndimage

from liftnet.core.geometry import Geometry
from liftnet.core.recipe import with_schedules
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.preprocess.preprocess import preprocess

torch.set_num_threads(1)

NAME = "Dataset007_Phantom"
STAGE = "context_translation"
CHANNELS = ("a", "b", "c")
CASES = {  # case -> shape and spacing in mm along (superior, posterior, left)
    "p1": ((10, 26, 34), (4.0, 2.4, 2.1)),
    "p2": ((9, 27, 33), (4.0, 2.4, 2.1)),
    "p3": ((11, 25, 35), (4.0, 2.4, 2.1)),
    "p4": ((10, 31, 34), (4.0, 2.0, 2.1)),  # resampled in-plane
    "p5": ((8, 26, 32), (4.0, 2.4, 2.1)),
    "p6": ((10, 24, 34), (4.0, 2.4, 2.1)),  # lacks b
}
SETTINGS = [
    "lift.context_translation.decoded_slices=4",
    "lift.context_translation.validate_every=3",
    "lift.context_translation.validation_cases=1",
    "lift.context_translation.volumes_per_step=2",
    "lift.mixer.hidden_size=8",
]
PAIR_SETTINGS = [  # of the translation task
    "lift.mixer.hidden_size=8",
    "lift.slice_translation.volumes_per_step=4",
    "lift.slice_translation.validate_every=100",
    "lift.slice_translation.validation_cases=1",
    "lift.residual_context.windows_per_volume=2",
    "lift.residual_context.validate_every=100",
    "lift.residual_context.validation_cases=1",
]


def make_contrasts(seed: int, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Three int16 images (D, H, W) of one head that follow from each other voxel by voxel."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2 * np.array([0.7, 1.3, 1.2])[:, None, None, None]).sum(0) < 1
    tissue = ndimage.gaussian_filter(rng.random(shape), (0.7, 1.5, 1.5))
    tissue = (tissue - tissue.min()) / np.ptp(tissue)
    images = {"a": 1 - 0.7 * tissue, "b": 0.2 + tissue**2, "c": 0.3 + 0.6 * np.sin(3 * tissue)}
    units = {"a": 900, "b": 1700, "c": 600}
    return {
        name: np.where(inside, np.rint(units[name] * image), 0).astype(np.int16)
        for name, image in images.items()
    }


def canonical(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Geometry:
    """A grid whose axes point to superior, posterior, left."""
    return Geometry(shape, spacing_mm, (-31.0, 17.5, 4.25), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


@pytest.fixture(scope="session")
def write_raw() -> Callable[[Path], Path]:
    """A function that writes the phantom dataset into a workspace."""

    def write(workspace: Path) -> Path:
        folder = workspace / "raw" / NAME
        channels = {str(i): {"name": name} for i, name in enumerate(CHANNELS)}
        description = {"name": "Phantom", "task": "missing_modality", "channels": channels}
        write_json(folder / "dataset.json", description)
        for seed, (case, (shape, spacing)) in enumerate(CASES.items()):
            for i, image in enumerate(make_contrasts(seed, shape).values()):
                if (case, i) != ("p6", 1):
                    path = folder / "imagesTr" / f"{case}_{i:04d}.nii.gz"
                    write_image(path, image, canonical(shape, spacing), dtype="int16")
        return folder

    return write


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory, write_raw: Callable[[Path], Path]) -> Path:
    space = tmp_path_factory.mktemp("prepared")
    write_raw(space)
    extract_fingerprint(workspace=space, num_processes=1)
    recipe = plan(workspace=space, gpu_memory=0.03, steps=6, settings=SETTINGS).recipe
    together = replace(getattr(recipe, STAGE), num_steps=6)
    write_json(
        space / "preprocessed" / NAME / "default" / "recipes" / "lift.json",
        with_schedules(replace(recipe, slice_translation=None), {STAGE: together}),
    )
    preprocess(workspace=space, num_processes=1)
    return space


@pytest.fixture
def workspace(_prepared: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with the phantom dataset planned and preprocessed."""
    shutil.copytree(_prepared, tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture(scope="session")
def _prepared_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = tmp_path_factory.mktemp("pairs")
    write_pairs(space)
    options = {"gpu_memory": 0.03, "steps": 6, "settings": PAIR_SETTINGS, "num_processes": 1}
    plan_and_preprocess(workspace=space, **options)
    return space


@pytest.fixture
def pairs(_prepared_pairs: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with MR and CT heads planned and preprocessed."""
    shutil.copytree(_prepared_pairs, tmp_path / "pairs")
    return tmp_path / "pairs"
