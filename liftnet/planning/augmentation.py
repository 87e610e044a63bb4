"""The augmentation that every training starts from."""

from liftnet.core.geometry import SLICE_AXES
from liftnet.core.recipe import AugmentationSpec

__all__ = ["AUGMENTATION_REASON", "plan_augmentation"]

LEFT = 0  # the world axis that runs to the left, see SLICE_AXES
AUGMENTATION_REASON = (
    "nnU-Net's list with the geometry shared by all channels; narrower intensity ranges, since "
    "intensity carries the answer in synthesis (ours)"
)


def plan_augmentation(slice_axis: str) -> AugmentationSpec:
    """nnU-Net's transforms, rarer and milder: in synthesis the source's intensity is the answer.

    Args:
        slice_axis: what slices are across; from left to right is another array axis in each.
    """
    depth, height, width = (0.5 if axis == LEFT else 0.0 for axis in SLICE_AXES[slice_axis])
    return AugmentationSpec(
        flip_probability=(depth, height, width),  # left-right only: heads stand upright (ours)
        rotation_probability=0.2,  # nnU-Net
        rotation_degrees=15.0,  # nnU-Net, non-square patches
        scale_probability=0.2,  # nnU-Net
        scale_range=(0.9, 1.1),
        shear_probability=0.1,
        shear_range=0.1,
        elastic_probability=0.1,
        elastic_displacement=0.02,
        elastic_control_points=6,
        noise_probability=0.1,  # nnU-Net
        noise_std=0.02,
        blur_probability=0.05,
        blur_sigma=(0.5, 1.0),  # nnU-Net
        brightness_probability=0.1,
        brightness_range=(0.95, 1.05),
        contrast_probability=0.1,
        contrast_range=(0.95, 1.05),
        gamma_probability=0.1,
        gamma_range=(0.95, 1.05),
        low_resolution_probability=0.05,
        low_resolution_range=(0.7, 1.0),
        bias_field_probability=0.1,
        bias_field_strength=0.1,
    )
