"""Names of files that every step can read, write and print."""

from pathlib import Path

from liftnet.core.errors import DatasetError

__all__ = ["RENAME", "check_name", "is_text"]

RENAME = "Rename it; `convmv -f latin1 -t utf8 -r --notest FOLDER` does so below a folder."


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
