"""Front matter: the fields between two lines "---" with which many Markdown files begin."""

from __future__ import annotations

import re
from dataclasses import dataclass

_YAML_FIELD = re.compile(r"(\"[^\"]+\"|'[^']+'|[^\s:#\"'\[\]{}-][^:\n]{0,80}?)\s*:(?:\s+(.*))?$")
_TOML_FIELD = re.compile(r"([\w.\"'-]{1,80})\s*=\s*(.+)$")
_HEADING = re.compile(r"#{1,6}\s")
_MAX_LINES = 1000


@dataclass(frozen=True)
class FrontMatter:
    """The fields of a file's front matter.

    Attributes:
        title: its field "title"; empty if it has none.
        text: its other lines, as they stand.
        lines: how many lines of the file it takes, with the lines that enclose it.
    """

    title: str
    text: str
    lines: int


def front_matter(text: str) -> FrontMatter | None:
    """Return the front matter of a text with line ends \\n; None if it begins with a rule, or with anything else.

    YAML between lines "---", or TOML between lines "+++". Each line is a field, or continues one: a heading, or a
    blank first line, means that the first line is a rule.
    """
    lines = text.split("\n", _MAX_LINES + 1)[: _MAX_LINES + 1]
    mark = lines[0].rstrip()
    if mark not in ("---", "+++"):
        return None
    ends = (mark, "...") if mark == "---" else (mark,)
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() in ends), None)
    if end is None:
        return None
    field = _YAML_FIELD if mark == "---" else _TOML_FIELD
    if not field.match(lines[1]) or not all(_is_part(line, field) for line in lines[1:end]):
        return None
    title, first, after = _title(lines[1:end], field)
    kept = lines[1 : 1 + first] + lines[1 + after : end]
    return FrontMatter(title, "\n".join(line.rstrip() for line in kept if line.strip()), end + 1)


def _is_part(line: str, field: re.Pattern[str]) -> bool:
    if _HEADING.match(line):
        return False
    return not line.strip() or line[0] in " \t-#[]{}" or field.match(line) is not None


def _title(lines: list[str], field: re.Pattern[str]) -> tuple[str, int, int]:
    """Return the title, and which of the lines hold it: the first, and the one after the last."""
    for first, line in enumerate(lines):
        found = field.match(line)
        if found is None or found[1].strip("\"'").lower() != "title":
            continue
        after = first + 1
        while after < len(lines) and lines[after][:1] in (" ", "\t"):  # a text over several lines
            after += 1
        value = (found[2] or "").strip()
        words = [] if re.fullmatch(r"[|>][+-]?\d?", value) else [value]
        title = " ".join([*words, *(part.strip() for part in lines[first + 1 : after])]).strip()
        if not title.startswith(("[", "{", "&", "*", "!")):
            return _unquoted(title), first, after
    return "", len(lines), len(lines)


def _unquoted(value: str) -> str:
    """Return a scalar of YAML without its quotation marks or its comment."""
    quoted = re.match(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^']|'')*)'", value)
    if quoted:
        return quoted[2].replace("''", "'") if quoted[1] is None else re.sub(r"\\(.)", r"\1", quoted[1])
    return re.split(r"\s#", value, maxsplit=1)[0].strip()
