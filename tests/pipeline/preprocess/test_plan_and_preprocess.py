"""The first three steps in one call."""

import pytest

from liftnet.core.errors import DatasetError
from liftnet.data.store import Store
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess


def test_problems_of_names_stop_it_unless_told_otherwise(tmp_path, write_raw):
    """A file with an unknown channel number is refused; with check=False it is left out."""
    raw = write_raw(tmp_path)
    stranger = raw / "imagesTr" / "p1_0009.nii.gz"
    stranger.write_bytes((raw / "imagesTr" / "p1_0000.nii.gz").read_bytes())
    options = {"workspace": tmp_path, "gpu_memory": 0.03, "steps": 4, "num_processes": 1}
    with pytest.raises(DatasetError, match="p1_0009"):
        plan_and_preprocess(**options)
    folder = plan_and_preprocess(**options, check=False)
    assert Store(folder).identifiers() == ("p1", "p2", "p3", "p4", "p5", "p6")
