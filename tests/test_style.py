"""ruff and mypy find nothing; what CI installs is what it should be."""

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("name", TOOLS)
def test_tool_finds_nothing(name):
    """The tool passes on the whole repository; what it prints is shown."""
    module, *arguments = TOOLS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed; it comes with the extra 'test'")
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"


@pytest.mark.skipif(
    os.environ.get("CI", "").lower() != "true", reason="an environment of one's own may hold more"
)
def test_nothing_large_is_installed():
    """The constraints keep torchvision and the CUDA libraries out of CI's environment."""
    names = {(d.metadata["Name"] or "").lower().replace("_", "-") for d in distributions()}
    assert "torch" in names
    assert not {n for n in names if n == "torchvision" or n.startswith(("nvidia-", "cuda-"))}
