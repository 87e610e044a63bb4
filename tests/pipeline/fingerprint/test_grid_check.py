"""Cases whose grids do not go with the others: told, and planned for."""

from dataclasses import replace

import numpy as np
import pytest

from liftnet.core.fingerprint import CaseFingerprint, Fingerprint
from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import write_json
from liftnet.data.store import Store
from liftnet.imageio import write_image
from liftnet.pipeline.fingerprint.grid_check import grid_problems
from liftnet.pipeline.fingerprint.header_check import header_faults
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.planning.grid import GridChoice, plan_grid


def case(
    shape: tuple[int, int, int] = (40, 50, 60), mm: tuple[float, float, float] = (4.0, 3.0, 3.0)
) -> CaseFingerprint:
    """A case that is all foreground."""
    return CaseFingerprint(shape, mm, "SPL", (0, 0, 0), shape, 0.5, True, {})


AXIAL = case((20, 100, 90), (10.0, 2.0, 2.0))
SAGITTAL = case((96, 100, 20), (2.0, 2.0, 10.0))
ISOTROPIC = case((96, 100, 90), (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([AXIAL, AXIAL, ISOTROPIC], []),  # 5 mm slices beside volumes are no contradiction
        ([SAGITTAL, SAGITTAL], []),
        (
            [AXIAL, SAGITTAL, ISOTROPIC, SAGITTAL],
            [
                "1 of 4 cases have axial slices every 10 mm, others sagittal ones",
                "2 of 4 cases have sagittal slices every 10 mm, others axial ones",
            ],
        ),
        (
            [case(), case(), case((1, 50, 60))],
            ["1 slice towards superior, 4 mm; other cases cover"],
        ),
        ([case(), case(), case((40, 50, 3))], ["3 slices towards left, 9 mm; other cases cover"]),
        ([case(), case(), case((14, 45, 55))], []),  # a shorter field of view
        ([case((1, 50, 60))] * 3, ["All cases have a single slice: nothing is learned across"]),
        (
            [case(), case(), case(mm=(1.0, 0.75, 0.75))],
            ["About 0.25 times as large as the other cases"],
        ),
        ([case(), case((1, 50, 60))], []),  # of two none is the usual one
    ],
)
def test_rows(cases, said):
    """Which cases are listed, and in which words."""
    rows = grid_problems({f"c{i}": one for i, one in enumerate(cases)})
    assert len(rows) == len(said)
    for row, text in zip(rows, said, strict=True):
        assert text in row.problem
        assert row.severity == "warning"


def test_no_case_is_planned_at_a_spacing_that_none_has():
    """The spacing is that of the plane of most cases, or of the chosen one."""
    cases = {"a": AXIAL, "b": SAGITTAL, "c": AXIAL, "d": SAGITTAL, "e": ISOTROPIC}
    fingerprint = Fingerprint(3, "Dataset001_A", "nonzero", cases, {}, [])
    reasons: dict[str, str] = {}
    grid = plan_grid(fingerprint, reasons, crop=False)
    assert (grid.slice_axis, grid.spacing_mm) == ("axial", (10.0, 2.0, 2.0))
    assert (
        "the 3 cases whose slices are not in another plane; those of the other 2"
        in (reasons["grid.spacing_mm"])
    )
    assert grid.in_plane[0] >= 100 and grid.in_plane[1] >= 100  # 20 slices of 10 mm are 200 mm
    chosen = plan_grid(fingerprint, {}, crop=False, choice=GridChoice(slice_axis="sagittal"))
    assert (chosen.slice_axis, chosen.spacing_mm) == ("sagittal", (10.0, 2.0, 2.0))
    more = replace(fingerprint, cases={**cases, "f": SAGITTAL})
    assert plan_grid(more, {}, crop=False).slice_axis == "sagittal"


@pytest.mark.parametrize(
    ("mm", "wrong"),
    [((1, 1, 1), False), ((5, 0.02, 0.02), False), ((0.01, 0.001, 1), True), ((25, 1, 1), True)],
)
def test_sides_of_voxels(tmp_path, mm, wrong):
    """A unit that was taken for another one."""
    path = tmp_path / "a.nii.gz"
    grid = Geometry((4, 5, 6), mm, (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    write_image(path, np.ones((4, 5, 6), np.int16), grid, dtype="int16")
    texts = [text for text, _ in header_faults(path, grid)]
    shown = " x ".join(f"{side:.4g}" for side in mm[::-1])
    assert texts == ([f"Voxels of {shown} mm"] if wrong else [])


def test_mixed_planes_from_files(tmp_path, capsys, monkeypatch):
    """Sagittal slices among axial ones keep their finer columns, and both are named."""
    monkeypatch.setenv("COLUMNS", "300")
    folder = tmp_path / "raw" / "Dataset001_Planes"
    channels = {"0": {"name": "t1n"}, "1": {"name": "t2w"}}
    write_json(
        folder / "dataset.json",
        {"name": "Planes", "task": "missing_modality", "channels": channels},
    )
    for seed in range(4):
        step = (1, 1, 5) if seed % 2 else (5, 1, 1)  # of (D, H, W)
        rng = np.random.default_rng(seed)
        head = np.pad(rng.integers(100, 900, (40, 46, 50)), 5)[:: step[0], :: step[1], :: step[2]]
        mm = tuple(2.0 * s for s in step)
        grid = Geometry(head.shape, mm, (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
        for number in range(2):
            path = folder / "imagesTr" / f"s{seed}_{number:04d}.nii.gz"
            write_image(path, (head // (1 + number)).astype(np.int16), grid, dtype="int16")
    plan_and_preprocess(workspace=tmp_path, gpu_memory=0.2, steps=4, num_processes=1)
    said = " ".join(capsys.readouterr().out.split())
    assert "s0, s2" in said and "have axial slices every 10 mm" in said
    assert "s1, s3" in said and "have sagittal slices every 10 mm" in said
    store = Store(tmp_path / "preprocessed" / "Dataset001_Planes" / "default" / "cases")
    assert store.describe("s0").shape[0] == 10 and store.describe("s1").shape[0] == 50
    for name in "s0", "s1":
        np.testing.assert_allclose(store.describe(name).placement.spacing_mm[1:], 2.0, rtol=0.02)
