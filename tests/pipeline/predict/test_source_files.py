"""The files that a prediction was made from, noted and found again."""

from pathlib import Path

import pytest

from liftnet.core.dataset import Case
from liftnet.pipeline.convert.recognise import input_root
from liftnet.pipeline.predict.source_files import find_source, note_sources

LAYOUTS = {  # what the user writes -> where the file of t1n lies
    "new": "new/p1_0000.nii.gz",
    "./new": "new/p1/p1-t1n.nii.gz",
    ("t1n=new/t1n", "t2w=new/t2w"): "new/t1n/p1.nii.gz",
}


@pytest.mark.parametrize("given", LAYOUTS)
@pytest.mark.parametrize("absolute", [False, True])
def test_sources_are_found_in_every_layout(tmp_path, monkeypatch, given, absolute):
    """Whether folder and files are written from here or from the root."""
    monkeypatch.chdir(tmp_path)
    place = Path(LAYOUTS[given])
    place.parent.mkdir(parents=True)
    place.write_bytes(b"voxels")
    (tmp_path / "out").mkdir()
    case = Case("p1", {"t1n": place.absolute() if absolute else place})
    folder = input_root(given if isinstance(given, str) else list(given))
    made = note_sources(case, ["t1n"], folder, tmp_path / "out")
    assert (made.folder, made.files["t1n"].file) == ("../new", str(place.relative_to("new")))
    found, problem = find_source(tmp_path / "out/p1_0001.nii.gz", made, "t1n", ())
    assert found is not None, problem
    assert found.samefile(place)
