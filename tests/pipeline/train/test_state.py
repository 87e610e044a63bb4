"""What stands beside the progress bar, and the log that it is taken from."""

import json

import torch
from torch import nn

from liftnet.pipeline.models.runs import read_log
from liftnet.pipeline.train.state import Run, best_words, status


def run(best: float | None = None) -> Run:
    """A run of one number."""
    network = nn.Linear(1, 1)
    state = Run(network, network, torch.optim.SGD(network.parameters(), 0.1))
    if best is not None:
        state.best = best
    return state


def test_status_grows_with_the_log():
    """Nothing at first, then the loss, then the best score and the last validation's numbers."""
    assert status([], run()) == ""
    assert best_words([], run()) == "no validation was finite"
    assert best_words([], run(0.6)) == "best score 0.6"
    log = [{"step": 100, "loss": 0.51234, "l1": 0.5}]
    assert status(log, run()) == "loss 0.5123"
    first = {"diversity": 0.2, "trace": 0.04, "nearest": 1.3, "neighbours": 9.0}
    log.append({"step": 200, "validation": 0.6, "validation_monitors": first})
    assert (
        status(log[1:], run(0.6))
        == "best energy distance to real volumes 0.6, diversity 0.2, trace 0.04, nearest 1.3"
    )
    later = {"diversity": 0.9833, "trace": 1.016, "nearest": float("nan"), "neighbours": 16.0}
    log.append({"step": 400, "validation": 0.7, "validation_monitors": later})
    log.append({"step": 500, "loss": 0.25, "l1": 0.2})
    assert status(log, run(0.6)) == (
        "loss 0.2500, best energy distance to real volumes 0.6, diversity 0.983, trace 1.02, "
        "nearest nan"
    )
    log.append({"step": 600, "validation": 30.0, "validation_mae_hu": {"ct": 34.71}})
    assert status(log, run(30.0)) == "loss 0.2500, best MAE 30 HU, ct 34.7"
    log.append({"step": 700, "validation": -22.41, "validation_psnr": {"t2": 22.41}})
    assert status(log, run(-22.41)) == "loss 0.2500, best PSNR 22.41 dB, t2 22.4"


def test_a_damaged_log_is_a_record_all_the_same(tmp_path, capsys):
    """Whole lines stay; the others are counted, but for the one that a kill has cut off."""
    rows = [
        {"step": 1, "loss": 0.5},
        {"step": 2, "validation": 3.0, "validation_psnr": {"t2": float("nan")}},
        {"step": 3, "loss": 0.25},
    ]
    lines = [json.dumps(row).encode() for row in rows]
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    path.write_bytes(b"\n".join(lines) + b'\n{"step": 4, "lo')
    assert [row["step"] for row in read_log(path)] == [1, 2, 3] and capsys.readouterr().out == ""
    wrong = [b"\xff" + lines[0], lines[0][:-3], b"[" * 99_999, b"7", b"{}", b'{"step": "1"}']
    wrong += [b'{"step": 2, "validation_psnr": %s}' % value for value in (b"3", b'{"t2": "3"}')]
    for line in wrong:
        path.write_bytes(b"\n".join([lines[0], line, lines[2], b""]))
        assert [row["step"] for row in read_log(path)] == [1, 3], line
        printed = capsys.readouterr().out
        assert printed == f"warning: 1 damaged line of log.jsonl left out: {path}\n"
