"""Names of files that every step can read, write, print and pass on."""

import re
from pathlib import Path

from liftnet.core.errors import DatasetError

__all__ = ["RENAME", "check_name", "is_text", "without_folders"]

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


def without_folders(text: str) -> str:
    """The text with each absolute path cut to its last part.

    Folders above may name people or patients, and results are passed on.

    >>> without_folders("case a: /data/smith/a_0003.nii.gz; mean/median")
    'case a: a_0003.nii.gz; mean/median'
    """
    return ABSOLUTE.sub(r"\1", text)
