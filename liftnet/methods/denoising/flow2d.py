"""Conditional flow matching of slices."""

from liftnet.methods.denoising.slices import SliceBySlice

__all__ = ["METHOD"]


class Flow2D(SliceBySlice):
    """From noise to the slice, beside the sources."""

    label = "flow matching (2D)"
    summary = "flow of slices from noise, 10 steps"
    paper = "Lipman et al. 2023; Moschetto et al. 2025 for MR"
    objective = "flow"
    num_steps = 10
    rate, steps, volumes = 2e-4, 100_000, 8


METHOD = Flow2D()
