"""Paragraphs of plain text whose lines are laid out by hand: code, commands, tables."""

from __future__ import annotations

import re

from indexing.sources.clean_text import begins_item, width

_LOOKED_AT = 240  # characters of a line
# Signs of code in a line. Prose has them in few of its lines.
_CODE = re.compile(
    r"""^\s*(?:
        (?:async\s+)?(?:def|class|func|function|fn|struct|enum|interface)\s+\w+.*[:({]$   # definitions
      | (?:import|from)\s+[\w.]+(?:\s+(?:import|as)\s.*)?;?$ | \#\s*(?:include|define|if|endif)\b
      | (?:if|elif|for|while|with|except|switch|case)\b.*(?:[=<>(!\[]|\s(?:not|in|as)\s).*[:{]$ | (?:try|else):$ | @\w+
      | (?:return|raise|yield|break|continue|pass)\b[^.]*$
      | [\w.\-\[\]"']+\s*(?:=|:=|\+=|-=)\s*\S                                            # x = 3, key=value
      | [$%]\s+\S | >>>\s | [\w.-]+@[\w.-]+[:~][^\s$\#]*[$\#]\s                                        # prompts
      | (?:sudo|apt|apt-get|cd|ls|pip|git|docker|curl|wget|mkdir|chmod|echo|export)\s+[\w./~$"'-]+(?:\s|$)
      | \[[\w.\-:\s]+\]$ | </?\w[^>]*>                                                   # [section], <tag>
      | [{}\])]+[;,]?$
    ) | [)\]}"'\d];$ | ^\s*[\w.]+;$ | [{]$ | \w\([^()]*\)\s*[;{:]?$ | \s(?:==|!=|=>|->|&&|\|\||::)\s""",
    re.VERBOSE,
)
_COLUMNS = re.compile(r"\S(?: {3,}|\t+)\S")
_COMMENT = re.compile(r"\s*(?:#|//|/\*)\s?")
_BULLET = re.compile(r"\s*[-*•·▪◦]\s")


def is_code(lines: list[str]) -> bool:
    """Return whether at least half of a paragraph's lines, but for comments, look like code; an item of a list is none."""
    if _BULLET.match(lines[0]):
        return False
    lines = [line for line in lines if not _COMMENT.match(line)] or lines
    return 2 * sum(_CODE.search(line.rstrip()[:_LOOKED_AT]) is not None for line in lines) >= len(lines)


def has_columns(lines: list[str]) -> bool:
    """Return whether most lines of a paragraph are divided into columns by spaces."""
    return len(lines) > 1 and sum(
        _COLUMNS.search(line.strip()[:_LOOKED_AT]) is not None for line in lines
    ) >= 0.6 * len(lines)


def is_ragged(lines: list[str], full: int) -> bool:
    """Return whether the lines of an indented paragraph end where their author wanted it, and are no list.

    Args:
        full: the text's full width.
    """
    wrapped = all(width(line) >= 0.7 * full for line in lines[:-1])
    return len(lines) > 1 and not wrapped and not any(begins_item(line) for line in lines)
