"""The grids that a generated volume may have."""

from dataclasses import replace
from itertools import pairwise

import pytest
from like_cases import like_cases

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.geometry import Shape, Triple
from liftnet.planning.grid import GridChoice
from liftnet.planning.volume_grid import plan_volume_grids


def fingerprint_of(
    box: tuple[Shape, Shape], shape: Shape, spacing: Triple, *, stripped: bool = True
) -> Fingerprint:
    """Three like cases."""
    return like_cases(
        shape, spacing, box, names=("t1n",), stripped=stripped, fraction=0.2,
        low=0.0,
    )  # fmt: skip


def brats() -> Fingerprint:
    """A brain of 141 x 186 x 147 mm in a BraTS image."""
    return fingerprint_of(((5, 30, 50), (146, 216, 197)), (155, 240, 240), (1.0, 1.0, 1.0))


def test_brats_gets_the_papers_cube():
    """128 x 128 x 128, as coarse as the longest side needs; then the tight box of that spacing."""
    cube, tight, *coarser = plan_volume_grids(brats(), any_ct=False)
    assert cube.grid.box == (128, 128, 128)
    assert cube.grid.spacing_mm == pytest.approx((1.5, 1.5, 1.5))
    assert tight.grid.spacing_mm == cube.grid.spacing_mm
    assert tight.grid.box == (104, 128, 104)  # 141 / 1.5 + 4 = 98, 186 / 1.5 + 4, 147 / 1.5 + 4
    assert [max(each.grid.box or ()) for each in coarser] == [
        112, 96, 80, 72, 64, 56, 48, 40, 32,
    ]  # fmt: skip


def test_coarse_data_keep_their_spacing():
    """At 2 mm a cube would be finer than the data: the tight box at 2 mm is best."""
    fingerprint = fingerprint_of(((2, 10, 8), (71, 98, 80)), (80, 110, 90), (2.0, 2.0, 2.0))
    best, *coarser = plan_volume_grids(fingerprint, any_ct=False)
    assert best.grid.spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    assert best.grid.box == (80, 96, 80)  # 69 + 4, 88 + 4, 72 + 4, up to multiples of 8
    sides = [max(each.grid.box or ()) for each in coarser]
    assert sides == [80, 72, 64, 56, 48, 40, 32]


def test_what_was_set_by_hand_is_the_only_candidate():
    """A spacing has the box that holds the brain with it; a box has the spacing of the best."""
    (coarse,) = plan_volume_grids(brats(), any_ct=False, choice=GridChoice(spacing_mm=(3.0,) * 3))
    assert coarse.grid.spacing_mm == (3.0, 3.0, 3.0)
    assert coarse.grid.box == (56, 72, 56)  # 47 + 4, 62 + 4, 49 + 4, up to multiples of 8
    (boxed,) = plan_volume_grids(brats(), any_ct=False, choice=GridChoice(box=(64, 72, 80)))
    assert (boxed.grid.box, boxed.grid.in_plane) == ((64, 72, 80), (72, 80))
    assert boxed.grid.spacing_mm == pytest.approx((1.5, 1.5, 1.5))
    both = GridChoice(box=(64, 72, 80), spacing_mm=(2.0,) * 3)
    (found,) = plan_volume_grids(brats(), any_ct=False, choice=both)
    assert (found.grid.box, found.grid.spacing_mm) == ((64, 72, 80), (2.0, 2.0, 2.0))


def test_a_cube_barely_finer_than_the_data_is_taken():
    """Up to 2 % finer shows nothing that is not there."""
    for extent, taken in ((122, True), (121, False)):
        box = ((0, 0, 0), (90, extent, 80))
        first = plan_volume_grids(
            fingerprint_of(box, (100, 140, 120), (1.0, 1.0, 1.0)), any_ct=False
        )[0]
        assert (first.grid.box == (128, 128, 128)) == taken


def test_candidates_hold_every_case():
    """The largest extent in mm of each axis, whichever case has it, and two voxels of margin."""
    like = fingerprint_of(((0, 0, 0), (40, 50, 60)), (70, 80, 90), (2.0, 1.0, 1.5))
    one = like.cases["x"]
    cases = {
        "x": one,
        "y": replace(one, box_stop=(30, 75, 20)),
        "z": replace(one, spacing_mm=(2.5, 1.0, 1.5), box_start=(5, 5, 5), box_stop=(45, 9, 9)),
    }
    extents = (100.0, 75.0, 90.0)  # z: 40 x 2.5; y: 75 x 1; x: 60 x 1.5
    grids = plan_volume_grids(replace(like, cases=cases), any_ct=False)
    assert len(grids) > 5
    for each in grids:
        grid = each.grid
        assert grid.box is not None
        assert len(set(grid.spacing_mm)) == 1
        for side, extent in zip(grid.box, extents, strict=True):
            assert side % 8 == 0
            assert side >= extent / grid.spacing_mm[0] + 4 - 1e-3
        assert (grid.num_slices, *grid.in_plane) == grid.box
        assert grid.pad_to_box and not grid.crop_in_plane
        assert grid.resample_in_plane and grid.resample_through_plane
    for finer, coarser in pairwise(each.grid for each in grids[1:]):
        assert finer.spacing_mm < coarser.spacing_mm


def test_anisotropic_data_become_isotropic():
    """The coarsest axis is the slice axis, and is resampled as the others are."""
    # 2D sagittal: 5 mm from left to right.
    fingerprint = fingerprint_of(((20, 10, 2), (160, 190, 30)), (180, 200, 32), (1.0, 1.0, 5.0))
    cube, tight, *_ = plan_volume_grids(fingerprint, any_ct=False)
    assert cube.grid.slice_axis == "sagittal"
    assert cube.grid.box == (128, 128, 128)
    # (D, H, W) is (x, z, y) there: 140, 140 and 180 mm. 1.71 mm is the mean spacing.
    assert tight.grid.spacing_mm == pytest.approx((5 ** (1 / 3),) * 3)
    assert tight.grid.box == (88, 88, 112)


@pytest.mark.parametrize(("stripped", "any_ct"), [(False, False), (True, True)])
def test_whole_heads_keep_the_whole_image(stripped, any_ct):
    """Where the background is not zero, what is outside the threshold may be scalp."""
    fingerprint = fingerprint_of(
        ((20, 20, 20), (60, 60, 60)), (70, 100, 90), (2.0, 2.0, 2.0), stripped=stripped
    )
    best = plan_volume_grids(fingerprint, any_ct=any_ct)[0]
    assert best.grid.foreground == "otsu"
    assert best.grid.box == (80, 104, 96)
    assert "image" in best.reasons["grid.box"]
