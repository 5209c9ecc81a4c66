"""Which file a source comes from: "box.zip/a.md" is a member of the file "box.zip"."""

from __future__ import annotations

import re
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from indexing.sources.formats import CONTAINERS, FORMATS

_SUFFIXES = "|".join(re.escape(suffix) for format in CONTAINERS for suffix in FORMATS[format])
# The part of a source behind the outermost, and behind the innermost file that holds others.
_BEHIND_FIRST = rf"(?i)^(.*?(?:{_SUFFIXES}))/.*$"
_BEHIND_LAST = rf"(?i)^(.*(?:{_SUFFIXES}))/.*$"


def file_of_source(source: str, names: Collection[str]) -> str:
    """Return which of these files a source is, or is a member of; the source itself if there is none."""
    at = len(source)
    while at >= 0:
        if source[:at] in names:
            return source[:at]
        at = source.rfind("/", 0, at)
    return source


def in_files(names: Collection[str]) -> pc.Expression:
    """Return the filter of entries from these files, and from members of them."""
    files, source = pa.array(list(names), pa.string()), pc.field("source")
    chosen = source.isin(files)
    for pattern in (_BEHIND_FIRST, _BEHIND_LAST):
        chosen |= pc.replace_substring_regex(source, pattern=pattern, replacement=r"\1").isin(files)
    return chosen
