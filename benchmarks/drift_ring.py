"""A ring of eight Gaussians in 2D: what a small generator finds of it under each loss.

    python benchmarks/drift_ring.py [--steps 1500] [--samples 160] [--seed 0]

The modes have the weights 3 and 1 in turn. The generator starts spread over the plane, on one mode,
or far from all. A mode is found if at least a quarter of its share of the samples lies within four
standard deviations of it. Ratios of spread to real and the energy distance are those of 2000
samples; the last line is what a second set of real samples scores.
"""

import argparse
import math
import time

import torch
from torch import Tensor, nn

from liftnet.losses.drift import drift_loss, energy_distance
from liftnet.losses.drift_monitors import diversity_ratio, nearest_ratio
from liftnet.losses.feature_scale import FeatureScale, scale_of

NUM_MODES = 8
RADIUS, STD = 2.0, 0.1
WEIGHTS = torch.tensor([3.0, 1.0] * (NUM_MODES // 2)) / (2 * NUM_MODES)
STARTS = {"spread": (1.0, (0.0, 0.0)), "one mode": (0.02, (RADIUS, 0.0)), "far": (0.1, (9.0, 9.0))}
LOSSES = ("attract, R 0.2", "attract, R 0.5", "attract_repel", "energy", "attract_repel + energy")
ENERGY_WEIGHT = 0.3  # what method.md advises beside the drift
NOISE = 8  # dimensions
NUM_TESTED = 2000
HEADER = "loss                    start     modes  std ratio  diversity  nearest  energy  seconds"


def centres() -> Tensor:
    """The eight modes, (8, 2)."""
    angle = torch.arange(NUM_MODES) * (2 * math.pi / NUM_MODES)
    return RADIUS * torch.stack([angle.cos(), angle.sin()], dim=-1)


def draw_real(count: int, generator: torch.Generator) -> Tensor:
    """Samples of the ring, (N, 2)."""
    modes = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return centres()[modes] + STD * torch.randn(count, 2, generator=generator)


class Ring(nn.Module):
    """A small network from noise to the plane, brought to a given spread and place at its start."""

    def __init__(self, spread: float, place: tuple[float, float]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(NOISE, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2)
        )
        last = self.layers[-1]
        with torch.no_grad():
            points = self.layers(torch.randn(4096, NOISE))
            last.weight.mul_(spread / points.std(dim=0, keepdim=True).T)
            last.bias.zero_()
            last.bias.copy_(torch.tensor(place) - self.layers(torch.randn(4096, NOISE)).mean(dim=0))

    def forward(self, noise: Tensor) -> Tensor:
        """Points of the plane, (N, 2)."""
        return self.layers(noise)


def loss_of(name: str, points: Tensor, real: Tensor, scale: FeatureScale) -> Tensor:
    """The named loss of generated points against real ones."""
    if name.startswith("attract, "):
        bandwidth = float(name.split()[-1])
        return drift_loss(points, real, scale=scale, mode="attract", bandwidth=bandwidth)
    if name == "energy":
        return energy_distance(points, real, scale=scale)
    drift = drift_loss(points, real, scale=scale)
    if name == "attract_repel":
        return drift
    return drift + ENERGY_WEIGHT * energy_distance(points, real, scale=scale)


def modes_found(points: Tensor) -> int:
    """How many of the eight modes have a quarter of their share of the points."""
    near = torch.cdist(points, centres()) < 4 * STD
    return int((near.float().mean(dim=0) >= WEIGHTS / 4).sum())


def row(name: str, start: str, points: Tensor, real: Tensor, seconds: float) -> str:
    """A line of the table."""
    std = float(points.std(dim=0).mean() / real.std(dim=0).mean())
    return (
        f"{name:23s} {start:9s} {modes_found(points):5d} {std:10.3f} "
        f"{float(diversity_ratio(points, real)):10.3f} {float(nearest_ratio(points, real)):8.2f} "
        f"{float(energy_distance(points, real)):7.4f} {seconds:8.0f}"
    )


def train(name: str, start: str, arguments: argparse.Namespace) -> str:
    """The line of one loss and start."""
    torch.manual_seed(arguments.seed)
    random = torch.Generator().manual_seed(arguments.seed)
    scale = scale_of(draw_real(1024, random))
    network = Ring(*STARTS[start])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    began = time.perf_counter()
    for step in range(arguments.steps):
        for group in optimizer.param_groups:  # cosine, so that the end is not jitter
            group["lr"] = 5e-4 * (1 + math.cos(math.pi * step / arguments.steps))
        noise = torch.randn(arguments.samples, NOISE, generator=random)
        real = draw_real(arguments.samples, random)
        optimizer.zero_grad()
        loss_of(name, network(noise), real, scale).backward()
        optimizer.step()
    with torch.no_grad():
        points = network(torch.randn(NUM_TESTED, NOISE, generator=random))
    real = draw_real(NUM_TESTED, random)
    return row(name, start, points, real, time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(HEADER)
    for name in LOSSES:
        for start in STARTS:
            print(train(name, start, arguments), flush=True)
    random = torch.Generator().manual_seed(arguments.seed)
    real = [draw_real(NUM_TESTED, random) for _ in range(2)]
    print(row("real samples", "", *real, 0))


if __name__ == "__main__":
    main()
