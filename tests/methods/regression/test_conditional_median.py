"""The conditional median against medians by brute force, and on heads."""

import numpy as np
import torch

from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image
from liftnet.methods import load_method
from liftnet.methods.regression.conditional_median import (
    DEPTHS_MM,
    FEW,
    INTENSITIES,
    LEVELS,
    bins_of,
    depth_below_surface,
    depth_bins,
    medians,
)
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.train.train import train

DATASET = "Dataset009_Heads"


def test_depth_is_measured_in_mm_and_the_body_may_leave_at_the_ends():
    """In a long column along the slices, depth is the distance to its sides alone."""
    mask = np.zeros((5, 9, 11), bool)
    mask[:, 2:7, 3:8] = True
    depth = depth_below_surface(mask, (3.0, 2.0, 1.0))
    assert (depth[~mask] == 0).all()
    assert depth[2, 4, 3] == 1.0 and depth[2, 4, 5] == 3.0 and depth[2, 2, 5] == 2.0
    np.testing.assert_array_equal(depth, depth[:1].repeat(5, axis=0))
    bins = depth_bins(mask, (3.0, 2.0, 1.0))
    assert (bins[torch.from_numpy(~mask)] == 0).all() and (bins[torch.from_numpy(mask)] > 0).all()


def test_medians_are_those_of_the_values():
    """To a level's width; a bin with few voxels takes its intensity at any depth."""
    rng = np.random.default_rng(0)
    depth = rng.integers(0, len(DEPTHS_MM) + 1, 60_000)
    intensity = rng.integers(0, 5, 60_000)
    value = np.clip(0.1 * intensity + 0.03 * depth + 0.05 * rng.standard_normal(60_000), 0, 0.999)
    keep = (depth != 3) | (intensity != 2)
    depth, intensity, value = depth[keep], intensity[keep], value[keep]
    counts = np.zeros((len(DEPTHS_MM) + 1, INTENSITIES, LEVELS), int)
    np.add.at(counts, (depth, intensity, (value * LEVELS).astype(int)), 1)
    found = medians(counts)
    for d, i in ((0, 0), (1, 1), (11, 4)):
        truth = np.median(value[(depth == d) & (intensity == i)])
        assert abs(found[d, i] - truth) < 2 / LEVELS
    there = (intensity == 2) & (depth > 0)
    assert abs(found[3, 2] - np.median(value[there])) < 2 / LEVELS  # fewer than FEW of its own
    assert FEW > 0
    # An intensity that was never seen has the median of the nearest that was.
    highest = np.median(value[(intensity == 4) & (depth > 0)])
    assert abs(found[5, 40] - highest) < 2 / LEVELS


def test_bins_end_where_the_range_ends():
    """Values beyond it fall into the outermost bins."""
    found = bins_of(torch.tensor([-9.0, -4.0, 0.99, 1.0, 6.0, 99.0]), -4.0, 6.0, 10)
    assert found.tolist() == [0, 0, 4, 5, 9, 9]


def test_it_beats_a_polynomial_on_heads_and_serves_ct_alone(pairs, capsys):
    """MR and CT heads: a smaller error than the linear regression, on validation cases."""
    plan = load_plan(find_workspace(pairs), DATASET, "default")
    method = load_method("conditional_median")
    assert method.unfit(plan) is None
    errors = {}
    for name in ("conditional_median", "regression_linear"):
        train(workspace=pairs, method=name, fold=0, device="cpu")
        text = capsys.readouterr().out
        errors[name] = float(text.split("best MAE ")[1].split(" HU")[0])
    assert errors["conditional_median"] < 0.8 * errors["regression_linear"]
    inputs = pairs / "raw" / DATASET / "imagesTs"
    out = pairs / "out"
    assert not predict(inputs, out, workspace=pairs, method="conditional_median", device="cpu")
    image, _ = read_image(next(out.glob("*.nii.gz")))
    assert image.min() < -900 and image.max() > 300
