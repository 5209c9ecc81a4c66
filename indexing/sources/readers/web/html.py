"""HTML: what a browser shows of a page; headings become titles of sections, tables rows, lists keep their numbers.

Left out without a word: scripts, styles, comments, and values of input controls (the text of forms is kept). Left out with
a note that says how many words: navigation menus (nav), and text that a browser does not show (the attribute hidden, the
styles display:none and visibility:hidden, noscript, template). Text hidden from screen readers only (aria-hidden) is
shown, and kept; so are closed details and dialogs, and the alternative texts of images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.encodings import decode, text_codec
from indexing.sources.read_options import ReadOptions
from memgpt_rag.io.printable import counted

# Browsers find a declaration anywhere in the head, which may begin with long scripts.
_HEAD_BYTES = 2**16
_NO_DECLARATION = re.compile(rb"<!--.*?(?:-->|\Z)|<script\b.*?(?:</script|\Z)", re.DOTALL | re.IGNORECASE)
_XML_ENCODING = re.compile(rb"<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([^\"']*)")
_META = re.compile(rb"<meta[\s/][^>]*", re.IGNORECASE)
_CHARSET = re.compile(rb"\bcharset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.IGNORECASE)


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read what a browser shows of an HTML page; with `options.main_content`, its main content only.

    Its encoding is that of its byte-order mark, the one that the user names, or the one that the page declares.

    Raises:
        SourceError: a page in another encoding.
        MissingPackageError: the main content is asked for, and trafilatura is not installed.
    """
    with path.open("rb") as file:
        declared = _declared_label(file.read(_HEAD_BYTES))
    text = decode(path, name, options, declared)
    builder, left_out = BlockBuilder(), Counter[str]()
    title = add_html(builder, text, left_out=left_out)
    blocks = builder.blocks()
    if options.main_content and blocks:
        from indexing.sources.readers.web.main_content import main_content

        main = main_content(text, blocks)
        if main is None:
            yield Note(name, "its main content was not found, so the whole page was read")
        else:
            blocks, around = main
            left_out["text around the main content"] += around
    yield Document(name, "", title, "line", blocks)
    for kind, words in left_out.items():
        if words:
            yield Note(name, f"{counted(words, 'word')} of {kind} left out")


def add_html(builder: BlockBuilder, text: str, first_line: int = 1, *, left_out: Counter[str] | None = None) -> str:
    """Add what a browser shows of a page, or of a fragment of HTML, to the blocks of a document.

    Args:
        builder: where the blocks go; a fragment continues its present section.
        text: the source of the page, decoded.
        first_line: number of the fragment's first line in the file that it stands in.
        left_out: to count words in that were left out, by kind, such as "navigation menus".

    Returns:
        the page's own title; empty if it has none.
    """
    if not text.strip():
        return ""
    from indexing.sources.readers.web.events import parse
    from indexing.sources.readers.web.walk import HtmlWalk

    # A menu without an end would take all that follows with it.
    menus = Counter(found.lower() for found in re.findall(r"<(/?nav)(?=[\s/>])", text, re.IGNORECASE))
    walk = HtmlWalk(builder, first_line - 1, keeps_menus=menus["nav"] > menus["/nav"])
    walk.walk(parse(text))
    if left_out is not None:
        left_out.update(walk.left_out)
    return walk.title


def _declared_label(head: bytes) -> str | None:
    """Return the first known label of a character set that a page declares: in its XML declaration, or a meta element."""
    if (xml := _XML_ENCODING.match(head.lstrip())) is not None and (label := _known(xml[1])) is not None:
        return label
    for meta in _META.finditer(_NO_DECLARATION.sub(b"", head)):
        if (found := _CHARSET.search(meta[0])) is not None and (label := _known(found[1])) is not None:
            return label
    return None


def _known(label: bytes) -> str | None:
    text = label.decode("ascii", "replace").strip()
    return text if text_codec(text) is not None else None
