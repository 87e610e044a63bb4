"""Two images as a protocol compares them, for tests of single metrics."""

import numpy as np

from liftnet.metrics.metric import Pair


def pair_of(
    predicted: np.ndarray,
    reference: np.ndarray,
    region: np.ndarray | None = None,
    **options: object,
) -> Pair:
    """A pair of MR images in [0, 1], axial, whose brain is the region; by default everything."""
    brain = np.ones(reference.shape, dtype=bool) if region is None else region
    fields = {"limits": (0.0, 1.0), "modality": "MR", "axis": 0, "subject": "brain"}
    return Pair(predicted, reference, regions={"brain": brain}, **(fields | options))
