"""The network of cWDM without noise: one step."""

from liftnet.methods.denoising.recipes import VolumeRecipe
from liftnet.methods.denoising.sampled import Release, Released
from liftnet.methods.denoising.volumes import Wavelets

__all__ = ["METHOD"]


class WaveletRegression(Released[VolumeRecipe], Wavelets):
    """What a diffusion says in its first step, trained for that alone."""

    label = "wavelet regression"
    summary = "Haar sub-bands by regression, 1 step"
    paper = "cWDM's network; YODA 2025 for one step"
    objective = "regression"
    num_steps = 1
    rate, steps, volumes = 1e-4, 100_000, 1
    release = Release(1_200_000, 1e-5, 1)


METHOD = WaveletRegression()
