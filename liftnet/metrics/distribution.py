"""Distances between two cohorts given as features (N, F), one row per volume, in float64.

Only numbers of the same encoder, the same intensity range and about the same N can be compared: a
Fréchet or kernel distance grows with the scale of the features, and every distance here depends on
N. The scale to read them on is the value between two halves of the real cohort.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist, pdist

from liftnet.metrics.metric import CohortMetric

__all__ = [
    "METRICS",
    "NeighbourDistances",
    "diversity",
    "energy_distance",
    "frechet_distance",
    "kernel_distance",
    "measure_features",
    "memorization",
    "precision_recall_coverage",
    "spread_ratios",
    "trace_of_covariance",
]

NUM_NEIGHBOURS = 5  # Naeem et al. 2020; Kynkäänniemi et al. 2019 use 3
KERNEL_DEGREE = 3  # Bińkowski et al. 2018


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The squared Fréchet distance of the Gaussians fitted to two feature sets; 0 at best.

    This is FID with the features of the caller's choice, in their unit squared (papers on 3D MR
    print it times 1000). The trace of (S1 S2)^(1/2) is the nuclear norm of
    A1 A2^T / sqrt((N1 - 1) (N2 - 1)), A the centred features: exact at any rank, never complex,
    and of the size N1 x N2 instead of F x F.

    Biased upwards: with N well below F (1000 volumes, 2048 features) two samples of one
    distribution are far from 0 apart, so print N and F, and compare at equal N only.

    Source: Heusel et al. 2017; LiFT App. B.1.
    """
    one, other = _features(first, second)
    shift = one.mean(axis=0) - other.mean(axis=0)
    roots = [_covariance_root(features) for features in (one, other)]
    spread = sum(np.square(root).sum() for root in roots)
    shared = np.linalg.norm(roots[0] @ roots[1].T, ord="nuc")
    # Rounding can leave a distance of equal sets slightly below 0.
    return max(0.0, float(shift @ shift + spread - 2 * shared))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The squared maximum mean discrepancy under the kernel (x . y / F + 1)^3; about 0 at best.

    Known as KID. Unbiased, hence sometimes negative, and usable where N is too small for the
    Fréchet distance; it compares moments up to the third.

    Source: Bińkowski et al. 2018; Gretton et al. 2012, Eq. (3).
    """
    one, other = _features(first, second)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** KERNEL_DEGREE)

    within = [_mean_off_diagonal(kernel(features, features)) for features in (one, other)]
    return float(sum(within) - 2 * kernel(one, other).mean())


def energy_distance(first: np.ndarray, second: np.ndarray) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| in the features' unit; about 0 at best.

    Not its square root. Unbiased (a sample is no pair with itself), hence sometimes negative. Its
    expectation is 0 only for equal distributions, whatever their shape.

    Source: Székely and Rizzo 2013.
    """
    one, other = _features(first, second)
    return float(2 * cdist(one, other).mean() - pdist(one).mean() - pdist(other).mean())


def precision_recall_coverage(
    generated: np.ndarray, real: np.ndarray, *, k: int = NUM_NEIGHBOURS
) -> dict[str, float]:
    """Fidelity (precision, density) and variety (recall, coverage) of generated samples.

    Around each sample lies a ball that reaches to its k-th nearest neighbour in its own set.

    - precision: share of generated samples in the ball of a real one.
    - recall: share of real samples in the ball of a generated one. One far outlier has a huge
      ball, so a few bad samples can lift it.
    - density: mean number of real balls around a generated sample, over k; 1 if the distributions
      agree, more if the samples crowd where the real ones are dense.
    - coverage: share of real samples with a generated one in their ball. It sees missing modes. If
      the distributions agree, 1 - 2^-k is expected at large, equal N; less with fewer samples.

    All four depend on N; in high dimensions balls are wide and precision is easy: near 1 for
    copies of one training case, so never report it without coverage.

    Source: Kynkäänniemi et al. 2019, Eq. (1) and (2); Naeem et al. 2020, Sec. 3.

    Raises:
        ValueError: a set has not more than k samples, or features do not fit.
    """
    synthetic, true = _features(generated, real)
    if not 1 <= k < min(len(synthetic), len(true)):
        raise ValueError(
            f"expected 1 <= k < number of samples, got k = {k} "
            f"with {len(synthetic)} generated and {len(true)} real samples"
        )
    between = cdist(synthetic, true)
    in_real_ball = between <= _ball_radii(true, k)
    in_generated_ball = between <= _ball_radii(synthetic, k)[:, None]
    return {
        "precision": float(in_real_ball.any(axis=1).mean()),
        "recall": float(in_generated_ball.any(axis=0).mean()),
        "density": float(in_real_ball.sum(axis=1).mean() / k),
        "coverage": float(in_real_ball.any(axis=0).mean()),
    }


@dataclass(frozen=True)
class NeighbourDistances:
    """How far samples are from their nearest training sample.

    Attributes:
        generated: (N,) of each generated sample.
        training: (M,) of each training sample, itself left out.
        held_out: (K,) of each real sample that training did not see, if there are any.
    """

    generated: np.ndarray
    training: np.ndarray
    held_out: np.ndarray | None


def memorization(distances: NeighbourDistances) -> dict[str, float]:
    """Mean and minimum per group, and `copied_fraction`, which should be 0.

    `copied_fraction` is the share of generated samples that are nearer to a training sample than
    the closest held-out real sample is (without held-out samples: than the closest two training
    samples are to each other, which a subject scanned twice spoils). It finds copies, not other
    leaks, and only copies that are near in the chosen distance. Smooth samples are near
    everything: compare sharpness as well. The closest of few held-out samples is far away, which
    makes the test strict.

    Source: LiFT App. D.
    """
    groups = {"generated": distances.generated, "training": distances.training}
    if distances.held_out is not None:
        groups["held_out"] = distances.held_out
    baseline = groups.get("held_out", distances.training).min()
    found = {f"nearest_{name}_mean": float(values.mean()) for name, values in groups.items()}
    found |= {f"nearest_{name}_min": float(values.min()) for name, values in groups.items()}
    return found | {"copied_fraction": float((distances.generated < baseline).mean())}


def diversity(features: np.ndarray) -> float:
    """The mean Euclidean distance between two samples, in the features' unit; unbiased."""
    (samples,) = _features(features)
    return float(pdist(samples).mean())


def trace_of_covariance(features: np.ndarray) -> float:
    """The total variance, summed over the features, in their unit squared; unbiased.

    Half the mean squared distance between two samples, so outliers weigh more than in `diversity`.
    """
    (samples,) = _features(features)
    return float(samples.var(axis=0, ddof=1).sum())


def spread_ratios(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """`diversity_ratio` and `trace_ratio` of generated to real samples; 1 is as varied as real.

    Near 0 after a collapse. Noise and other defects also spread samples, so 1 alone proves nothing.

    Raises:
        ValueError: all real samples are equal, or features do not fit.
    """
    synthetic, true = _features(generated, real)
    if not (spread := diversity(true)) > 0:
        raise ValueError("expected real samples that differ, got equal ones")
    return {
        "diversity_ratio": diversity(synthetic) / spread,
        "trace_ratio": trace_of_covariance(synthetic) / trace_of_covariance(true),
    }


def measure_features(
    generated: np.ndarray, real: np.ndarray, *, k: int, thousandfold: bool
) -> dict[str, float]:
    """All metrics of features (N, F) and (M, F) by their names.

    Args:
        generated: features.
        real: features, not all alike.
        k: of the neighbours.
        thousandfold: whether the Fréchet distance is also given times 1000.
    """
    distance = frechet_distance(generated, real)
    found = {"frechet_distance": distance}
    if thousandfold:
        found["frechet_distance_x1000"] = 1000 * distance
    found["kernel_distance"] = kernel_distance(generated, real)
    found |= precision_recall_coverage(generated, real, k=k)
    return found | spread_ratios(generated, real)


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """A matrix R (min(N, F), F) with R^T R the covariance."""
    root = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    # The orthogonal factor changes neither R^T R nor a nuclear norm of products.
    return np.asarray(np.linalg.qr(root, mode="r")) if len(root) > root.shape[1] else root


def _ball_radii(features: np.ndarray, k: int) -> np.ndarray:
    """The distance of each sample (N,) to its k-th nearest neighbour in the same set."""
    among = cdist(features, features)
    np.fill_diagonal(among, np.inf)
    return np.asarray(np.partition(among, k - 1, axis=1)[:, k - 1])


def _mean_off_diagonal(square: np.ndarray) -> float:
    """The mean of a square matrix without its diagonal."""
    return float((square.sum() - np.trace(square)) / (len(square) * (len(square) - 1)))


def _features(*sets: np.ndarray) -> list[np.ndarray]:
    """The feature sets in float64.

    Raises:
        ValueError: one is no matrix of two samples or more, has another F, or is not finite.
    """
    checked = [np.asarray(features, dtype=np.float64) for features in sets]
    shapes = [features.shape for features in checked]
    widths = {shape[1:] for shape in shapes}
    if len(widths) > 1 or any(len(s) != 2 or s[0] < 2 or s[1] < 1 for s in shapes):
        raise ValueError(
            "expected features (N, F) of at least two samples each and the same F, "
            f"got {', '.join(map(str, shapes))}"
        )
    if not all(np.isfinite(features).all() for features in checked):
        raise ValueError("expected finite features, got NaN or infinity")
    return checked


METRICS = (
    CohortMetric(
        "frechet_distance",
        "Fréchet distance",
        "Squared Fréchet distance (FID) of two Gaussians fitted to the features of generated "
        "and real volumes, in the features' unit squared; it grows where there are few "
        "volumes; as low as real is good, 0 is best.",
        good="as low as real; 0 at best",
        of="features",
        source="Heusel et al. 2017; LiFT App. B.1",
        function=frechet_distance,
    ),
    CohortMetric(
        "frechet_distance_x1000",
        "Fréchet distance x 1000",
        "The Fréchet distance times 1000, as papers print that of MedicalNet's features; as "
        "low as real is good.",
        good="the same, as papers print it",
        of="features",
        source="WDM, of MedicalNet",
        function=frechet_distance,
    ),
    CohortMetric(
        "kernel_distance",
        "kernel distance",
        "Squared maximum mean discrepancy of the features with a cubic kernel (KID), which is "
        "not biased by how few volumes there are; as low as real is good, about 0 is best.",
        good="as low as real; about 0 at best",
        of="features",
        source="Bińkowski et al. 2018",
        function=kernel_distance,
    ),
    CohortMetric(
        "precision",
        "precision",
        "Share of generated volumes within the ball of a real one, which reaches to that one's"
        " k-th nearest real neighbour in the features; as real is good, with coverage only: "
        "copies of a few real volumes have it too.",
        good="as real; with coverage only",
        of="features",
        source="Kynkäänniemi et al. 2019",
        function=precision_recall_coverage,
    ),
    CohortMetric(
        "recall",
        "recall",
        "Share of real volumes within the ball of a generated one, which reaches to that one's"
        " k-th nearest generated neighbour in the features; as real is good.",
        good="as real",
        of="features",
        source="Kynkäänniemi et al. 2019",
        function=precision_recall_coverage,
    ),
    CohortMetric(
        "density",
        "density",
        "In how many balls of real volumes a generated one lies, over k; unlike precision it "
        "counts a single stray real volume little; as real is good.",
        good="as real",
        of="features",
        source="Naeem et al. 2020",
        function=precision_recall_coverage,
    ),
    CohortMetric(
        "coverage",
        "coverage",
        "Share of real volumes in whose ball a generated one lies; as real is good, and it is "
        "low where kinds of volumes are missing.",
        good="as real; low if modes are missing",
        of="features",
        source="Naeem et al. 2020",
        function=precision_recall_coverage,
    ),
    CohortMetric(
        "diversity_ratio",
        "diversity ratio",
        "Mean distance between two generated volumes over that between two real ones; 1 is "
        "good, 0 is a collapse to one volume.",
        good="1; 0 after a collapse",
        of="features, voxels",
        source="ours",
        function=spread_ratios,
    ),
    CohortMetric(
        "trace_ratio",
        "variance ratio",
        "Total variance of generated volumes over that of real ones; 1 is good, 0 is a "
        "collapse to one volume.",
        good="1; 0 after a collapse",
        of="features, voxels",
        source="ours",
        function=spread_ratios,
    ),
    CohortMetric(
        "nearest_mean",
        "nearest, mean",
        "Mean over volumes of the mean absolute difference, in units of [-1, 1], to the "
        "nearest training volume; not below real is good.",
        good="not below real",
        of="voxels",
        source="LiFT App. D",
        function=memorization,
    ),
    CohortMetric(
        "nearest_min",
        "nearest, least",
        "Of the volume that is closest to training, the mean absolute difference, in units of "
        "[-1, 1], to the nearest training volume; not below real is good, near 0 is a copy.",
        good="not below real; near 0: a copy",
        of="voxels",
        source="LiFT App. D",
        function=memorization,
    ),
    CohortMetric(
        "copied_fraction",
        "copied fraction",
        "Share of generated volumes that are nearer to a training volume than the closest real"
        " one is; 0 is good, and it finds near copies only.",
        good="0",
        of="voxels",
        source="LiFT App. D",
        function=memorization,
    ),
)
