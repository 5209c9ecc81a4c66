"""Numbers of list items and headings as office programs write them: "3", "iv", "C", "十二"."""

from __future__ import annotations

import unicodedata

_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_CHINESE_DIGITS = "〇一二三四五六七八九"
_HEAVENLY_STEMS = "甲乙丙丁戊己庚辛壬癸"
_EARTHLY_BRANCHES = "子丑寅卯辰巳午未申酉戌亥"
# Formats of Word (w:numFmt) and of OpenDocument (style:num-format) that count alike.
_CHINESE = {
    "chineseCounting", "chineseCountingThousand", "taiwaneseCounting", "taiwaneseCountingThousand", "japaneseCounting",
    "ideographDigital", "japaneseDigitalTenThousand", "taiwaneseDigital", "一, 二, 三, ...",
}  # fmt: skip


def list_number(value: int, format: str) -> str:
    """Return a number in a format of Word or OpenDocument; in decimal digits for a format that is not known here."""
    value = min(max(value, 0), 10**9)
    if format in ("none", ""):
        return ""
    if format in ("lowerRoman", "i", "upperRoman", "I") and 0 < value < 4000:
        return _cased(_roman(value), format)
    if format in ("lowerLetter", "a", "upperLetter", "A") and value > 0:
        # Word and LibreOffice go on with aa, bb, cc.
        return _cased(chr(ord("a") + (value - 1) % 26) * min((value - 1) // 26 + 1, 20), format)
    if format in _CHINESE and value < 10_000:
        return _chinese(value)
    if format in ("ideographTraditional", "甲, 乙, 丙, ...") and 0 < value <= 10:
        return _HEAVENLY_STEMS[value - 1]
    if format in ("ideographZodiac", "子, 丑, 寅, ...") and 0 < value <= 12:
        return _EARTHLY_BRANCHES[value - 1]
    if format in ("decimalEnclosedCircle", "decimalEnclosedCircleChinese", "①, ②, ③, ...") and 0 < value <= 20:
        return chr(ord("①") + value - 1)
    if format == "decimalZero":
        return f"{value:02}"
    if format == "ordinal":
        return f"{value}{_english_ending(value)}"
    if format in ("decimalFullWidth", "decimalFullWidth2"):
        return "".join(chr(ord("０") + unicodedata.digit(digit)) for digit in str(value))
    return str(value)


def _cased(text: str, format: str) -> str:
    return text.upper() if format in ("I", "A") or format.startswith("upper") else text


def _roman(value: int) -> str:
    text = ""
    for size, letters in _ROMAN:
        text += letters * (value // size)
        value %= size
    return text


def _chinese(value: int) -> str:
    if value == 0:
        return _CHINESE_DIGITS[0]
    text, gap = "", False
    for size, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, value = divmod(value, size)
        if digit:
            text += ("零" if gap and text else "") + _CHINESE_DIGITS[digit] + unit
            gap = False
        else:
            gap = True
    return text.removeprefix("一") if text.startswith("一十") else text


def _english_ending(value: int) -> str:
    return "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
