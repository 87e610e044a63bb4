"""The spatial-gradient L1 against numpy."""

import numpy as np
import pytest
import torch

from liftnet.losses.gradient import gradient_l1

SHAPE = (2, 3, 4, 5, 6)


def images(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Two random volumes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=shape)


def by_hand(a: np.ndarray, b: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The mean over axes of the weighted mean difference of np.diff."""
    terms = []
    for axis in (2, 3, 4):
        error = np.abs(np.diff(a, axis=axis) - np.diff(b, axis=axis))
        if weight is None:
            terms.append(error.mean())
            continue
        full = np.moveaxis(np.broadcast_to(weight, a.shape), axis, 0)
        near = np.moveaxis(np.minimum(full[1:], full[:-1]), 0, axis)
        terms.append((error * near).sum() / near.sum())
    return float(np.mean(terms))


def test_equals_numpy():
    """Each axis counts alike, however many differences it has."""
    a, b = images()
    got = gradient_l1(torch.from_numpy(a), torch.from_numpy(b))
    assert float(got) == pytest.approx(by_hand(a, b), rel=1e-12)
    assert by_hand(a, b) != pytest.approx(by_hand(a.swapaxes(2, 4), b.swapaxes(2, 4)[..., ::-1]))


@pytest.mark.parametrize("shape", [(2, 1, 4, 5, 6), SHAPE])
def test_weights(shape):
    """A difference has the smaller of its voxels' weights; one weight may serve all channels."""
    a, b = images(1)
    weight = np.random.default_rng(2).choice([0.0, 0.1, 1.0], size=shape)
    got = gradient_l1(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(weight))
    assert float(got) == pytest.approx(by_hand(a, b, weight), rel=1e-12)
    spoiled = np.where(weight == 0, 1e6, a)
    again = gradient_l1(torch.from_numpy(spoiled), torch.from_numpy(b), torch.from_numpy(weight))
    assert float(again) == pytest.approx(float(got), rel=1e-9)


def test_constants_and_thin_volumes():
    """An offset costs nothing; an axis of one voxel is left out; all-zero weights give 0."""
    a, b = (torch.from_numpy(image) for image in images(3))
    assert float(gradient_l1(a + 3, a)) == pytest.approx(0, abs=1e-12)
    thin = gradient_l1(a[:, :, :1], b[:, :, :1])
    rows, columns = ((a - b)[:, :, :1].diff(dim=d).abs().mean() for d in (3, 4))
    torch.testing.assert_close(thin, (rows + columns) / 2)
    assert float(gradient_l1(a, b, torch.zeros(1))) == 0


def test_precision_and_gradient():
    """bfloat16 is compared in float32, and the gradient is that of the formula."""
    a, b = (torch.from_numpy(image) for image in images(4, (1, 1, 3, 4, 5)))
    assert gradient_l1(a.bfloat16(), b.bfloat16()).dtype == torch.float32
    weight = torch.rand(1, 1, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: gradient_l1(x, b, weight), a.requires_grad_())


def test_wrong_shapes():
    """Shapes that differ, or are not five-dimensional, are refused."""
    a = torch.zeros(SHAPE)
    for other in (a[:, :1], a[0]):
        with pytest.raises(ValueError, match="expected two volumes of one shape"):
            gradient_l1(other if other.ndim == 4 else a, other)
