"""`liftnet_convert`."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import WorkspaceOption, run

LAYOUTS = ("brats", "folders", "synthrad2023", "synthrad2025")
TARGET = "--target"
FLAGS = ("--copy", "-h", "--help")  # options without a value
NO_SOURCE = (
    "Missing. Sources stand before --target: mr=DIR --target ct=DIR. After it, one more than the "
    "target is taken for the source; of several it is not clear which they are."
)
NOTE_WIDTH = 120  # ours: the names of a hundred cases stay in the file


def convert(
    layout: Annotated[
        str,
        typer.Argument(
            metavar="|".join(LAYOUTS),
            help="How the images are laid out now.",
        ),
    ],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="folders: t1n=DIR t2w=DIR ... Others: the folder that holds one folder per case.",
            show_default=False,
        ),
    ] = None,
    *,
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
            TARGET,
            metavar="ct=DIR",
            help="folders: what is to be made. Several after the sources, else one each.",
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
    if not sources and layout not in LAYOUTS and Path(layout).is_dir():
        raise typer.BadParameter(
            f"Missing: how do the images lie in {layout}? Write one of {', '.join(LAYOUTS)} "
            "before it.",
            param_hint="LAYOUT",
        )
    if not sources:
        raise typer.BadParameter(NO_SOURCE, param_hint="SOURCE...")
    from liftnet.host.progress import mention
    from liftnet.pipeline.convert import convert as step

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
    for line in (folder / step.NOTES_FILE).read_text(encoding="utf-8").splitlines():
        mention("  " + textwrap.shorten(line, NOTE_WIDTH, placeholder=f" ... ({step.NOTES_FILE})"))
    say_next(
        f"Write licence and reference into {folder / 'dataset.json'}. Then:",
        "liftnet_plan_and_preprocess",
        dataset=dataset,
        workspace=workspace,
    )


def sources_first(words: list[str]) -> list[str]:
    """The words with a source that follows --target put before it, where none stands there.

    One --target takes several folders after the sources. Where no source stands before it, its
    first folder is the target and one more is the source; of two more it is not clear what they
    are, and the words stay as they are.

    >>> sources_first(["folders", "--target", "ct=A", "mr=B", "-d", "3"])
    ['folders', 'mr=B', '--target', 'ct=A', '-d', '3']
    >>> sources_first(["folders", "mr=B", "--target", "ct=A", "pet=C"])
    ['folders', 'mr=B', '--target', 'ct=A', 'pet=C']
    """
    free, more, taken = [], [], ""
    for place, word in enumerate(words):
        if word.startswith("-"):
            taken = word
        elif taken == TARGET:
            if words[place - 1] != TARGET:
                more.append(place)
        elif taken and words[place - 1] == taken and taken not in FLAGS:
            taken = ""  # the value of another option
        else:
            free.append(word)
    if len(free) != 1 or len(more) != 1:
        return words
    (place,) = more
    start = words.index(free[0]) + 1
    rest = words[:place] + words[place + 1 :]
    return [*rest[:start], words[place], *rest[start:]]


def main() -> None:
    """Run the command."""
    run(convert, lists=(TARGET,), arrange=sources_first)
