"""Escapes third-party text, such as titles, file names, ids and answers of models, for a terminal or a page.

An escape sequence can retitle a terminal, fill its clipboard or hide what was printed, and a mark of direction can make a
line read as another one. Such characters are shown as Python writes them: \\x1b, \\u202e.
"""

from __future__ import annotations

import json
import unicodedata
from html import escape
from typing import Any

# Cc: controls; Cf: format characters without width, such as direction marks; Zl, Zp: line and paragraph separators;
# Cs: surrogates; Co, Cn: private-use and unassigned characters.
_UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
# Of category Cf, but needed for Persian, Hindi and emoji, or visible: signs around Arabic and Syriac numbers.
_SEEN = {0x200C, 0x200D, *range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}
MOST_SHOWN = 200


class _Shown(dict[int, str]):
    """A table for `str.translate`: code point → its escape, for characters that are not shown."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character) in _UNSEEN and code not in _SEEN:
            character = character.encode("unicode_escape").decode("ascii")
        self[code] = character
        return character


class _InJson(dict[int, str]):
    """The same with JSON escapes, for text that is JSON: its parsed value is unchanged."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        shown = _SHOWN[code]
        if shown != character:
            units = character.encode("utf-16-be", "surrogatepass").hex()
            character = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
        self[code] = character
        return character


_SHOWN, _JSON = _Shown(), _InJson()
_LINES = _Shown({ord("\n"): "\n", ord("\t"): "\t"})
_JSON.update({ord("\n"): "\n"})  # between its fields; inside a text json.dumps has escaped it


def printable(text: str, *, lines: bool = False) -> str:
    """Escape control characters and invisible characters in a text.

    Args:
        lines: keep line breaks and tabs. Otherwise they are escaped, too, so that the text stays in one line.
    """
    return text if text.isprintable() else text.translate(_LINES if lines else _SHOWN)


def printable_html(text: str, *, lines: bool = False) -> str:
    """Escape a text as `printable` does, and for HTML: between tags, or as the value of an attribute.

    Args:
        lines: as for `printable`.
    """
    return escape(printable(text, lines=lines))


def printable_json(value: Any, **settings: Any) -> str:
    """Serialize a value as JSON for a terminal: letters of all scripts as they are, control characters escaped.

    Args:
        settings: passed on to `json.dumps`.
    """
    text = json.dumps(value, ensure_ascii=False, **settings)
    return text if text.isprintable() else text.translate(_JSON)


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """Shorten a text for a message: its beginning, and the number of further characters."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun: "1 entry", "1,204 entries".

    Args:
        one, several: the noun's singular and plural; the plural is the singular with an s if it is not given.
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
