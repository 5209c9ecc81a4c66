"""What counts as a term: texts and queries become the terms that a search by words compares.

English words without stop words, stemmed; of Chinese, Japanese and Korean, whose words no space tells apart, every character
and every two neighbouring ones. An index keeps the name of its analysis, and a query is analysed in the same way.
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
# "parseFile" is "parse file" to whoever asks for it.
_JOINED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def terms(text: str) -> list[str]:
    """The terms of a text in their order, repeated ones repeated.

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
    """Raises MemoryFormatError: a memory has no lexical index, or one whose texts were analysed in another way than queries are now."""
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
