"""`liftnet_predict -n` makes what `liftnet.generate` makes; options of the other kind."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_generation import add_fold, installed

import liftnet
from liftnet.cli import predict


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with two folds of the tiny task, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(tmp_path / "space"))
    monkeypatch.setattr(
        "liftnet.pipeline.predict.generate.sample_sheet", lambda *args, **options: None
    )
    with installed():
        for fold in (0, 1):
            add_fold(tmp_path / "space", str(fold), fold)
        yield tmp_path


def call(monkeypatch, command, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["liftnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


def test_options_mean_what_they_mean_in_python(trained, monkeypatch):
    """Every option has the effect of the keyword of its name."""
    words = "--seed 3 --first 2 --temperature 0.5 --sigma-z 2 -f 1 -device cpu -p default -chk best"
    assert call(monkeypatch, predict, "-n", 2, "-o", "a", *words.split(), "-d", 8) == 0
    liftnet.generate(
        2, "b", 8, seed=3, first=2, temperature=0.5, sigma_z=2.0, fold=1, checkpoint="best"
    )
    words = "--interpolate 4 1 --normalized -np 2"
    assert call(monkeypatch, predict, "-n", 2, "-o", "a", *words.split()) == 0
    liftnet.generate(2, "b", interpolate=(4, 1), normalized=True)
    a, b = ({p.name: p.read_bytes() for p in Path(f).glob("*.gz")} for f in "ab")
    assert a == b and len(a) == 4
    words = "-n 2 -o part --resume -num_parts 2 -part_id 1"
    assert call(monkeypatch, predict, *words.split()) == 0
    assert len(list(Path("part").glob("*.gz"))) == 1


def test_options_reach_the_volumes(trained, monkeypatch):
    """Seed, fold, temperature and sigma_z each change them; --resume keeps them."""
    wanted = {"plain": (), "seed": ("--seed", 1), "fold": ("-f", 1), "warm": ("--temperature", 2)}
    wanted["smooth"] = ("--sigma-z", 2)
    made = set()
    for name, options in wanted.items():
        assert call(monkeypatch, predict, "-n", 1, "-o", name, *options) == 0
        made.add((trained / name / "sample_0000_0000.nii.gz").read_bytes())
    assert len(made) == 5
    path = trained / "plain" / "sample_0000_0000.nii.gz"
    before = path.stat().st_mtime_ns
    assert call(monkeypatch, predict, "-n", 1, "-o", "plain", "--resume") == 0
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        ((), "neither -i nor -n is given", "a folder of images with -i"),
        (("-i", "x", "-n", 3), "-i cannot be used with -n", "Leave out -i, or -n"),
        (
            ("-n", 3, "--method", "no_mapper"),
            "Method no_mapper cannot serve this plan: it needs one source",
            "lift_u, tiny",
        ),
        (("-n", 3, "--target", "a", "b", "-m", "y"), "--target, -m cannot be used with -n", "-m"),
        (("-n", 3, "--samples", 2), "--samples cannot be used with -n", "Leave out --samples"),
        (("-i", "x", "--first", 3), "--first cannot be used with -i", "Leave out --first"),
        (("-i", "x", "--temperature", 0), "--temperature cannot be used with -i", "-n"),
        (("-i", "x", "--sigma-z", 0), "--sigma-z cannot be used with -i", "-n"),
        (("-i", "x", "--interpolate", 0, 1), "--interpolate cannot be used with -i", "-n"),
        (("-n", 3, "-f", 0, 1), "with one fold, not with 2", "Name one"),
        (("-n", 0), "-n is 0", "Use 1 to 1000000"),
        (("-n", 3, "--temperature", "-inf"), "--temperature is -inf", "Use"),
        (("-n", 3, "--seed", "1" + "0" * 30), "--seed is 1e+30", "Use"),
        (("-i", "x"), "Task 'tiny' makes volumes from nothing", "with -n"),
    ],
)
def test_options_of_the_other_kind(trained, monkeypatch, capsys, arguments, problem, remedy):
    """Each is refused in one message that says what to leave out, and nothing is made."""
    assert call(monkeypatch, predict, "-o", "out", *arguments) == 1
    printed = capsys.readouterr().err
    first, *_, last = printed.splitlines()
    assert first.startswith("error: ") and problem in first
    assert last.startswith("  do:    ") and remedy in last
    assert not (trained / "out").exists()


def test_incomplete_calls(monkeypatch):
    """-o must be given; numbers are numbers, and a way has two ends."""
    wrong = ("-n", 1), ("-n", "many", "-o", "x"), ("-n", 1, "-o", "x", "--interpolate", 1)
    for arguments in wrong:
        assert call(monkeypatch, predict, *arguments) == 2
