"""PDF: the text of each page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
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
    yield Document(name, "", title, "page", blocks)
