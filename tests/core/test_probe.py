"""probe.json: strict, and equal after writing and reading."""

from dataclasses import replace

import pytest

from liftnet.core.errors import PlanError
from liftnet.core.probe import (
    NO_COPY,
    PROBE_VERSION,
    TOO_FEW,
    CopyRule,
    NearestVolume,
    Probe,
    ProbeChannel,
    ProbeDistances,
    ProbeGroup,
    ProbeMeasure,
    read_probe,
)
from liftnet.core.storage.jsonable import write_json

ONE = NearestVolume("s0", "t4", 0.25, "t1", 0.5, 0.5, suspect=False)
GROUP = ProbeGroup(1, 0.25, 0.25, 0.25, (ONE,))
DISTANCES = ProbeDistances(
    rule=CopyRule(0.1, 0.4, "half"),
    predicted=GROUP,
    held_out=GROUP,
    training=GROUP,
    ratio_of_means=0.5,
    ratio_of_minima=0.5,
    predicted_by_training=1.25,
    held_out_by_training=1.125,
    grid="2 mm",
    shape=(5, 6, 7),
    picture="closest_pair.png",
)
CHANNEL = ProbeChannel(
    channel="ct",
    verdict=NO_COPY,
    copies=(),
    num_predicted=1,
    num_held_out=1,
    num_training=12,
    measure=ProbeMeasure("hu_l1", "mean absolute error", "HU", 4000.0, 1, pooled=False),
    distances=DISTANCES,
    warnings=("w",),
)
UNMEASURED = replace(
    DISTANCES, training=None, predicted_by_training=None, held_out_by_training=None
)
PROBE = Probe(
    version=PROBE_VERSION,
    verdict=TOO_FEW,
    task="translation",
    dataset="",
    channels=(
        CHANNEL,
        replace(CHANNEL, channel="t1n", verdict=TOO_FEW, distances=None),
        replace(CHANNEL, channel="t2f", distances=UNMEASURED),
    ),
    predicted_folder="p",
    training_folder="t",
    held_out_folder="r",
    liftnet="0.1",
)


def test_probe_comes_back_equal(tmp_path):
    """Every field is written and read."""
    write_json(tmp_path / "probe.json", PROBE)
    assert read_probe(tmp_path / "probe.json") == PROBE


@pytest.mark.parametrize("version", [1, 99])
def test_other_version_is_refused(tmp_path, version):
    """The message names the version and the command that makes a new file; 1 had one channel."""
    write_json(tmp_path / "probe.json", {"version": version, "channel": "t1n"})
    problem = rf"The probe has version {version}, this liftnet reads 2(.|\n)*with liftnet_probe"
    with pytest.raises(PlanError, match=problem):
        read_probe(tmp_path / "probe.json")
