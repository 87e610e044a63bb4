"""What the schedules of all training stages have in common."""

from dataclasses import replace

from liftnet.core.recipe import Schedule

__all__ = ["VALIDATION_REASON", "closed_form", "make_schedule"]

LEAST_CASES, MOST_CASES = 4, 16  # ours: to rank checkpoints; the mean of 16 errs by a quarter
STEPS_PER_CASE = 100  # ours: a case takes as long as one to four steps, so all take 1 to 4 %
VALIDATION_REASON = (
    f"one per {STEPS_PER_CASE} steps between validations, {LEAST_CASES} to {MOST_CASES}: each "
    "takes as long as one to four steps (ours)"
)


def make_schedule(
    steps: int,
    *,
    volumes: int,
    slices: int,
    rates: dict[str, float],
    windows: int = 1,
    weight_decay: float = 0.01,  # PyTorch's AdamW
) -> Schedule:
    """The schedule of one stage of so many steps."""
    interval = max(1, min(2500, steps // 5))
    return Schedule(
        num_steps=steps,
        volumes_per_step=volumes,
        windows_per_volume=windows,
        decoded_slices=slices,
        learning_rates=rates,
        weight_decay=weight_decay,
        betas=(0.9, 0.999),
        warmup_steps=min(1000, max(1, steps // 50)),
        final_rate=0.01,
        gradient_clip=1.0,
        ema_half_life=max(5, steps // 100),
        validate_every=interval,
        validation_cases=max(LEAST_CASES, min(MOST_CASES, interval // STEPS_PER_CASE)),
        checkpoint_minutes=3.0,
        loader_workers=4,
    )


def closed_form() -> Schedule:
    """The schedule of a stage that takes no step: one look at the cases finds all there is."""
    return replace(make_schedule(1, volumes=1, slices=1, rates={}), num_steps=0)
