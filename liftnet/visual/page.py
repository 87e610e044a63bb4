"""One HTML file that needs nothing else: styles, scripts, volumes and the viewer are inside."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from zlib_ng import gzip_ng

from liftnet.core.names import isolated
from liftnet.core.storage.files import written_whole
from liftnet.visual.html import Html, join, tag

__all__ = ["NIIVUE", "Page", "Section", "write_page"]

NIIVUE = "niivue-0.69.0.umd.js"
SCRIPTS = (  # each uses those before it
    "volumes.js",
    "colours.js",
    "planes.js",
    "page.js",
    "profiles.js",
    "pictures.js",
    "controls.js",
    "nifti.js",
    "space.js",
    "viewer.js",
)
STYLE = "page.css"
MOST_SENTENCES = 10  # ours: with more, images would begin below the first screen
KEYS = ("id", "data")  # by which parts of a page find each other


@dataclass(frozen=True)
class Section:
    """A part of the page, with its line in the list of contents."""

    identifier: str
    title: str
    content: Html


@dataclass(frozen=True)
class Page:
    """What the page says and holds."""

    title: str
    subtitle: str
    verdict: Sequence[str]
    warnings: Sequence[str]
    sections: Sequence[Section]
    cases: Sequence[dict[str, Any]] = ()  # what the viewer reads
    volumes: Mapping[str, str] = field(default_factory=dict)
    results: str = "{}"  # the JSON that the numbers come from
    viewer_3d: bool = True


def write_page(page: Page, path: Path) -> None:
    """Write the page whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, durable=False) as temporary:
        temporary.write_text(_document(page), encoding="utf-8", errors="backslashreplace")


def _document(page: Page) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", page.title),
        tag("style", Html(_asset(STYLE))),
    )
    links = [tag("a", s.title, href=f"#{s.identifier}") for s in page.sections]
    body = tag(
        "body",
        tag("header", tag("h1", page.title), tag("p", page.subtitle, class_="note")),
        tag("nav", links, class_="toc", aria_label="Contents"),
        tag("main", _summary(page), [_section(section) for section in page.sections]),
        tag("noscript", tag("p", "Pictures and sorting need JavaScript; all numbers are above.")),
        _data(page),
        [tag("script", Html(_asset(name))) for name in SCRIPTS],
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _summary(page: Page) -> Html:
    """Warnings, then what was found."""
    parts = []
    if page.warnings:
        items = [tag("li", warning) for warning in page.warnings]
        parts.append(tag("ul", items, class_="warnings", aria_label="Warnings"))
    items = [tag("li", sentence) for sentence in page.verdict]
    shown = tag("ul", items[:MOST_SENTENCES])
    if rest := items[MOST_SENTENCES:]:
        shown = join(shown, tag("details", tag("summary", f"{len(rest)} more"), tag("ul", rest)))
    parts.append(tag("div", shown, class_="verdict"))
    return join(parts)


def _section(section: Section) -> Html:
    return tag("section", tag("h2", section.title), section.content, id=section.identifier)


def _data(page: Page) -> Html:
    """What scripts read: it cannot end its element, as every "<" is written as JSON's escape."""
    parts = []
    for name, text in (
        ("cases", json.dumps({"cases": _legible(list(page.cases))})),
        ("results", page.results),
    ):
        safe = Html(text.replace("<", "\\u003c"))
        parts.append(tag("script", safe, type="application/json", id=name))
    parts += [tag("script", Html(t), type="text/plain", id=k) for k, t in page.volumes.items()]
    if page.viewer_3d and page.cases:
        parts.append(tag("script", Html(_packed(NIIVUE)), type="text/plain", id="niivue"))
    return join(parts)


def _legible(node: Any, key: str = "") -> Any:
    """What the viewer reads, with names in which no letters turn others around."""
    if isinstance(node, dict):
        return {name: _legible(value, name) for name, value in node.items()}
    if isinstance(node, list):
        return [_legible(value, key) for value in node]
    return isolated(node) if isinstance(node, str) and key not in KEYS else node


@cache
def _policy() -> str:
    """The content security policy: these scripts and styles by their digests, and no host at all.

    A page with images of patients tells nobody that it is read, whatever its data contain.
    """
    scripts = " ".join(_digest(_asset(name)) for name in (*SCRIPTS, NIIVUE))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_digest(_asset(STYLE))}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return (files("liftnet.visual") / "assets" / name).read_text(encoding="utf-8")


@cache
def _packed(name: str) -> str:
    """An asset as base64 of gzip."""
    raw = (files("liftnet.visual") / "assets" / name).read_bytes()
    return base64.b64encode(gzip_ng.compress(raw, mtime=0)).decode()
