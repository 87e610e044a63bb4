"""Seconds and memory of generating one volume of 128^3, on random weights.

    python benchmarks/generate_128.py [--widths 16 32 64] [--slice-batch 8] [--threads 2]

The peak of live tensors is what a GPU would hold (LiFT Tab. 1: 0.41 GB); the process's own peak
has Python and torch in it.
"""

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from peak_bytes import PeakBytes
from small_generation import make_plan, make_recipe

from liftnet.core.network_specs import FeatureSpec, GeneratorSpec, MapperSpec
from liftnet.methods.lift_u.depth_mapping import build_network
from liftnet.methods.lift_u.generation import generate_volume, latent_of
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.ops.compute.precision import place, supports_bfloat16

SIDE = 128
REPEATS = 3


def recipe_of(base: int) -> LiftURecipe:
    """The paper's size: slices of 128x128, the planner's code and mapper."""
    return make_recipe(
        features=FeatureSpec((48, 96, 192), 8, 0.5),
        generator=GeneratorSpec(
            (SIDE, SIDE), 256, tuple(base * factor for factor in (1, 2, 4, 8, 8))
        ),
        mapper=MapperSpec(128, 256, 128, 4, 6, 32),
    )


def main() -> None:
    """Print one line per width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="*", default=[16, 32, 64])
    parser.add_argument("--slice-batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu = torch.device("cpu")
    kind = "bfloat16" if supports_bfloat16(cpu) else "float32"
    print(f"{SIDE}^3, {options.threads} threads, {kind}, {options.slice_batch} slices at a time")
    print("base width  parameters M  wall s  CPU s  tensors GB  process GB")
    plan, batch = make_plan(), options.slice_batch
    grid = replace(plan.grid, in_plane=(SIDE, SIDE), num_slices=SIDE, box=(SIDE, SIDE, SIDE))
    plan = replace(plan, grid=grid)
    for base in options.widths:
        recipe = recipe_of(base)
        network = build_network(recipe)
        network.features = torch.nn.Identity()  # not needed to generate
        assert isinstance(network, VolumeGenerator)
        network = place(network, cpu).eval()
        latent = latent_of(recipe.mapper, 0, 0)
        generate_volume(plan, batch, network, latent, temperature=1.0)
        wall, spent = [], []
        for _ in range(REPEATS):
            started, used = time.perf_counter(), time.process_time()
            generate_volume(plan, batch, network, latent, temperature=1.0)
            wall.append(time.perf_counter() - started)
            spent.append(time.process_time() - used)
        with PeakBytes() as measured:
            generate_volume(plan, batch, network, latent, temperature=1.0)
        held = sum(t.numel() * t.element_size() for t in network.state_dict().values())
        print(
            f"{base:>10}  {sum(p.numel() for p in network.parameters()) / 1e6:>12.2f}"
            f"  {sorted(wall)[1]:>6.2f}  {sorted(spent)[1]:>5.2f}"
            f"  {(measured.peak + held) / 1e9:>10.3f}"
            f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:>10.2f}"
        )


if __name__ == "__main__":
    main()
