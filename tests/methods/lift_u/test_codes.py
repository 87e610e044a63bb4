"""The codes of a volume's slices are those that it is decoded from."""

import torch
from small_generation import SHAPE, make_plan

from liftnet.core.plan import Plan
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.tasks.unconditional import TASK
from liftnet.tasks.unconditional.specs import networks_of


def make_network(plan: Plan) -> VolumeGenerator:
    """A network whose mapper has random weights."""
    torch.manual_seed(0)
    features, generator, _, mapper = networks_of(plan)
    network = VolumeGenerator(features, generator, mapper).eval()
    for parameter in network.mapper.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def test_trajectory_is_what_is_decoded(monkeypatch):
    """One code per slice; the same latent and temperature, the same codes as in `generate`."""
    plan = make_plan()
    network, seen = make_network(plan), []

    def decode(codes, *, slice_batch):
        seen.append(codes)
        yield torch.zeros(SHAPE)

    monkeypatch.setattr(network, "decode", decode)
    latent = TASK.latent(plan, 0, 1)
    TASK.generate(plan, network, latent, temperature=0.7, sigma_z=1.5)
    got = TASK.trajectory(plan, network, latent, temperature=0.7, sigma_z=1.5)
    assert got.shape == (SHAPE[0], plan.networks["mapper"].code_size) and not got.requires_grad
    assert torch.equal(got, seen[0])
    assert got.std(dim=0).max() > 0
    assert not torch.equal(got, TASK.trajectory(plan, network, latent, temperature=1.0))


def test_sigma_z_is_no_temperature():
    """Codes of neighbours come closer, while their mean over depth and volumes' spread stay."""
    plan = make_plan()
    network = make_network(plan)
    plain, smooth = (
        torch.stack([
            TASK.trajectory(plan, network, TASK.latent(plan, 0, k), temperature=1.0, sigma_z=sigma)
            for k in range(6)
        ])
        for sigma in (0.0, 1.5)
    )  # fmt: skip
    steps = [codes.diff(dim=1).square().mean() for codes in (plain, smooth)]
    spread = [codes.mean(dim=1).std(dim=0).mean() for codes in (plain, smooth)]
    assert steps[1] < 0.3 * steps[0]
    assert 0.95 < spread[1] / spread[0] < 1.05
