"""Ways from noise or a source to an image, by what is known of Gaussian images."""

from functools import partial

import pytest
import torch

from liftnet.methods.denoising.processes import sample
from liftnet.methods.denoising.recipes import PROCESSES
from liftnet.ops import noise_schedule
from liftnet.ops.item_random import item_normal

MEAN, DEVIATION, SOURCE = 0.4, 0.3, -0.2
COUNT = 20_000
WAYS = [(name, sampler) for name, kind in PROCESSES.items() for sampler in kind.samplers]


def drawn(name: str, sampler: str, steps: int, deviation: float) -> torch.Tensor:
    """Numbers drawn where a perfect network knows that images are N(MEAN, deviation^2)."""
    process = PROCESSES[name](1000)
    source = torch.full((1, COUNT), SOURCE)

    def said(x: torch.Tensor, time: float) -> torch.Tensor:
        a, b, s = process.at(time)
        gain = a * deviation**2 / max(a**2 * deviation**2 + s**2, 1e-12)
        image = MEAN + gain * (x - a * MEAN - b * source)
        if process.says == "image":
            return image
        noise = (x - a * image - b * source) / max(s, 1e-12)
        return process.answer(image, source, noise)

    noise = partial(item_normal, torch.tensor([5]), shape=(COUNT,))
    done: list[float] = []
    made = sample(process, said, source, noise, sampler=sampler, steps=steps, reached=done.append)
    assert done == [(k + 1) / steps for k in range(steps)]
    return made


@pytest.mark.parametrize(
    ("name", "sampler"),
    [way for way in WAYS if way[0] not in ("regression", "flow_from_source")],
)
def test_samples_have_the_distribution_of_images(name, sampler):
    """Mean and deviation of what is drawn in many steps are those of the images."""
    made = drawn(name, sampler, 300, DEVIATION)
    assert float(made.mean()) == pytest.approx(MEAN, abs=0.01)
    if PROCESSES[name](1000).is_random(sampler):
        # DDIM keeps what it began with, which SelfRDB's noise is too little for.
        near = 0.1 if name == "selfrdb" else 0.03
        assert float(made.std()) == pytest.approx(DEVIATION, rel=near)
    else:
        assert float(made.std()) == 0


@pytest.mark.parametrize(("name", "sampler"), WAYS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_one_possible_image_is_found_in_any_number_of_steps(name, sampler, steps):
    """Where the source leaves no choice."""
    if name == "regression" and steps > 1:
        return
    torch.testing.assert_close(
        drawn(name, sampler, steps, 0.0), torch.full((1, COUNT), MEAN), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("name", PROCESSES)
def test_training_sees_what_the_sampler_meets(name):
    """All times of training are in (0, 1] and known; those of the sampler begin at 1."""
    process = PROCESSES[name](10)
    times = process.draw(torch.linspace(0, 0.9999, 50))
    a, b, s = process.weights(times.double())
    for weights in (a, b, s):
        assert weights.shape == times.shape and weights.isfinite().all()
    assert float(times.min()) >= 0 and float(times.max()) <= 1
    steps = 1 if name == "regression" else 10
    asked = process.times(steps)
    assert asked[0] == 1 and asked == sorted(asked, reverse=True) and len(asked) == steps
    if name in ("diffusion", "bridge", "selfrdb"):  # trained at levels: all asked for are among
        assert {round(t, 4) for t in asked} <= {round(t, 4) for t in times.tolist()}


def test_schedules_are_the_published_ones():
    """Of Ho et al. 2020, the sampled ones of fast-cWDM, and the bridge of I2SB."""
    bars = noise_schedule.alpha_bars(noise_schedule.linear_betas(1000))
    assert float(bars[0]) == pytest.approx(0.9999) and float(bars[-1]) == pytest.approx(
        4.0e-5, rel=0.02
    )
    assert noise_schedule.spaced(1000, 10) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    diffusion = PROCESSES["diffusion"](10)
    for time, level in zip(diffusion.times(10), noise_schedule.spaced(1000, 10), strict=True):
        assert diffusion.at(time)[0] ** 2 == pytest.approx(float(bars[level]))
    betas = noise_schedule.mirrored_betas(1000, 0.3)
    assert torch.equal(betas, betas.flip(0)) and float(betas.max()) == pytest.approx(3e-4)
    of = noise_schedule.bridge_marginals(betas)
    torch.testing.assert_close(of.target + of.source, torch.ones_like(betas))
    assert float(of.source[-1]) == pytest.approx(1, abs=1e-3)
    assert int(of.noise.argmax()) in range(498, 502)
