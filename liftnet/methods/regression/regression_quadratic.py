"""Per-voxel quadratic regression."""

from liftnet.methods.regression.polynomial import Regression

__all__ = ["METHOD"]


class QuadraticRegression(Regression):
    """Each target as a weighted sum of the sources, their squares and products."""

    label = "quadratic regression"
    summary = "each voxel by least squares from the sources, their squares and products"
    degree = 2


METHOD = QuadraticRegression()
