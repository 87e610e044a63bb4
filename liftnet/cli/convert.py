"""`liftnet_convert`."""

import textwrap
from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import WorkspaceOption, run

NOTE_WIDTH = 120  # ours: the names of a hundred cases stay in the file


def convert(
    layout: Annotated[
        str,
        typer.Argument(
            metavar="brats|folders|synthrad2023|synthrad2025",
            help="How the images are laid out now.",
        ),
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="folders: t1n=DIR t2w=DIR ... Others: the folder that holds one folder per case.",
        ),
    ],
    dataset: Annotated[
        int, typer.Option("-d", metavar="ID", help="Number of the new dataset, 1 to 999.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Its name. Default: made from the source."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="DIR", help="Images to predict from (imagesTs), in the same layout."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="ct=DIR", help="folders: what is to be made; after the sources."
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option("--masks", metavar="DIR", help="folders: masks, named like the images."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="NAME",
            help="folders: unconditional takes one contrast. Default: translation with targets, "
            "else missing_modality.",
        ),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the files instead of linking to them.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Bring BraTS, SynthRAD or plain folders into the raw format of liftnet_raw_layout.md."""
    from liftnet.pipeline import convert as step
    from liftnet.pipeline.progress import mention, say

    folder = step.convert(
        layout,
        sources,
        dataset,
        name=name,
        test=test,
        target=target,
        masks=masks,
        task=task,
        copy=copy,
        workspace=workspace,
    )
    say(f"Made {folder}")
    for line in (folder / step.NOTES_FILE).read_text(encoding="utf-8").splitlines():
        mention("  " + textwrap.shorten(line, NOTE_WIDTH, placeholder=f" ... ({step.NOTES_FILE})"))
    say_next(
        f"Write licence and reference into {folder / 'dataset.json'}. Then:",
        "liftnet_plan_and_preprocess",
        dataset=dataset,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(convert, lists=("--target",))
