"""How a result was made, as it is noted."""

import pytest

from liftnet.host.origin import shown_command


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("/home/anna/ws", "ws"),
        ("../anna/ws/", "ws"),
        ("--workspace=/home/anna/ws", "--workspace=ws"),
        ("t1n=/data/smith/t1", "t1n=t1"),
        ("--source=t1n=smith/t1", "--source=t1n=t1"),
        ("/data/smith=anna/t1", "t1"),
        ("smith/rate=3", "rate=3"),
        ("learning_rate=3", "learning_rate=3"),
        ("anna b/x", "x"),
        ("/", "/"),
        ("t1n=/", "t1n=/"),
    ],
)
def test_folders_above_are_not_noted(monkeypatch, argument, shown):
    """Options and channels keep their names, paths their last part."""
    monkeypatch.setattr("sys.argv", ["/usr/bin/liftnet_predict", "-i", argument])
    wanted = f"'{shown}'" if " " in shown else shown
    assert shown_command() == f"liftnet_predict -i {wanted}"


def test_no_command_from_python(monkeypatch):
    """A script of one's own is not named."""
    monkeypatch.setattr("sys.argv", ["/home/anna/script.py", "x"])
    assert shown_command() == ""
