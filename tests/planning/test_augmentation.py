"""Which way images are mirrored in training."""

import numpy as np
import pytest
import torch

from liftnet.augment.apply import augment
from liftnet.core.geometry import SLICE_AXES
from liftnet.planning.augmentation import plan_augmentation


@pytest.mark.parametrize("slice_axis", SLICE_AXES)
def test_only_left_and_right_change_places(slice_axis):
    """Whatever slices are across, the front stays in front and the top on top."""
    spec = plan_augmentation(slice_axis)
    image = torch.zeros(1, 1, 9, 9, 9)
    image[:, :, 1:3, 1:3, 1:3] = 1
    start = np.full(3, 1.5)
    found = set()
    for seed in range(60):
        moved, _ = augment(image, image, spec, torch.tensor([seed]))
        centre = [
            float((moved.sum(dim=[k for k in range(5) if k != axis + 2]) * torch.arange(9)).sum())
            / float(moved.sum())
            for axis in range(3)
        ]
        for axis, (before, after) in enumerate(zip(start, centre, strict=True)):
            if after > 4.5 > before:
                found.add(SLICE_AXES[slice_axis][axis])
    assert found == {0}
