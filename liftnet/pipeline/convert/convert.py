"""Step 0: bring images from other folder layouts into the raw format."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.errors import DatasetError
from liftnet.core.storage.files import write_text
from liftnet.core.storage.jsonable import did_you_mean, read_json, write_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.lock import hold
from liftnet.host.progress import say
from liftnet.host.text_table import counted
from liftnet.pipeline.convert.layouts import Found, common_ending
from liftnet.pipeline.convert.layouts_brats import find_brats
from liftnet.pipeline.convert.layouts_folders import find_folders
from liftnet.pipeline.convert.layouts_synthrad import find_synthrad
from liftnet.pipeline.convert.recognise import describe_left_out
from liftnet.tasks import load_task
from liftnet.tasks.base import GenerationTask

__all__ = ["NOTES_FILE", "convert"]

NOTES_FILE = "conversion.txt"
LAYOUTS = ("brats", "folders", "synthrad2023", "synthrad2025")
CT_NAMES = ("ct", "cbct")  # channels of these names are in Hounsfield units, at least nearly


@checked
def convert(
    layout: str,
    sources: Sequence[str | Path],
    dataset: int,
    *,
    name: str | None = None,
    test: str | Path | None = None,
    target: Sequence[str] | None = None,
    masks: str | Path | None = None,
    copy: bool = False,
    task: str | None = None,
    workspace: Path | str | None = None,
) -> Path:
    """The folder of a new raw dataset, made by link or copy; what was done is in conversion.txt.

    The dataset appears whole or not at all, and never in the place of another one.

    Args:
        layout: "brats", "synthrad2023", "synthrad2025" (one folder per case) or "folders" (one
            folder per contrast).
        sources: folders: texts such as "t1n=DIR", one per contrast. Others: one folder.
        dataset: The number of the new dataset, 1 to 999.
        name: Its name; by default made from the source.
        test: Images for prediction (imagesTs): a folder in the same layout; for "folders" it has
            one sub-folder per contrast, and masks, or holds the images of the only contrast. By
            default (not folders) the source's sub-folder test beside its train, if it has them.
        target: folders: texts such as "ct=DIR", one per contrast to be made from the sources.
        masks: folders: the folder of masks.
        copy: Copy the files instead of linking to them.
        task: The task to write into dataset.json. By default translation where there are
            targets, else missing_modality; a task that generates takes one contrast.
        workspace: The workspace to put the dataset in.

    Raises:
        DatasetError: If the sources do not fit the layout, or the number is taken.
        PlanError: If there is no such task.
    """
    if layout not in LAYOUTS:
        raise DatasetError(f"No layout '{layout}'", remedy=did_you_mean(layout, list(LAYOUTS)))
    if not 1 <= dataset <= 999:
        raise DatasetError(
            f"Dataset number {dataset} is not possible", remedy="Take one from 1 to 999."
        )
    targets = [target] if isinstance(target, str) else list(target or ())
    alone = task is not None and isinstance(load_task(task), GenerationTask)
    found, default = _find(layout, sources, test, targets, masks, alone=alone)
    task = task or ("translation" if found.targets else "missing_modality")
    ending = common_ending(found)
    clean = re.sub(r"[^A-Za-z0-9]+", "-", name or default).strip("-") or "Images"
    space = find_workspace(workspace)
    full_name = f"Dataset{dataset:03d}_{clean}"
    final = space.raw / full_name
    building = space.raw / f".{full_name}.unfinished"
    with hold(space.raw, "liftnet_convert", part=f"Dataset{dataset:03d}"):
        if _is_made(final, _description(clean, task, found, ending), found, ending):
            say(f"Converted already: {final}")
            return final
        _check_free(space, dataset)
        shutil.rmtree(building, ignore_errors=True)  # left by a run that was killed
        building.mkdir()
        try:
            counts = Counter(_place_all(found, building, ending, copy=copy))
            write_json(building / "dataset.json", _description(clean, task, found, ending))
            write_text(building / NOTES_FILE, _notes(layout, [*sources, *targets], found, counts))
            building.rename(final)
        finally:
            shutil.rmtree(building, ignore_errors=True)  # there only if something failed
    say(f"Made {final}")
    return final


def _find(
    layout: str,
    sources: Sequence[str | Path],
    test: str | Path | None,
    targets: Sequence[str],
    masks: str | Path | None,
    *,
    alone: bool,
) -> tuple[Found, str]:
    """What the source holds, and a name for it."""
    if layout == "folders":
        found = find_folders(sources, test, targets=targets, masks=masks, alone=alone)
        return found, "-".join((*found.channels, *found.targets))
    if alone:
        raise DatasetError(
            f"Layout {layout} has several contrasts; generation takes one",
            remedy="Put the images of one contrast into a folder, and use the layout folders.",
        )
    if targets or masks:
        raise DatasetError(
            f"Layout {layout} takes no target and no folder of masks",
            remedy="Leave out --target and --masks, or use the layout folders.",
        )
    find = {"brats": find_brats}.get(layout, partial(find_synthrad, layout))
    return find(sources, test), Path(sources[0]).resolve().name


def _check_free(space: Workspace, dataset: int) -> None:
    """Refuse a number that a dataset of this workspace already has."""
    for root in (space.raw, space.preprocessed, space.results):
        for path in sorted(root.glob(f"Dataset{dataset:03d}_*")):
            raise DatasetError(
                f"Dataset number {dataset} is taken",
                where=str(path),
                remedy="Choose another number with -d, or remove that folder first.",
            )


def _is_made(folder: Path, description: dict[str, object], found: Found, ending: str) -> bool:
    """Whether the same command has made this dataset: as much of each file, and nothing else."""
    if not (folder / NOTES_FILE).is_file() or read_json(folder / "dataset.json") != description:
        return False
    wanted = {folder / name: path for name, path in _files(found, ending)}
    there = {path for path in folder.glob("*/*") if not path.name.startswith(".")}
    return there == wanted.keys() and all(
        path.exists() and path.stat().st_size == source.stat().st_size
        for path, source in wanted.items()
    )


def _place_all(found: Found, folder: Path, ending: str, *, copy: bool) -> Iterator[str]:
    """Put every image and mask in its place; yields how, once per file."""
    for name, path in _files(found, ending):
        (folder / name).parent.mkdir(exist_ok=True)
        yield _place(path, folder / name, copy=copy)


def _files(found: Found, ending: str) -> Iterator[tuple[str, Path]]:
    """Every file of the dataset, and where it comes from."""
    for suffix, cases, masks in (
        ("Tr", found.train, found.train_masks),
        ("Ts", found.test, found.test_masks),
    ):
        files = {f"masks{suffix}/{case}{ending}": path for case, path in masks.items()}
        for part, channels in (("images", found.channels), ("targets", found.targets)):
            for number, channel in enumerate(channels):
                for case, images in cases.items():
                    if channel in images:
                        name = f"{part}{suffix}/{case}_{number:04d}{ending}"
                        files[name] = images[channel]
        yield from sorted(files.items())


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


def _description(name: str, task: str, found: Found, ending: str) -> dict[str, object]:
    """The content of dataset.json."""

    def numbered(channels: Sequence[str]) -> dict[str, dict[str, str]]:
        return {
            str(number): {"name": name, "modality": "CT" if name.lower() in CT_NAMES else "MR"}
            for number, name in enumerate(channels)
        }

    return {
        "name": name,
        "task": task,
        "channels": numbered(found.channels),
        **({"targets": numbered(found.targets)} if found.targets else {}),
        "file_ending": ending,
        "licence": "unknown",
        "reference": "",
    }


def _notes(layout: str, sources: Sequence[str | Path], found: Found, counts: Counter[str]) -> str:
    """What was done, for people to read."""
    how = ", ".join(f"{counted(number, 'file')} {word}" for word, number in counts.items())
    what = f"channels {', '.join(found.channels)}"
    if found.targets:
        what = f"from {', '.join(found.channels)} to {', '.join(found.targets)}"
    lines = [
        f"Layout {layout} from {', '.join(map(str, sources))}: {how}.",
        f"{counted(len(found.train), 'training case')}, {counted(len(found.test), 'test case')}; "
        f"{what}.",
    ]
    for kind, cases, masks in (
        ("training", found.train, found.train_masks),
        ("test", found.test, found.test_masks),
    ):
        lacks = {"a mask": sorted(cases.keys() - masks.keys())} if masks else {}
        for channel in (*found.channels, *found.targets) if kind == "training" else found.targets:
            lacks[channel] = sorted(case for case, images in cases.items() if channel not in images)
        lines += [
            f"{len(names)} {kind} cases lack {part}: {', '.join(names)}."
            for part, names in lacks.items()
            if names
        ]
    lines += found.notes
    both = sorted(found.train.keys() & found.test.keys())
    if both:
        lines.append(
            f"{counted(len(both), 'name')} both among training and test cases: {', '.join(both)}."
        )
    extra = {c for images in found.test.values() for c in images}
    extra -= {*found.channels, *found.targets}
    if extra:
        lines.append(f"Only in test cases, left out: {', '.join(sorted(extra))}.")
    if found.left_out:
        lines.append(f"{describe_left_out(found.left_out)}.")
    return "\n".join(lines) + "\n"
