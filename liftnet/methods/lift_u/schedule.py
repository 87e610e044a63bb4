"""How training runs: the stages, their steps and rates. Each number names its source."""

from dataclasses import replace

from liftnet.core.network_specs import DriftSpec
from liftnet.core.recipe import Schedule
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE
from liftnet.methods.lift_u.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.methods.lift_u.slice_features import STAGE as FEATURE_STAGE
from liftnet.methods.lift_u.slice_generation import STAGE as SLICE_STAGE
from liftnet.planning.schedule import VALIDATION_REASON, make_schedule

__all__ = ["MAX_SLICES", "is_short", "plan_drift", "plan_stages"]

# ours: LiFT gives no number; the mapper's first fifth is by codes alone, which costs little.
DEFAULT_STEPS = {
    FEATURE_STAGE: 20_000,
    SLICE_STAGE: 100_000,
    CODE_STAGE: 10_000,
    DEPTH_STAGE: 40_000,
}
SHARES = {FEATURE_STAGE: 0.1, SLICE_STAGE: 0.5, CODE_STAGE: 0.08, DEPTH_STAGE: 0.32}  # ours
PAPER_RATE = 2e-4  # LiFT Tab. 10, both stages
LONG_TRAINING = 20_000  # ours: in shorter ones the critic's judgement is still noise
MAX_RATE = 2e-3  # ours: the refiner is stable up to here
FEATURE_RATE = 1e-3  # ours: the usual rate of small masked autoencoders
MAX_SLICES = 128  # LiFT Tab. 10: axial slices of a step
WINDOWS = 8  # ours: slices of each volume; 128 are of 16 volumes
FEATURE_WINDOWS = 6  # ours: two of each plane
VOLUMES = 8  # LiFT Tab. 10: generated volumes of a step
GAN_BETAS = (0.5, 0.9)  # ours: a critic needs a short memory (WGAN-GP has (0, 0.9), pix2pix 0.5)
BETAS = (0.9, 0.95)  # ours: as masked autoencoders are trained (He et al. 2022)
POSITIVES = 64  # ours: measured on a small model, 1.7 times nearer to real than with 8
PLANE_SLICES = {128: 6, 64: 6, 32: 4}  # ours: take no more memory than the slices of a step
CHECKED_REAL = 128  # ours: four times those generated, so that these decide the noise of a check
CODE_CHECKS = 500  # ours: at least so many steps apart; one takes as long as hundreds of them
TRAINING_SHARE = 0.8  # nnU-Net: five folds, so that four fifths are trained on

# Why, for each stage that is planned.
REASONS = {
    f"{FEATURE_STAGE}.windows_per_volume": "two slices of each plane (ours)",
    f"{FEATURE_STAGE}.learning_rates": "1e-3, usual for small encoders (ours)",
    f"{SLICE_STAGE}.learning_rates": "Adam 2e-4 (LiFT Tab. 10); the critic likewise (ours)",
    f"{SLICE_STAGE}.volumes_per_step": f"128 axial slices (LiFT Tab. 10), {WINDOWS} of each volume "
    "(ours)",
    f"{SLICE_STAGE}.validation_cases": VALIDATION_REASON,
    f"{DEPTH_STAGE}.validation_cases": "real volumes that generated ones are compared with; their "
    "features are made once (ours)",
    f"{SLICE_STAGE}.betas": "(0.5, 0.9): a critic follows what the generator does now (ours)",
    f"{CODE_STAGE}.validate_every": "a validation makes volumes, and takes as long as hundreds of "
    "steps (ours)",
    CODE_STAGE: "the mapper's first fifth, by energy distance of codes: drift needs a start that "
    "varies with the latent (ours, measured)",
    f"{DEPTH_STAGE}.learning_rates": "Adam 2e-4, generator and features frozen (LiFT Tab. 10)",
    f"{DEPTH_STAGE}.volumes_per_step": "8 volumes (LiFT Tab. 10)",
}


def plan_stages(
    num_steps: int | None, slices: int, depth: int, reasons: dict[str, str], *, features: bool
) -> dict[str, Schedule]:
    """The schedules of all stages.

    Args:
        num_steps: of all stages together; by default each has its own number.
        slices: at most so many axial slices of a step of slice generation.
        depth: slices of a volume.
        reasons: receives why.
        features: whether an encoder of features is trained.
    """
    rate = PAPER_RATE
    if is_short(num_steps):
        assert num_steps is not None
        rate = min(PAPER_RATE * LONG_TRAINING / num_steps, MAX_RATE)
    names = [name for name in SHARES if features or name != FEATURE_STAGE]
    for name in names:
        share = f"{_share(name, names):.0%} of --steps (ours)"
        default = "ours: LiFT gives no number; shorten with --steps"
        reasons[f"{name}.num_steps"] = share if num_steps else default
        reasons[f"{name}.weight_decay"] = "0: plain Adam (LiFT Tab. 10)"
    reasons |= {key: why for key, why in REASONS.items() if key.partition(".")[0] in names}
    if rate != PAPER_RATE:
        reasons[f"{SLICE_STAGE}.learning_rates"] += f"; {rate:g} in a short training (ours)"
    if slices != MAX_SLICES:
        reasons[f"{SLICE_STAGE}.volumes_per_step"] += f"; {slices} fit the memory"

    sliced = max(1, slices // WINDOWS)
    work = {  # volumes of a step, windows of each, slices of a window, rates
        FEATURE_STAGE: (sliced, FEATURE_WINDOWS, 1, {"features": FEATURE_RATE}),
        SLICE_STAGE: (sliced, WINDOWS, 1, {"generator": rate, "critic": rate}),
        CODE_STAGE: (VOLUMES, 1, depth, {"mapper": PAPER_RATE}),
        DEPTH_STAGE: (VOLUMES, 1, depth, {"mapper": PAPER_RATE}),
    }
    stages = {}
    for name, steps in _split(num_steps, names).items():
        volumes, windows, decoded, rates = work[name]
        schedule = make_schedule(
            steps, volumes=volumes, windows=windows, slices=decoded, rates=rates, weight_decay=0.0
        )
        stages[name] = replace(schedule, betas=BETAS)
    stages[SLICE_STAGE] = replace(stages[SLICE_STAGE], betas=GAN_BETAS)
    for name in (CODE_STAGE, DEPTH_STAGE):
        stages[name] = replace(stages[name], validation_cases=CHECKED_REAL)
    codes = stages[CODE_STAGE]
    apart = min(codes.num_steps, max(codes.validate_every, CODE_CHECKS))
    stages[CODE_STAGE] = replace(codes, validate_every=apart)
    return stages


def plan_drift(slices: int, num_cases: int, reasons: dict[str, str]) -> DriftSpec:
    """How generated volumes are compared with real ones."""
    positives = max(2, min(POSITIVES, int(TRAINING_SHARE * num_cases)))
    few = (
        f"; warning: {num_cases} cases are few, and what is generated will vary little beyond them"
        if num_cases < POSITIVES
        else ""
    )
    reasons |= {
        "drift.mode": "attraction alone, LiFT Eq. 5, collapses: every latent gives one volume "
        "(ours, measured; Deng et al. 2026)",
        "drift.bank": "real slices of the same plane and index: among slices of any index (LiFT "
        "Eq. 4) no order along depth is learned (ours, measured)",
        "drift.start": "near the codes of real volumes, so that the drift finds neighbours (ours)",
        "drift.positives": f"as many as a step can hold, since their features are cached (ours)"
        f"{few}",
        "drift.slices_per_plane": "of every generated volume, drawn anew each step: those of all "
        "indices would not fit the memory (ours)",
        "drift.temperatures": "in spreads of the real distances (ours; Deng et al. 2026)",
        "drift.checked_volumes": "enough for diversity to two digits (ours)",
    }
    return DriftSpec(
        mode="attract_repel",
        bank="matched",
        start="real",
        positives=positives,
        slices_per_plane=PLANE_SLICES[slices],
        temperatures=(0.35, 0.7, 1.5),
        bandwidth=0.2,
        checked_volumes=32,
    )


def is_short(num_steps: int | None) -> bool:
    """Whether so many steps in all are too few for a critic, and want higher rates."""
    return num_steps is not None and num_steps < LONG_TRAINING


def _split(num_steps: int | None, names: list[str]) -> dict[str, int]:
    """The steps of each stage; at least one each."""
    if num_steps is None:
        return {name: DEFAULT_STEPS[name] for name in names}
    steps = {name: max(1, round(_share(name, names) * num_steps)) for name in names}
    rest = sum(n for name, n in steps.items() if name != SLICE_STAGE)
    return {**steps, SLICE_STAGE: max(1, num_steps - rest)}


def _share(name: str, names: list[str]) -> float:
    """The part of all steps that a stage gets among those there are."""
    return SHARES[name] / sum(SHARES[each] for each in names)
