"""Principal components: the directions along which vectors differ most."""

import numpy as np

__all__ = ["principal_axes"]


def principal_axes(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean (K,), axes (n, K) and explained fractions (n,) of vectors (N, K), float64.

    n is `count`, or fewer where N or K is smaller. The largest entry of an axis is positive, so
    that the same vectors always give the same axes. Coordinates are (vectors - mean) @ axes.T.

    Raises:
        ValueError: If there are no vectors.
    """
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"expected vectors (N, K), got shape {vectors.shape}")
    rows = vectors.astype(np.float64)
    mean = rows.mean(axis=0)
    _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:count]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)[:, None]
    variances = spread**2
    total = variances.sum()
    explained = variances[:count] / total if total > 0 else np.zeros(len(axes))
    return mean, axes, explained
