"""SSIM against scikit-image and scipy; gradients, precision and errors of SSIM and MS-SSIM."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from liftnet.ops.ssim import fit_window, ms_ssim, ssim, ssim_map

SHAPES = {"2d": (21, 34), "3d": (13, 22, 17)}


def pair(shape, seed=0, noise=0.15):
    """A smooth image in [0, 1] with a flat corner, and the same with noise."""
    rng = np.random.default_rng(seed)
    reference = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    reference[tuple(slice(n // 3) for n in shape)] = 0
    predicted = reference + noise * rng.standard_normal(shape)
    return predicted.astype(np.float32), reference.astype(np.float32)


def tensors(*images):
    """Images as tensors (1, 1, ...)."""
    return [torch.from_numpy(image)[None, None] for image in images]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("data_range", [1.0, 2.5])
def test_gaussian_ssim_is_that_of_skimage(shape, data_range):
    """The mean over valid windows equals scikit-image with Wang's settings, in 2D and 3D."""
    predicted, reference = pair(shape)
    expected = structural_similarity(
        *(predicted, reference),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    got = ssim(*tensors(predicted, reference), data_range=data_range)
    assert got.shape == (1,)
    assert got.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_uniform_ssim_is_that_of_skimage(shape):
    """Window 7 with sample covariance is scikit-image's default."""
    predicted, reference = pair(shape)
    expected = structural_similarity(predicted, reference, data_range=1.0)
    got = ssim_map(
        *tensors(predicted, reference), data_range=1.0, window="uniform", window_size=7
    ).mean()
    assert got.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_reflect_border_mirrors_without_repeating_the_edge(shape):
    """Every voxel agrees with scipy's mode "mirror", which is torchmetrics' padding."""
    predicted, reference = pair(shape)
    got = ssim_map(*tensors(predicted, reference), data_range=1.0, border="reflect")[0, 0]
    expected = numpy_maps(predicted, reference, mode="mirror")
    np.testing.assert_allclose(got.numpy(), expected[0] * expected[1], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_valid_map_is_the_inside_of_the_full_map(shape):
    """Windows that fit into the image do not feel its border."""
    images = tensors(*pair(shape))
    valid = ssim_map(*images, data_range=1.0)
    inside = (..., *(slice(5, n - 5) for n in shape))
    full = ssim_map(*images, data_range=1.0, border="reflect")
    assert full.shape == images[0].shape
    torch.testing.assert_close(valid, full[inside])


def test_items_and_channels_do_not_mix():
    """Each item has its own value: the mean of its channels compared alone."""
    images = [pair((15, 19), seed=seed, noise=0.05 * (seed + 1)) for seed in range(6)]
    predicted, reference = (
        torch.from_numpy(np.stack(side)).reshape(2, 3, 15, 19) for side in zip(*images, strict=True)
    )
    alone = [ssim(*tensors(*image), data_range=1.0).item() for image in images]
    got = ssim(predicted, reference, data_range=1.0)
    np.testing.assert_allclose(got.numpy(), np.reshape(alone, (2, 3)).mean(1), atol=1e-6)


def numpy_maps(predicted, reference, mode="reflect"):
    """Luminance and contrast of every voxel by scipy, for a data range of 1, in float64."""
    x, y = predicted.astype(np.float64), reference.astype(np.float64)
    mx, my, xx, yy, xy = (
        ndimage.gaussian_filter(m, 1.5, mode=mode, radius=5) for m in (x, y, x * x, y * y, x * y)
    )
    luminance = (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
    contrast = (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)
    return luminance, contrast


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
@pytest.mark.parametrize("shape", [(23, 37), (12, 14, 25)], ids=["2d", "3d"])
def test_equal_images_score_one_with_finite_gradients(measure, shape):
    """Identical images, all-zero images and constants: value 1, no NaN in the gradient."""
    _, image = pair(shape)
    for array in (image, np.zeros_like(image), np.full_like(image, 0.7)):
        reference = tensors(array)[0]
        predicted = reference.clone().requires_grad_()
        value = measure(predicted, reference, data_range=1.0)
        assert value.item() == pytest.approx(1.0, abs=1e-6)
        value.sum().backward()
        assert torch.isfinite(predicted.grad).all()
        assert predicted.grad.abs().max() < 1e-3


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 8)], ids=["2d", "3d"])
def test_gradients_are_the_numerical_ones(measure, shape):
    """Both images' gradients agree with finite differences in float64."""
    images = [
        torch.from_numpy(image.astype(np.float64))[None, None].requires_grad_()
        for image in pair(shape)
    ]
    torch.autograd.gradcheck(
        lambda p, r: measure(p, r, data_range=1.0, window_size=3), images, fast_mode=True
    )


def test_gradients_through_a_mirrored_border():
    """The padded borders hand their gradient back to the mirrored voxels."""
    images = [
        torch.from_numpy(image.astype(np.float64))[None, None].requires_grad_()
        for image in pair((5, 6, 7))
    ]
    torch.autograd.gradcheck(
        lambda p, r: ssim_map(p, r, data_range=1.0, window_size=5, border="reflect"),
        images,
        fast_mode=True,
    )


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_autocast_does_not_change_the_value(measure):
    """Inside bfloat16 autocast the float32 value comes back, in float32, with its gradient."""
    predicted, reference = tensors(*pair((24, 37)))
    plain, mixed = predicted.clone().requires_grad_(), predicted.clone().requires_grad_()
    expected = measure(plain, reference, data_range=1.0)
    expected.sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = measure(mixed, reference, data_range=1.0)
    got.sum().backward()
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)
    assert torch.equal(mixed.grad, plain.grad)


def test_bfloat16_images_are_compared_in_float32():
    """Half-precision inputs are rounded images, not half-precision statistics."""
    predicted, reference = (image.bfloat16() for image in tensors(*pair((21, 34))))
    got = ssim(predicted, reference, data_range=1.0)
    assert torch.equal(got, ssim(predicted.float(), reference.float(), data_range=1.0))


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((240, 240), 11, 11),
        ((10, 240, 240), 11, 9),
        ((11, 30), 11, 11),
        ((3, 4), 11, 3),
        ((9,), 8, 7),
    ],
)
def test_fit_window_is_odd_and_fits(shape, size, expected):
    """The largest odd window within both limits."""
    assert fit_window(shape, size) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 13}, r"sides of at least window_size = 13, got \(12, 20\); fit_window"),
        ({"window_size": 4}, "odd window_size of at least 3, got 4"),
        ({"window_size": 1}, "odd window_size of at least 3, got 1"),
        ({"data_range": 0.0}, "positive, finite data_range, got 0.0"),
        ({"data_range": float("nan")}, "positive, finite data_range, got nan"),
        ({"border": "zeros"}, "expected border 'valid' or 'reflect', got 'zeros'"),
        ({"window": "box"}, "expected window 'gaussian' or 'uniform', got 'box'"),
    ],
)
def test_wrong_options_are_named(options, message):
    """The message says what was expected and what came."""
    image = torch.zeros(1, 1, 12, 20)
    with pytest.raises(ValueError, match=message):
        ssim_map(image, image, **{"data_range": 1.0, **options})


def test_wrong_shapes_are_named():
    """Shapes must be equal, with batch and channel; sides below 3 fit no window."""
    image = torch.zeros(1, 1, 12, 20)
    with pytest.raises(ValueError, match=r"got \(1, 1, 12, 20\) and \(1, 1, 12, 1\)"):
        ssim(image, image[..., :1], data_range=1.0)
    with pytest.raises(ValueError, match=r"got \(12, 20\) and \(12, 20\)"):
        ssim(image[0, 0], image[0, 0], data_range=1.0)
    with pytest.raises(ValueError, match=r"at least 3, got shape \(2, 20\) and window 11"):
        ms_ssim(image[..., :2, :], image[..., :2, :], data_range=1.0)
