"""Plans shared by the tests of the augmentation."""

import pytest

from liftnet.core.recipe import AugmentationSpec


@pytest.fixture
def everything() -> AugmentationSpec:
    """A plan that applies every transform to every item."""
    return AugmentationSpec(
        flip_probability=(0.5, 0.5, 0.5),
        rotation_probability=1.0,
        rotation_degrees=30.0,
        scale_probability=1.0,
        scale_range=(0.7, 1.4),
        shear_probability=1.0,
        shear_range=0.2,
        elastic_probability=1.0,
        elastic_displacement=0.03,
        elastic_control_points=5,
        noise_probability=1.0,
        noise_std=0.1,
        blur_probability=1.0,
        blur_sigma=(0.5, 1.0),
        brightness_probability=1.0,
        brightness_range=(0.75, 1.25),
        contrast_probability=1.0,
        contrast_range=(0.75, 1.25),
        gamma_probability=1.0,
        gamma_range=(0.7, 1.5),
        low_resolution_probability=1.0,
        low_resolution_range=(0.5, 1.0),
        bias_field_probability=1.0,
        bias_field_strength=0.3,
    )
