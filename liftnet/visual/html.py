"""HTML from Python values: text is escaped, elements are nested calls."""

from collections.abc import Iterable
from html import escape

from liftnet.core.names import isolated

__all__ = ["Html", "join", "tag"]

VOID = frozenset(("meta", "br", "img"))
TEXT_ALONE = frozenset(("title", "option"))  # no element may stand in them
ELEMENTS = {0x2068: "<bdi>", 0x2069: "</bdi>"}  # what `isolated` marks


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
    if element in VOID:
        return Html(start)
    if element in TEXT_ALONE:
        children = tuple(Html(escape(isolated(str(child)), quote=False)) for child in children)
    return Html(f"{start}{join(*children)}</{element}>")


def join(*parts: "str | Iterable[str]") -> Html:
    """Parts after each other; lists of parts are flattened.

    Names from right to left, and what turns letters around, leave the rest of a text in its order.
    """
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Html):
            texts.append(str(part))
        elif isinstance(part, str):
            texts.append(escape(isolated(part), quote=False).translate(ELEMENTS))
        else:
            texts.append(str(join(*part)))
    return Html("".join(texts))
