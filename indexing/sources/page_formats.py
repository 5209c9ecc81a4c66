"""Readers of page formats: PDF and Word."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document
from memgpt_rag.errors import SourceError

_WORD_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)


def read_pdf(path: Path, name: str) -> Iterator[Document]:
    """Read the text of each page of a PDF file; blocks are numbered by page.

    Raises:
        SourceError: not a PDF, protected by a password, or images of text only.
    """
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        reason = "it is locked by a password" if "password" in str(error).lower() else "it is no PDF, or a damaged one"
        raise SourceError(
            f"{name} cannot be read as PDF: {reason}; mend it, or leave it out with --exclude."
        ) from error
    with pdf:
        builder = BlockBuilder()
        for number, page in enumerate(pdf, 1):
            for _, _, text in join_wrapped_lines(page.get_textpage().get_text_range()):
                builder.text(text, number, number)
        blocks, title = builder.blocks(), pdf.get_metadata_dict().get("Title", "").strip()
        if not blocks:
            raise SourceError(
                f"{name} has no text on its {len(pdf)} pages, only pictures; recognise its text (OCR) first, or leave it out with --exclude."
            )
    yield Document(name, "", title or path.stem, "page", blocks)


def read_word(path: Path, name: str) -> Iterator[Document]:
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
    yield Document(name, "", title or path.stem, "paragraph", builder.blocks())
