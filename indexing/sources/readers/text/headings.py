"""Headings in plain text: numbered, underlined, in capitals, or questions of an FAQ."""

from __future__ import annotations

import re

from indexing.sources.clean_text import begins_item, width

MOST_HEADING = 240  # characters of a heading, over all its lines
_MOST_LINES = 4  # of a heading that a layout has wrapped
# "3.1. Choosing a release" or "A.2. Multiarch". One number with a full stop is more often a step of a list.
_NUMBERED = re.compile(r"((?:\d{1,3}|[A-Z])(?:\.\d{1,3})+)\.?\s+\S.*")
_CHAPTER = re.compile(
    r"第\s*[\d一二三四五六七八九十百]+\s*[章篇部].{0,60}|附录\s*[\dA-Z一二三四五六七八九十]{1,3}\b.{0,60}"
    r"|(?:Chapter|Appendix|Part|CHAPTER|APPENDIX|PART)\s+[\dA-Z]{1,4}\b.{0,78}"
)
_SINGLE_NUMBER = re.compile(r"\d{1,3}[.)]\s+(\S.*)")
_QUESTION = re.compile(
    r"(?:(?:Q|Question|Frage|Pregunta)\s*\d{0,3}\s*[.:)]|(?:问题?|[Qq])\s*\d{0,3}\s*[：:、.]|\d{1,3}[.)、])\s*\S.*"
)
_SENTENCE_END = ".!。！；;,，:：…"
_QUESTION_END = "?？"
_RULE = re.compile(r"([=\-~^\"'`*+#_─═])\1{2,}")
_NO_LETTERS = re.compile(r"[\W_]+")
# Deeper than every section: a question's answer is the text up to the next heading.
QUESTION_LEVEL = 9
_CAPITALS_LEVEL = 2


def numbered_heading(line: str) -> int | None:
    """Return the level of a numbered heading on a line of its own; None if the line is no such heading."""
    line = line.strip()
    if not line or len(line) > MOST_HEADING or line.endswith(tuple(_SENTENCE_END)):
        return None
    if _CHAPTER.fullmatch(line):
        return 1
    numbered = _NUMBERED.fullmatch(line)
    if numbered is None or not (line.endswith(tuple(_QUESTION_END)) or len(line) - len(numbered[1]) <= 100):
        return None
    return 1 + numbered[1].count(".")


def is_question(line: str) -> bool:
    """Return whether a line is a question of an FAQ: "Q: …?", or one number before it."""
    line = line.strip()
    return len(line) <= MOST_HEADING and line.endswith(tuple(_QUESTION_END)) and bool(_QUESTION.fullmatch(line))


def capitals_heading(line: str) -> int | None:
    """Return the level of a heading in capitals, which may have a number before it; None if the line is none."""
    line = line.strip()
    if len(line) > 80 or line.endswith(tuple(_SENTENCE_END)):
        return None
    numbered = _SINGLE_NUMBER.fullmatch(line)
    words = numbered[1] if numbered else line
    letters = sum(character.isupper() for character in words)
    plain = all(character.isalpha() or character in " -–/&,'’()?" or character.isdigit() for character in words)
    if letters < 4 or not plain or not words.isupper() or letters < 0.6 * len(words.replace(" ", "")):
        return None
    return 1 if numbered else _CAPITALS_LEVEL


def is_rule(line: str) -> bool:
    """Return whether a line is drawn, as below a title or between sections."""
    return _RULE.fullmatch(line.strip()) is not None


def underline(line: str, title: str, *, boxed: bool) -> str | None:
    """Return the character that underlines a title; None if the line is no underline, or not about as long as the title.

    Args:
        boxed: whether the same line stands above the title; its length is free then.
    """
    line = line.strip()
    found, wide = _RULE.fullmatch(line), width(title.strip())
    if found is None or not 0 < wide <= 140 or not any(character.isalnum() for character in title):
        return None
    return found[1] if boxed or 0.6 * len(title) <= len(line) <= wide + max(4, wide // 4) else None


def numbered_level(heading: str) -> int | None:
    """Return the level of a heading by the parts of its number; None if it has one part or no number."""
    numbered = _NUMBERED.match(heading)
    return None if numbered is None else 1 + numbered[1].count(".")


def question_number(heading: str) -> int | None:
    """Return the number before a question of an FAQ; None if it has none."""
    numbered = _SINGLE_NUMBER.match(heading)
    return None if numbered is None else int(heading[: numbered.start(1)].rstrip(" .)\t\xa0"))


def heading_lines(lines: list[str], full: int, known: str = "", question: int | None = None) -> tuple[int, int] | None:
    """Return how many lines at the start of a paragraph are a heading, and its level; None if there is none.

    Args:
        lines: those of the paragraph, without their indentation.
        full: the text's full width.
        known: text of the entry of the table of contents that this paragraph begins with; empty if there is none.
        question: number of the last question of an FAQ. The next number begins another one, though it may be a statement.
    """
    for count in range(1, min(len(lines), _MOST_LINES) + 1) if known else ():
        if bare(" ".join(lines[:count])).endswith(known):
            return count, numbered_level(lines[0]) or 1
    count = 1
    while count < len(lines) and _is_broken(lines[count - 1], lines[count], full):
        count += 1
    heading = " ".join(lines[:count])
    if count > _MOST_LINES or (count < len(lines) and begins_item(lines[count])):
        return None
    follows = question is not None and question_number(heading) == question + 1 and count == len(lines)
    if is_question(heading) or (follows and len(heading) <= MOST_HEADING):
        return count, numbered_heading(heading) or QUESTION_LEVEL
    level = numbered_heading(heading)
    if level is None and count == len(lines) == 1:
        level = capitals_heading(heading)
    return None if level is None else (count, level)


def _is_broken(line: str, following: str, full: int) -> bool:
    """Return whether the first word of the next line did not fit into a line, as in a heading that a layout has wrapped."""
    word = following[:1] if width(following[:1]) > 1 else following.split(maxsplit=1)[0]
    return 40 <= full <= 140 and not begins_item(following) and width(line) + 1 + width(word) > full - 4


def bare(text: str) -> str:
    """Return the letters and digits of a text in one case, by which a heading is compared with a table of contents."""
    return _NO_LETTERS.sub("", text.casefold())
