"""Analysis of texts and queries into the terms of a lexical index.

English words without stop words, stemmed; in Chinese, Japanese and Korean, which are written without spaces between words,
every character and every pair of adjacent ones. An index stores the name of its analysis, and a query is analysed likewise.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from memgpt_rag.errors import MemoryFormatError

ANALYSIS = "english-snowball+han-1-2-grams-1"

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_RUN = re.compile(rf"([{_HAN}]+)|[^\W_{_HAN}]{{2,}}")
# "parseFile" is searched as "parse file".
_JOINED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def terms(text: str) -> list[str]:
    """Return the terms of a text in order, with repetitions.

    Of English text they are those of `bm25s.tokenize` with its English stop words and Snowball's English stemmer; only
    names such as read_file and readFile are taken apart.
    """
    stop_words, stem = _english()
    found: list[str] = []
    for run in _RUN.finditer(_JOINED.sub(" ", unicodedata.normalize("NFKC", text)).lower()):
        word = run[0]
        if run[1] is None:
            if word not in stop_words:
                found.append(stem(word))
        else:
            found += [*word, *(word[place : place + 2] for place in range(len(word) - 1))]
    return found


def require_analysis(name: str | None, memory: Path) -> None:
    """Check that a memory has a lexical index of the present analysis; raises MemoryFormatError if not."""
    if name == ANALYSIS:
        return
    found = (
        "no lexical index"
        if name is None
        else f"a lexical index of the analysis {name!r}, and this release has {ANALYSIS!r}"
    )
    raise MemoryFormatError(f"{memory} has {found}; add an index with: memgpt-index lexical {memory}")


@cache
def _english() -> tuple[frozenset[str], Any]:
    import Stemmer
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN), cache(Stemmer.Stemmer("english").stemWord)
