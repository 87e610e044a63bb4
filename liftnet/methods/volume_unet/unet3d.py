"""Supervised regression by nnU-Net's 3D network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from liftnet.core.plan import Plan
from liftnet.methods.volume_unet.translation import VolumeUNet, VolumeUNetRecipe

__all__ = ["METHOD"]


class UNet3dMethod(VolumeUNet):
    """The fair 3D opponent of slices with context: 31 million parameters as published."""

    label = "3D U-Net"
    summary = "3D regression by the network of nnU-Net"
    paper = "Isensee et al. 2021; nnU-Net translation, nnsyn (SynthRAD2025)"
    figures: ClassVar[Mapping[str, str]] = {"mae_hu": "64.8 HU (nnsyn, SynthRAD2025: another set)"}
    attention = False
    most_levels = 6
    most_width = 320
    largest = (128, 160, 128)
    batch = 2
    steps = 250_000  # nnU-Net
    rate = 1e-3
    size_source = "published"
    schedule_reasons: ClassVar[Mapping[str, str]] = {
        "num_steps": "1000 times 250 (nnU-Net)",
        "volumes_per_step": "2 boxes (nnU-Net)",
        "learning_rates": "AdamW 1e-3: the best of 1e-4, 3e-4 and 1e-3 in a short trial on "
        "simulated heads (ours)",
    }

    def published(self, plan: Plan, recipe: VolumeUNetRecipe) -> VolumeUNetRecipe:
        """As nnU-Net translation, but for what AdamW is here in place of SGD."""
        schedule = replace(
            recipe.patch_translation,
            volumes_per_step=2,
            weight_decay=3e-5,
            decay="linear",
            final_rate=0.0,
            warmup_steps=1,
            gradient_clip=12.0,
            ema_half_life=0,
            keep="last",
        )
        reasons = recipe.reasons | {
            "augmentation": "none (nnU-Net translation)",
            "outside_mask": "L1 over the whole box (nnU-Net translation)",
            "patch_translation.learning_rates": "AdamW 1e-3, linear to 0 (ours); published: SGD "
            "0.01, Nesterov 0.99, poly 0.9, which this training loop has not",
            "patch_translation.weight_decay": "3e-5 (nnU-Net)",
            "patch_translation.gradient_clip": "12 (nnU-Net)",
            "patch_translation.keep": "the last weights, not averaged (nnU-Net translation)",
        }
        return replace(
            recipe,
            augmentation=None,
            outside_mask=1.0,
            patch_translation=schedule,
            reasons=reasons,
        )


METHOD = UNet3dMethod()
