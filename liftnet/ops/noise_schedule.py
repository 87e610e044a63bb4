"""How much noise there is at each level of a diffusion or a bridge; numbers in float64."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Bridge", "alpha_bars", "bridge_marginals", "linear_betas", "mirrored_betas", "spaced"]

FIRST, LAST = 1e-4, 0.02  # Ho et al. 2020, for 1000 levels


def linear_betas(levels: int) -> Tensor:
    """Variances (levels,) of the noise that each level adds.

    Source: Ho, Jain and Abbeel, Denoising Diffusion Probabilistic Models, NeurIPS 2020.
    """
    return torch.linspace(FIRST, LAST, levels, dtype=torch.float64)


def alpha_bars(betas: Tensor) -> Tensor:
    """The share of the image's variance that is left at each level: prod (1 - beta)."""
    return torch.cumprod(1 - betas, dim=0)


def mirrored_betas(levels: int, largest: float) -> Tensor:
    """Variances (levels,) that rise to the middle as squares of a line, and fall again.

    Source: Liu et al., I2SB, ICML 2023; `largest` is that of the middle times the levels.
    """
    half = torch.linspace(
        FIRST**0.5, (largest / levels) ** 0.5, (levels + 1) // 2, dtype=torch.float64
    ).square()
    return torch.cat([half, half[: levels // 2].flip(0)])


class Bridge(NamedTuple):
    """For each level: the weights of target and source, the noise, and the variance until there."""

    target: Tensor
    source: Tensor
    noise: Tensor  # standard deviation
    variance: Tensor  # s^2, the sum of the betas up to this level


def bridge_marginals(betas: Tensor) -> Bridge:
    """The marginals N(mu0 target + mu1 source, sigma^2) between two images.

    With s^2 the sum of the betas up to a level, and r^2 that of the others from the end:
    mu0 = r^2 / (s^2 + r^2), mu1 = s^2 / (s^2 + r^2), sigma^2 = s^2 r^2 / (s^2 + r^2).

    Source: Liu et al., I2SB, ICML 2023, Eq. 11.
    """
    before = torch.cumsum(betas, 0)
    after = torch.cumsum(betas.flip(0), 0).flip(0)
    total = before + after
    return Bridge(after / total, before / total, (before * after / total).sqrt(), before)


def spaced(levels: int, count: int) -> list[int]:
    """So many levels, evenly spaced from the last one to the first; of one, the last.

    >>> spaced(1000, 3), spaced(1000, 1)
    ([999, 500, 0], [999])
    """
    if count == 1:
        return [levels - 1]
    return [round((levels - 1) * (1 - i / (count - 1))) for i in range(count)]
