"""Names that every step can read, write, print and pass on: of files, folders and channels."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from liftnet.core.errors import DatasetError, LiftnetError

__all__ = [
    "CHANNEL_WORDS",
    "RENAME",
    "check_channel_name",
    "check_folder_name",
    "check_name",
    "check_text",
    "is_channel_name",
    "is_dataset_name",
    "is_folder_name",
    "is_text",
    "isolated",
    "legible",
    "like",
    "one_form",
    "without_folders",
]

Value = TypeVar("Value")

RENAME = "Rename it; `convmv -f latin1 -t utf8 -r --notest FOLDER` does so below a folder."
MAX_NAME_BYTES = 100  # ours: names of dataset and plan together fit into the 255 of file systems
MAX_CHANNEL = 40  # ours: longest name of a contrast; it is the head of a column, too
SHOWN = 60  # ours: characters of a name that is refused
# Names of channels that mean something else: the summary over all, and the mask of a case.
CHANNEL_WORDS = ("average", "mask")
ABSOLUTE = re.compile(  # its last part is group 1
    r"(?<![\w./\\-])(?:[A-Za-z]:)?[/\\](?:[^\s/\\,;:'\"]+[/\\])*([^\s/\\,;:'\"]+)[/\\]?"
)
UNSEEN = re.compile(  # control characters, and those that turn the order of letters around
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
WORD = r"[^\s,;:()]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff][^\s,;:()]*"
RIGHT_TO_LEFT = re.compile(rf"{WORD}(?:\s+{WORD})*")  # words of Hebrew, Arabic and their like


def is_text(name: str) -> bool:
    r"""Whether a name can be written as UTF-8, which JSON files and ITK expect.

    >>> import os
    >>> is_text("Müller"), is_text(os.fsdecode(b"M\xfcller"))
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(path: Path) -> None:
    """Refuse a path that is not UTF-8; a result under such a name could not be read again.

    Raises:
        DatasetError: If it is not.
    """
    if not is_text(str(path)):
        raise DatasetError("The name is not UTF-8 text", where=str(path), remedy=RENAME)


def is_folder_name(name: str) -> bool:
    r"""Whether a name can be that of one folder on every system.

    >>> is_folder_name("grob 2.5 mm, Köln"), is_folder_name("a/b"), is_folder_name("..")
    (True, False, False)
    """
    return (
        name.isprintable()
        and 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES
        and not re.search(r'[/\\<>:"|?*]|^[. ]|[. ]$', name)
    )


def is_dataset_name(name: str) -> bool:
    """Whether a name is that of a dataset, with a number from 1 to 999.

    >>> is_dataset_name("Dataset012_Brains"), is_dataset_name("Dataset000_Brains")
    (True, False)
    """
    return is_folder_name(name) and bool(re.fullmatch(r"Dataset(?!000)[0-9]{3}_.+", name))


def is_channel_name(name: str) -> bool:
    """Whether a name can be that of a channel: short, plain, and no word of liftnet's.

    >>> [is_channel_name(name) for name in ("t1-mprage", "a/b", "Average", "")]
    [True, False, False, False]
    """
    return (
        len(name) <= MAX_CHANNEL
        and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name) is not None
        and name.lower() not in CHANNEL_WORDS
    )


def check_folder_name(name: str, what: str, *, where: str | None = None) -> None:
    """Refuse a name that would lead to another folder, or could not be that of one everywhere.

    Args:
        name: as it was given.
        what: "plan", "dataset" or "method".
        where: the option or file that it comes from.

    Raises:
        LiftnetError: If it is not the name of one folder; of a dataset, with its number.
    """
    if is_dataset_name(name) if what == "dataset" else is_folder_name(name):
        return
    raise LiftnetError(
        f"{_shown(name)} cannot be the name of a {what}",
        where=where,
        remedy="Use a number from 1 to 999, or a name as Dataset012_Brains."
        if what == "dataset"
        else "Use letters, digits, '-' and '_': a folder has this name.",
    )


def check_channel_name(name: str, *, where: str) -> None:
    """Refuse what cannot be the name of a channel: it is in names of files, tables and options.

    Raises:
        DatasetError: If it cannot.
    """
    if is_channel_name(name):
        return
    raise DatasetError(
        f"{_shown(name)} cannot be the name of a channel",
        where=where,
        remedy=f"Use letters, digits and '-', {MAX_CHANNEL} characters at most; "
        f"{' and '.join(repr(word) for word in CHANNEL_WORDS)} mean something else.",
    )


def _shown(name: str) -> str:
    """A name in quotes, for one line: what cannot be printed as its number, and not too long."""
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return f"'{shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'}'"


def check_text(text: str, where: str) -> None:
    """Refuse an empty text; as a path it would be the current folder.

    Raises:
        LiftnetError: If nothing but blanks is there, or a null, which ends a path for the system.
    """
    if not text.strip():
        raise LiftnetError(
            f"{where} is empty",
            where=where,
            remedy="Give it a value: a variable of the shell that is not set gives an empty one. "
            "The current folder is '.'.",
        )
    if "\0" in text:
        raise LiftnetError(f"{where} holds a null character", where=where, remedy="Remove it.")


def one_form(name: str) -> str:
    r"""The name with composed letters (NFC): the same text in both of Unicode's forms.

    A Mac unpacks archives with decomposed letters, u and two dots for an umlaut.

    >>> one_form("Mu\u0308ller") == one_form("M\u00fcller")
    True
    """
    return unicodedata.normalize("NFC", name)


def like(found: Mapping[str, Value], names: Iterable[str]) -> dict[str, Value]:
    r"""The same mapping, keys written as in `names` where they differ in the form of letters only.

    >>> list(like({"Mu\u0308ller": 1, "b": 2}, ["M\u00fcller"])) == ["M\u00fcller", "b"]
    True
    """
    written = {one_form(name): name for name in names}
    return {written.get(one_form(key), key): value for key, value in found.items()}


def legible(text: str) -> str:
    r"""The text with characters that are not seen, but change what is, written as their codes.

    A right-to-left override in a name turns around the numbers behind it.

    >>> legible("\u202ecase: 24.78 dB")
    '\\u202ecase: 24.78 dB'
    """
    return UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def isolated(text: str) -> str:
    """The legible text, in which words from right to left do not move what is beside them.

    As <bdi> does in HTML, for where there are no elements.
    """
    return RIGHT_TO_LEFT.sub("\u2068\\g<0>\u2069", legible(text))


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last part.

    Folders above may name people or patients, and results are passed on.

    >>> without_folders("case a: /data/smith/a_0003.nii.gz; mean/median")
    'case a: a_0003.nii.gz; mean/median'
    """
    return ABSOLUTE.sub(r"\1", text)
