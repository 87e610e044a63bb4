"""Names of files that every step can read, write, print and pass on."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from liftnet.core.errors import DatasetError

__all__ = ["RENAME", "check_name", "is_text", "like", "one_form", "without_folders"]

Value = TypeVar("Value")

RENAME = "Rename it; `convmv -f latin1 -t utf8 -r --notest FOLDER` does so below a folder."
ABSOLUTE = re.compile(  # its last part is group 1
    r"(?<![\w./\\-])(?:[A-Za-z]:)?[/\\](?:[^\s/\\,;:'\"]+[/\\])*([^\s/\\,;:'\"]+)[/\\]?"
)


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


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last part.

    Folders above may name people or patients, and results are passed on.

    >>> without_folders("case a: /data/smith/a_0003.nii.gz; mean/median")
    'case a: a_0003.nii.gz; mean/median'
    """
    return ABSOLUTE.sub(r"\1", text)
