"""Tests of what the schedules of all stages have in common."""

import pytest

from liftnet.planning.schedule import make_schedule


@pytest.mark.parametrize(
    ("steps", "interval", "cases"),
    [(3, 1, 4), (1000, 200, 4), (3000, 600, 6), (7500, 1500, 15), (250_000, 2500, 16)],
)
def test_longer_waits_for_a_validation_allow_more_cases(steps, interval, cases):
    """One case per 100 steps between validations, 4 to 16."""
    schedule = make_schedule(steps, volumes=1, slices=1, rates={"translator": 1e-4})
    assert (schedule.validate_every, schedule.validation_cases) == (interval, cases)
