"""cWDM: conditional wavelet diffusion."""

from liftnet.methods.denoising.recipes import VolumeRecipe
from liftnet.methods.denoising.sampled import Release, Released
from liftnet.methods.denoising.volumes import Wavelets

__all__ = ["METHOD"]


class CWDM(Released[VolumeRecipe], Wavelets):
    """1000 levels, 1000 steps; 81,511,048 parameters at the published size."""

    label = "cWDM"
    summary = "diffusion of Haar sub-bands, 1000 steps"
    paper = "Friedrich et al. 2024, cWDM"
    objective = "diffusion"
    num_steps = 1000
    rate, steps, volumes = 1e-4, 100_000, 1
    release = Release(1_200_000, 1e-5, 1)


METHOD = CWDM()
