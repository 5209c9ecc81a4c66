"""Tags of HTML within Markdown: which are markup, and which are words that stand between angle brackets."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import cache

_TAG = re.compile(r"<(/?)([A-Za-z][^<>]*)>")
_NAME = re.compile(r"[A-Za-z][\w:.-]*")
_HIDDEN = re.compile(r"<!--.*?-->|<\?.*?\?>", re.DOTALL)
_ALTERNATIVE = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
# Elements of HTML 5 that lxml's list does not have.
_LATER_TAGS = "bdi data dialog main menuitem noembed noframes picture rb rtc search slot svg template"


@cache
def _known() -> frozenset[str]:
    from lxml.html import defs

    return frozenset(defs.tags) | frozenset(_LATER_TAGS.split())


def paired_names(texts: Iterable[str]) -> set[str]:
    """Return the names of elements, in small letters, that have both a start tag and an end tag among some tags."""
    names: tuple[set[str], set[str]] = (set(), set())
    for text in texts:
        for tag in _TAG.finditer(text):
            names[bool(tag[1])].add(_name(tag[2]))
    return names[0] & names[1]


def inline_html_text(tag: str, paired: set[str]) -> str:
    """Return what an inline tag shows: a line break, the alternative text of an image, or nothing.

    A tag that HTML does not know and that has no counterpart is text: `<eos>`, `<your name>`, `List<String>`.

    Args:
        paired: `paired_names` of all tags of the paragraph.
    """
    found = _TAG.fullmatch(tag)
    if found is None:  # a comment, or the like
        return ""
    name = _name(found[2])
    if name == "br":
        return "\n"
    if name == "img":
        alternative = _ALTERNATIVE.search(tag)
        return html.unescape(next((text for text in alternative.groups() if text), "")) if alternative else ""
    return "" if name in _known() or name in paired else tag


def escape_unknown_tags(source: str) -> str:
    """Return a fragment of HTML in which tags that are text (see `inline_html_text`) are escaped."""
    paired = paired_names([source])

    def escaped(tag: re.Match[str]) -> str:
        name = _name(tag[2])
        return tag[0] if name in _known() or name in paired else html.escape(tag[0], quote=False)

    return _TAG.sub(escaped, source)


def shows_nothing(source: str) -> bool:
    """Return whether a fragment of HTML has tags and comments only, none of which stands for text."""
    source = escape_unknown_tags(source) if "<" in source else source
    return "<img" not in source.lower() and not _TAG.sub("", _HIDDEN.sub("", source)).strip()


def _name(tag: str) -> str:
    name = _NAME.match(tag)
    return name[0].lower() if name else ""
