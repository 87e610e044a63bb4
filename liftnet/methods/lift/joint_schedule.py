"""How training runs: stages, steps, learning rates, augmentation. Each number names its source."""

from dataclasses import replace

from liftnet.core.recipe import Schedule
from liftnet.methods.lift.joint import SLICE_STAGE, STAGE
from liftnet.planning.schedule import VALIDATION_REASON, make_schedule

__all__ = ["plan_stages"]

PAPER_STEPS = 250_000  # nnU-Net: 1000 epochs of 250 steps; LiFT gives no number
LONG_TRAINING = 100_000  # ours: from here on as the paper, U-Net and BiGRU together throughout
PAPER_RATES = {"translator": 2e-5, "mixer": 2e-4}  # LiFT Tab. 10
MAX_RATE = 1e-3  # ours: the usual AdamW rate of small U-Nets; beyond it training is unstable
SLICE_SHARE = 0.7  # ours: of a short training's steps; they cost a third of a step with context
SLICE_VOLUMES = 8  # ours: measured, see docs/explanation/context.md
CONTEXT_VOLUMES = 2  # ours: each one costs an encoding of all its slices
MAX_SLICES = 48  # LiFT Tab. 10; the size of the network may leave fewer
CONTEXT_WARMUP = 20  # ours: a share of the steps; the mixer starts on a trained translator
TUNED_RATE = 3e-4  # ours: the translator goes on from where the first stage left it


def plan_stages(num_steps: int | None, reasons: dict[str, str]) -> dict[str, Schedule]:
    """The training stages for a number of steps (by default the paper's form)."""
    steps = num_steps or PAPER_STEPS
    prefix = STAGE
    reasons |= {
        f"{prefix}.betas": "PyTorch's AdamW (LiFT gives none)",
        f"{prefix}.gradient_clip": "stops rare spikes; typical norms are below 1 (ours)",
        f"{prefix}.ema_half_life": "1 % of the steps (ours)",
        f"{prefix}.validation_cases": VALIDATION_REASON,
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
        return {STAGE: make_schedule(steps, volumes=1, slices=MAX_SLICES, rates=rates)}
    first = min(round(SLICE_SHARE * steps), steps - 1)
    rate = min(PAPER_RATES["translator"] * PAPER_STEPS / steps, MAX_RATE)
    reasons |= {
        SLICE_STAGE: "a short training first trains the U-Net alone on thin slabs of "
        "many subjects: gradients of one subject per step are too noisy to average out (ours, "
        "measured)",
        f"{prefix}.num_steps": f"{100 - round(100 * SLICE_SHARE)} % of --steps (ours)",
        f"{prefix}.learning_rates": f"the BiGRU 2e-4 (LiFT Tab. 10): at {MAX_RATE:g} it begins by "
        f"spoiling the U-Net, which goes on with {TUNED_RATE:g} (ours, measured)",
        f"{prefix}.volumes_per_step": "each costs an encoding of all its slices (ours)",
    }
    context = make_schedule(
        steps - first,
        volumes=CONTEXT_VOLUMES,
        slices=MAX_SLICES,
        rates={"translator": min(rate, TUNED_RATE), "mixer": PAPER_RATES["mixer"]},
    )
    stages = {
        SLICE_STAGE: make_schedule(
            first, volumes=SLICE_VOLUMES, slices=MAX_SLICES, rates={"translator": rate}
        ),
        STAGE: replace(context, warmup_steps=max(1, context.num_steps // CONTEXT_WARMUP)),
    }
    return {name: schedule for name, schedule in stages.items() if schedule.num_steps > 0}
