"""Cuts a text into pieces of at most so many tokens, at sentence ends, in time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from semantic_text_splitter import TextSplitter

# A text is cut in windows of this many characters: the splitter counts every piece against the whole rest of its text.
_WINDOW = 2**14
# A run without white space and without Chinese or Japanese characters, such as base64: the splitter knows no boundary in it
# and would count ever longer rests, so that it is cut by length.
_RUN = re.compile(r"[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]{1000,}")
_CHARACTERS_A_TOKEN = 8
# Where a window ends, the best place first.
_ENDS = ("\n\n", "\n", "。", ". ", "！", "？", "! ", "? ", " ", "，", "、")


def cut_text(
    text: str, count_tokens: Callable[[str], int], most: int, *, code: bool = False
) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each piece of a text; pieces skip nothing but white space.

    Args:
        count_tokens: returns the number of tokens of a text.
        most: maximum number of tokens of a piece.
        code: keep the indentation of a piece's first line.
    """
    for start, end in _windows(text):
        window = text[start:end]
        at = 0
        for run in _RUN.finditer(window):
            yield from _trimmed(text, start + at, start + run.start(), count_tokens, most, code)
            yield from _cut_run(text, start + run.start(), start + run.end(), count_tokens, most)
            at = run.end()
        yield from _trimmed(text, start + at, end, count_tokens, most, code)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Yield windows of a text, each ending at the last boundary of the best kind in its second half."""
    start = 0
    while len(text) - start > _WINDOW:
        limit, half = start + _WINDOW, start + _WINDOW // 2
        found = ((text.rfind(end, half, limit), end) for end in _ENDS)
        stop = next((at + len(end) for at, end in found if at >= 0), limit)
        yield start, stop
        start = stop
    yield start, len(text)


def _trimmed(
    text: str, start: int, end: int, count_tokens: Callable[[str], int], most: int, code: bool
) -> Iterator[tuple[int, int]]:
    """Yield the pieces of a part of a text without white space around them."""
    part = text[start:end]
    if not part.strip():
        return
    for at, piece in _split(part, count_tokens, most):
        kept = piece.rstrip()
        if not kept.strip():
            continue
        skipped = len(kept) - len(kept.lstrip())
        line = kept.rfind("\n", 0, skipped) + 1
        if code and _begins_line(text, start + at + line):
            skipped = line
        yield start + at + skipped, start + at + len(kept)


def _begins_line(text: str, at: int) -> bool:
    return at == 0 or text[at - 1] == "\n"


def _split(part: str, count_tokens: Callable[[str], int], most: int) -> Iterator[tuple[int, str]]:
    tokens = count_tokens(part)
    if tokens <= most:
        yield 0, part
        return
    # Aim at pieces of equal length: a last piece of a few words is a poor entry.
    pieces = -(-tokens // most)
    full = min(most, max(1, round(1.1 * tokens / pieces)))
    yield from TextSplitter.from_callback(count_tokens, (full, most), trim=False).chunk_indices(part)


def _cut_run(
    text: str, start: int, end: int, count_tokens: Callable[[str], int], most: int
) -> Iterator[tuple[int, int]]:
    """Yield pieces of a run without boundaries; the tokens of each piece tell how long the next one may be."""
    longest = _CHARACTERS_A_TOKEN * most  # some tokenizers take any long word for one unknown token
    length = max(1, 2 * most)
    while start < end:
        stop = min(end, start + length)
        tokens = count_tokens(text[start:stop])
        if tokens > most and stop - start > 1:
            length = max(1, min((stop - start) // 2, int(0.9 * (stop - start) * most / tokens)))
            continue
        yield start, stop
        length = min(longest, max(1, int(0.9 * (stop - start) * most / max(1, tokens))))
        start = stop
