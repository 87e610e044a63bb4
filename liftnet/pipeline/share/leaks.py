"""Search a model that is to leave for names of cases and paths, and what its user says of it."""

import getpass
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.pipeline.models.model_file import texts_of

__all__ = ["refuse_leaks", "refuse_texts"]

LEAST_NAME = 4  # ours: shorter names are found in every number
# ours: they name nobody, and are words that a description may have
GENERIC = {"root", "user", "admin", "ubuntu", "debian", "runner", "docker", "localhost", "linux"}
PATH = re.compile(
    r"""(?<![\w./<])/(?:[\w.~][^\s,;"')]*)   # /data, but neither and/or nor https://page
    | file:/\S+
    | (?<!\w)~(?:[A-Za-z_]\w*)?/\S*        # ~/data, ~anna/data
    | (?<!\w)[A-Za-z]:[\\/](?!/)\S*        # C:\\data
    | \\\\\w\S*                            # \\\\server\\share
    """,
    re.VERBOSE,
)


def refuse_leaks(parts: Mapping[str, Any], names: set[str], folders: Sequence[Path]) -> None:
    """Refuse to let the name of a case or of one of these folders out.

    Names that are short, or words as any, are not searched for.

    Args:
        parts: name of a part of the model -> its JSON.
        names: of cases.
        folders: that are not to be named.

    Raises:
        LiftnetError: Naming the part that holds it.
    """
    words = []
    for name in sorted(name for name in names if len(name) >= LEAST_NAME):
        if name.isdecimal():  # not where a number can be meant
            words.append(rf'(?<=["/_]){name}(?=["/_.])')
        elif _is_telling(name):
            words.append(_as_word(name))
    words += [re.escape(str(folder)) for folder in folders if len(folder.parts) > 1]
    for part, content in parts.items() if words else ():
        found = re.search("|".join(words), "\n".join(f'"{text}"' for text in texts_of(content)))
        if found:
            raise LiftnetError(
                f"The {part} would hold '{found[0]}', the name of a case or a folder",
                where=part,
                remedy="Nothing was exported. If you have put it into plan.json or recipe.json, "
                "take it out; else report this as an error of liftnet.",
            )


def refuse_texts(texts: Mapping[str, str], names: set[str], folders: Sequence[Path]) -> None:
    """Refuse words of the user's that name a case, a path, this machine or its user.

    Args:
        texts: option -> what it says.
        names: of cases.
        folders: that are not to be named.

    Raises:
        LiftnetError: Naming the option.
    """
    kinds = {
        "the name of a case": [
            _as_word(name) for name in names if len(name) >= LEAST_NAME and _is_telling(name)
        ],
        "a path": [
            PATH.pattern,
            *(re.escape(str(folder)) for folder in folders if len(folder.parts) > 1),
        ],
        "the name of the user": [_as_word(name) for name in _own_names(_user())],
        "the name of this machine": [_as_word(name) for name in _own_names(socket.gethostname())],
    }
    for option, text in texts.items():
        for what, patterns in kinds.items():
            found = next((m for p in patterns if (m := re.search(p, text, re.VERBOSE))), None)
            if found:
                raise LiftnetError(
                    f"{option} holds '{found[0]}', {what}, which must not leave with a model",
                    where=option,
                    remedy="Nothing was exported. Say it without.",
                )


def _is_telling(name: str) -> bool:
    """Whether a name is more than a word as any, or than a year."""
    if name.isdecimal():
        return name.startswith("0") or len(name) > LEAST_NAME
    return bool(re.search(r"[0-9A-Z_-]", name))


def _as_word(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return ""


def _own_names(name: str) -> list[str]:
    """A name and its first part, in any spelling; without those that say nothing."""
    some = {name, name.partition(".")[0]}
    found = sorted(one for one in some if len(one) >= LEAST_NAME and one.lower() not in GENERIC)
    return [spelt for one in found for spelt in (one, one.lower(), one.capitalize())]
