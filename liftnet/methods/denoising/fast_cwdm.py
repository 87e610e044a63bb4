"""fast-cWDM: the same with ten levels."""

from liftnet.methods.denoising.recipes import VolumeRecipe
from liftnet.methods.denoising.sampled import Release, Released
from liftnet.methods.denoising.volumes import Wavelets

__all__ = ["METHOD"]


class FastCWDM(Released[VolumeRecipe], Wavelets):
    """Ten levels of the schedule of 1000, in training and prediction."""

    label = "fast-cWDM"
    summary = "diffusion of Haar sub-bands, 10 steps"
    paper = "fast-cWDM, 2025"
    objective = "diffusion"
    levels = num_steps = 10
    rate, steps, volumes = 1e-4, 100_000, 1
    release = Release(5000, 1e-5, 2, decay="linear")


METHOD = FastCWDM()
