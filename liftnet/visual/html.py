"""HTML from Python values: text is escaped, elements are nested calls."""

from collections.abc import Iterable
from html import escape

__all__ = ["Html", "join", "tag"]

VOID = frozenset(("meta", "br", "img"))


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(element: str, *children: "str | Iterable[str]", **attributes: str | float | None) -> Html:
    """An element; children that are not `Html` are escaped, attributes that are None left out.

    >>> tag("td", "a < b", class_="number", data_value=2)
    '<td class="number" data-value="2">a &lt; b</td>'
    """
    named = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    start = f"<{element}{''.join(named)}>"
    return Html(start if element in VOID else f"{start}{join(*children)}</{element}>")


def join(*parts: "str | Iterable[str]") -> Html:
    """Parts after each other; lists of parts are flattened."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Html):
            texts.append(str(part))
        elif isinstance(part, str):
            texts.append(escape(part, quote=False))
        else:
            texts.append(str(join(*part)))
    return Html("".join(texts))
