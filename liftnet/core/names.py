"""Names of files that every step can read, write, print and pass on."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from liftnet.core.errors import DatasetError

__all__ = [
    "RENAME",
    "check_name",
    "is_text",
    "isolated",
    "legible",
    "like",
    "one_form",
    "without_folders",
]

Value = TypeVar("Value")

RENAME = "Rename it; `convmv -f latin1 -t utf8 -r --notest FOLDER` does so below a folder."
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
