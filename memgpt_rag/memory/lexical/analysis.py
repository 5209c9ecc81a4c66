"""Analysis of texts and queries into the terms of a lexical index.

English words without stop words, stemmed; in Chinese, Japanese and Korean, which are written without spaces between words,
every character and every pair of adjacent ones. An index stores the name of its analysis, and a query is analysed likewise, also
where the memory was written by an earlier release.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from memgpt_rag.errors import MemoryFormatError

# The first one takes "readFile" apart only, and leaves out single letters, "C++" and the dots of "3.11".
_FIRST, ANALYSIS = "english-snowball+han-1-2-grams-1", "english-snowball+names+han-1-2-grams-2"

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
_LETTER, _SIGN = rf"[^\W\d_{_HAN}]", rf"[^\W_{_HAN}]"  # a letter; a letter or digit
_RUN = re.compile(rf"([{_HAN}]+)|{_SIGN}{{2,}}")
_PLUS = rf"\+\+(?!\+|{_LETTER})"  # also in "C++17"
_NAME = re.compile(
    rf"(?P<han>[{_HAN}]+)"
    rf"|(?<!{_SIGN})(?<!\d,)[vV]?(?P<version>\d+(?:\.\d+)+)(?!{_SIGN}|\.\d)"
    rf"|(?P<word>{_SIGN}{{2,}})(?P<plus>{_PLUS})?"
    # A letter of its own, such as that of "C++" and "C#", but none of "don't", "e.g." or "x_1".
    rf"|(?<!{_SIGN})(?<![_'’.])(?P<letter>{_LETTER}(?:{_PLUS}|\#(?!\#|{_SIGN})|(?![_'’]|{_SIGN}|\.{_SIGN})))"
    rf"|(?<!{_SIGN})(?<![_.])\.(?P<dotted>{_LETTER}{{2,}})(?!{_SIGN})"
)
# "parseFile" is searched as "parse file", too, and "HTTPServer" as "HTTP server"; "PDFs" is one word.
_JOINED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_JOINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def terms(text: str, analysis: str = ANALYSIS) -> list[str]:
    """Return the terms of a text in order, with repetitions.

    Of English text they are those of `bm25s.tokenize` with its English stop words and Snowball's English stemmer. Names have
    further ones: "GitHub" is a term as a whole and by its parts; "C++", "C#", ".NET" and "3.11" are terms; and so are capitals that
    stand alone, such as "C" and "R".

    Args:
        analysis: name of the analysis that a memory was indexed with.
    """
    return _ANALYSES[analysis](unicodedata.normalize("NFKC", text), False)


def query_terms(question: str, analysis: str = ANALYSIS) -> list[str]:
    """Return the terms of a question, as `terms`; a letter that stands alone is one in lower case, too."""
    return _ANALYSES[analysis](unicodedata.normalize("NFKC", question), True)


def is_analysis(name: str | None) -> TypeGuard[str]:
    """Whether this release has an analysis of that name."""
    return name in _ANALYSES


def require_analysis(name: str | None, memory: Path) -> str:
    """Return the name of a memory's analysis; raises MemoryFormatError if it has no lexical index, or of an unknown analysis."""
    if is_analysis(name):
        return name
    found = (
        "no lexical index"
        if name is None
        else f"a lexical index of the analysis {name!r}, and this release has {ANALYSIS!r}"
    )
    raise MemoryFormatError(f"{memory} has {found}; add an index with: memgpt-index lexical {memory}")


def _first_terms(text: str, is_query: bool) -> list[str]:
    stop_words, stem = _english()
    found: list[str] = []
    for run in _RUN.finditer(_JOINED.sub(" ", text).lower()):
        if run[1] is not None:
            found += _han_terms(run[0])
        elif run[0] not in stop_words:
            found.append(stem(run[0]))
    return found


def _terms_with_names(text: str, is_query: bool) -> list[str]:
    stop_words, stem = _english()
    found: list[str] = []
    for name in _NAME.finditer(text):
        kind, written = name.lastgroup, name[0]
        lower = written.lower()
        if kind == "word":
            if lower not in stop_words:
                found.append(stem(lower))
            if lower != written and len(parts := _JOINS.split(written)) > 1:
                found += [stem(part) for part in map(str.lower, parts) if len(part) > 1 and part not in stop_words]
        elif kind == "han":
            found += _han_terms(written)
        elif kind == "letter":  # "A" is a stop word, and "I" says as little
            if len(lower) > 1 or (lower not in stop_words and lower != "i" and (is_query or lower != written)):
                found.append(lower)
        else:  # a name with signs, whose words are terms, too
            found.append(name["version"] or lower)
            found += [stem(run[0]) for run in _RUN.finditer(lower) if run[0] not in stop_words]
    return found


def _han_terms(run: str) -> list[str]:
    return [*run, *(run[place : place + 2] for place in range(len(run) - 1))]


@cache
def _english() -> tuple[frozenset[str], Any]:
    import Stemmer
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN), cache(Stemmer.Stemmer("english").stemWord)


_ANALYSES: dict[str, Callable[[str, bool], list[str]]] = {_FIRST: _first_terms, ANALYSIS: _terms_with_names}
