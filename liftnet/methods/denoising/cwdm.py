"""cWDM: conditional wavelet diffusion."""

from collections.abc import Mapping
from typing import ClassVar

from liftnet.methods.denoising.recipes import VolumeRecipe
from liftnet.methods.denoising.sampled import Release, Released
from liftnet.methods.denoising.volumes import Wavelets

__all__ = ["METHOD"]


class CWDM(Released[VolumeRecipe], Wavelets):
    """1000 levels, 1000 steps; 81,511,048 parameters at the published size."""

    label = "cWDM"
    summary = "diffusion of Haar sub-bands, 1000 steps"
    paper = "Friedrich et al. 2024, cWDM"
    figures: ClassVar[Mapping[str, str]] = {
        "psnr": "29.74 / 27.32 / 28.81 / 27.83 dB (T1n/T1c/T2w/T2f, LiFT Tab. 2)"
    }
    objective = "diffusion"
    num_steps = 1000
    rate, steps, volumes = 1e-4, 100_000, 1
    release = Release(1_200_000, 1e-5, 1)


METHOD = CWDM()
