"""Files of other versions of liftnet: earlier ones are brought up to date, or refused.

A table per kind of file: version -> what makes the parsed JSON of the next version from it. What
a version added gets the value that the version before acted by.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError, PlanError

__all__ = ["NOTHING", "PLAN_UPGRADES", "Upgrade", "brought_up_to_date", "refuse_newer"]

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
NOTHING: Mapping[int, Upgrade] = {}
MOST_SHOWN = 40  # letters of what stands in place of a version


def _plan_from_1(plan: dict[str, Any]) -> dict[str, Any]:
    """Version 2 tells sources from targets, knows masks and boxes, and several slabs per volume."""
    return {
        **plan,
        "channels": [_channel_from_1(channel) for channel in plan["channels"]],
        "sources": [channel["name"] for channel in plan["channels"]],
        "grid": {**plan["grid"], "mask": "none", "box": None},
        "stages": {name: _stage_from_1(stage) for name, stage in plan["stages"].items()},
    }


def _channel_from_1(channel: dict[str, Any]) -> dict[str, Any]:
    rule = channel["normalization"]
    if rule["kind"] == "ClipAndScale":  # always to [0, 1]
        rule = {**rule, "limits": [0.0, 1.0]}
    return {**channel, "normalization": rule}


def _stage_from_1(stage: dict[str, Any]) -> dict[str, Any]:
    return {"volumes_per_step": 1, **stage, "windows_per_volume": 1}  # the first 1 had no volumes


PLAN_UPGRADES: Mapping[int, Upgrade] = {1: _plan_from_1}


def brought_up_to_date(
    data: Any,
    version: int,
    upgrades: Mapping[int, Upgrade] = NOTHING,
    *,
    what: str,
    where: Path,
    remedy: str,
) -> Any:
    """The parsed JSON of a file that has a "version", as this version of its format.

    Args:
        data: the parsed JSON.
        version: that is wanted.
        upgrades: the table of this kind of file.
        what: begins the message.
        where: the file.
        remedy: how to get a file of this version.

    Raises:
        PlanError: If the version is newer, absent, or too old to be upgraded.
    """
    found = data.get("version") if isinstance(data, dict) else None
    refuse_newer(found, version, what=f"{what} version", where=where, otherwise=remedy)
    if type(found) is not int or any(old not in upgrades for old in range(found, version)):
        shown = str(found)
        shown = shown if len(shown) <= MOST_SHOWN else shown[: MOST_SHOWN - 3] + "..."
        raise PlanError(
            f"{what} version {shown}, this liftnet reads {version}", where=str(where), remedy=remedy
        )
    for old in range(found, version):
        try:
            data = {**upgrades[old](data), "version": old + 1}
        except (KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                f"{what} version {old}, but not the content of that version ({error})",
                where=str(where),
                remedy=remedy,
            ) from None
    return data


def refuse_newer(
    found: Any,
    version: int,
    *,
    what: str,
    where: Path,
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
