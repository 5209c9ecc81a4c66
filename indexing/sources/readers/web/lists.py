"""Numbers of the items of HTML lists, as browsers show them."""

from __future__ import annotations

import re

from indexing.sources.readers.list_numbers import list_number


class ListNumbers:
    """Numbers the items of the open lists."""

    def __init__(self) -> None:
        self._open: list[tuple[int, int, str] | None] = []  # next number, step, type; None for a list without numbers

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin a list."""
        if tag != "ol":
            self._open.append(None)
            return
        # Without `start`, a reversed list begins with its length, which is not known yet; its items stay unnumbered.
        is_reversed, start = "reversed" in attributes, _number(attributes.get("start"))
        if is_reversed and start is None:
            self._open.append(None)
        else:
            self._open.append((1 if start is None else start, -1 if is_reversed else 1, attributes.get("type", "1")))

    def end(self) -> None:
        """End the innermost list."""
        if self._open:
            self._open.pop()

    def marker(self, attributes: dict[str, str]) -> str:
        """Return what stands before the next item of the innermost list: "3. ", or nothing."""
        if not self._open or self._open[-1] is None:
            return ""
        number, step, kind = self._open[-1]
        value = _number(attributes.get("value"))
        number = number if value is None else value
        self._open[-1] = (number + step, step, kind)
        return f"{_written(number, attributes.get('type', kind))}. "


def _number(value: str | None) -> int | None:
    value = (value or "").strip()
    return int(value) if re.fullmatch("-?[0-9]{1,9}", value) else None


def _written(number: int, kind: str) -> str:
    if kind in ("a", "A") and number > 0:
        letters = ""  # browsers go on with aa, ab; office programs with aa, bb
        while number:
            number, place = divmod(number - 1, 26)
            letters = chr(ord(kind) + place) + letters
        return letters
    if kind in ("i", "I") and number > 0:
        return list_number(number, kind)
    return str(number)
