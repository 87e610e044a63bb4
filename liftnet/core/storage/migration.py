"""Files of other versions of liftnet are refused, with what helps."""

from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError, PlanError

__all__ = ["refuse_newer", "refuse_other"]

MOST_SHOWN = 40  # letters of what stands in place of a version


def refuse_other(data: Any, version: int, *, what: str, where: Path | str, remedy: str) -> None:
    """Refuse the parsed JSON of a file whose "version" is not the one that this liftnet reads.

    Args:
        data: the parsed JSON.
        version: that is wanted.
        what: begins the message.
        where: the file.
        remedy: how to get a file of this version.

    Raises:
        PlanError: If the version is another one, or absent.
    """
    found = data.get("version") if isinstance(data, dict) else None
    refuse_newer(found, version, what=f"{what} version", where=where, otherwise=remedy)
    if type(found) is not int or found != version:
        shown = str(found)
        shown = shown if len(shown) <= MOST_SHOWN else shown[: MOST_SHOWN - 3] + "..."
        raise PlanError(
            f"{what} version {shown}, this liftnet reads {version}", where=str(where), remedy=remedy
        )


def refuse_newer(
    found: Any,
    version: int,
    *,
    what: str,
    where: Path | str,
    otherwise: str = "Use the one that made the file.",
    error: type[LiftnetError] = PlanError,
) -> None:
    """Refuse a file whose version is above the one that this liftnet writes.

    `otherwise` is what helps where liftnet cannot be updated.

    Raises:
        LiftnetError: Of the given kind.
    """
    if type(found) is int and found > version:
        raise error(
            f"{what} {found}, this liftnet reads {version}: it was made by a newer liftnet",
            where=str(where),
            remedy=f"Update liftnet. If you cannot: {otherwise}",
        )
