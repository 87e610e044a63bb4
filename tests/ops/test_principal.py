"""Principal components against the eigenvectors of the covariance."""

import numpy as np
import pytest

from liftnet.ops.principal import principal_axes


def test_eigenvectors_of_the_covariance():
    """Axes and explained fractions are those of numpy's eigh, up to the sign."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)) + 3).astype(np.float32)
    mean, axes, explained = principal_axes(vectors, 3)
    values, columns = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
    np.testing.assert_allclose(mean, vectors.mean(0), rtol=1e-5)
    np.testing.assert_allclose(explained, values[::-1][:3] / values.sum(), rtol=1e-8)
    products = np.abs(axes @ columns[:, ::-1][:, :3])
    np.testing.assert_allclose(products, np.eye(3), atol=1e-7)


def test_signs_do_not_depend_on_the_order():
    """Largest entries are positive: reordered and mirrored vectors have the same axes."""
    vectors = np.random.default_rng(1).standard_normal((30, 5)) * np.array([5.0, 4, 3, 2, 1])
    _, axes, _ = principal_axes(vectors, 4)
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()
    for other in (vectors[::-1], -vectors, vectors[np.random.default_rng(2).permutation(30)]):
        np.testing.assert_allclose(principal_axes(other, 4)[1], axes, atol=1e-10)


def test_few_and_equal_vectors():
    """No more axes than numbers; equal vectors explain nothing, without a division by zero."""
    assert principal_axes(np.ones((2, 7)), 3)[1].shape == (2, 7)
    _, axes, explained = principal_axes(np.ones((5, 2)), 3)
    assert axes.shape == (2, 2) and not explained.any()
    for wrong in (np.ones(4), np.ones((0, 3))):
        with pytest.raises(ValueError, match="expected vectors"):
            principal_axes(wrong, 2)
