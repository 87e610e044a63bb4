"""How long does augmentation take, beside batchgeneratorsv2, and how near is it to a copy?

    python benchmarks/augment.py [--device cuda] [--size 256] [--slices 48] [--threads 1]

nnU-Net's default 2D list with its ranges and probabilities, on slices of two source channels and
one target of random numbers around an empty border. liftnet takes the whole batch; the baseline
takes it slice by slice, as nnU-Net's workers do, on the processor (batchgeneratorsv2 cannot use
another device; `pip install --no-deps batchgeneratorsv2`, which is not needed otherwise). Both
see the target as a regression target, which follows the geometry bilinearly.

The times are CPU time of all threads on the processor, and time until the result is there on
another device, per slice, medians over runs that take turns. A row with the name of a transform
has it at probability 1 and all others at 0; blur and low resolution still leave out each channel
with probability 0.5, and flips have 0.5 along each axis. liftnet has no gamma of the inverted
image: its gamma has the probabilities of both, 0.4. Share of limit: the time to read and write
each changed number once at the rate of a large copy, over the time taken; more than 100 % where
the batch or a part of it is in the cache.
"""

import dataclasses
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from measure import arguments, limits, machine, print_table, repeat
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.recipe import AugmentationSpec
from liftnet.ops.compute.host_memory import keep_freed_memory

CHANNELS = 2
NNUNET = AugmentationSpec(
    flip_probability=(0.0, 0.5, 0.5),
    rotation_probability=0.2,
    rotation_degrees=180.0,
    scale_probability=0.2,
    scale_range=(0.7, 1.4),
    shear_probability=0.0,
    shear_range=0.0,
    elastic_probability=0.0,
    elastic_displacement=0.0,
    elastic_control_points=4,
    noise_probability=0.1,
    noise_std=0.1,
    blur_probability=0.2,
    blur_sigma=(0.5, 1.0),
    brightness_probability=0.15,
    brightness_range=(0.75, 1.25),
    contrast_probability=0.15,
    contrast_range=(0.75, 1.25),
    gamma_probability=0.4,  # 0.3, and 0.1 on the inverted image
    gamma_range=(0.7, 1.5),
    low_resolution_probability=0.25,
    low_resolution_range=(0.5, 1.0),
    bias_field_probability=0.0,
    bias_field_strength=0.3,
)
NEVER: dict[str, Any] = {name: 0.0 for name in vars(NNUNET) if name.endswith("_probability")}
NEVER["flip_probability"] = (0.0, 0.0, 0.0)
WHOLE_LIST = "nnU-Net's list"
# each row: what differs from a plan without any augmentation
ROWS: dict[str, dict[str, Any]] = {
    "flips": {"flip_probability": (0.0, 0.5, 0.5)},
    "rotation and scale": {"rotation_probability": 1.0, "scale_probability": 1.0},
    "shear": {"shear_probability": 1.0, "shear_range": 0.1},
    "elastic": {"elastic_probability": 1.0, "elastic_displacement": 0.02},
    "noise": {"noise_probability": 1.0},
    "blur": {"blur_probability": 1.0},
    "brightness": {"brightness_probability": 1.0},
    "contrast": {"contrast_probability": 1.0},
    "low resolution": {"low_resolution_probability": 1.0},
    "gamma": {"gamma_probability": 1.0},
    "bias field": {"bias_field_probability": 1.0},
}
MOVE_TARGET = ("flips", "rotation and scale", "shear", "elastic")
NOT_IN_BASELINE = ("shear", "elastic", "bias field")  # not in nnU-Net's list
Work = Callable[[], object]


def make_batch(num_slices: int, size: int, device: str) -> tuple[Tensor, Tensor]:
    """Source and target, (B, C, 1, H, W), of random numbers with an empty border."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((num_slices, CHANNELS + 1, 1, size, size), generator=generator)
    border = size // 8
    inside = torch.zeros(size, size)
    inside[border:-border, border:-border] = 1
    image = (image * inside).to(device)
    return image[:, :CHANNELS].contiguous(), image[:, CHANNELS:].contiguous()


def liftnet_work(source: Tensor, target: Tensor, spec: AugmentationSpec) -> Work:
    """A call that augments the batch, with other seeds each time."""
    seeds = torch.arange(len(source))

    def work() -> object:
        seeds.add_(len(seeds))
        return augment(source, target, spec, seeds)

    return work


def baseline_work(source: Tensor, target: Tensor, names: Sequence[str]) -> Work:
    """A call that augments the slices on the processor one by one with batchgeneratorsv2.

    Args:
        source: (B, C, 1, H, W).
        target: (B, 1, 1, H, W).
        names: The only transforms, each always applied; none is nnU-Net's list.
    """
    from batchgeneratorsv2.transforms.intensity import brightness, contrast, gamma, gaussian_noise
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    factor = contrast.BGContrast((0.75, 1.25))
    power = contrast.BGContrast((0.7, 1.5))
    turn = 1.0 if names else 0.2
    # name, probability, transform: options as in nnU-Net 2.8
    transforms: list[tuple[str, float, Any]] = [
        (
            "rotation and scale",
            1.0,
            SpatialTransform(
                tuple(source.shape[-2:]),
                patch_center_dist_from_border=0,
                random_crop=False,
                p_rotation=turn,
                rotation=(-np.pi, np.pi),
                p_scaling=turn,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
            ),
        ),
        ("noise", 0.1, gaussian_noise.GaussianNoiseTransform((0, 0.1), 1, True)),
        ("blur", 0.2, GaussianBlurTransform((0.5, 1.0), False, False, 0.5, benchmark=True)),
        ("brightness", 0.15, brightness.MultiplicativeBrightnessTransform(factor, False, 1)),
        ("contrast", 0.15, contrast.ContrastTransform(factor, True, False, 1)),
        (
            "low resolution",
            0.25,
            SimulateLowResolutionTransform((0.5, 1), False, True, (), None, 0.5),
        ),
        ("inverted gamma", 0.1, gamma.GammaTransform(power, 1, False, 1, 1)),
        ("gamma", 0.3, gamma.GammaTransform(power, 0, False, 1, 1)),
        ("flips", 1.0, MirrorTransform(allowed_axes=(0, 1))),
    ]
    if names:
        transforms = [(name, 1.0, one) for name, _, one in transforms if name in names]

    def work() -> object:
        results = []
        for image, wanted in zip(source[:, :, 0], target[:, :, 0], strict=True):
            # they write into what they get: a copy, as a worker has from the store
            sample = {"image": image.clone(), "regression_target": wanted.clone()}
            for _, probability, transform in transforms:
                if np.random.uniform() < probability:
                    sample = transform(**sample)
            results.append(sample)
        return results

    return work


def take_turns(works: Sequence[Work], *, runs: int, device: str) -> list[float]:
    """Median seconds of each work, over runs that take turns after one that does not count.

    The first work is on the device, the others are on the processor.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for number, work in enumerate(works):
            sample = repeat(work, runs=1, warm=0, device=device)
            on_cpu = number > 0 or device == "cpu"
            if run > 0:
                seconds[number].append(sample.cpu if on_cpu else sample.wall)
    return [statistics.median(times) for times in seconds]


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=256, help="voxels along both axes of a slice")
    parser.add_argument("--slices", type=int, default=48, help="of a batch")
    parser.set_defaults(threads=1, runs=9)
    options = parser.parse_args()
    print(machine(options.device, options.threads))
    keep_freed_memory()
    np.random.seed(0)
    torch.manual_seed(0)
    rate = limits(options.device).bytes
    print(
        f"{options.slices} slices of {CHANNELS} + 1 channels, {options.size}x{options.size}; "
        f"copy rate {rate / 1e9:.1f} GB/s"
    )
    source, target = make_batch(options.slices, options.size, options.device)
    on_cpu = source.cpu(), target.cpu()
    has_baseline = importlib.util.find_spec("batchgeneratorsv2") is not None
    rows = []
    for name, changes in {WHOLE_LIST: {}, **ROWS}.items():
        whole = name == WHOLE_LIST
        spec = NNUNET if whole else dataclasses.replace(NNUNET, **{**NEVER, **changes})
        works = [liftnet_work(source, target, spec)]
        missing = "" if has_baseline else "not installed"
        if name in NOT_IN_BASELINE:
            missing = "-"
        if not missing:
            works.append(baseline_work(*on_cpu, [] if whole else [name]))
        own, *others = take_turns(works, runs=options.runs, device=options.device)
        channels = CHANNELS + 1 if whole or name in MOVE_TARGET else CHANNELS
        moved = 2 * channels * source[:, 0].numel() * source.element_size()
        rows.append(
            (
                name,
                f"{1e3 * own / options.slices:.3f}",
                missing or f"{1e3 * others[0] / options.slices:.3f}",
                missing or f"{others[0] / own:.1f}",
                f"{100 * moved / rate / own:.0f} %",
            )
        )
    columns = ("transform", "liftnet ms/slice", "baseline ms/slice", "ratio", "of limit")
    print_table(columns, rows)


if __name__ == "__main__":
    main()
