"""The masked autoencoder of slices."""

import pytest
import torch

from liftnet.core.network_specs import FeatureSpec
from liftnet.networks.masked_autoencoder import (
    SEEN_WEIGHT,
    MaskedAutoencoder,
    random_patches,
)

SPEC = FeatureSpec(widths=(8, 16, 24), patch=4, masked=0.5)


def seeds_of(count, first=0):
    """Seeds of some slices."""
    return torch.arange(first, first + count)


def test_encode_gives_maps_as_a_resnet():
    """One map per stage at strides 2, 4, 8, finest first, for sizes that divide by nothing."""
    network = MaskedAutoencoder(SPEC)
    maps = network.encode(torch.rand(3, 1, 21, 34))
    assert [tuple(m.shape) for m in maps] == [(3, 8, 11, 17), (3, 16, 6, 9), (3, 24, 3, 5)]
    hidden = torch.zeros(3, 1, 21, 34, dtype=torch.bool)
    slices, inside = torch.rand(3, 1, 21, 34), []
    network.encoder.register_forward_hook(lambda _, given, maps: inside.append(maps))
    assert network(slices, hidden).shape == (3, 1, 21, 34)
    torch.testing.assert_close(network.encode(slices), inside[0])  # of a slice with nothing hidden


def test_frozen_encoder_hands_gradients_to_slices():
    """As a feature extractor for the drift: frozen weights, a gradient of the input."""
    network = MaskedAutoencoder(SPEC).requires_grad_(False)
    slices = torch.rand(1, 1, 16, 24, requires_grad=True)
    network.encode(slices)[-1].square().sum().backward()
    assert slices.grad.abs().sum() > 0


def test_hidden_pixels_are_not_looked_at():
    """Other values under the mask give the same slices; other values beside it do not."""
    network = MaskedAutoencoder(SPEC)
    slices = torch.rand(2, 1, 16, 24)
    hidden = random_patches(slices.shape, 4, 0.5, seeds_of(2, 0))
    expected = network(slices, hidden)
    torch.testing.assert_close(network(torch.where(hidden, 9.0, slices), hidden), expected)
    assert not torch.allclose(network(torch.where(hidden, slices, 9.0), hidden), expected)


def test_patches():
    """Whole patches of a grid, the asked share of each slice, cut at the far sides, by seed."""
    hidden = random_patches((5, 1, 10, 15), 4, 0.25, seeds_of(5, 3))
    assert hidden.shape == (5, 1, 10, 15)
    whole = hidden[:, :, ::4, ::4]
    assert whole.sum((1, 2, 3)).tolist() == [3] * 5  # of 3 x 4 patches
    enlarged = whole.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :10, :15]
    assert torch.equal(enlarged, hidden)
    assert not torch.equal(hidden[0], hidden[1])
    assert torch.equal(random_patches((5, 1, 10, 15), 4, 0.25, seeds_of(5, 3)), hidden)
    with pytest.raises(ValueError, match="expected a share in"):
        random_patches((1, 1, 4, 4), 2, 1.5, seeds_of(1, 0))


def test_loss_is_the_error_where_hidden_and_a_little_everywhere():
    """The written-out formula for the masks of the same generator."""
    network = MaskedAutoencoder(SPEC)
    slices = torch.rand(2, 1, 16, 24)
    hidden = random_patches(slices.shape, 4, 0.5, seeds_of(2, 1))
    error = (network(slices, hidden) - slices) ** 2
    expected = error[hidden].mean() + SEEN_WEIGHT * error.mean()
    torch.testing.assert_close(network.loss(slices, seeds_of(2, 1)), expected)
    nothing = MaskedAutoencoder(FeatureSpec((8,), 4, 0.0)).loss(slices, seeds_of(2))
    assert torch.isfinite(nothing)


def test_it_learns_to_fill_in():
    """On smooth slices the hidden error falls far below that of the best constant."""
    torch.manual_seed(0)
    rows, columns = torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 24)
    slopes = torch.randn(2, 8, 1, 1, 1)
    slices = slopes[0] * rows[:, None] + slopes[1] * columns
    network = MaskedAutoencoder(SPEC)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(40):
        optimizer.zero_grad()
        network.loss(slices, seeds_of(len(slices), 8 * step)).backward()
        optimizer.step()
    hidden = random_patches(slices.shape, 4, 0.5, seeds_of(len(slices), 999))
    error = (network(slices, hidden) - slices)[hidden].square().mean()
    assert error < 0.3 * slices[hidden].var()
