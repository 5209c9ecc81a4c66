"""The main content of an HTML page, as trafilatura finds it, in the page's own blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexing.sources.document import Block
from indexing.sources.readers.web.walk import words
from memgpt_rag.errors import MissingPackageError

_LENGTH = 4  # of the runs of words that are compared
_MARKER = re.compile(r"[0-9a-zA-Z]{1,4}\. ")


def main_content(text: str, blocks: Sequence[Block]) -> tuple[tuple[Block, ...], int] | None:
    """Return the blocks of a page's main content, and how many words the others have; None if there is none.

    The blocks, and not trafilatura's own text, are kept: they know their lines, headings, tables and numbers.

    Args:
        text: source of the page.
        blocks: all blocks of the page.

    Raises:
        MissingPackageError: trafilatura is not installed.
    """
    try:
        from trafilatura import extract
    except ImportError as error:
        raise MissingPackageError("trafilatura", "The main content", "pip install 'memgpt_rag[web]'") from error
    content = _words(extract(text, include_comments=False, include_tables=True, include_images=True) or "")
    runs = {tuple(content[at : at + length]) for length in range(1, _LENGTH + 1) for at in range(len(content))}
    main, around = [], 0
    for block in blocks:
        if _is_in(_words(block.text), runs) or _is_in(_words(_MARKER.sub("", block.text, count=1)), runs):
            main.append(block)
        else:
            around += len(words(block.text))
    return (tuple(main), around) if main else None


def _words(text: str) -> list[str]:
    return [word.casefold() for word in words(text)]


def _is_in(block: list[str], runs: set[tuple[str, ...]]) -> bool:
    """Return whether most runs of words of a block are in the main content."""
    if len(block) <= _LENGTH:
        return bool(block) and tuple(block) in runs
    block_runs = [tuple(block[at : at + _LENGTH]) for at in range(len(block) - _LENGTH + 1)]
    return 2 * sum(run in runs for run in block_runs) >= len(block_runs)
