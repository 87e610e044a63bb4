"""Other folder layouts -> the raw format."""

import json
import os
import shutil
from pathlib import Path

import pytest

from liftnet.core.dataset import Channel
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.imageio.raw_dataset import load_dataset
from liftnet.pipeline.convert import convert as module
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.fingerprint.integrity import check_names

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
    """File in imagesTr, targetsTs, ... -> what it holds."""
    files = sorted(dataset.glob("*T[rs]/*"))
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


def test_names_with_their_contrast(tmp_path, space):
    """Files are matched by what their names share; so are masks. Without that they are refused."""
    for file in ("a/P01_T1", "a/P02_T1", "b/P01_T2_reg", "b/P02_T2_reg", "m/P01_mask", "m/P02_T1"):
        make(tmp_path / f"{file}.nii").write_text(file)
    a, b = (f"{name}={tmp_path / place}" for name, place in (("mr", "a"), ("ct", "b")))
    other = [f"t1={tmp_path / 'a'}", f"t2={tmp_path / 'b'}"]
    for path in (tmp_path / "b").iterdir():
        path.rename(path.with_name(path.name.replace("_reg", "")))
    folder = convert("folders", other, 1, workspace=space)
    assert content(folder) == {
        "imagesTr/P01_0000.nii": "a/P01_T1",
        "imagesTr/P01_0001.nii": "b/P01_T2_reg",
        "imagesTr/P02_0000.nii": "a/P02_T1",
        "imagesTr/P02_0001.nii": "b/P02_T2_reg",
    }
    folder = convert("folders", [a], 2, target=[b], masks=tmp_path / "m", workspace=space)
    assert content(folder) == {
        "imagesTr/P01_0000.nii": "a/P01_T1",
        "imagesTr/P02_0000.nii": "a/P02_T1",
        "masksTr/P01.nii": "m/P01_mask",
        "masksTr/P02.nii": "m/P02_T1",
        "targetsTr/P01_0000.nii": "b/P01_T2_reg",
        "targetsTr/P02_0000.nii": "b/P02_T2_reg",
    }
    make(tmp_path / "a" / "P01.nii")
    with pytest.raises(DatasetError, match="Two files for t1: P01"):
        convert("folders", other, 3, workspace=space)
    (tmp_path / "a" / "P01.nii").rename(tmp_path / "a" / "P03_T2.nii")
    with pytest.raises(DatasetError, match="The name of the file says t2, its folder is that of"):
        convert("folders", other, 3, workspace=space)
    for file in ("x/anna_pre", "y/anna_post"):
        make(tmp_path / f"{file}.nii")
    with pytest.raises(DatasetError, match="Are anna_post and anna_pre one case or several"):
        convert("folders", [f"t1={tmp_path / 'x'}", f"t2={tmp_path / 'y'}"], 3, workspace=space)


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
    with pytest.raises(DatasetError, match="Dataset number 1 is taken") as caught:
        convert("brats", [source], 1, name="Other", workspace=space)
    assert caught.value.where == str(first)
    assert convert("brats", [source], 1, workspace=space) == first  # the same, done already
    assert content(first) == before
    image = next(source.rglob("*.nii*"))
    image.write_bytes(image.read_bytes() + b"more")
    shutil.copy(image, first / "imagesTr" / "extra.nii.gz")
    with pytest.raises(DatasetError, match="Dataset number 1 is taken"):
        convert("brats", [source], 1, workspace=space)
    (first / "imagesTr" / "extra.nii.gz").unlink()
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
    make(tmp_path / "d" / "x.nii.gz")
    (tmp_path / "empty").mkdir()
    empty = {"test": tmp_path / "empty"}
    a, b, c = (f"{name}={tmp_path / name}" for name in "abc")
    calls = [
        ("brts", [tmp_path], {}, "No layout 'brts'"),
        ("brats", [tmp_path / "no"], {}, "The folder does not exist"),
        ("brats", [tmp_path / "empty"], {}, "No BraTS case found"),
        ("brats", [tmp_path, tmp_path], {}, "takes one source folder, got 2"),
        ("folders", [str(tmp_path / "a"), b], {}, "is not a contrast and a folder"),
        ("folders", [f"t_1={tmp_path / 'a'}", b], {}, "'t_1' cannot be the name of a channel"),
        ("folders", [f"mask={tmp_path / 'a'}", b], {}, "'mask' cannot be the name of a channel"),
        ("folders", [a], {}, "two or more different contrasts, got a"),
        ("folders", [a, a], {}, "Two folders for a"),
        ("folders", [a, f"d={tmp_path / 'a'}"], {}, "a and d are the same folder"),
        ("folders", [], {"target": [a]}, "There is no source"),
        ("folders", [a], {"target": [a]}, "Two folders for a"),
        ("folders", [a], {"target": ["ct"]}, "'ct' is not a contrast and a folder"),
        ("folders", [a], {"target": [b]}, "No case occurs in two of the folders"),
        (
            "folders",
            [a],
            {"target": [f"d={tmp_path / 'd'}"], "masks": "no"},
            "folder of masks does not exist",
        ),
        ("brats", [tmp_path], {"target": [a]}, "Layout brats takes no target"),
        ("synthrad2023", [tmp_path], {"masks": tmp_path}, "Layout synthrad2023 takes no target"),
        ("synthrad2023", [tmp_path, tmp_path], {}, "synthrad2023 takes one source folder, got 2"),
        ("folders", [a, b], {}, "No case occurs in two of the folders"),
        ("folders", [a, c], {}, r"different endings: \.nii, \.nii\.gz"),
        ("folders", [a, f"d={tmp_path / 'd'}"], empty, "No test image found"),
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


def make_synthrad(folder: Path, *cases: str, names=("mr", "ct", "mask"), ending=".nii.gz") -> Path:
    """Cases in the layout of SynthRAD, whose files hold case and name."""
    for case in cases:
        for name in names:
            path = make(folder / case / f"{name}{ending}")
            path.write_text(f"{path.parent.name} {name}")
    return folder


def test_synthrad_train_and_test(tmp_path, space):
    """MR becomes the source, CT the target, masks come along; test cases may lack the CT."""
    source = tmp_path / "S"
    make_synthrad(source / "train", "1BA001", "1BA002")
    make_synthrad(source / "train", "1BA003", names=["mr", "mask"])
    make_synthrad(source / "test", "1BA004")
    make_synthrad(source / "test", "1BA005", names=["mr"])
    make(source / "train" / "overview" / "ct.nii.gz")
    make(source / "train" / "1BA001" / "landmarks.nii.gz")
    folder = convert("synthrad2023", [source], 3, workspace=space)
    assert content(folder) == {
        "imagesTr/1BA001_0000.nii.gz": "1BA001 mr",
        "imagesTr/1BA002_0000.nii.gz": "1BA002 mr",
        "imagesTs/1BA004_0000.nii.gz": "1BA004 mr",
        "imagesTs/1BA005_0000.nii.gz": "1BA005 mr",
        "masksTr/1BA001.nii.gz": "1BA001 mask",
        "masksTr/1BA002.nii.gz": "1BA002 mask",
        "masksTs/1BA004.nii.gz": "1BA004 mask",
        "targetsTr/1BA001_0000.nii.gz": "1BA001 ct",
        "targetsTr/1BA002_0000.nii.gz": "1BA002 ct",
        "targetsTs/1BA004_0000.nii.gz": "1BA004 ct",
    }
    dataset = load_dataset(folder)
    assert dataset.description.task == "translation"
    assert (dataset.sources, dataset.targets) == ((Channel("mr"),), (Channel("ct", "CT"),))
    assert all(case.mask for case in dataset.cases)
    assert check_names(folder, dataset.description) == []
    notes = (folder / "conversion.txt").read_text().splitlines()
    assert notes[1] == "2 training cases, 2 test cases; from mr to ct."
    assert set(notes[2:]) == {
        "1 training case left out, no ct: 1BA003.",
        "1 mask left out, no training case: 1BA003.",
        "1 test cases lack a mask: 1BA005.",
        "1 test cases lack ct: 1BA005.",
        "1 file left out (no contrast): 1 x landmarks.nii.gz.",
    }


@pytest.mark.parametrize("below", ["", "brain", "Task1/brain"])
def test_synthrad_is_found_at_any_depth(tmp_path, space, below):
    """Cases of all sites count, to three levels below; --test names another folder."""
    source = tmp_path / "all"
    make_synthrad(source / below, "1BA001", names=["MR", "ct"], ending=".mha")
    make_synthrad(source / below / ".." / "pelvis" if below else source, "1PA001", ending=".mha")
    other = make_synthrad(tmp_path / "val" / "brain", "1BB9", names=["mr"], ending=".mha")
    folder = convert("synthrad2025", [source], 3, test=other, workspace=space)
    names = [name for name in content(folder) if name.startswith("images")]
    assert names == [
        "imagesTr/1BA001_0000.mha", "imagesTr/1PA001_0000.mha", "imagesTs/1BB9_0000.mha"
    ]  # fmt: skip
    assert "1 training cases lack a mask: 1BA001." in (folder / "conversion.txt").read_text()


def test_synthrad_cone_beam(tmp_path, space):
    """In Task 2 the source is a CBCT, and both channels are CT."""
    source = make_synthrad(tmp_path / "Task2" / "brain", "2BA001", names=["cbct", "ct"])
    folder = convert("synthrad2023", [source.parent], 3, workspace=space)
    dataset = load_dataset(folder)
    assert dataset.channels == (Channel("cbct", "CT"), Channel("ct", "CT"))
    assert "lack a mask" not in (folder / "conversion.txt").read_text()
    make_synthrad(tmp_path / "Task1", "1BA001")
    with pytest.raises(DatasetError, match="these are two datasets") as caught:
        convert("synthrad2023", [tmp_path], 4, workspace=space)
    assert "1BA001" in caught.value.where
    assert "2BA001" in caught.value.where


def test_wrong_synthrad(tmp_path, space):
    """No case, one case twice, no CT, a test folder inside: all refused with place and remedy."""
    make_synthrad(tmp_path / "deep" / "1" / "2" / "3", "1BA001")
    make_synthrad(tmp_path / "twice" / "brain", "1BA001")
    make_synthrad(tmp_path / "twice" / "pelvis", "1BA001")
    make_synthrad(tmp_path / "val", "1BA001", names=["mr", "mask"])
    make_synthrad(tmp_path / "inside" / "Task1" / "test", "1BA001")
    make_synthrad(tmp_path / "mixed", "1BA001")
    make_synthrad(tmp_path / "mixed", "1BA002", ending=".mha")
    make(make_synthrad(tmp_path / "double", "1BA001") / "1BA001" / "ct.nii")
    for name, text in {
        "deep": "No SynthRAD case found",
        "twice": "Two folders for case 1BA001",
        "val": "No case has ct and a source",
        "inside": "A folder named test lies among the training cases",
        "mixed": r"different endings: \.mha, \.nii\.gz",
        "double": "Two files for ct: ct.nii and ct.nii.gz",
    }.items():
        with pytest.raises(DatasetError, match=text) as caught:
            convert("synthrad2023", [tmp_path / name], 3, workspace=space)
        assert str(tmp_path / name) in caught.value.where
        assert caught.value.remedy
    assert not space.exists()


def test_folders_with_targets(tmp_path, space):
    """Sources and targets are numbered apart; a case needs a source and every target."""
    for case in "abcd":
        make(tmp_path / "in" / "mr" / f"{case}.nii").write_text(f"mr {case}")
    make(tmp_path / "in" / "t2" / "b.nii").write_text("t2 b")
    for case in "abdef":
        make(tmp_path / "in" / "ct" / f"{case}.nii").write_text(f"ct {case}")
    for case in "abc":
        make(tmp_path / "in" / "pet" / f"{case}.nii").write_text(f"pet {case}")
    for case in "ac":
        make(tmp_path / "in" / "m" / f"{case}.nii").write_text(f"mask {case}")
    for file in ("mr/x", "ct/x", "ct/y", "masks/x", "masks/a"):
        make(tmp_path / "new" / f"{file}.nii").write_text(f"new {file}")
    mr, t2, ct, pet = (f"{name}={tmp_path / 'in' / name}" for name in ("mr", "t2", "ct", "pet"))
    options = {"target": [ct, pet], "masks": tmp_path / "in" / "m", "workspace": space}
    folder = convert("folders", [mr, t2], 3, test=tmp_path / "new", **options)
    assert folder.name == "Dataset003_mr-t2-ct-pet"
    assert content(folder) == {
        "imagesTr/a_0000.nii": "mr a",
        "imagesTr/b_0000.nii": "mr b",
        "imagesTr/b_0001.nii": "t2 b",
        "imagesTs/x_0000.nii": "new mr/x",
        "masksTr/a.nii": "mask a",
        "masksTs/x.nii": "new masks/x",
        "targetsTr/a_0000.nii": "ct a",
        "targetsTr/a_0001.nii": "pet a",
        "targetsTr/b_0000.nii": "ct b",
        "targetsTr/b_0001.nii": "pet b",
        "targetsTs/x_0000.nii": "new ct/x",
    }
    dataset = load_dataset(folder)
    assert [c.name for c in dataset.sources] == ["mr", "t2"]
    assert [(c.name, c.modality) for c in dataset.targets] == [("ct", "CT"), ("pet", "MR")]
    assert check_names(folder, dataset.description) == []
    notes = (folder / "conversion.txt").read_text()
    assert "1 training case left out, no ct: c." in notes
    assert "1 training case left out, no pet: d." in notes
    assert "2 training cases left out, no mr or t2 and no pet: e, f." in notes
    assert "1 test case left out, no mr or t2: y." in notes
    assert "1 mask left out, no test case: a." in notes
    assert "1 training cases lack t2: a." in notes
    only = convert("folders", [mr], 4, target=ct, workspace=space)
    assert load_dataset(only).description.task == "translation"
    shutil.rmtree(tmp_path / "new" / "mr")
    with pytest.raises(DatasetError, match="No test image found") as caught:
        convert("folders", [mr], 5, target=ct, test=tmp_path / "new", workspace=space)
    assert caught.value.remedy == "Put them into sub-folders named mr."


def test_cases_in_training_and_test_are_named(tmp_path, space):
    """The notes say which names are in both parts."""
    for file in ("mr/a", "ct/a", "mr/b", "ct/b", "new/mr/b"):
        make(tmp_path / f"{file}.nii")
    sources, target = [f"mr={tmp_path / 'mr'}"], [f"ct={tmp_path / 'ct'}"]
    folder = convert("folders", sources, 1, target=target, test=tmp_path / "new", workspace=space)
    notes = (folder / "conversion.txt").read_text()
    assert "1 name both among training and test cases: b." in notes


def test_one_contrast_alone(tmp_path, space):
    """A flat folder of any names becomes a dataset of one channel, for generation."""
    flat = tmp_path / "flat"
    for name in ("IXI013-HH-1212-t1n", "IXI014-HH-1236-t1n", "other"):
        make(flat / f"{name}.nii.gz")
    make(flat / "readme.txt")
    make(tmp_path / "new" / "x.nii.gz")
    options = {"task": "unconditional", "workspace": space}
    folder = convert("folders", [f"t1n={flat}"], 7, test=tmp_path / "new", **options)
    assert folder.name == "Dataset007_t1n"
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [
        "IXI013-HH-1212-t1n_0000.nii.gz", "IXI014-HH-1236-t1n_0000.nii.gz", "other_0000.nii.gz",
    ]  # fmt: skip
    assert [path.name for path in (folder / "imagesTs").iterdir()] == ["x_0000.nii.gz"]
    raw = load_dataset(folder)
    assert raw.description.task == "unconditional"
    assert [channel.name for channel in raw.channels] == ["t1n"]
    make(tmp_path / "sorted" / "t1n" / "y.nii.gz")
    folder = convert("folders", [f"t1n={flat}"], 8, test=tmp_path / "sorted", **options)
    assert [path.name for path in (folder / "imagesTs").iterdir()] == ["y_0000.nii.gz"]


def test_one_contrast_alone_and_what_it_is_not(tmp_path, space):
    """Several contrasts, other layouts, empty folders and unknown tasks are refused."""
    a, b, empty = (tmp_path / name for name in "abe")
    make(a / "x.nii.gz")
    make(b / "x.nii.gz")
    empty.mkdir()
    make_brats(tmp_path / "brats")
    both = [f"a={a}", f"b={b}"]
    for layout, sources, options, problem in (
        ("folders", both, {"task": "unconditional"}, "takes one contrast and no target, got a, b"),
        (
            "folders", both[:1], {"task": "unconditional", "target": both[1]},
            "takes one contrast and no target, got a, b",
        ),
        ("folders", [f"a={empty}"], {"task": "unconditional"}, "No image found"),
        ("folders", both[:1], {"task": "missing_modality"}, "two or more different contrasts"),
        ("brats", [tmp_path / "brats"], {"task": "unconditional"}, "has several contrasts"),
        ("folders", both, {"task": "uncondtional"}, "No task 'uncondtional'"),
    ):  # fmt: skip
        with pytest.raises(LiftnetError, match=problem):
            convert(layout, sources, 7, workspace=space, **options)
    assert not list(space.glob("raw/Dataset*"))
