"""Numbers, dates and truth values of cells as people read them, by the number format of the cell."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_GENERAL = ("", "General", "@", "GENERAL")
# A colour or condition; a currency such as [$€-407]; a quoted or escaped text; a space as wide as a character; filling.
_TOKEN = re.compile(r'\[\$([^\]-]*)(?:-[^\]]*)?\]|\[[^\]]*\]|"([^"]*)"|\\(.)|_.|\*.|(.)', re.DOTALL)
_DIGITS = re.compile(r"[#0?][#0?,]*(?:\.[#0?]*,*)?(?:[eE][+-]0+)?")
_MOST_DECIMALS = 15


def shown_number(value: float, format: str) -> str:
    """Return a number as a spreadsheet shows it, in a format such as "0.0%", "#,##0.00 €" or "General".

    Dates are not known here; a format that is not understood is taken for "General".
    """
    if not math.isfinite(value):
        return str(value)
    sections = format.split(";")
    section = sections[1] if value < 0 and len(sections) > 1 and sections[1].strip() else sections[0]
    if section in _GENERAL or "General" in section:
        return _general(value)
    pattern = _pattern(section[:200])
    if pattern is None:
        return _general(value)
    sign = "-" if value < 0 and section is sections[0] else ""
    number = _in_pattern(abs(value), pattern.digits, "%" in pattern.before + pattern.behind)
    return f"{sign}{pattern.before}{number}{pattern.behind}".strip()


def _general(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = f"{value:.11g}"
    return f"{value:.15f}".rstrip("0") if "e" in text and 1e-9 <= abs(value) < 1 else text


@dataclass(frozen=True)
class _Pattern:
    """The digits of a format with the texts before and behind them."""

    before: str
    digits: str
    behind: str


def _pattern(section: str) -> _Pattern | None:
    """Return the parts of a format; None if it has no digits, or several groups of them, as a fraction has."""
    # Texts are kept apart from digits by a character that no format has.
    marked = ""
    texts: list[str] = []
    for currency, quoted, escaped, other in _TOKEN.findall(section):
        text = currency or quoted or escaped
        if text:
            texts.append(text)
            marked += "\0"
        elif other:
            marked += other
    found = list(_DIGITS.finditer(marked))
    if len(found) != 1 or "/" in marked:
        return None
    at = iter(texts)
    before = re.sub("\0", lambda _: next(at), marked[: found[0].start()])
    behind = re.sub("\0", lambda _: next(at), marked[found[0].end() :])
    return _Pattern(before, found[0].group(), behind)


def _in_pattern(value: float, digits: str, is_percentage: bool) -> str:
    if is_percentage:
        value *= 100
    whole, _, fraction = digits.partition(".")
    if re.search("[eE]", digits):
        decimals = len(re.findall("[#0?]", re.split("[eE]", fraction)[0]))
        return f"{value:.{min(decimals, _MOST_DECIMALS)}E}"
    core, behind = whole.rstrip(","), fraction.rstrip(",")
    # Each comma at the end of the digits divides by a thousand.
    value /= 1000 ** min(len(whole) - len(core) + len(fraction) - len(behind), 4)
    fraction = behind
    decimals = min(len(fraction), _MOST_DECIMALS)
    # Half away from zero, as spreadsheets round, also where a binary fraction lies a little below the half.
    scaled = value * 10**decimals
    if scaled < 2**52:
        value = math.floor(scaled + 0.5 + 1e-9) / 10**decimals
    text = f"{value:{',' if ',' in core else ''}.{decimals}f}"
    optional = len(fraction) - len(fraction.rstrip("#?"))
    if optional and "." in text:
        kept = len(text) - min(optional, decimals)
        text = (text[:kept] + text[kept:].rstrip("0")).rstrip(".")
    return text.rjust(core.replace(",", "").count("0"), "0") if "," not in text else text


def shown_date(value: date | datetime | time | timedelta) -> str:
    """Return a date or time: "2024-05-01", "2024-05-01 14:30", "14:30" or, for a duration, "27:30:00"."""
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        minutes, seconds = divmod(abs(seconds), 60)
        return f"{'-' if value < timedelta() else ''}{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime):
        day = f"{value.year:04}-{value.month:02}-{value.day:02}"
        return day if value.time() == time() else f"{day} {shown_date(value.time())}"
    if isinstance(value, time):
        return f"{value.hour:02}:{value.minute:02}" + (f":{value.second:02}" if value.second else "")
    return f"{value.year:04}-{value.month:02}-{value.day:02}"
