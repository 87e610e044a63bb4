"""A diffusion bridge from the sources to the target, slice by slice."""

from collections.abc import Mapping
from typing import ClassVar

from liftnet.methods.denoising.recipes import SliceRecipe
from liftnet.methods.denoising.sampled import Release, Released
from liftnet.methods.denoising.slices import SliceBySlice

__all__ = ["METHOD"]


class Bridge2D(Released[SliceRecipe], SliceBySlice):
    """The marginals of I2SB, or with `objective=selfrdb` the noise of SelfRDB."""

    label = "bridge (2D)"
    summary = "diffusion bridge of slices from the sources, 10 steps"
    paper = "Liu et al. 2023, I2SB; Arslan et al. 2024, SelfRDB"
    figures: ClassVar[Mapping[str, str]] = {"psnr": "27.98 dB (T2 to FLAIR, one source; SelfRDB)"}
    objective = "bridge"
    num_steps = 10
    rate, steps, volumes = 2e-4, 100_000, 8
    release = Release(1_000_000, 5e-5, 256, ema_half_life=69)


METHOD = Bridge2D()
