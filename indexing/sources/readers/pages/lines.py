"""Lines of a page layout: joins words that were divided at the end of a line or of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# PDFium writes U+FFFE, or U+0002 from another function, where a line ends in a hyphen, and drops the line break.
HYPHEN_MARKS = "\ufffe\x02"
_HYPHENS = "-\u2010\u00ad" + HYPHEN_MARKS
_AFTER_MARK = re.compile(f"(?<=[{HYPHEN_MARKS}])")
_DIVIDED = re.compile(rf"[^\W_][\w'’]*(?=[{_HYPHENS}]$)")
_LONGEST = 80  # characters of a part of a word; longer runs are no words
_FIRST_WORD = re.compile(r"[^\W_]+")
_COMPOUND = re.compile(r"[^\W_]+(?:[-\u2010][^\W_]+)*")
_NO_LETTER = re.compile(r"[\W_]+")
# The letters that these characters join; NFKC would change much else.
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})

# Where the document shows neither form of a divided word, a few parts tell a compound, whose hyphen is kept.
_LAST_PARTS = _words(
    """aged assisted aware based bound centered centred compliant connected controlled cost dependent digit driven
    effective efficient facing focused free friendly independent intensive known level looking minded oriented owned
    paid powered pressure price prone proof quality range related resistant resolution rich risk running scale
    sensitive service shaped sided sized speaking specific speed style term tolerant trained type wide written year"""
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_ONES = _words(
    "one two three four five six seven eight nine first second third fourth fifth sixth seventh eighth ninth"
)
# Parts that begin words written as one: "inter-dependent" at a line's end is "interdependent".
_PREFIXES = _words(
    """any cor counter dis every fore hyper inter mis more never other out over photo pre some sub super them there
    trans under what when where with"""
)
# "short- and long-term": the hyphen stands for a part that comes later.
_CONJUNCTIONS = _words("and or to und oder bis et ou of")


@dataclass(frozen=True)
class Line:
    """A line of a page.

    Attributes:
        text: its words.
        top: height of its upper edge above the page's foot, in points.
        size: size of its letters in points; 0 if unknown.
    """

    text: str
    top: float = 0.0
    size: float = 0.0


class Vocabulary:
    """Words and compounds that a document shows undivided; they tell whether a hyphen belongs to a divided word."""

    def __init__(self, texts: Iterable[str]):
        self._words: set[str] = set()
        for text in texts:
            lowered = text.casefold()
            for match in _COMPOUND.finditer(lowered):
                before, after = lowered[max(match.start() - 1, 0) : match.start()], lowered[match.end() :][:1]
                at_end = after in _HYPHENS and (after in HYPHEN_MARKS or match.end() + 1 == len(lowered))
                if (after and at_end) or (before and before in HYPHEN_MARKS):
                    continue  # a part of a divided word
                word = match[0].replace("\u2010", "-")
                self._words.add(word)
                if "-" in word:
                    self._words.update(word.split("-"))

    def joined(self, first: str, last: str) -> str:
        """Return a word that was divided after a hyphen: without it, or with it if it belongs to the word."""
        one, other = first.casefold(), last.casefold()
        if one + other in self._words:
            return first + last
        if other in _CONJUNCTIONS:
            return f"{first}- {last}"
        named = last[0].isupper() or not last[0].isalpha() or any(character.isdigit() for character in first)
        if named or f"{one}-{other}" in self._words or self._is_compound(one, other):
            return f"{first}-{last}"
        return first + last

    def _is_compound(self, one: str, other: str) -> bool:
        """Return whether two parts that the document never shows together are words of their own."""
        if one == "self" or (one in _TENS and other in _ONES) or (one == "well" and other.endswith("ed")):
            return True
        if one in _PREFIXES or len(one) < 3:
            return False
        return other in _LAST_PARTS or (min(len(one), len(other)) >= 4 and one in self._words and other in self._words)


def with_letters(text: str) -> str:
    """Return a text with the letters of its ligatures."""
    return text.translate(_LIGATURES)


def heading_letters(text: str) -> str:
    """Return what a heading and its copy in an outline share: all but the number before it, spaces and marks."""
    letters = _NO_LETTER.sub("", text).casefold()
    return letters.lstrip("0123456789") or letters


def join_divided_words(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Join words that were divided at the end of a line, also from one page to the next; the lines stay.

    Args:
        pages: lines of each page in reading order; PDFium's marks in them stand for a hyphen and a line break.
    """
    vocabulary = Vocabulary(line.text for lines in pages for line in lines)
    joined: list[list[Line]] = []
    previous: list[Line] = []  # ends in the line that the next one may continue
    for lines in pages:
        page: list[Line] = []
        joined.append(page)
        for line in lines:
            for text in _layout_lines(line.text):
                rest = text
                if previous:
                    start, rest = _joined_start(previous[-1].text, text, vocabulary)
                    previous[-1] = replace(previous[-1], text=start)
                if rest:
                    page.append(replace(line, text=rest))
                    previous = page
    return [[replace(line, text=_with_hyphens(line.text)) for line in page] for page in joined]


def _joined_start(line: str, following: str, vocabulary: Vocabulary) -> tuple[str, str]:
    """Return a line with the whole of its last word, and what is left of the line after it."""
    last = _FIRST_WORD.match(following) if line[-1] in _HYPHENS else None
    first = _DIVIDED.search(line[-_LONGEST:]) if last else None
    if first is None or last is None or not (line[-1] in HYPHEN_MARKS + "\u00ad" or last[0][0].islower()):
        return line, following
    soft = line[-1] == "\u00ad"
    word = first[0] + last[0] if soft else vocabulary.joined(first[0], last[0])
    # What stands at the word, such as a comma, stays with it.
    end = next((at for at in range(last.end(), len(following)) if following[at].isspace()), len(following))
    begin = line[: len(line) - 1 - len(first[0])]
    return begin + word + following[last.end() : end], following[end:].strip()


def _layout_lines(text: str) -> Iterator[str]:
    """Divide a text after PDFium's marks, where the page has the ends of lines."""
    for part in _AFTER_MARK.split(text):
        if part.strip():
            yield part.strip()


def _with_hyphens(text: str) -> str:
    for mark in HYPHEN_MARKS:
        text = text.replace(mark, "-")
    return text
