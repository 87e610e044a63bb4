"""`liftnet_demo`."""

from typing import Annotated

import typer

from liftnet.cli.shell import DeviceOption, run


def demo(
    output_folder: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for everything the demo makes.")
    ] = "liftnet_demo",
    device: DeviceOption = None,
) -> None:
    """Make a small dataset of simulated heads and run every step on it; 5 to 8 minutes."""
    from liftnet.pipeline import demo as step

    step.demo(output_folder, device=device)


def main() -> None:
    """Run the command."""
    run(demo)
