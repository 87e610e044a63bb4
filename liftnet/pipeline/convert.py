"""Step 0: bring images from other folder layouts into the raw format."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.jsonable import did_you_mean, write_json, write_text
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.pipeline.source_layouts import Found, common_ending, find_brats, find_folders

__all__ = ["NOTES_FILE", "convert"]

NOTES_FILE = "conversion.txt"
LAYOUTS = ("brats", "folders")


def convert(
    layout: str,
    sources: Sequence[str | Path],
    dataset: int,
    *,
    name: str | None = None,
    test: str | Path | None = None,
    copy: bool = False,
    task: str = "missing_modality",
    workspace: Path | str | None = None,
) -> Path:
    """The folder of a new raw dataset, made by link or copy; what was done is in conversion.txt.

    The dataset appears whole or not at all, and never in the place of another one.

    Args:
        layout: "brats" (one folder per case) or "folders" (one folder per contrast).
        sources: brats: one folder. folders: texts such as "t1n=DIR", one per contrast.
        dataset: The number of the new dataset, 1 to 999.
        name: Its name; by default made from the source.
        test: Images for prediction (imagesTs): a folder in the same layout; for "folders" it has
            one sub-folder per contrast. By default (brats) the source's sub-folder test beside
            its train, if it has them.
        copy: Copy the files instead of linking to them.
        task: The task to write into dataset.json.
        workspace: The workspace to put the dataset in.

    Raises:
        DatasetError: If the sources do not fit the layout, or the number is taken.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"No layout '{layout}'", remedy=did_you_mean(layout, list(LAYOUTS)))
    if not 1 <= dataset <= 999:
        raise DatasetError(
            f"Dataset number {dataset} is not possible", remedy="Take one from 1 to 999."
        )
    if layout == "brats":
        found = find_brats(sources, test)
        default = Path(sources[0]).resolve().name
    else:
        found = find_folders(sources, test)
        default = "-".join(found.channels)
    ending = common_ending(found)
    clean = re.sub(r"[^A-Za-z0-9]+", "-", name or default).strip("-") or "Images"
    space = find_workspace(workspace)
    full_name = f"Dataset{dataset:03d}_{clean}"
    _check_free(space, dataset)
    space.raw.mkdir(parents=True, exist_ok=True)
    building = space.raw / f".{full_name}.unfinished"
    shutil.rmtree(building, ignore_errors=True)  # left by a run that was killed
    building.mkdir()
    try:
        counts = Counter(_place_all(found, building, ending, copy=copy))
        write_json(building / "dataset.json", _description(clean, task, found.channels, ending))
        write_text(building / NOTES_FILE, _notes(layout, sources, found, counts))
        building.rename(space.raw / full_name)
    finally:
        shutil.rmtree(building, ignore_errors=True)  # there only if something failed
    return space.raw / full_name


def _check_free(space: Workspace, dataset: int) -> None:
    """Refuse a number that a dataset of this workspace already has."""
    for root in (space.raw, space.preprocessed, space.results):
        for path in sorted(root.glob(f"Dataset{dataset:03d}_*")):
            raise DatasetError(
                f"Dataset number {dataset} is taken",
                where=str(path),
                remedy="Choose another number with -d, or remove that folder first.",
            )


def _place_all(found: Found, folder: Path, ending: str, *, copy: bool) -> Iterator[str]:
    """Put every image in its place; yields how, once per image."""
    for part, cases in (("imagesTr", found.train), ("imagesTs", found.test)):
        if cases:
            (folder / part).mkdir()
        for case, images in sorted(cases.items()):
            for number, channel in enumerate(found.channels):
                if channel in images:
                    target = folder / part / f"{case}_{number:04d}{ending}"
                    yield _place(images[channel], target, copy=copy)


def _place(source: Path, target: Path, *, copy: bool) -> str:
    """How one file was put in its place: by symbolic link, else hard link, else copy."""
    if not copy:
        try:
            target.symlink_to(source)
        except OSError:  # Windows without the right to make links, some network drives
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
                return "copied"
            return "hard-linked"
        return "linked"
    shutil.copyfile(source, target)
    return "copied"


def _description(name: str, task: str, channels: Sequence[str], ending: str) -> dict[str, object]:
    """The content of dataset.json."""
    return {
        "name": name,
        "task": task,
        "channels": {
            str(number): {"name": channel, "modality": "CT" if channel.lower() == "ct" else "MR"}
            for number, channel in enumerate(channels)
        },
        "file_ending": ending,
        "licence": "unknown",
        "reference": "",
    }


def _notes(layout: str, sources: Sequence[str | Path], found: Found, counts: Counter[str]) -> str:
    """What was done, for people to read."""
    how = ", ".join(f"{number} files {word}" for word, number in counts.items())
    lines = [
        f"Layout {layout} from {', '.join(map(str, sources))}: {how}.",
        f"{len(found.train)} training cases, {len(found.test)} test cases; "
        f"channels {', '.join(found.channels)}.",
    ]
    for channel in found.channels:
        missing = sorted(case for case, images in found.train.items() if channel not in images)
        if missing:
            lines.append(f"{len(missing)} training cases lack {channel}: {', '.join(missing)}.")
    extra = {c for images in found.test.values() for c in images} - set(found.channels)
    if extra:
        lines.append(f"Only in test cases, left out: {', '.join(sorted(extra))}.")
    if found.left_out:
        kinds = Counter(re.split(r"[-_]", path.name)[-1] for path in found.left_out)
        shown = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common(5))
        lines.append(f"{len(found.left_out)} files left out (no contrast): {shown}.")
    return "\n".join(lines) + "\n"
