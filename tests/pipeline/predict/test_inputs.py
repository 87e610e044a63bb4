"""New cases in every layout that convert takes; what is not clear is refused."""

from pathlib import Path

import pytest
from head_pairs import NAME as PAIRS
from new_cases import fill, four_contrasts

from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.predict.inputs import find_inputs, refuse_one_folder


@pytest.fixture(scope="module")
def four(_prepared: Path) -> Plan:
    """A plan of the four contrasts of BraTS."""
    return four_contrasts(_prepared)


@pytest.fixture(scope="module")
def pair(_prepared_pairs: Path) -> Plan:
    """A plan that makes ct from mr."""
    return read_plan(_prepared_pairs / "preprocessed" / PAIRS / "default" / "plan.json")


def found_in(given, plan: Plan) -> dict[str, dict[str, str]]:
    """Case -> contrast -> the file's path below its folder."""
    return {
        case.identifier: {
            name: f"{path.parent.name}/{path.name}".removesuffix(".nii.gz")
            for name, path in case.images.items()
        }
        for case in find_inputs(given, plan)
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("C1/C1-t1n", "C1/C1-t2w", "C2/C2-t1n", "C2/C2-t2w", "C2/C2-seg"),
            "BraTS folders: 2 cases with t1n, t2w (of 4 channels)",
        ),
        (
            ("C1/C1_t1", "C1/C1_T2", "C2/C2_t1", "C2/C2_t2.nii"),
            "BraTS folders: 2 cases with t1n, t2w (of 4 channels)",
        ),
        (
            ("C1/t1n", "C1/T2w", "C2/t1.mha", "C2/t2w", "overview/C1.png"),
            "One folder per case: 2 cases with t1n, t2w (of 4 channels)",
        ),
        (
            ("t1n/C1", "t1n/C2", "T2/C1", "T2/C2", "masks/C1"),
            "One folder per channel: 2 cases with t1n, t2w (of 4 channels)",
        ),
        (
            ("T1/C1_T1", "T1/C2_T1", "T2/C1-T2", "T2/C2-T2.nrrd"),
            "One folder per channel: 2 cases with t1n, t2w (of 4 channels)",
        ),
        (
            ("C1_t1n", "C1_t2w", "C2_t1n.mha", "C2_T2", "readme.txt"),
            "Files named CASE_CONTRAST: 2 cases with t1n, t2w (of 4 channels)",
        ),
    ],
)
def test_layouts_of_several_contrasts(four, tmp_path, capsys, names, said):
    """Every spelling of BraTS, in every layout: two cases with the first and the third channel."""
    found = found_in(fill(tmp_path / "in", *names), four)
    assert {case: set(images) for case, images in found.items()} == {
        "C1": {"t1n", "t2w"},
        "C2": {"t1n", "t2w"},
    }
    for case, images in found.items():
        for contrast, path in images.items():
            assert case in path and ("1" if contrast == "t1n" else "2") in path.replace(case, "")
    assert said in capsys.readouterr().out


def test_gaps_and_what_is_left_out_are_told(four, tmp_path, capsys):
    """A contrast that not every case has is counted."""
    folder = fill(tmp_path / "in", "C1/C1-t1n", "C1/C1-t2f", "C2/C2-t1n", "C2/C2-seg")
    assert set(found_in(folder, four)) == {"C1", "C2"}
    printed = capsys.readouterr().out
    assert "2 cases with t1n, t2f (1) (of 4 channels)" in printed
    assert "1 file left out (no contrast): 1 x seg.nii.gz" in printed


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("P01", "P02.mha"), "Files named by their cases: 2 cases with mr"),
        (("P01_mr", "P02_mr.nii"), "Files named CASE_CONTRAST: 2 cases with mr"),
        (("P01_mr", "P01_ct", "P02_mr"), "Files named CASE_CONTRAST: 2 cases with mr"),
        (("mr/P01", "mr/P02", "ct/P01"), "One folder per channel: 2 cases with mr"),
        (
            ("Task1/brain/P01/mr", "Task1/brain/P01/ct", "Task1/brain/P02/mr.mha", "Task1/x.txt"),
            "One folder per case: 2 cases with mr",
        ),
        (("P01/mr", "P01/mask", "P02/MR"), "One folder per case: 2 cases with mr"),
    ],
)
def test_layouts_of_one_source(pair, tmp_path, capsys, names, said):
    """SynthRAD, and names of cases alone; a target beside its source is never taken for one."""
    found = found_in(fill(tmp_path / "in", *names), pair)
    assert set(found) == {"P01", "P02"}
    assert not any("ct" in path.lower() for images in found.values() for path in images.values())
    assert said in capsys.readouterr().out


def test_a_folder_for_each_contrast(four, pair, tmp_path):
    """As texts, as a mapping, with a spelling of BraTS, and by what the names share."""
    root = fill(tmp_path, "one/P01_T1_brain", "one/P02_T1_brain", "two/P01_T2_brain", "two/P03")
    wanted = {
        "P01_brain": {"t1n": "one/P01_T1_brain", "t2w": "two/P01_T2_brain"},
        "P02_brain": {"t1n": "one/P02_T1_brain"},
        "P03": {"t2w": "two/P03"},
    }
    assert found_in([f"t1n={root / 'one'}", f"T2={root / 'two'}"], four) == wanted
    assert found_in({"t1n": root / "one", "t2w": str(root / "two")}, four) == wanted
    other = fill(tmp_path / "other", "A_0001", "B_T1")
    assert set(found_in(f"mr={other}", pair)) == {"A_0001", "B_T1"}
    assert set(found_in([fill(tmp_path / "t1n=plain", "A")], pair)) == {"A"}  # a folder's own name


def test_the_raw_format_comes_first(four, pair, tmp_path, capsys):
    """Numbers are channels, whatever else the folder holds."""
    folder = fill(tmp_path / "in", "P01_0000", "P01_0002", "P02_t1n", "t2w/P03", "P04/P04-t1n")
    assert found_in(folder, four) == {"P01": {"t1n": "in/P01_0000", "t2w": "in/P01_0002"}}
    assert "warning: P02_t1n.nii.gz is not named CASE_0000 to CASE_0003" in capsys.readouterr().out
    assert set(found_in(fill(tmp_path / "one", "P01_0000", "P02_0000"), pair)) == {"P01", "P02"}


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("P01_t1_to_t2",), "The name says t1n and t2w: of which is the image?"),
        (("P01/P01_t1_to_t2",), "The name says t1n and t2w"),
        (("P01_t1n", "P02/P02-t1n"), "The folder can be read in two ways"),
        (("t1n/P01_t2w", "t1n/P02"), "The name of the file says t2w, its folder is that of t1n"),
        (("t1n/P01", "t1n/P01_t1n"), "Two files for t1n: P01.nii.gz and P01_t1n.nii.gz"),
        (("P01_t1n", "P01_T1"), "Two files for t1n"),
        (("P01/P01-t1n", "P01/P02-t2w"), "holds images of several names: P01, P02"),
        (("site1/P01/P01-t1n", "site2/P01/P01-t1n"), "Two folders for case P01"),
        (("t1n/P01_0000", "t2w/P01_0001"), "Are P01_0000 and P01_0001 one case or several"),
        (("t1n/anna_pre", "t2w/anna_post"), "Are anna_post and anna_pre one case or several"),
        (("P01", "P02"), "The input folder holds no case"),
    ],
)
def test_what_is_not_clear_is_refused(four, tmp_path, names, problem):
    """No image becomes another contrast or another case."""
    with pytest.raises(DatasetError, match=problem.replace("?", r"\?")) as caught:
        find_inputs(fill(tmp_path / "in", *names), four)
    assert caught.value.where and caught.value.remedy


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("P01_0001",), "Is the number in P01_0001.nii.gz that of a channel or of a patient?"),
        (("P01_T1", "P01_T2"), "P01_T1.nii.gz is named as a t1, and mr is looked for"),
        (("P01_seg", "P01"), "P01_seg.nii.gz is named as a seg"),
        (("P01_ct",), "The input folder holds no case"),
        (("P01", "P01.nii"), "Two files for mr"),
    ],
)
def test_what_is_not_clear_for_one_source(pair, tmp_path, names, problem):
    """A plain name must be that of a case."""
    with pytest.raises(DatasetError, match=problem.replace("?", r"\?")) as caught:
        find_inputs(fill(tmp_path / "in", *names), pair)
    assert caught.value.where and caught.value.remedy


def test_wrong_folders(four, tmp_path):
    """Several folders need a contrast each, each contrast one folder, and all must be there."""
    a, b = fill(tmp_path / "a", "P01"), fill(tmp_path / "b", "P01")
    for given, problem in (
        ([a, b], "2 folders given, and not each with its contrast"),
        ([f"t1n={a}", str(b)], "2 folders given"),
        ([f"t1n={a}", f"t1={b}"], "Two folders for t1n"),
        ([f"t1n={a}", f"t2w={a}"], "t1n and t2w are the same folder"),
        ([f"pet={a}"], "No source 'pet'"),
        ({"t1n": tmp_path / "no"}, "The folder of t1n does not exist"),
        (tmp_path / "no", "The input folder does not exist"),
        (a / "P01.nii.gz", "The input folder is a file"),
    ):
        with pytest.raises(DatasetError, match=problem):
            find_inputs(given, four)
    for given in ([f"t1n={a}", f"t2w={b}"], {"t1n": a, "t2w": b}):
        with pytest.raises(DatasetError, match="Input and output folder are the same"):
            refuse_one_folder(given, b)
