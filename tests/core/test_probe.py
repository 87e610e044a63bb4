"""probe.json: strict, and equal after writing and reading."""

import pytest

from liftnet.core.errors import PlanError
from liftnet.core.jsonable import write_json
from liftnet.core.probe import (
    NO_COPY,
    PROBE_VERSION,
    CopyRule,
    NearestVolume,
    Probe,
    ProbeGroup,
    ProbeMeasure,
    read_probe,
)

ONE = NearestVolume("s0", "t4", 0.25, "t1", 0.5, 0.5, suspect=False)
PROBE = Probe(
    version=PROBE_VERSION,
    verdict=NO_COPY,
    copies=(),
    task="translation",
    dataset="",
    channel="ct",
    measure=ProbeMeasure("hu_l1", "mean absolute error", "HU", 4000.0, 1, pooled=False),
    rule=CopyRule(0.1, 0.4, "half"),
    predicted=ProbeGroup(1, 0.25, 0.25, 0.25, (ONE,)),
    held_out=ProbeGroup(1, 0.5, 0.5, 0.5, (ONE,)),
    num_training=12,
    ratio_of_means=0.5,
    ratio_of_minima=0.5,
    predicted_folder="p",
    training_folder="t",
    held_out_folder="r",
    grid="2 mm",
    shape=(5, 6, 7),
    warnings=("w",),
    liftnet="0.1",
)


def test_probe_comes_back_equal(tmp_path):
    """Every field is written and read."""
    write_json(tmp_path / "probe.json", PROBE)
    assert read_probe(tmp_path / "probe.json") == PROBE


def test_other_version_is_refused(tmp_path):
    """The message names the version and the command that makes a new file."""
    write_json(tmp_path / "probe.json", {"version": 99})
    with pytest.raises(PlanError, match=r"The probe has version 99(.|\n)*liftnet_probe"):
        read_probe(tmp_path / "probe.json")
