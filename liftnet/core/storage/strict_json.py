"""JSON text <-> plain values, without what Python's own parser lets through."""

import json
import math
import re
from typing import Any

from liftnet.core.names import is_text

__all__ = ["parse_json", "readable_json"]

MAX_DEPTH = 64  # ours: liftnet's own files are less than 10 deep
MAX_DIGITS = 4300  # Python turns no longer text into a whole number
UNPRINTABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # NUL and halves of surrogate pairs


def parse_json(text: str) -> Any:
    """The values of a JSON text, all of which can be computed with and written again.

    Raises:
        ValueError: Saying why it is no JSON, or none of use: NaN and infinity, a number beyond
            float64, a key that occurs twice, text with NUL or half a character, too deep a nest.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_depth(data)
    if UNPRINTABLE.search(text):
        written = json.dumps(data, ensure_ascii=False)
        if re.search(r"(?<!\\)(?:\\\\)*\\u0000", written) or not is_text(written):
            raise ValueError("it holds text that is none: NUL, or half of a character")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} occurs twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:60]} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text[:20]}... has {len(text)} digits")
    return int(text)


def _check_depth(data: Any) -> None:
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH + 1):
        nested = [node for node in level if isinstance(node, dict | list)]
        if not nested:
            return
        level = [child for n in nested for child in (n.values() if isinstance(n, dict) else n)]
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"it is nested more than {MAX_DEPTH} deep"


def readable_json(value: Any, indent: int = 0) -> str:
    """JSON with one key per line, and short lists and objects on one line."""
    flat = json.dumps(value)
    if len(flat) + indent <= 96 or not isinstance(value, dict | list) or not value:
        return flat
    pad, end = " " * (indent + 1), " " * indent
    if isinstance(value, dict):
        items = [f"{pad}{json.dumps(k)}: {readable_json(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + readable_json(v, indent + 1) for v in value) + f"\n{end}]"
