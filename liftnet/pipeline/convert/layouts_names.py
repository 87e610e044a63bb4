"""Which contrast of which case a file is, by its name and by that of its folder."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.names import check_name, one_form
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.convert.folder_kinds import images_in, refuse_bids
from liftnet.pipeline.convert.layouts import BRATS_CHANNELS, Cases, add_image

__all__ = [
    "cases_in_folders",
    "match_folders",
    "named_contrast",
    "plain_names",
    "spellings",
    "split_names",
    "without_contrast",
]

# ours: what files are called by, to tell the name of a contrast from that of a patient
CONTRASTS = frozenset(
    [*BRATS_CHANNELS, "t1w", "t1gd", "t1post", "t2star", "pd", "pdw", "dwi", "adc", "swi", "mra",
     "mprage", "mr", "mri", "ct", "sct", "cbct", "pet", "seg", "mask", "label", "brainmask"]
)  # fmt: skip
SEPARATORS = "-_."  # between a case and its contrast
MAX_DEPTH = 3  # SynthRAD: Task1/brain/1BA001 from the folder that holds Task1
OVERVIEW = "overview"  # SynthRAD: pictures of the cases, beside them
BY_NUMBER = r".+_\d{4}"  # the raw format's CASE_0000
EXPLICIT = "Name the folder of each contrast: t1n=DIR t2w=DIR."


def spellings(channels: Sequence[str]) -> dict[str, str]:
    """Word in small letters -> channel: its name, and BraTS's other names of the same contrast.

    Another name counts where it can mean one of the channels only.

    >>> spellings(["t1", "flair", "mr"])
    {'t1': 't1', 'flair': 'flair', 'mr': 'mr', 't1n': 't1', 't2f': 'flair'}
    """
    words = {channel.lower(): channel for channel in channels}
    for word, contrast in BRATS_CHANNELS.items():
        same = [w for w, other in BRATS_CHANNELS.items() if other == contrast and w in words]
        meant = {words[other] for other in same}
        if word not in words and len(meant) == 1:
            words[word] = meant.pop()
    return words


def named_contrast(path: Path, words: Mapping[str, str], case: str = "") -> tuple[str, str] | None:
    """What stands before the contrast at the end of a file's name, and the contrast; or None.

    Args:
        path: the file.
        words: of `spellings`.
        case: the name of the case, if the folder has it: words in it name no contrast.

    Raises:
        DatasetError: If the name has the words of two contrasts: of which is the image?
    """
    stem = split_ending(path)[0]
    ends = _last_words(stem.lower(), words)
    if not ends:
        return None
    word = max(ends, key=len)
    before = stem[: -len(word) - 1]
    rest = one_form(before).removeprefix(one_form(case)) if case else before
    others = {words[w] for w in re.split(rf"[{SEPARATORS}]", rest.lower()) if w in words}
    others |= {words[other] for other in ends}
    if others - {words[word]}:
        raise DatasetError(
            f"The name says {' and '.join(sorted(others | {words[word]}))}: of which is the image?",
            where=str(path),
            remedy=f"Rename or remove it, or put each contrast into a folder. {EXPLICIT}",
        )
    return before, words[word]


def split_names(paths: Sequence[Path], words: Mapping[str, str]) -> tuple[Cases, list[Path]]:
    """The cases of images named CASE_t1n in one folder, and the images that name no contrast.

    Raises:
        DatasetError: If a name has two contrasts, or two images are one contrast of a case.
    """
    cases: Cases = {}
    left_out = []
    for path in paths:
        if (found := named_contrast(path, words)) is None:
            left_out.append(path)
            continue
        add_image(cases.setdefault(one_form(found[0]), {}), found[1], path, where=path.parent)
    return cases, left_out


def plain_names(paths: Sequence[Path], channel: str) -> Cases:
    """The cases of images of one contrast that are named by their cases alone.

    Raises:
        DatasetError: If a name ends with a number of the raw format, or with a contrast.
    """
    cases: Cases = {}
    for path in paths:
        stem = split_ending(path)[0]
        if re.fullmatch(BY_NUMBER, stem):
            raise DatasetError(
                f"Is the number in {path.name} that of a channel or of a patient?",
                where=str(path),
                remedy=f"Name it {stem[:-5]}_0000 for {channel}, or give the folder as "
                f"{channel}={path.parent} if all its images are {channel}, one per case.",
            )
        word = re.split(rf"[{SEPARATORS}]", stem.lower())[-1]
        if word in CONTRASTS:
            raise DatasetError(
                f"{path.name} is named as a {word}, and {channel} is looked for",
                where=str(path.parent),
                remedy=f"Name the folder of {channel}, or remove what is none from this one.",
            )
        add_image(cases.setdefault(one_form(stem), {}), channel, path, where=path.parent)
    return cases


def match_folders(
    folders: Mapping[str, Path], words: Mapping[str, str]
) -> tuple[Cases, list[Path]]:
    """Case -> contrast -> file for one folder per contrast, and what is no image.

    Files of the same name are of one case; others are of the case that their names share without
    the word of their contrast: P01_T1 and P01_T2.

    Raises:
        DatasetError: If two files of a folder come to be the same case, a name says another
            contrast than its folder, or it is not clear which names belong together.
    """
    cases: Cases = {}
    left_out: list[Path] = []
    files: dict[str, dict[str, Path]] = {}
    for channel, folder in folders.items():
        own: dict[str, dict[str, Path]] = {}
        for path in sorted(folder.iterdir()):
            stem, ending = split_ending(path)
            if path.name.startswith("."):
                continue
            if not ending or path.is_dir():
                left_out.append(path)
                continue
            add_image(own.setdefault(one_form(stem), {}), channel, path, where=folder)
        files[channel] = {stem: images[channel] for stem, images in own.items()}
    counts = Counter(stem for own in files.values() for stem in own)
    for channel, own_files in files.items():
        own_words = _words_of(channel, own_files, words)
        for stem, path in own_files.items():
            case = stem
            if counts[stem] == 1 and words:
                _refuse_other_contrast(path, channel, words)
                case = without_contrast(stem, own_words)
            add_image(cases.setdefault(case, {}), channel, path, where=path.parent)
    _refuse_near_names(cases)
    return cases, left_out


def _words_of(channel: str, stems: Collection[str], words: Mapping[str, str]) -> list[str]:
    """The words by which a folder's files call their contrast, the longest first.

    Where none has the channel's own, it is the contrast that all names end with: T1 for mr.
    """
    own = [word for word, meant in words.items() if meant == channel]
    if not any(without_contrast(stem, own) != stem for stem in stems):
        last = {re.split(rf"[{SEPARATORS}]", stem.lower())[-1] for stem in stems}
        own += [word for word in last if len(last) == 1 and word in CONTRASTS - words.keys()]
    return sorted(own, key=len, reverse=True)


def without_contrast(stem: str, words: Sequence[str]) -> str:
    """A name without the word of its contrast, at its end, its beginning or inside.

    >>> [without_contrast(name, ["t1"]) for name in ("P01_T1", "t1-P01_reg", "P01")]
    ['P01', 'P01_reg', 'P01']
    """
    for word in words:
        one = re.escape(word)
        for pattern in (rf"[{SEPARATORS}]{one}$", rf"^{one}[{SEPARATORS}]",
                        rf"[{SEPARATORS}]{one}(?=[{SEPARATORS}])"):  # fmt: skip
            rest, count = re.subn(pattern, "", stem, flags=re.IGNORECASE)
            if count == 1 and rest:
                return rest
    return stem


def _refuse_other_contrast(path: Path, channel: str, words: Mapping[str, str]) -> None:
    """Refuse a file whose name ends with another of the contrasts than that of its folder."""
    ends = _last_words(split_ending(path)[0].lower(), words)
    if ends and channel not in {words[word] for word in ends}:
        word = max(ends, key=len)
        raise DatasetError(
            f"The name of the file says {word}, its folder is that of {channel}",
            where=str(path),
            remedy=f"Are the folders exchanged? Name with {channel}= the folder of {channel}.",
        )


def _refuse_near_names(cases: Cases) -> None:
    """Refuse cases of one contrast each whose names differ in a last word or four digits only.

    All files of such a folder end alike: the ending may be that of the contrast, or of a visit.
    """
    ends: dict[str, set[str]] = defaultdict(set)  # channel -> last words of its own cases
    starts: dict[str, dict[str, str]] = defaultdict(dict)  # start -> channel -> case
    for case, images in cases.items():
        match = re.fullmatch(rf"(.+)[{SEPARATORS}]([^{SEPARATORS}]+)", case)
        for channel in images:
            ends[channel].add(match[2] if match and len(images) == 1 else "")
            if match and len(images) == 1:
                starts[match[1]][channel] = case
    for found in starts.values():
        alike = [
            case for channel, case in found.items() if _is_tag(ends[channel]) and len(found) > 1
        ]
        if len(alike) == len(found) > 1:
            raise DatasetError(
                f"Are {' and '.join(sorted(alike))} one case or several? Their names differ in "
                "their last part only, and it names no contrast",
                where=", ".join(str(p) for case in alike for p in cases[case].values()),
                remedy="Give the images of a case the same name in each folder, or end their "
                "names with the contrast: P01_t1n, P01_t2w.",
            )


def _is_tag(ends: set[str]) -> bool:
    """Whether all files of a folder end with one word that is no number of a patient."""
    (end, *more) = ends
    return not more and bool(re.fullmatch(r"\d{4}|.*\D.*", end))


def cases_in_folders(
    folder: Path, words: Mapping[str, str], *, depth: int = MAX_DEPTH
) -> tuple[Cases, list[Path], bool]:
    """The cases of CASE/CASE-t1n or CASE/mr, the images that are no contrast, and if any is exact.

    Raises:
        DatasetError: If a folder has images of two cases, a name occurs twice, or it is BIDS.
    """
    refuse_bids(folder)
    cases: Cases = {}
    places: dict[str, Path] = {}
    left_out: list[Path] = []
    exact = False
    for place in _case_folders(folder, words, depth):
        case = one_form(place.name)
        if case in places:
            raise DatasetError(
                f"Two folders for case {case}",
                where=f"{places[case]}, {place}",
                remedy="Remove one of them, or give the folders above them one at a time.",
            )
        places[case] = place
        images, others, plain = _images_of_case(place, words)
        exact = exact or plain
        left_out += others
        cases[case] = images
    return cases, left_out, exact


def _images_of_case(
    place: Path, words: Mapping[str, str]
) -> tuple[dict[str, Path], list[Path], bool]:
    """The images of a case's folder by contrast, the others, and if one is named by it alone."""
    images: dict[str, Path] = {}
    left_out, starts = [], set()
    plain = False
    for path in images_in(place):
        stem = split_ending(path)[0].lower()
        if stem in words:
            add_image(images, words[stem], path, where=place)
            plain = True
        elif (found := named_contrast(path, words, place.name)) is not None:
            starts.add(one_form(found[0]))
            add_image(images, found[1], path, where=place)
        else:
            check_name(path)
            left_out.append(path)
    if len(starts) > 1:
        raise DatasetError(
            f"The folder holds images of several names: {', '.join(sorted(starts))}",
            where=str(place),
            remedy="Give each case a folder of its own, or give this folder itself.",
        )
    return images, left_out, plain


def _case_folders(folder: Path, words: Mapping[str, str], depth: int) -> Iterator[Path]:
    """The folders below that hold an image of a known contrast, in order."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name.startswith(".") or place.name.lower() == OVERVIEW:
            continue
        if any(_is_contrast(path, words) for path in images_in(place)):
            yield place
        elif depth > 1:
            yield from _case_folders(place, words, depth - 1)


def _is_contrast(path: Path, words: Mapping[str, str]) -> bool:
    stem = split_ending(path)[0].lower()
    return stem in words or bool(_last_words(stem, words))


def _last_words(stem: str, words: Mapping[str, str]) -> list[str]:
    """The words that a name in small letters ends with, after something else."""
    return [w for w in words if re.fullmatch(rf".+[{SEPARATORS}]{re.escape(w)}", stem)]
