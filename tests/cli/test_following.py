"""What the commands print last: the next one."""

import pytest

from liftnet.cli.following import say_cohort_evaluation, say_evaluation, say_next


def test_the_next_command_can_be_copied(capsys, monkeypatch):
    """Quoted, with the dataset, plan and workspace in use; of several processes one says it."""
    say_next(
        "Next:", "liftnet_train", "-f", "0", dataset="1", plan_name="a b", workspace="my space"
    )
    wanted = "Next:\n  liftnet_train -d 1 -p 'a b' -f 0 --workspace 'my space'\n"
    assert capsys.readouterr().out == wanted
    say_next("Next:", "liftnet_train")
    assert capsys.readouterr().out == "Next:\n  liftnet_train\n"
    monkeypatch.setenv("RANK", "1")
    say_next("Next:", "liftnet_train")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("say", "real"), [(say_evaluation, "REFERENCES"), (say_cohort_evaluation, "HELD_OUT")]
)
def test_after_images_are_made(capsys, say, real):
    """They are scored; a part of them waits for the others."""
    say("out put", num_parts=1, workspace=None)
    printed = capsys.readouterr().out
    assert printed.endswith(f":\n  liftnet_evaluate -i 'out put' -r {real}\n")
    assert "parts" not in printed
    say("out", num_parts=2, workspace="w")
    assert "when all parts are done" in capsys.readouterr().out
