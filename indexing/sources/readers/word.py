"""Word: paragraphs and table rows in reading order."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError

_WORD_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the paragraphs and table rows of a Word document in reading order; blocks are numbered by paragraph and table.

    Raises:
        SourceError: not a Word document of the .docx form.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table

    try:
        word = docx.Document(str(path))
    except (PackageNotFoundError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise SourceError(
            f"{name} cannot be read as Word: it is no .docx document, or a damaged one; mend it, or leave it out with --exclude."
        ) from error
    builder, title = BlockBuilder(), word.core_properties.title.strip()
    for number, item in enumerate(word.iter_inner_content(), 1):
        if isinstance(item, Table):
            rows = (" | ".join(cell.text.strip() for cell in row.cells) for row in item.rows)
            builder.text("\n".join(rows), number, number)
            continue
        text, style = item.text.strip(), (item.style.name if item.style is not None else None) or ""
        heading = _WORD_HEADING.match(style)
        if not text:
            continue
        if style == "Title" and not title:
            title = text
        elif heading:
            builder.heading(int(heading[1]), text, number)
        else:
            builder.text(text, number, number)
    yield Document(name, "", title, "paragraph", builder.blocks())
