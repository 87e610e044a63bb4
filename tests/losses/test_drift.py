"""The drifting loss against loops in numpy, scipy, and what it is for: not collapsing."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from liftnet.losses.drift import drift_field, drift_loss, energy_distance
from liftnet.losses.drift_monitors import diversity_ratio
from liftnet.losses.feature_scale import FeatureScale, pairwise_distances, scale_of

N, M, WIDTH = 4, 6, 3
TEMPERATURES = (0.5, 1.2)


def features(seed: int, *shape: int, shift: float = 0.0) -> torch.Tensor:
    """Random float64 features."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) + shift


def sets(seed: int = 0, *lead: int) -> tuple[torch.Tensor, torch.Tensor, FeatureScale]:
    """Generated and real features of different size, and the scale of the real ones."""
    real = features(seed + 1, *lead, M, WIDTH)
    return features(seed, *lead, N, WIDTH, shift=0.7), real, scale_of(real)


def scale_by_hand(real: np.ndarray) -> tuple[float, float]:
    """Mean distance and relative spread of one bank, pair by pair."""
    rows = [
        [math.dist(a, b) for j, b in enumerate(real) if j != i] for i, a in enumerate(real.tolist())
    ]
    distance = float(np.mean(rows))
    return distance, float(np.mean([np.std(row) for row in rows]) / distance)


def field_by_hand(x: np.ndarray, y: np.ndarray, negatives: np.ndarray | None) -> np.ndarray:
    """The field as Algorithm 2 writes it, one pair at a time."""
    distance, cv = scale_by_hand(y)
    unit = distance / math.sqrt(y.shape[1])
    others = x if negatives is None else negatives
    everything = np.concatenate([others, y])
    total = np.zeros_like(x)
    for temperature in TEMPERATURES:
        kernel = np.zeros((len(x), len(everything)))
        for i, a in enumerate(x):
            for j, b in enumerate(everything):
                if negatives is not None or i != j:
                    kernel[i, j] = math.exp(-math.dist(a, b) / (temperature * cv * distance))
        rows, columns = kernel.sum(1, keepdims=True), kernel.sum(0, keepdims=True)
        affinity = np.sqrt((kernel / rows) * (kernel / columns))
        minus, plus = affinity[:, : len(others)], affinity[:, len(others) :]
        field = np.zeros_like(x)
        for i in range(len(x)):
            for j in range(len(y)):
                field[i] += plus[i, j] * minus[i].sum() * y[j] / unit
            for j in range(len(others)):
                field[i] -= minus[i, j] * plus[i].sum() * others[j] / unit
        total += field / math.sqrt((field**2).mean())
    return total


@pytest.mark.parametrize("own", [False, True])
def test_field_equals_loops(own):
    """With the generated samples as negatives or with others, the field is Algorithm 2."""
    x, y, scale = sets()
    negatives = features(5, 5, WIDTH) if own else None
    got = drift_field(x, y, scale=scale, temperatures=TEMPERATURES, negatives=negatives)
    expected = field_by_hand(x.numpy(), y.numpy(), negatives.numpy() if own else None)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_field_is_antisymmetric():
    """Real and generated exchanged, the sign turns; the same set on both sides gives nothing."""
    x, y, scale = sets(7)
    other = features(9, 5, WIDTH)
    there = drift_field(x, y, scale=scale, negatives=other)
    back = drift_field(x, other, scale=scale, negatives=y)
    assert float(there.abs().max()) > 0.5
    torch.testing.assert_close(there, -back)
    for kind, tolerance in ((torch.float64, 1e-9), (torch.float32, 0.05)):
        z, w, single = x.to(kind), y.to(kind), scale_of(y.to(kind))
        assert float(drift_field(z, w, scale=single, negatives=w).abs().max()) < tolerance


@pytest.mark.parametrize("distance", [1.0, 3.0, 1e4])
def test_field_points_to_the_data(distance):
    """In 1-D every sample moves towards the real ones, however far: nothing underflows."""
    y = torch.linspace(-0.5, 0.5, 9)[:, None]
    x = distance + torch.linspace(-0.1, 0.1, 5)[:, None]
    field = drift_field(x, y, scale=scale_of(y))
    assert bool(field.isfinite().all())
    assert float(field.mean()) < -0.5
    assert float(field.max()) <= 0
    torch.testing.assert_close(drift_field(-x, -y, scale=scale_of(-y)), -field)


def test_loss_has_the_gradient_of_the_field():
    """The value is the mean of V^2, the gradient -2 V / (S x number of values), none through V."""
    x, y, scale = sets(11)
    x.requires_grad_()
    loss = drift_loss(x, y, scale=scale)
    field = drift_field(x, y, scale=scale)
    assert not field.requires_grad
    assert loss.ndim == 0
    assert float(loss.detach()) == pytest.approx(float(field.square().mean()), rel=1e-12)
    (slope,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(slope, -2 * field / (scale.unit * field.numel()))


def test_loss_does_not_depend_on_units():
    """Features in other units and with an offset have the same loss."""
    x, y, scale = sets(13)
    a, b = 10 * x + 50, 10 * y + 50
    assert float(drift_loss(a, b, scale=scale_of(b))) == pytest.approx(
        float(drift_loss(x, y, scale=scale)), rel=1e-9
    )


def test_attract_is_equation_5():
    """|g - mu|^2 with the Laplacian kernel, by hand; the gradient is that of a fixed mu."""
    x, y, scale = sets(15)
    distance, _ = scale_by_hand(y.numpy())
    x.requires_grad_()
    loss = drift_loss(x, y, scale=scale, mode="attract", bandwidth=0.4)
    expected, slope = 0.0, np.zeros((N, WIDTH))
    for i, g in enumerate(x.detach().numpy()):
        kernel = np.array([math.exp(-math.dist(g, r) / (0.4 * distance)) for r in y.numpy()])
        mu = (kernel[:, None] * y.numpy()).sum(0) / kernel.sum()
        expected += ((g - mu) ** 2).sum() / N
        slope[i] = 2 * (g - mu) / N
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(loss, x)[0], slope, rtol=1e-9)
    one = x[:1].detach()
    nearest = float(pairwise_distances(one, y).min())
    narrow = drift_loss(one, y, scale=scale, mode="attract", bandwidth=1e-4)
    assert float(narrow) == pytest.approx(nearest**2)


def test_many_problems_equal_one_after_the_other():
    """Leading dimensions are independent problems, for fields, losses and distances."""
    x, y, scale = sets(17, 2, 5)
    field, energy = drift_field(x, y, scale=scale), energy_distance(x, y)
    assert field.shape == x.shape
    assert energy.shape == (2, 5)
    losses: dict[str, list[float]] = {"attract": [], "attract_repel": []}
    for index in np.ndindex(2, 5):
        own = scale_of(y[index])
        torch.testing.assert_close(scale.at(index).cv, own.cv)
        torch.testing.assert_close(field[index], drift_field(x[index], y[index], scale=own))
        torch.testing.assert_close(energy[index], energy_distance(x[index], y[index]))
        for mode, values in losses.items():
            values.append(float(drift_loss(x[index], y[index], scale=own, mode=mode)))
    for mode, values in losses.items():
        assert float(drift_loss(x, y, scale=scale, mode=mode)) == pytest.approx(np.mean(values))


def test_precision():
    """bfloat16 features under autocast are compared in float32; the product setting is kept."""
    x, y = (features(s, n, 40, shift=3).bfloat16() for s, n in ((19, 12), (20, 17)))
    scale = scale_of(y.float())
    exact_loss, exact_energy = (
        drift_loss(x.double(), y.double(), scale=scale_of(y.double())),
        energy_distance(x.double(), y.double()),
    )
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = True
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert drift_field(x, y, scale=scale).dtype == torch.float32
            loss, energy = drift_loss(x, y, scale=scale), energy_distance(x, y)
            eq_5 = drift_loss(x, y, scale=scale, mode="attract")
        assert products.allow_tf32
    finally:
        products.allow_tf32 = before
    assert loss.dtype == energy.dtype == eq_5.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact_loss), rel=1e-5)
    assert float(energy) == pytest.approx(float(exact_energy), rel=1e-4)


def test_energy_distance_equals_scipy():
    """In 1-D, scipy's squared distance pairs samples with themselves; without, it is ours."""
    x, y = features(21, 7, 1, shift=0.4), features(22, 9, 1)
    a, b = x.numpy().ravel(), y.numpy().ravel()
    among = [np.abs(s[:, None] - s).mean() for s in (a, b)]
    expected = stats.energy_distance(a, b) ** 2 - among[0] / (7 - 1) - among[1] / (9 - 1)
    assert float(energy_distance(x, y)) == pytest.approx(expected, rel=1e-9)
    scale = scale_of(y)
    assert float(energy_distance(x, y, scale=scale)) == pytest.approx(
        expected / float(scale.distance), rel=1e-9
    )


def test_energy_distance_is_unbiased():
    """Sets of one law have a mean of 0, within what 400 draws can tell."""
    values = energy_distance(features(23, 400, 5, 3), features(24, 400, 8, 3))
    assert abs(float(values.mean())) < 3 * float(values.std()) / 20
    shifted = energy_distance(features(23, 400, 5, 3, shift=1), features(24, 400, 8, 3))
    assert float(shifted.mean()) > 0.5


def test_energy_distance_gradient():
    """The gradient is that of the formula, and 0, not NaN, where samples coincide."""
    x, y = features(25, 2, 3, 2), features(26, 2, 4, 2)
    x.requires_grad_()
    assert torch.autograd.gradcheck(energy_distance, (x, y))
    same = torch.zeros(3, 2, requires_grad=True)
    energy_distance(same, torch.zeros(4, 2)).backward()
    assert same.grad is not None
    assert bool((same.grad == 0).all())


def ring(count: int, generator: torch.Generator) -> torch.Tensor:
    """Eight modes on a circle."""
    angle = torch.randint(8, (count,), generator=generator) * (math.pi / 4)
    noise = 0.1 * torch.randn(count, 2, generator=generator)
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=-1) + noise


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("attract", 0.0, 0.2), ("attract_repel", 0.7, 1.3)]
)
def test_attraction_alone_collapses(mode, low, high):
    """64 samples that start as the data are: Eq. (5) makes them one, attract-repel keeps them."""
    generator = torch.Generator().manual_seed(3)
    bank = ring(256, generator)
    scale = scale_of(bank)
    particles = ring(64, generator)
    for _ in range(250):
        positives = bank[torch.randperm(256, generator=generator)[:128]]
        particles.requires_grad_()
        loss = drift_loss(particles, positives, scale=scale, mode=mode, bandwidth=0.5)
        (slope,) = torch.autograd.grad(loss, particles)
        particles = (particles - 1.28 * slope).detach()
    assert low <= float(diversity_ratio(particles, bank)) < high


def test_wrong_calls():
    """Unknown modes, other problems, single samples and options out of range are refused."""
    x, y, scale = sets(27)
    wrong = [
        ({"mode": "repel"}, x, "expected the mode"),
        ({"temperatures": ()}, x, "positive temperatures"),
        ({"temperatures": (0.5, 0.0)}, x, "positive temperatures"),
        ({"mode": "attract", "bandwidth": 0.0}, x, "positive bandwidth"),
        ({}, x[:1], "at least 2 generated"),
        ({}, x[:, :2], "expected generated"),
        ({}, x[None], "expected generated"),
        ({"negatives": y[None]}, x, "expected generated"),
    ]
    for options, generated, message in wrong:
        with pytest.raises(ValueError, match=message):
            drift_loss(generated, y, scale=scale, **options)
    with pytest.raises(ValueError, match="a mean of shape"):
        drift_loss(x, y, scale=scale_of(features(28, 2, M, WIDTH)))
    for a, b in ((x[:1], y), (x, y[:1]), (x, y[:, :1])):
        with pytest.raises(ValueError, match="N, M >= 2"):
            energy_distance(a, b)
