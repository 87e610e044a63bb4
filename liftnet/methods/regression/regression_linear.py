"""Per-voxel linear regression."""

from liftnet.methods.regression.polynomial import Regression

__all__ = ["METHOD"]


class LinearRegression(Regression):
    """Each target as a weighted sum of the sources."""

    label = "linear regression"
    summary = "each voxel by least squares from the sources"
    degree = 1


METHOD = LinearRegression()
