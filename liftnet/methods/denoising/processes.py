"""Ways from noise, or from a source, to an image.

All are lines x = a image + b source + s noise, whose weights depend on a time: 1 where a sampler
begins, 0 at the image. A network is shown x and the time, and says what the image is, or which way
it lies.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from liftnet.core.recipe import Sampler
from liftnet.ops import noise_schedule

__all__ = [
    "Bridge",
    "Diffusion",
    "Flow",
    "FlowFromSource",
    "NoisyBridge",
    "Process",
    "Regression",
    "sample",
]

LEVELS = 1000  # Ho et al. 2020: of the full schedule
LARGEST = 0.3  # I2SB, restoration: of the variances, times the levels
FLOW_NOISE = 0.5  # WFM: of the noise between source and target
GAMMA = 1.0  # SelfRDB: of the noise that there is at the source end, too
Said = Callable[[Tensor, float], Tensor]
Fresh = Tensor | None
Noise = Callable[[int], Tensor]  # number of a step, 0 the beginning -> standard normal numbers


class Process(ABC):
    """One way to an image."""

    samplers: ClassVar[tuple[Sampler, ...]]  # the first is the default
    says: ClassVar[Literal["image", "velocity"]] = "image"

    def __init__(self, levels: int):
        """`levels` of noise are trained, where the way has such."""
        self.levels = levels

    @abstractmethod
    def draw(self, uniform: Tensor) -> Tensor:
        """Times (B,) of training items, of numbers (B,) in [0, 1)."""

    @abstractmethod
    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The weights a, b, s at times (B,), each (B,) float64."""

    @abstractmethod
    def times(self, steps: int) -> list[float]:
        """The times at which a sampler of so many steps asks the network, from 1 on.

        After the last of them the image is what the network says.
        """

    def is_random(self, sampler: str) -> bool:
        """Whether the same source can lead to several images."""
        return self.at(1.0)[2] > 0

    def at(self, time: float) -> tuple[float, float, float]:
        """The weights at one time."""
        a, b, s = (float(w) for w in self.weights(torch.tensor([time], dtype=torch.float64)))
        return a, b, s

    def begin(self, source: Tensor, noise: Noise) -> Tensor:
        """What a sampler begins with."""
        _, from_source, of_noise = self.at(1.0)
        begun = from_source * source
        return begun + of_noise * noise(0) if of_noise > 0 else begun

    def blend(self, image: Tensor, source: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the network is shown of items (B, ...) in training, at times (B,)."""
        a, b, s = (
            w.float().view(-1, *(1,) * (image.ndim - 1)) for w in self.weights(times.double())
        )
        return a * image + b * source + s * noise

    def answer(self, image: Tensor, source: Tensor, noise: Tensor) -> Tensor:
        """What the network is to say."""
        return image

    def step(
        self, x: Tensor, image: Tensor, source: Tensor, now: float, later: float, fresh: Fresh
    ) -> Tensor:
        """X at a later time, when the network has said what the image is.

        Without fresh noise, x keeps its place in the noise: DDIM (Song, Meng and Ermon, ICLR 2021).
        With it, x comes from the distribution of which x now is a noisier version: Ho et al. 2020,
        Eq. 7, and I2SB, Eq. 4, are this one.
        """
        return self.nearer(x, image, source, now, later, fresh)

    def nearer(
        self,
        x: Tensor,
        image: Tensor,
        source: Tensor,
        now: float,
        later: float,
        fresh: Fresh,
        spread: float | None = None,
    ) -> Tensor:
        """The same, with fresh noise of another deviation than what follows."""
        (a, b, s), (a_later, b_later, s_later) = self.at(now), self.at(later)
        kept = s_later / s if fresh is None else (s_later / s) ** 2 * a / a_later
        x = a_later * image + b_later * source + kept * (x - a * image - b * source)
        if fresh is None:
            return x
        if spread is None:
            spread = max(s_later**2 - (kept * s) ** 2, 0.0) ** 0.5
        return x + spread * fresh


def sample(
    process: Process,
    said: Said,
    source: Tensor,
    noise: Noise,
    *,
    sampler: str,
    steps: int,
    reached: Callable[[float], None],
) -> Tensor:
    """An image (B, ...) that may belong to a source (B, ...).

    Args:
        process: the way.
        said: what the network says of x at a time.
        source: the mean of the sources.
        noise: of each step, like `source`.
        sampler: one of the process.
        steps: of the sampler.
        reached: is told the share of steps that are done.
    """
    times = process.times(steps)
    x = process.begin(source, noise)
    for number, now in enumerate(times):
        later = times[number + 1] if number + 1 < steps else None
        answer = said(x, now)
        if process.says == "velocity":
            x = _along(said, x, answer, now, later, sampler)
        elif later is None:
            x = answer
        else:
            fresh = noise(number + 1) if sampler == "ancestral" else None
            x = process.step(x, answer, source, now, later, fresh)
        reached((number + 1) / steps)
    return x


def _along(
    said: Said, x: Tensor, velocity: Tensor, now: float, later: float | None, sampler: str
) -> Tensor:
    """A step of Euler, or of Heun but for the last."""
    ahead = x + (now - (later or 0.0)) * velocity
    if sampler == "euler" or later is None:
        return ahead
    return x + (now - later) * (velocity + said(ahead, later)) / 2


class Diffusion(Process):
    """From noise; Ho et al. 2020, trained at some of 1000 levels (fast-cWDM: 10)."""

    samplers = ("ancestral", "ddim")

    def draw(self, uniform: Tensor) -> Tensor:
        """Each level as often."""
        return (uniform * self.levels).floor() / (self.levels - 1)

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """sqrt(alpha-bar), 0, sqrt(1 - alpha-bar)."""
        table = noise_schedule.alpha_bars(noise_schedule.linear_betas(LEVELS))
        bars = table.to(times.device)[(times * (LEVELS - 1)).round().long()]
        return bars.sqrt(), torch.zeros_like(bars), (1 - bars).sqrt()

    def times(self, steps: int) -> list[float]:
        """Those of evenly spaced levels."""
        return [level / (self.levels - 1) for level in noise_schedule.spaced(self.levels, steps)]

    def begin(self, source: Tensor, noise: Noise) -> Tensor:
        """Noise."""
        return noise(0)

    def step(
        self, x: Tensor, image: Tensor, source: Tensor, now: float, later: float, fresh: Fresh
    ) -> Tensor:
        """Fresh noise has the variance beta, as cWDM has it ("fixed large")."""
        beta = 1 - (self.at(now)[0] / self.at(later)[0]) ** 2
        return self.nearer(x, image, source, now, later, fresh, beta**0.5)


class Bridge(Process):
    """From the source, with noise in between; Liu et al., I2SB."""

    samplers = ("ancestral", "ddim")

    def draw(self, uniform: Tensor) -> Tensor:
        """Each level as often; the image itself is none."""
        return ((uniform * self.levels).floor() + 1) / self.levels

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The marginals of `noise_schedule.bridge_marginals`."""
        of, index = self._marginals(times)
        return of.target[index], of.source[index], of.noise[index]

    def times(self, steps: int) -> list[float]:
        """Evenly spaced."""
        return [1 - i / steps for i in range(steps)]

    def begin(self, source: Tensor, noise: Noise) -> Tensor:
        """The source."""
        return source

    def is_random(self, sampler: str) -> bool:
        """Only by noise on the way."""
        return sampler == "ancestral"

    def _marginals(self, times: Tensor) -> tuple[noise_schedule.Bridge, Tensor]:
        """Those of all levels, and which are meant."""
        of = noise_schedule.bridge_marginals(noise_schedule.mirrored_betas(LEVELS, LARGEST))
        tables = noise_schedule.Bridge(*(table.to(times.device) for table in of))
        return tables, (times * LEVELS).round().long().clamp(min=1) - 1


class NoisyBridge(Bridge):
    """The same means with the noise of SelfRDB, which the source end has, too."""

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise grows with the variance that has been passed.

        Source: Arslan et al. 2024, SelfRDB. Differs: the schedule is that of I2SB.
        """
        of, index = self._marginals(times)
        return of.target[index], of.source[index], GAMMA * of.variance[index].sqrt()

    def begin(self, source: Tensor, noise: Noise) -> Tensor:
        """The source, with noise."""
        return source + self.at(1.0)[2] * noise(0)

    def is_random(self, sampler: str) -> bool:
        """By what it begins with."""
        return True


class Flow(Process):
    """Along straight lines from noise; Lipman et al., ICLR 2023."""

    samplers = ("euler", "heun")
    says = "velocity"

    def draw(self, uniform: Tensor) -> Tensor:
        """Any time."""
        return 1 - uniform

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A line from noise to image."""
        return 1 - times, torch.zeros_like(times), times

    def times(self, steps: int) -> list[float]:
        """Evenly spaced."""
        return [1 - i / steps for i in range(steps)]

    def answer(self, image: Tensor, source: Tensor, noise: Tensor) -> Tensor:
        """The image less the noise."""
        return image - noise


class FlowFromSource(Flow):
    """From the source, with noise in between in training; WFM, MIDL 2026."""

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A line from source to image."""
        return 1 - times, times, FLOW_NOISE * (times * (1 - times)).clamp(min=0).sqrt()

    def answer(self, image: Tensor, source: Tensor, noise: Tensor) -> Tensor:
        """The image less the source."""
        return image - source


class Regression(Process):
    """In one step from nothing: the mean of all images that a source may have."""

    samplers = ("ddim",)

    def draw(self, uniform: Tensor) -> Tensor:
        """Always the same."""
        return torch.ones_like(uniform)

    def weights(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """None."""
        nothing = torch.zeros_like(times)
        return nothing, nothing, nothing

    def times(self, steps: int) -> list[float]:
        """One."""
        return [1.0]
