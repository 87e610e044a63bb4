"""Tests of the intensity changes against scipy, scikit-image, batchgenerators and closed forms."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from batchgenerators.augmentations.color_augmentations import augment_contrast
from scipy import ndimage, stats
from scipy.interpolate import BPoly
from skimage.exposure import adjust_gamma
from torch import Tensor

from liftnet.augment import intensity

SIZE = (4, 18, 25)  # D, H, W
BATCH, CHANNELS = 2, 3


def slabs(*, background: bool = False) -> Tensor:
    """Returns images in (0, 1], with a zero frame where a background is wanted."""
    generator = torch.Generator().manual_seed(0)
    image = 0.05 + 0.9 * torch.rand((BATCH, CHANNELS, *SIZE), generator=generator)
    if background:
        image[..., :5, :] = 0
        image[..., -4:] = 0
    return image


def numbers(low: float, high: float, shape: tuple[int, ...] = (BATCH, CHANNELS)) -> Tensor:
    """Returns parameters that differ between all items and channels."""
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(shape, generator=generator)


def unit_noise() -> Tensor:
    """Returns standard normal numbers of the shape of the slabs."""
    return torch.randn((BATCH, CHANNELS, *SIZE), generator=torch.Generator().manual_seed(2))


soften = partial(intensity.soften, largest_sigma=2.0)
TRANSFORMS = {
    "brightness": (intensity.change_brightness, (numbers(0.75, 1.25),)),
    "contrast": (intensity.change_contrast, (numbers(0.75, 1.25),)),
    "gamma": (intensity.change_gamma, (numbers(0.7, 1.5),)),
    "bias_field": (
        intensity.apply_bias_field,
        (numbers(0.1, 0.5), numbers(-1, 1, (BATCH, CHANNELS, 2, 4, 4))),
    ),
    "soften": (soften, (numbers(0.5, 1.5), numbers(0.5, 0.9))),
    "noise": (intensity.add_noise, (numbers(0.05, 0.1, (BATCH,)), unit_noise())),
}
NEUTRAL = {
    "brightness": (torch.ones(BATCH, CHANNELS),),
    "contrast": (torch.ones(BATCH, CHANNELS),),
    "gamma": (torch.ones(BATCH, CHANNELS),),
    "bias_field": (torch.zeros(BATCH, CHANNELS), numbers(-1, 1, (BATCH, CHANNELS, 2, 4, 4))),
    "soften": (torch.zeros(BATCH, CHANNELS), torch.ones(BATCH, CHANNELS)),
    "noise": (torch.zeros(BATCH), unit_noise()),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_neutral_parameters_change_nothing(name):
    """Neutral parameters give the image back bit for bit."""
    image = slabs(background=True)
    assert torch.equal(TRANSFORMS[name][0](image, *NEUTRAL[name]), image)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_background_stays_zero_and_foreground_changes(name):
    """Zeros stay exactly zero while the rest is changed."""
    function, parameters = TRANSFORMS[name]
    image = slabs(background=True)
    changed = function(image, *parameters)
    assert (changed[image == 0] == 0).all()
    assert (changed != image)[image != 0].float().mean() > 0.8
    assert changed.dtype == image.dtype and changed.shape == image.shape


@pytest.mark.parametrize("name", TRANSFORMS)
def test_empty_channel_stays_empty(name):
    """A channel without foreground gives zeros, not NaN, and harms no other channel."""
    function, parameters = TRANSFORMS[name]
    image = slabs()
    image[0, 1] = 0
    changed = function(image, *parameters)
    assert (changed[0, 1] == 0).all() and changed.isfinite().all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_batch_equals_each_item_and_channel_alone(name):
    """No item and no channel looks at another; logarithms may round by their place in memory."""
    function, parameters = TRANSFORMS[name]
    image = slabs(background=True)
    together = function(image, *parameters)
    for index in range(BATCH):
        one = slice(index, index + 1)
        alone = function(image[one], *(parameter[one] for parameter in parameters))
        torch.testing.assert_close(together[one], alone, rtol=0, atol=2e-7)
        for channel in range(CHANNELS):
            other = slice(channel, channel + 1)
            cut = [p[one, other] if p.ndim > 1 else p[one] for p in parameters]
            alone = function(image[one, other], *cut)
            torch.testing.assert_close(together[one, other], alone, rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_needs_no_values_on_the_host(name):
    """The transform runs on tensors without data, so it cannot wait for the device."""
    function, parameters = TRANSFORMS[name]
    changed = function(slabs().to("meta"), *(p.to("meta") for p in parameters))
    assert changed.shape == (BATCH, CHANNELS, *SIZE)


def test_brightness_is_a_product():
    """Closed form, channel by channel."""
    image, factor = slabs(), numbers(0.75, 1.25)
    changed = intensity.change_brightness(image, factor)
    for index, channel in np.ndindex(BATCH, CHANNELS):
        expected = image[index, channel].numpy() * factor[index, channel].numpy()
        np.testing.assert_allclose(changed[index, channel].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("limits", [(0.5, 0.9), (1.1, 1.6)])
def test_contrast_equals_batchgenerators(limits):
    """Without background it is batchgenerators' contrast, with the range kept."""
    image, factor = slabs(), numbers(*limits)
    changed = intensity.change_contrast(image, factor)
    for index, channel in np.ndindex(BATCH, CHANNELS):
        expected = augment_contrast(
            image[index, channel][None].double().numpy(),
            contrast_range=partial(factor[index, channel].item),
            preserve_range=True,
            per_channel=True,
        )[0]
        np.testing.assert_allclose(changed[index, channel].numpy(), expected, atol=1e-6)


def test_contrast_ignores_the_background():
    """More background around the same foreground changes nothing inside it."""
    image, factor = slabs(), numbers(0.6, 1.6)
    padded = F.pad(image, (3, 5, 4, 2))
    changed = intensity.change_contrast(padded, factor)[..., 4:-2, 3:-5]
    expected = intensity.change_contrast(image, factor)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-6)


def test_gamma_equals_scikit_image():
    """On images with peak 1 it is scikit-image's adjust_gamma; the peak itself stays."""
    image, gamma = slabs(background=True), numbers(0.7, 1.5)
    unit = image / image.amax((2, 3, 4), keepdim=True)
    changed = intensity.change_gamma(7.5 * unit, gamma)
    for index, channel in np.ndindex(BATCH, CHANNELS):
        expected = adjust_gamma(unit[index, channel].numpy(), gamma[index, channel].item())
        np.testing.assert_allclose(changed[index, channel].numpy() / 7.5, expected, atol=1e-6)


def test_gamma_keeps_the_sign():
    """Negative voxels are bent like positive ones and stay negative."""
    image, gamma = slabs(), numbers(0.7, 1.5)
    torch.testing.assert_close(
        intensity.change_gamma(-image, gamma), -intensity.change_gamma(image, gamma)
    )


def test_bias_field_equals_bernstein_polynomials_of_scipy():
    """The field is the tensor product of scipy's Bernstein polynomials, scaled to magnitude 1."""
    points = numbers(-1, 1, (BATCH, CHANNELS, 2, 4, 4))
    field = intensity.bias_field(points, SIZE)
    bases = [
        np.stack([BPoly(c[:, None], [0, 1])((np.arange(n) + 0.5) / n) for c in np.eye(k)], 1)
        for n, k in zip(SIZE, (2, 4, 4), strict=True)
    ]
    expected = np.einsum("bcijk,di,hj,wk->bcdhw", points.double().numpy(), *bases)
    expected /= np.abs(expected).max(axis=(2, 3, 4), keepdims=True)
    np.testing.assert_allclose(field.numpy(), expected, atol=1e-5)


def test_bias_strength_is_the_largest_log_gain():
    """The strongest gain or loss is exp(strength)."""
    image, strength = slabs(), numbers(0.1, 0.5)
    points = numbers(-1, 1, (BATCH, CHANNELS, 2, 4, 4))
    log_gain = (intensity.apply_bias_field(image, strength, points) / image).log()
    torch.testing.assert_close(log_gain.abs().amax((2, 3, 4)), strength, rtol=1e-4, atol=1e-5)


def test_blur_equals_scipy():
    """Blur is scipy's Gaussian filter in-plane, divided by the weight that lies inside."""
    image, sigma = slabs(), numbers(0.4, 2.0)
    blurred = soften(image, sigma, None)
    for index, channel in np.ndindex(BATCH, CHANNELS):
        width = sigma[index, channel].item()

        def smooth(volume: np.ndarray, width: float = width) -> np.ndarray:
            return ndimage.gaussian_filter(volume, (0, width, width), mode="constant", truncate=8)

        volume = image[index, channel].double().numpy()
        expected = smooth(volume) / smooth(np.ones_like(volume))
        np.testing.assert_allclose(blurred[index, channel].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("zoom", [0.5, 0.6, 0.77, 0.9])
def test_low_resolution_equals_interpolate(zoom):
    """Low resolution is nearest-exact down and linear up, slice by slice."""
    image = slabs()
    lowered = soften(image, None, torch.full((BATCH, CHANNELS), zoom))
    slices = image.flatten(1, 2)
    small = (round(SIZE[1] * zoom), round(SIZE[2] * zoom))
    down = F.interpolate(slices, small, mode="nearest-exact")
    expected = F.interpolate(down, SIZE[1:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(lowered, expected.view_as(image), rtol=0, atol=1e-5)


def test_soften_blurs_first_and_lowers_then():
    """Both at once equal one after the other."""
    image, sigma, zoom = slabs(), numbers(0.5, 1.5), numbers(0.5, 0.9)
    blurred = soften(image, sigma, torch.ones_like(zoom))
    expected = soften(blurred, torch.zeros_like(sigma), zoom)
    torch.testing.assert_close(soften(image, sigma, zoom), expected, rtol=0, atol=1e-5)


def test_blur_reaches_no_further_than_asked():
    """A larger limit adds less than a millionth."""
    image, sigma = slabs(), numbers(0.5, 1.0)
    near = intensity.blur(image, sigma, largest_sigma=1.0)
    far = intensity.blur(image, sigma, largest_sigma=2.0)
    torch.testing.assert_close(near, far, rtol=0, atol=2e-6)


def test_soften_is_the_same_along_both_axes():
    """Square slices, whose axes share their weights, may be softened before or after a turn."""
    image, sigma, zoom = slabs()[..., :18], numbers(0.5, 1.5), numbers(0.5, 0.9)
    turned = soften(image.transpose(3, 4).contiguous(), sigma, zoom).transpose(3, 4)
    torch.testing.assert_close(soften(image, sigma, zoom), turned, rtol=0, atol=1e-6)
    wide = torch.cat((image, torch.zeros_like(image)), dim=4)
    blurred = intensity.blur(wide, sigma, largest_sigma=2.0)[..., :8]
    expected = intensity.blur(image, sigma, largest_sigma=2.0)[..., :8]
    torch.testing.assert_close(expected, blurred, rtol=0, atol=1e-6)


def test_noise_has_the_asked_standard_deviation():
    """The residual of each item is normal with its own standard deviation."""
    image = torch.full((2, 1, 20, 40, 50), 0.5)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(3))
    std = torch.tensor([0.03, 0.1])
    residual = intensity.add_noise(image, std, noise) - image
    for index in range(2):
        values = residual[index].flatten().numpy()
        assert values.std() == pytest.approx(std[index].item(), rel=0.02)
        assert stats.kstest(values / std[index].item(), "norm").pvalue > 0.01
