"""Frozen dataclasses <-> strict JSON files.

An unknown or missing key is an error that names its place and suggests the key that was meant.
Where a field may hold one of several dataclasses, the JSON object carries its class name as "kind".
"""

import dataclasses
import difflib
import json
import math
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from liftnet.core.errors import PlanError
from liftnet.core.storage.checksum import as_text, crc32
from liftnet.core.storage.files import write_text
from liftnet.core.storage.migration import refuse_other
from liftnet.core.storage.strict_json import parse_json, readable_json

__all__ = [
    "Between",
    "from_json",
    "json_text",
    "read_json",
    "read_versioned",
    "replace_path",
    "to_json",
    "write_json",
    "write_sealed",
]

T = TypeVar("T")
CHECKSUM = "checksum"  # of the other keys of a file
MAX_BYTES = 2**27  # ours: 128 MiB; the scores of 100 000 images take half of it
MOST_NUMBERS = 64  # ours: of several in a range; no U-Net has more stages
FILE_END = ": "  # between the file and the keys in it
MOST_SHOWN = 60  # letters of a value or a key in a message


@dataclasses.dataclass(frozen=True)
class Between:
    """The values that a number of a file may have, both ends included: Annotated[int, Between]."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def to_json(value: Any) -> Any:
    """The value as plain dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):  # a numpy scalar
        return to_json(value.item())
    raise TypeError(f"expected a dataclass or a JSON type, got {type(value).__name__}")


def read_versioned(path: Path, version: int, *, what: str, remedy: str) -> Any:
    """The parsed JSON of a file that says which version of its format it has.

    Raises:
        PlanError: If it is missing, damaged, or of another version; `what` begins the message.
    """
    data = read_json(path)
    refuse_other(data, version, what=what, where=path, remedy=remedy)
    return data


def from_json(kind: type[T], data: Any, *, where: Path | str) -> T:
    """An object of type `kind` built from parsed JSON.

    Args:
        kind: what it is.
        data: the JSON.
        where: its file, or its name in a file. Errors name the keys below it:
            "FILE: grid.spacing_mm[0]".

    Raises:
        PlanError: If a key is unknown or missing or a value has the wrong type; names the place.
    """
    start = f"{where}{FILE_END}" if isinstance(where, Path) else where
    return typing.cast(T, _parse(kind, data, start))


def _below(where: str, key: str) -> str:
    """The place of a key in an object at `where`."""
    return f"{where}.{key}" if where and not where.endswith(FILE_END) else where + key


def _place(where: str) -> str:
    """A place as messages name it."""
    return where.removesuffix(FILE_END)


def _parse(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return data
    if origin is Annotated:
        return _parse_between(kind, data, where)
    if origin in (Union, types.UnionType):
        return _parse_union(get_args(kind), data, where)
    if origin is Literal:
        if not any(type(data) is type(known) and data == known for known in get_args(kind)):
            raise _wrong(where, f"one of {', '.join(map(repr, get_args(kind)))}", data)
        return data
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(typing.cast(type, kind), data, where)
    containers = {tuple: _parse_tuple, list: _parse_list, dict: _parse_dict}
    if origin in containers:
        return containers[origin](get_args(kind), data, where)
    return _parse_plain(kind, data, where)


def _parse_between(kind: Any, data: Any, where: str) -> Any:
    """A number, or several of one kind, that must lie in a range."""
    inner, limits = get_args(kind)
    value = _parse(inner, data, where)
    if isinstance(value, tuple) and len(value) > MOST_NUMBERS:
        raise _wrong(where, f"at most {MOST_NUMBERS} numbers", data)
    for number in value if isinstance(value, tuple) else (value,):
        if not limits.low <= number <= limits.high:
            raise _wrong(where, f"a number from {limits}", data)
    return value


def _parse_plain(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        if isinstance(data, int) and abs(data) > sys.float_info.max:
            raise _wrong(where, "a number", data)
        return float(data)
    if kind is type(None) and data is None:
        return None
    if kind is int and type(data) is int and not -(2**63) <= data < 2**63:
        raise _wrong(where, "a whole number of 64 bits", data)
    if kind in (int, str, bool) and type(data) is kind:
        return data
    names = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    raise _wrong(where, names.get(kind, getattr(kind, "__name__", str(kind))), data)


def _parse_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    classes: dict[str, Any] = {
        getattr(kind, "__name__", ""): kind for kind in kinds if dataclasses.is_dataclass(kind)
    }
    if classes and isinstance(data, dict) and len(kinds) > 1:
        name = data.get("kind")
        if not isinstance(name, str) or name not in classes:
            raise _wrong(_below(where, "kind"), f"one of {', '.join(classes)}", name)
        return _parse(classes[name], data, where)
    for kind in kinds[:-1]:
        try:
            return _parse(kind, data, where)
        except PlanError:
            continue
    return _parse(kinds[-1], data, where)


def _parse_list(kinds: tuple[Any, ...], data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise _wrong(where, "a list", data)
    return [_parse(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data)]


def _parse_dict(kinds: tuple[Any, ...], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    return {key: _parse(kinds[1], item, _below(where, _shown(key))) for key, item in data.items()}


def _parse_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise _wrong(where, "a list", data)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_parse(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(data) != len(kinds):
        raise _wrong(where, f"a list of {len(kinds)}", data)
    pairs = zip(kinds, data, strict=True)
    return tuple(_parse(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


def _parse_dataclass(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind, include_extras=True)
    for key in data:
        if key not in fields and key != "kind":
            raise PlanError(
                f"Unknown key '{_shown(key)}'",
                where=_place(where),
                remedy=did_you_mean(key, list(fields)),
            )
    if data.get("kind", kind.__name__) != kind.__name__:
        raise _wrong(_below(where, "kind"), kind.__name__, data["kind"])
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _parse(hints[name], data[name], _below(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise PlanError(
                f"Key '{name}' is missing",
                where=_place(where),
                remedy=f"Add '{name}', or let liftnet write the file again.",
            )
    value = kind(**values)
    flaw = value.flaw() if hasattr(value, "flaw") else None  # of values that do not fit together
    if flaw is not None:
        problem = f"The values contradict each other: {flaw}"
        raise PlanError(problem, where=_place(where), remedy="Correct the values.")
    return value


def did_you_mean(
    word: str, known: Sequence[str], *, before: Sequence[str] = (), after: Sequence[str] = ()
) -> str:
    """A sentence that names the nearest known word, or all of them.

    Where the word is one of several of a dotted key, those before and after it are named too.
    """
    close = difflib.get_close_matches(word[:MOST_SHOWN], known, n=1)
    begun = [name for name in known if word and name.startswith(word)]
    if close or len(begun) == 1:
        return f"Did you mean '{_shown('.'.join([*before, *(close or begun), *after]))}'?"
    return f"Known: {', '.join(sorted(known))}."


def _wrong(where: str, expected: str, got: Any) -> PlanError:
    shown = _shown(json.dumps(got, default=str))
    problem = f"Expected {expected}, got {shown}"
    return PlanError(problem, where=_place(where), remedy="Correct the value.")


def _shown(text: str) -> str:
    """A text as a message shows it: short, and nothing in it moves the cursor."""
    short = text if len(text) < MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def replace_path(value: T, path: str, new: Any, *, of: str = "") -> T:
    """A copy of a dataclass in which the value at a dotted path is another one.

    Errors name the path below `of`, the name of the dataclass.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Inner:
    ...     size: int
    >>> @dataclasses.dataclass(frozen=True)
    ... class Outer:
    ...     inner: dict[str, Inner]
    >>> replace_path(Outer({"a": Inner(1)}), "inner.a.size", 5).inner["a"].size
    5
    """
    data = to_json(value)
    node = data
    before = [of] if of else []
    keys = path.split(".")
    for number, key in enumerate(keys):
        known = (
            node
            if isinstance(node, dict)
            else dict(enumerate(node))
            if isinstance(node, list)
            else {}
        )
        index: Any = int(key) if isinstance(node, list) and key in map(str, known) else key
        if index not in known or key == "kind":
            names = [str(k) for k in known if k != "kind"]
            raise PlanError(
                f"No setting '{_shown(_below(of, path))}'",
                where=".".join(before) or None,
                remedy=did_you_mean(key, names, before=before, after=keys[number + 1 :])
                if names
                else f"It is {_shown(json.dumps(node))}: set it as a whole.",
            )
        if number == len(keys) - 1:
            node[index] = new
        else:
            node = node[index]
        before.append(key)
    return from_json(type(value), data, where=of)


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file.

    Raises:
        PlanError: If the file is missing, is not JSON that `parse_json` takes, or its values
            are not those that were written with a checksum.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
        data = parse_json(path.read_text(encoding="utf-8-sig"))  # some editors write a mark first
    except FileNotFoundError:
        raise PlanError("File not found", where=str(path), remedy="Check the path.") from None
    except OSError as error:
        problem = f"The file cannot be read: {error.strerror}"
        raise PlanError(problem, where=str(path), remedy="Check the path.") from None
    except ValueError as error:
        raise PlanError(
            f"Not a JSON file: {error}",
            where=str(path),
            remedy="Correct the file or make it again.",
        ) from None
    if isinstance(data, dict) and CHECKSUM in data and data.pop(CHECKSUM) != _checksum(data):
        raise PlanError(
            "The file is damaged, or was edited: its checksum differs",
            where=str(path),
            remedy=f'If you edited it, delete its line "{CHECKSUM}"; else make it again.',
        )
    return data


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain value as readable JSON, whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A dataclass or plain value as readable JSON."""
    return readable_json(to_json(value)) + "\n"


def write_sealed(path: Path, value: Any) -> None:
    """Write as `write_json`, with a checksum of the values: `read_json` compares and omits it.

    For what is not made to be edited, and would be followed if a bit of it had flipped.
    """
    data = to_json(value)
    write_json(path, {**data, CHECKSUM: _checksum(data)})


def _checksum(data: Any) -> str:
    return as_text(crc32(json.dumps(data, sort_keys=True).encode()))
