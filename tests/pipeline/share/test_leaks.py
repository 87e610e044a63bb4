"""What somebody says about a model names no case, no path, no machine and no person at it."""

import getpass
import socket
from pathlib import Path

import pytest

from liftnet.core.errors import LiftnetError
from liftnet.pipeline.share.leaks import refuse_texts

CASES = {"Doe-p1", "brain", "p1", "00417", "2023", "sub-12"}


@pytest.fixture(autouse=True)
def _somebody(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "annam")
    monkeypatch.setattr(socket, "gethostname", lambda: "scanner7.ward.example")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("without Doe-p1, which moved", "'Doe-p1', the name of a case"),
        ("all but 00417", "'00417', the name of a case"),
        ("(sub-12)", "'sub-12', the name of a case"),
        ("see /mnt/data/heads", "'/mnt/data/heads', a path"),
        ("from:/data", "'/data', a path"),
        ("see ~/heads", "'~/heads', a path"),
        ("~annam/x", "'~annam/x', a path"),
        ("file:///srv/x", "'file:///srv/x', a path"),
        (r"D:\heads\new", r"'D:\heads\new', a path"),
        (r"\\ward\share", r"'\\ward\share', a path"),
        ("in relative my space/raw", "'my space/raw', a path"),
        ("made by Annam", "'Annam', the name of the user"),
        ("made on scanner7", "'scanner7', the name of this machine"),
    ],
)
def test_a_text_that_names_something(text, found):
    """It is refused, and the option is named."""
    with pytest.raises(LiftnetError) as caught:
        refuse_texts({"--data": "BraTS", "--licence": text}, CASES, [Path("my space/raw")])
    assert caught.value.problem.startswith(f"--licence holds {found}, ")
    assert caught.value.where == "--licence"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BraTS 2023, training part: brain MR, T1 / T2, 3.0 x 1.0 mm and/or thicker",
        "https://www.synapse.org/brats2023, doi:10.1000/182, see https://a.org:80/x (p1)",
        "tests <b>only</b>; ratio 1:2, at ~3 T, ~10/20 of them",
        "CC BY-NC 4.0",
    ],
)
def test_a_text_that_names_nothing(text):
    """Words, years, units, addresses and short names of cases are let through."""
    refuse_texts({"--data": text}, CASES, [Path("my space/raw"), Path("/")])


def test_names_that_say_nothing(monkeypatch):
    """A user called root and a machine called localhost are no secrets; nor is no name at all."""
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost.localdomain")
    refuse_texts({"--data": "the root of localhost"}, set(), [])

    def nobody():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    refuse_texts({"--data": "by annam"}, set(), [])
