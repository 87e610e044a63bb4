"""The scripts of docs/how-to/run-on-a-cluster.md: bash reads them, and the commands take them."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import typer

from liftnet.cli.shell import spread_values

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "run-on-a-cluster.md"
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
SCRIPTS = [block for block in BLOCKS if block.startswith("#!/bin/bash\n")]


def commands() -> list[str]:
    """The liftnet commands of all blocks, without what starts them; every variable is 3."""
    found = []
    for line in "\n".join(BLOCKS).replace("\\\n", " ").splitlines():
        plain = re.sub(r'"\$\(which (\w+)\)"|\$\(which (\w+)\)', r"\1\2", line)
        match = re.search(r"(?:^|srun |torchrun .*)(liftnet_\w+ -.*)$", plain)
        if match:
            found.append(re.sub(r'"\$\w+"', "3", match[1]))
    return found


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_reads_the_scripts(script):
    """No syntax error; each stops at the first failure and names the shared workspace."""
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "set -euo pipefail" in script and "export LIFTNET_WORKSPACE=" in script


def test_the_commands_take_their_options():
    """Each command of the page parses; preprocess, predict and evaluate are given their part."""
    parts = set()
    for line in commands():
        name, *arguments = shlex.split(line)
        short = name.removeprefix("liftnet_")
        app = typer.Typer(add_completion=False)
        app.command()(getattr(import_module(f"liftnet.cli.{short}"), short))
        given = spread_values(arguments, ("-f",))
        parsed = typer.main.get_command(app).make_context(name, given)
        if parsed.params.get("num_parts", 1) != 1:
            assert (parsed.params["num_parts"], parsed.params["part_id"]) == (8, 3)
            parts.add(short)
    assert parts == {"preprocess", "predict", "evaluate"}
    assert len(SCRIPTS) == 5 and len(commands()) == 8
