"""Other folder layouts -> the raw format."""

import json
import os
import shutil
from pathlib import Path

import pytest

from liftnet.core.dataset import load_dataset
from liftnet.core.errors import DatasetError
from liftnet.pipeline import convert as module
from liftnet.pipeline.convert import convert

CONTRASTS = ("t1n", "t1c", "t2w", "t2f")


def make(path: Path) -> Path:
    """A file that holds its own name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.name)
    return path


def make_brats(folder: Path, cases=("C1", "C2"), contrasts=CONTRASTS) -> Path:
    """A folder in the layout of BraTS 2023."""
    for case in cases:
        for contrast in (*contrasts, "seg"):
            make(folder / case / f"{case}-{contrast}.nii.gz")
    return folder


@pytest.fixture
def space(tmp_path):
    """A workspace."""
    return tmp_path / "work"


def content(dataset: Path) -> dict[str, str]:
    """File in imagesTr and imagesTs -> what it holds."""
    files = sorted(dataset.glob("images*/*"))
    return {f"{path.parent.name}/{path.name}": path.read_text() for path in files}


def test_brats(tmp_path, space):
    """Cases become links in channel order; segmentations are left out and said so."""
    source = make_brats(tmp_path / "BraTS 2023")
    (source / "C2" / "C2-t1c.nii.gz").unlink()
    folder = convert("brats", [source], 1, workspace=space)
    assert folder == space / "raw" / "Dataset001_BraTS-2023"
    assert content(folder) == {
        "imagesTr/C1_0000.nii.gz": "C1-t1n.nii.gz",
        "imagesTr/C1_0001.nii.gz": "C1-t1c.nii.gz",
        "imagesTr/C1_0002.nii.gz": "C1-t2w.nii.gz",
        "imagesTr/C1_0003.nii.gz": "C1-t2f.nii.gz",
        "imagesTr/C2_0000.nii.gz": "C2-t1n.nii.gz",
        "imagesTr/C2_0002.nii.gz": "C2-t2w.nii.gz",
        "imagesTr/C2_0003.nii.gz": "C2-t2f.nii.gz",
    }
    link = folder / "imagesTr" / "C1_0000.nii.gz"
    assert link.is_symlink()
    assert Path(os.readlink(link)).is_absolute()  # noqa: PTH115
    dataset = load_dataset(folder)
    assert [c.name for c in dataset.channels] == list(CONTRASTS)
    assert dataset.description.task == "missing_modality"
    notes = (folder / "conversion.txt").read_text()
    assert "7 files linked" in notes
    assert "1 training cases lack t1c: C2." in notes
    assert "2 files left out (no contrast): 2 x seg.nii.gz." in notes
    assert [p.name for p in (space / "raw").iterdir()] == [folder.name]


def test_brats_train_and_test(tmp_path, space):
    """Sub-folders train and test become imagesTr and imagesTs; --test wins over test."""
    make_brats(tmp_path / "S" / "train", ["A"], ["t2w", "t1n"])
    folder = convert("brats", [tmp_path / "S"], 1, workspace=space)
    assert list(content(folder)) == ["imagesTr/A_0000.nii.gz", "imagesTr/A_0001.nii.gz"]
    make_brats(tmp_path / "S" / "test", ["B"])
    other = make_brats(tmp_path / "other", ["C"], ["t1n"])
    folder = convert("brats", [tmp_path / "S"], 2, name="Sim", workspace=space)
    assert content(folder) == {
        "imagesTr/A_0000.nii.gz": "A-t1n.nii.gz",
        "imagesTr/A_0001.nii.gz": "A-t2w.nii.gz",
        "imagesTs/B_0000.nii.gz": "B-t1n.nii.gz",
        "imagesTs/B_0001.nii.gz": "B-t2w.nii.gz",
    }
    assert "Only in test cases, left out: t1c, t2f." in (folder / "conversion.txt").read_text()
    folder = convert("brats", [tmp_path / "S"], 3, test=other, workspace=space)
    assert [p.name for p in (folder / "imagesTs").iterdir()] == ["C_0000.nii.gz"]


def test_older_brats(tmp_path, space):
    """The names of BraTS 2020 are mapped to those of 2023."""
    for old in ("t1", "t1ce", "t2", "flair", "seg"):
        make(tmp_path / "S" / "BraTS20_001" / f"BraTS20_001_{old}.nii")
    folder = convert("brats", [tmp_path / "S"], 1, workspace=space)
    assert list(content(folder).values()) == [
        f"BraTS20_001_{old}.nii" for old in ("t1", "t1ce", "t2", "flair")
    ]
    assert [c.name for c in load_dataset(folder).channels] == list(CONTRASTS)
    make(tmp_path / "S" / "BraTS20_001" / "BraTS20_001_t1n.nii")
    with pytest.raises(DatasetError, match="Two files for t1n"):
        convert("brats", [tmp_path / "S"], 2, workspace=space)


def test_folders(tmp_path, space):
    """Files are matched by name, in the order of the contrasts given; gaps are listed."""
    for file in ("b/x.mha", "b/y.mha", "a/x.mha", "a/z.mha", "a/notes.txt", "t/ct/q.mha"):
        make(tmp_path / file).write_text(file)
    sources = [f"t2w={tmp_path / 'b'}", f"ct={tmp_path / 'a'}"]
    folder = convert("folders", sources, 7, test=tmp_path / "t", workspace=space)
    assert folder.name == "Dataset007_t2w-ct"
    assert content(folder) == {
        "imagesTr/x_0000.mha": "b/x.mha",
        "imagesTr/x_0001.mha": "a/x.mha",
        "imagesTr/y_0000.mha": "b/y.mha",
        "imagesTr/z_0001.mha": "a/z.mha",
        "imagesTs/q_0001.mha": "t/ct/q.mha",
    }
    data = json.loads((folder / "dataset.json").read_text())
    assert data["channels"] == {
        "0": {"name": "t2w", "modality": "MR"},
        "1": {"name": "ct", "modality": "CT"},
    }
    assert data["file_ending"] == ".mha"
    notes = (folder / "conversion.txt").read_text()
    assert "1 training cases lack t2w: z." in notes
    assert "1 training cases lack ct: y." in notes
    assert "notes.txt" in notes


def test_copy_and_fallbacks(tmp_path, space, monkeypatch):
    """Copies are real files; where links are refused, hard links and then copies are made."""
    source = make_brats(tmp_path / "S", ["A"], ["t1n", "t2w"])
    folder = convert("brats", [source], 1, copy=True, workspace=space)
    path = folder / "imagesTr" / "A_0000.nii.gz"
    assert not path.is_symlink()
    assert path.stat().st_nlink == 1

    def refuse(*_args, **_options):
        raise OSError("links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = convert("brats", [source], 2, workspace=space)
    assert (folder / "imagesTr" / "A_0000.nii.gz").stat().st_nlink == 2
    monkeypatch.setattr(os, "link", refuse)
    folder = convert("brats", [source], 3, workspace=space)
    assert (folder / "imagesTr" / "A_0000.nii.gz").stat().st_nlink == 1
    assert "2 files copied" in (folder / "conversion.txt").read_text()
    assert len(content(folder)) == 2


def test_never_overwritten(tmp_path, space):
    """A number that any part of the workspace knows is refused, and nothing changes."""
    source = make_brats(tmp_path / "S")
    first = convert("brats", [source], 1, workspace=space)
    before = content(first)
    for name in (None, "Other"):
        with pytest.raises(DatasetError, match="Dataset number 1 is taken") as caught:
            convert("brats", [source], 1, name=name, workspace=space)
        assert caught.value.where == str(first)
    assert content(first) == before
    (space / "results" / "Dataset004_Old").mkdir(parents=True)
    with pytest.raises(DatasetError, match="Dataset number 4 is taken"):
        convert("brats", [source], 4, workspace=space)


def test_whole_or_not_at_all(tmp_path, space, monkeypatch):
    """A failing conversion leaves nothing; the rest of a killed one is cleaned away."""
    source = make_brats(tmp_path / "S")
    make(space / "raw" / ".Dataset001_S.unfinished" / "imagesTr" / "old_0000.nii.gz")

    def fail(*_args):
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        with pytest.raises(OSError, match="no space"):
            convert("brats", [source], 1, copy=True, workspace=space)
    assert list((space / "raw").iterdir()) == []
    make(space / "raw" / ".Dataset001_S.unfinished" / "imagesTr" / "old_0000.nii.gz")
    folder = convert("brats", [source], 1, workspace=space)
    assert not (folder / "imagesTr" / "old_0000.nii.gz").exists()


def test_wrong_calls(tmp_path, space):
    """Everything that cannot be converted is refused with a remedy, and nothing is made."""
    make(tmp_path / "a" / "x.nii.gz")
    make(tmp_path / "b" / "y.nii.gz")
    make(tmp_path / "c" / "x.nii")
    (tmp_path / "empty").mkdir()
    empty = {"test": tmp_path / "empty"}
    a, b, c = (f"{name}={tmp_path / name}" for name in "abc")
    calls = [
        ("brts", [tmp_path], {}, "No layout 'brts'"),
        ("brats", [tmp_path / "no"], {}, "No such folder"),
        ("brats", [tmp_path / "empty"], {}, "No BraTS case found"),
        ("brats", [tmp_path, tmp_path], {}, "takes one source folder, got 2"),
        ("folders", [str(tmp_path / "a"), b], {}, "is not a contrast and a folder"),
        ("folders", [f"t_1={tmp_path / 'a'}", b], {}, "is not a contrast and a folder"),
        ("folders", [a], {}, "two or more different contrasts, got a"),
        ("folders", [a, a], {}, "two or more different contrasts, got a, a"),
        ("folders", [a, b], {}, "No file name occurs in two of the folders"),
        ("folders", [a, c], {}, r"different endings: \.nii, \.nii\.gz"),
        ("folders", [a, f"d={tmp_path / 'a'}"], empty, "No test image found"),
    ]
    make(tmp_path / "empty" / "ignored.txt")
    for layout, sources, options, text in calls:
        with pytest.raises(DatasetError, match=text) as caught:
            convert(layout, sources, 1, workspace=space, **options)
        assert caught.value.remedy
    with pytest.raises(DatasetError, match="Dataset number 0 is not possible"):
        convert("folders", [a, c], 0, workspace=space)
    assert not space.exists()
    assert module.NOTES_FILE == "conversion.txt"
