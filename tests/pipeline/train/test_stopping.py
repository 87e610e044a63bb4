"""Signals that ask a run to stop."""

import hashlib
import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from liftnet.host.progress import keep_quiet
from liftnet.pipeline.train import stopping
from liftnet.pipeline.train.stopping import stopped_after_step

LOSE_TERMINAL = """
import os, sys, time
from liftnet.pipeline.train.stopping import stopped_after_step
os.close(os.open(os.ttyname(0), os.O_RDWR))  # its terminal from now on
try:
    with stopped_after_step() as caught:
        print("begun", flush=True)
        while not caught:
            time.sleep(0.01)
        print("nobody reads this", flush=True)
        print("nor this", file=sys.stderr, flush=True)
        open(sys.argv[1], "w").write("saved")
except KeyboardInterrupt:
    os._exit(7)
"""


@pytest.mark.parametrize("name", ["SIGINT", *stopping.OTHERS])
def test_a_signal_is_noted_and_told(name, capfd):
    """The work goes on to its end; what nobody has looked at is raised there."""
    number = getattr(signal, name)
    ends = pytest.raises(KeyboardInterrupt, match=f"Stopped by {name}; the same")
    with ends, stopped_after_step() as caught:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # torchrun passes on what the terminal has sent
        assert caught == [number, number]
    told = capfd.readouterr().err
    assert told.count("stopping after this step") == 1 and told.startswith(name)


def test_a_second_signal_stops_at_once(monkeypatch, capfd):
    """Unless it comes together with the first."""
    monkeypatch.setattr(stopping, "SAME_SECONDS", 0.0)
    ends = pytest.raises(KeyboardInterrupt, match="Stopped at once by SIGTERM")
    with ends, stopped_after_step():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)


def test_told_while_a_kernel_computes(monkeypatch):
    """Python's own handler has to wait for it."""
    told = []
    monkeypatch.setattr(stopping, "_write", lambda text: told.append(time.monotonic()))
    with pytest.raises(KeyboardInterrupt), stopped_after_step() as caught:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1_000_000)
        ended = time.monotonic()
    assert caught and told and told[0] < ended - 0.05


def test_what_is_ignored_stays_ignored(capfd):
    """As SIGHUP is after nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_after_step() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert not caught and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capfd.readouterr().err == ""


def test_one_of_several_processes_tells(capfd):
    """The others are quiet."""
    with pytest.raises(KeyboardInterrupt), keep_quiet(), stopped_after_step():
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_in_another_thread_signals_go_elsewhere():
    """There is nothing to catch, and nothing fails."""
    seen = []

    def work() -> None:
        with stopped_after_step() as caught:
            seen.append(list(caught))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_a_lost_terminal_does_not_keep_a_run_from_saving(tmp_path):
    """When a connection drops, to print is an error; the run saves all the same."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", LOSE_TERMINAL, str(tmp_path / "file")],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    assert b"begun" in os.read(master, 100)
    os.close(master)
    assert child.wait(timeout=20) == 7
    assert (tmp_path / "file").read_text() == "saved"
