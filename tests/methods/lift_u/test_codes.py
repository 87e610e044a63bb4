"""The codes of a volume's slices are those that it is decoded from."""

import torch
from small_generation import SHAPE, make_plan, make_recipe

from liftnet.methods import load_method
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.volume_generator import VolumeGenerator

LIFT_U = load_method("lift_u")
PLAN, RECIPE = make_plan(), make_recipe()


def make_network(recipe: LiftURecipe) -> VolumeGenerator:
    """A network whose mapper has random weights."""
    torch.manual_seed(0)
    network = VolumeGenerator(recipe.features, recipe.generator, recipe.mapper).eval()
    for parameter in network.mapper.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def test_codes_are_what_is_decoded(monkeypatch):
    """One code per slice; the same latent and temperature, the same codes as in `generate`."""
    network, seen = make_network(RECIPE), []

    def decode(codes, *, slice_batch):
        seen.append(codes)
        yield torch.zeros(SHAPE)

    monkeypatch.setattr(network, "decode", decode)
    arguments = (PLAN, RECIPE, network, LIFT_U.latent(PLAN, RECIPE, 0, 1))
    LIFT_U.generate(*arguments, temperature=0.7, sigma_z=1.5)
    got = LIFT_U.codes(*arguments, temperature=0.7, sigma_z=1.5)
    assert got.shape == (SHAPE[0], RECIPE.mapper.code_size) and not got.requires_grad
    assert torch.equal(got, seen[0])
    assert got.std(dim=0).max() > 0
    assert not torch.equal(got, LIFT_U.codes(*arguments, temperature=1.0))


def test_sigma_z_is_no_temperature():
    """Codes of neighbours come closer, while their mean over depth and volumes' spread stay."""
    network = make_network(RECIPE)
    latents = [LIFT_U.latent(PLAN, RECIPE, 0, k) for k in range(6)]
    plain, smooth = (
        torch.stack([
            LIFT_U.codes(PLAN, RECIPE, network, latent, temperature=1.0, sigma_z=sigma)
            for latent in latents
        ])
        for sigma in (0.0, 1.5)
    )  # fmt: skip
    steps = [codes.diff(dim=1).square().mean() for codes in (plain, smooth)]
    spread = [codes.mean(dim=1).std(dim=0).mean() for codes in (plain, smooth)]
    assert steps[1] < 0.3 * steps[0]
    assert 0.95 < spread[1] / spread[0] < 1.05
