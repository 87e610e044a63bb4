"""How training runs: stages, steps, learning rates, augmentation. Each number names its source."""

from liftnet.core.plan import AugmentationSpec, Schedule
from liftnet.tasks.missing_modality.context_translation import SLICE_STAGE, STAGE

__all__ = ["plan_augmentation", "plan_stages"]

PAPER_STEPS = 250_000  # nnU-Net: 1000 epochs of 250 steps; LiFT gives no number
LONG_TRAINING = 100_000  # ours: from here on as the paper, U-Net and BiGRU together throughout
PAPER_RATES = {"translator": 2e-5, "mixer": 2e-4}  # LiFT Tab. 10
MAX_RATE = 1e-3  # ours: the usual AdamW rate of small U-Nets; beyond it training is unstable
SLICE_SHARE = 0.7  # ours: of a short training's steps; they cost a third of a step with context
SLICE_VOLUMES = 8  # ours: measured, see docs/explanation/context.md
CONTEXT_VOLUMES = 2  # ours: each one costs an encoding of all its slices
TUNED_RATE = 3e-4  # ours: the translator goes on from where the first stage left it


def plan_stages(num_steps: int | None, reasons: dict[str, str]) -> dict[str, Schedule]:
    """The training stages for a number of steps (by default the paper's form)."""
    steps = num_steps or PAPER_STEPS
    prefix = f"stages.{STAGE}"
    reasons |= {
        f"{prefix}.betas": "PyTorch's AdamW (LiFT gives none)",
        f"{prefix}.gradient_clip": "stops rare spikes; typical norms are below 1 (ours)",
        f"{prefix}.ema_half_life": "1 % of the steps (ours)",
        f"{prefix}.validation_cases": "enough to rank checkpoints, few enough to be quick (ours)",
    }
    if steps >= LONG_TRAINING:
        factor = max(1.0, PAPER_STEPS / steps)
        rates = {k: min(rate * factor, MAX_RATE) for k, rate in PAPER_RATES.items()}
        reasons |= {
            f"{prefix}.num_steps": "nnU-Net, 1000 x 250 (LiFT gives none); shorten with --steps",
            f"{prefix}.learning_rates": "AdamW, U-Net 2e-5 and BiGRU 2e-4 (LiFT Tab. 10)"
            + ("" if factor == 1 else f", times {PAPER_STEPS}/{steps} (ours)"),
            f"{prefix}.volumes_per_step": "LiFT Tab. 10",
        }
        return {STAGE: make_schedule(steps, volumes=1, rates=rates)}
    first = min(round(SLICE_SHARE * steps), steps - 1)
    rate = min(PAPER_RATES["translator"] * PAPER_STEPS / steps, MAX_RATE)
    reasons |= {
        f"stages.{SLICE_STAGE}": "a short training first trains the U-Net alone on thin slabs of "
        "many subjects: gradients of one subject per step are too noisy to average out (ours, "
        "measured)",
        f"{prefix}.num_steps": f"{100 - round(100 * SLICE_SHARE)} % of --steps (ours)",
        f"{prefix}.learning_rates": f"at most {MAX_RATE:g}, the U-Net {TUNED_RATE:g} (ours)",
        f"{prefix}.volumes_per_step": "each costs an encoding of all its slices (ours)",
    }
    stages = {
        SLICE_STAGE: make_schedule(first, volumes=SLICE_VOLUMES, rates={"translator": rate}),
        STAGE: make_schedule(
            steps - first,
            volumes=CONTEXT_VOLUMES,
            rates={"translator": min(rate, TUNED_RATE), "mixer": MAX_RATE},
        ),
    }
    return {name: schedule for name, schedule in stages.items() if schedule.num_steps > 0}


def make_schedule(steps: int, *, volumes: int, rates: dict[str, float]) -> Schedule:
    """The schedule of one stage; the planner sets `decoded_slices` from the memory."""
    return Schedule(
        num_steps=steps,
        volumes_per_step=volumes,
        decoded_slices=48,  # LiFT Tab. 10
        learning_rates=rates,
        weight_decay=0.01,  # PyTorch's AdamW
        betas=(0.9, 0.999),
        warmup_steps=min(1000, max(1, steps // 50)),
        final_rate=0.01,
        gradient_clip=1.0,
        ema_half_life=max(5, steps // 100),
        validate_every=max(1, min(2500, steps // 5)),
        validation_cases=4,
        checkpoint_minutes=3.0,
        loader_workers=4,
    )


def plan_augmentation() -> AugmentationSpec:
    """nnU-Net's transforms, rarer and milder: in synthesis the source's intensity is the answer."""
    return AugmentationSpec(
        flip_probability=(0.0, 0.0, 0.5),  # left-right only: heads stand upright (ours)
        rotation_probability=0.2,  # nnU-Net
        rotation_degrees=15.0,  # nnU-Net, non-square patches
        scale_probability=0.2,  # nnU-Net
        scale_range=(0.9, 1.1),
        shear_probability=0.1,
        shear_range=0.1,
        elastic_probability=0.1,
        elastic_displacement=0.02,
        elastic_control_points=6,
        noise_probability=0.1,  # nnU-Net
        noise_std=0.02,
        blur_probability=0.05,
        blur_sigma=(0.5, 1.0),  # nnU-Net
        brightness_probability=0.1,
        brightness_range=(0.95, 1.05),
        contrast_probability=0.1,
        contrast_range=(0.95, 1.05),
        gamma_probability=0.1,
        gamma_range=(0.95, 1.05),
        low_resolution_probability=0.05,
        low_resolution_range=(0.7, 1.0),
        bias_field_probability=0.1,
        bias_field_strength=0.1,
    )
