"""Text of a block of HTML while it is collected: white space as browsers show it, and the lines that it comes from."""

from __future__ import annotations

import re

_SPACES = re.compile(r"\s+")
_WIDE = "\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_BETWEEN_WIDE = re.compile(f"(?<=[{_WIDE}])\\s+(?=[{_WIDE}])")
_SUPERSCRIPT = str.maketrans("0123456789+-−", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


class BlockText:
    """Pieces of the text of one block, with its first and last line."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._is_empty = True
        self._separator = self._prefix = ""
        self.first = self.last = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is no text."""
        return self._is_empty

    def add(self, text: str, line: int, *, preformatted: bool = False) -> None:
        """Add text that begins in a line of the source; its white space is kept if it is preformatted."""
        stripped = text.lstrip()
        if not stripped:
            if text and (preformatted or not self._is_empty):
                self._pieces.append(text if preformatted else " ")
            return
        if self._is_empty:
            self.first = line + text.count("\n", 0, len(text) - len(stripped))
        self._pieces += filter(None, (self._separator, self._prefix))
        self._is_empty, self._separator, self._prefix = False, "", ""
        self._pieces.append(text if preformatted else _collapsed(text))
        self.last = line + text.count("\n", 0, len(text.rstrip()))

    def separate(self, separator: str) -> None:
        """Put a separator between what was added and what follows, if both have text: the strongest of several."""
        if not self._is_empty and (len(separator), separator) > (
            len(self._separator),
            self._separator,
        ):  # " " < ", " < "; "
            self._separator = separator

    def prefix(self, marker: str) -> None:
        """Put a list item's marker before the text that follows; an empty one takes back what an item did not use."""
        self._prefix = marker

    def end_line(self) -> None:
        """Break the line."""
        if not self._is_empty:
            self._pieces.append("\n")

    @property
    def at_line_start(self) -> bool:
        """Whether nothing stands in the present line."""
        return self._is_empty or self._pieces[-1].endswith("\n")

    def mark(self) -> int:
        """Return the present place, for `raise_from`."""
        return len(self._pieces)

    def raise_from(self, mark: int) -> None:
        """Make a number an exponent that was added after a mark and stands right after a digit: 10⁶, not 106."""
        if len(self._pieces) - mark == 1 and mark and self._pieces[mark - 1][-1:].isdigit():
            power = self._pieces[mark].strip()
            if re.fullmatch("[-+−]?[0-9]+", power):
                self._pieces[mark] = power.translate(_SUPERSCRIPT)

    def take(self, *, preformatted: bool = False) -> str:
        """Return the text, and begin anew."""
        text, self._pieces, self._is_empty, self._separator = "".join(self._pieces), [], True, ""
        if preformatted:
            return re.sub(r"\A(?:[^\S\n]*\n)+", "", text).rstrip() if text.strip() else ""
        return "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()


def _collapsed(text: str) -> str:
    """Return text with single spaces; none for a line break between Chinese or Japanese characters."""
    if "\n" in text:
        text = _BETWEEN_WIDE.sub(lambda found: "" if "\n" in found[0] else found[0], text)
    return _SPACES.sub(" ", text)
