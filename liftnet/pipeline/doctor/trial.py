"""The doctor's self-test: a little of all that a run does, on the device that it would use."""

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.pipeline.doctor.programs import Finding

__all__ = ["self_test"]

STEPS = 5  # ours: the loss of a random start falls in each
SHAPE = (8, 48, 64)  # slices, rows, columns; three sizes, so that a mistaken axis is seen
TIMED_SECONDS = 0.5  # ours: of matrix products
SIDE, SIDE_CUDA = 1024, 8192  # of the matrices: some hundredths of a second each
TOLERANCE = 1e-3  # ours: of a product in float32 against float64, relative
SPACING_MM = (3.0, 2.0, 1.5)


def self_test(device: str | None) -> Iterator[Finding]:
    """Train a tiny network, write and read an image, multiply matrices."""
    try:
        import torch

        from liftnet.ops.compute.precision import pick_device

        chosen = pick_device(device)
    except ImportError as error:
        yield Finding("self-test", "problem", f"not done: {error}", "Install what is missing.")
        return
    except (ValueError, RuntimeError) as error:  # the second: no number of a device
        yield Finding("self-test", "problem", str(error)[:160], "Leave -device out.")
        return
    for name, test in (("training", _train), ("product", _multiply)):
        try:
            yield Finding(f"test of {name}", "ok", test(chosen))
        except (ImportError, RuntimeError, ArithmeticError, ValueError) as error:
            text = f"fails on {chosen}: {' '.join(str(error).split())[:200]}"
            remedy = "Update the driver, or install torch anew; -device cpu tells which of them."
            if isinstance(error, torch.OutOfMemoryError):
                remedy = "Free memory on the device: see nvidia-smi."
            yield Finding(f"test of {name}", "problem", text, remedy)
    yield _write_and_read()


def _train(device: "torch.device") -> str:  # type: ignore[name-defined]  # noqa: F821
    """How a few steps of a tiny network with a mixer go, in words.

    Raises:
        ArithmeticError: If the loss does not fall.
    """
    import torch

    from liftnet.augment.apply import augment
    from liftnet.core.network_specs import MixerSpec, TranslatorSpec
    from liftnet.networks.volume_translator import VolumeTranslator
    from liftnet.ops.compute.precision import autocast, place
    from liftnet.planning.augmentation import plan_augmentation

    torch.manual_seed(0)
    mixer = MixerSpec("mean_std", "all", 16, 1, 4, "decoder", 3)
    network = place(
        VolumeTranslator(TranslatorSpec(2, 1, 2, (8, 16, 32), 2, "none"), mixer), device
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    depth, rows, columns = (torch.linspace(-1, 1, n, device=device) for n in SHAPE)
    ball = depth[:, None, None] ** 2 + rows[:, None] ** 2 + columns**2 < 1
    image = ball * (1 + 0.3 * torch.rand(SHAPE, device=device))
    source = torch.stack([image, ball * (2 - image)])[None]
    given = torch.ones(1, 2, device=device)
    losses, start = [], 0.0
    for step in range(STEPS):
        seeds = torch.tensor([step])
        moved, target = augment(source, source[:, :1], plan_augmentation("axial"), seeds)
        with autocast(device):
            made = network([moved], given, starts=[2], count=4, slice_batch=4)
        loss = (made.float() - target[:, :, 2:6]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        start = start or time.perf_counter()  # the first step also prepares the device
    if not (all(map(math.isfinite, losses)) and losses[-1] < losses[0]):
        raise ArithmeticError(f"losses {', '.join(f'{loss:.4g}' for loss in losses)} do not fall")
    seconds = (time.perf_counter() - start) / (STEPS - 1)
    return (
        f"{STEPS} steps of a tiny network on {device}, {seconds:.3f} s each, "
        f"loss {losses[0]:.3g} to {losses[-1]:.3g}"
    )


def _multiply(device: "torch.device") -> str:  # type: ignore[name-defined]  # noqa: F821
    """How fast matrices are multiplied, in words.

    Raises:
        ArithmeticError: If the product is wrong.
    """
    import torch

    from liftnet.ops.compute.precision import supports_bfloat16

    few = torch.rand(96, 80, generator=torch.Generator().manual_seed(0))
    exact = few.double() @ few.double().T
    found = (few.to(device) @ few.to(device).T).cpu().double()
    if not torch.allclose(found, exact, rtol=TOLERANCE):
        raise ArithmeticError("a product of matrices is wrong")
    dtype = torch.bfloat16 if supports_bfloat16(device) else torch.float32
    side = SIDE_CUDA if device.type == "cuda" else SIDE
    matrix = torch.rand(side, side, device=device).to(dtype)
    total = (matrix @ matrix)[0, 0].item()  # waits for the device
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        total += (matrix @ matrix)[0, 0].item()
        count += 1
    rate = 2 * side**3 * count / (time.perf_counter() - start) / 1e9
    kind = str(dtype).removeprefix("torch.")
    return f"{rate:.0f} GFLOP/s in {kind} on {device} (matrices of {side} x {side})"


def _write_and_read() -> Finding:
    """Whether an image comes back as it was written."""
    area = "test of images"
    try:
        import numpy as np

        from liftnet.core.geometry import Geometry
        from liftnet.imageio import read_image, write_image

        voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        geometry = Geometry(SHAPE, SPACING_MM, (1.0, -2.0, 3.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
        with tempfile.TemporaryDirectory(prefix="liftnet_doctor_") as folder:
            path = Path(folder) / "test.nii.gz"
            write_image(path, voxels, geometry, dtype="int16")
            found, info = read_image(path)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        text = f"an image cannot be written and read: {' '.join(str(error).split())[:200]}"
        return Finding(area, "problem", text, "Install SimpleITK and zlib-ng; check TMPDIR.")
    except LiftnetError as error:
        return Finding(area, "problem", error.problem, error.remedy or "Check TMPDIR.")
    same = bool((np.squeeze(found) == voxels).all())
    if not same or not np.allclose(info.geometry.spacing_mm, SPACING_MM):
        remedy = "Install SimpleITK anew: pip install --force-reinstall SimpleITK"
        return Finding(area, "problem", "an image does not come back as it was written", remedy)
    return Finding(area, "ok", "a .nii.gz comes back as it was written")
