"""The codes of a volume's slices are those that it is decoded from."""

import torch
from small_generation import SHAPE, make_plan

from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.tasks.unconditional import TASK
from liftnet.tasks.unconditional.specs import networks_of


def test_trajectory_is_what_is_decoded(monkeypatch):
    """One code per slice; the same latent and temperature, the same codes as in `generate`."""
    plan = make_plan()
    torch.manual_seed(0)
    features, generator, _, mapper = networks_of(plan)
    network = VolumeGenerator(features, generator, mapper).eval()
    for parameter in network.mapper.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    seen = []

    def decode(codes, *, slice_batch):
        seen.append(codes)
        yield torch.zeros(SHAPE)

    monkeypatch.setattr(network, "decode", decode)
    latent = TASK.latent(plan, 0, 1)
    TASK.generate(plan, network, latent, temperature=0.7)
    got = TASK.trajectory(plan, network, latent, temperature=0.7)
    assert got.shape == (SHAPE[0], plan.networks["mapper"].code_size) and not got.requires_grad
    assert torch.equal(got, seen[0])
    assert got.std(dim=0).max() > 0
    assert not torch.equal(got, TASK.trajectory(plan, network, latent, temperature=1.0))
