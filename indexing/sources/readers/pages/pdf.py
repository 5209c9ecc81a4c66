"""PDF: the text of each page in reading order, values of form fields, and the text of scanned pages (extra `ocr`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from indexing.sources.clean_text import join_wrapped_lines
from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.document_titles import own_title
from indexing.sources.readers.note_text import numbered
from indexing.sources.readers.pages.lines import Line, join_divided_words, with_letters
from indexing.sources.readers.pages.ocr import INSTALL, is_installed
from indexing.sources.readers.pages.outline import Bookmark, bookmarks, sections
from indexing.sources.readers.pages.page import Page, read_page
from indexing.sources.readers.pages.running_lines import Running, leave_out_contents, leave_out_running_lines
from indexing.sources.readers.pages.scan import Scan, recognise_page
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import shortened

_MOST_FAILURES = 100  # in a row, after which the rest of a file is taken to be damaged, too
_FEW_CHARACTERS = 100  # such as a stamp on a scanned page
_PARAGRAPH_GAP = 1.6  # usual distances of lines


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a PDF file; blocks are numbered by page.

    Notes say what is left out: pages without text, headers and footers, tables of contents, comments, attached files.

    Raises:
        SourceError: not a PDF, protected by a password, no page can be loaded, or scanned pages only and no extra `ocr`.
    """
    with opened_pdf(path, name) as pdf:
        pages, damaged = _pages(pdf, name, options.on_progress)
        notes = [] if not damaged else [f"{numbered('page', damaged)} cannot be loaded"]
        notes += _unreadable(pages)
        notes += _read_scans(pdf, pages, name, options.on_progress)
        marks = bookmarks(pdf)
        title = own_title(with_letters(pdf.get_metadata_dict().get("Title", "")))
        notes += _other_content(pdf, pages)
    lines = [page.lines for page in pages.values()]
    notes += _repeated(list(pages), leave_out_running_lines(lines), leave_out_contents(lines))
    for page, joined in zip(pages.values(), join_divided_words(lines)):
        page.lines = joined
    builder = BlockBuilder()
    for number, page in pages.items():
        _add_page(builder, number, page, marks.get(number, []))
    blocks = builder.blocks()
    if not blocks and not notes:
        notes.append(f"{_counted_pages(len(pages))} blank")
    yield from (Note(name, text) for text in notes)
    yield Document(name, "", title, "page", blocks)


@contextmanager
def opened_pdf(path: Path, name: str) -> Iterator[Any]:
    """Open a PDF file with the values of its form.

    Raises:
        SourceError: not a PDF, or protected by a password.
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
        if pdf.get_formtype() != pypdfium2.raw.FORMTYPE_NONE:
            pdf.init_forms()
        yield pdf


def _pages(pdf: Any, name: str, on_progress: Callable[[float], object]) -> tuple[dict[int, Page], list[int]]:
    """Return the pages by number, and the numbers of those that cannot be loaded.

    Raises:
        SourceError: none can be loaded.
    """
    import pypdfium2

    pages: dict[int, Page] = {}
    damaged: list[int] = []
    count, failures = len(pdf), 0
    for number in range(1, count + 1):
        on_progress((number - 1) / count)
        try:
            pages[number] = read_page(pdf, number)
            failures = 0
        except pypdfium2.PdfiumError:
            damaged.append(number)
            failures += 1
            if failures == _MOST_FAILURES:
                break
    if not pages:
        raise SourceError(
            f"{name} cannot be read as PDF: none of its {count} pages can be loaded; mend it, or leave it out with "
            "--exclude."
        )
    if failures == _MOST_FAILURES:
        damaged += range(damaged[-1] + 1, count + 1)
    return pages, damaged


def _unreadable(pages: dict[int, Page]) -> list[str]:
    """Empty pages whose letters are unknown, so that they are read as pictures; returns a note if that is impossible."""
    unknown = [number for number, page in pages.items() if not page.letters_known]
    for number in unknown:
        pages[number].lines = []
        pages[number].picture_share = 1.0
    if not unknown or is_installed():
        return []
    verb = "is" if len(unknown) == 1 else "are"
    return [f"{numbered('page', unknown)} {verb} set in fonts that do not say which letters they show"]


def _read_scans(pdf: Any, pages: dict[int, Page], name: str, on_progress: Callable[[float], object]) -> list[str]:
    """Recognise the text of pages that are pictures, and return notes about them.

    Raises:
        SourceError: all text of the file is in pictures, and the extra `ocr` is not installed.
    """
    bare = [number for number, page in pages.items() if _is_picture(page)]
    mixed = [
        number
        for number, page in pages.items()
        if page.lines and page.characters() < _FEW_CHARACTERS and page.picture_share >= 0.5
    ]
    if not bare and not mixed:
        return []
    if is_installed():
        return _recognise(pdf, pages, sorted(bare + mixed), on_progress)
    if not mixed and not any(page.lines or page.fields for page in pages.values()):
        raise SourceError(
            f"{name} has no text on its {len(pages)} pages, only pictures; install the extra `ocr` to recognise it "
            f"({INSTALL}), or leave it out with --exclude."
        )
    notes = []
    if bare:
        verb = "holds pictures" if len(bare) == 1 else "hold pictures"
        notes.append(f"{numbered('page', bare)} {verb} and no text; install the extra `ocr` to read them: {INSTALL}")
    if mixed:
        verb = "holds a picture" if len(mixed) == 1 else "hold pictures"
        notes.append(
            f"{numbered('page', mixed)} {verb} and little text; install the extra `ocr` to read them: {INSTALL}"
        )
    return notes


def _is_picture(page: Page) -> bool:
    """Return whether a page has something to see and no text; its letters may be drawn as curves."""
    return not page.lines and (page.picture_share > 0 or page.drawings > 0)


def _recognise(
    pdf: Any, pages: dict[int, Page], numbers: Sequence[int], on_progress: Callable[[float], object]
) -> list[str]:
    scan = Scan()
    empty = []
    for number in numbers:
        on_progress(number / len(pages))
        lines = recognise_page(pdf, number, scan)
        if not lines and not pages[number].lines:
            empty.append(number)
        own = {line.text.casefold() for line in pages[number].lines}
        pages[number].lines += [line for line in lines if line.text.casefold() not in own]
    notes = scan.notes()
    if empty:
        notes.append(
            f"{numbered('page', empty)} {'holds' if len(empty) == 1 else 'hold'} pictures in which no text was found"
        )
    return notes


def _other_content(pdf: Any, pages: dict[int, Page]) -> list[str]:
    """Return notes about comments, passwords, attached files and forms of a kind that is not read."""
    import pypdfium2

    comments = sum(page.comments for page in pages.values())
    passwords = sum(page.passwords for page in pages.values())
    attached = max(pdf.count_attachments(), 0)
    notes = []
    for count, one, many in (
        (comments, "comment is", "comments are"),
        (passwords, "password in its form is", "passwords in its form are"),
        (attached, "attached file is", "attached files are"),
    ):
        if count:
            notes.append(f"{count:,} {one if count == 1 else many} left out")
    if pdf.get_formtype() == pypdfium2.raw.FORMTYPE_XFA_FULL:
        notes.append("its form is of the kind XFA, which is not read; print it into a new PDF")
    return notes


def _repeated(numbers: Sequence[int], running: Sequence[Running], contents: dict[int, int]) -> list[str]:
    """Return notes about headers, footers and tables of contents that were left out."""
    notes = []
    if running:
        shown = ", ".join(f"“{shortened(line.text)}”" for line in running[:3]) + (", …" if len(running) > 3 else "")
        notes.append(f"{sum(line.pages for line in running):,} headers, footers and page numbers are left out: {shown}")
    if contents:
        notes.append(
            f"a table of contents on {numbered('page', [numbers[index] for index in contents])} is left out "
            f"({sum(contents.values()):,} lines)"
        )
    return notes


def _add_page(builder: BlockBuilder, number: int, page: Page, marks: Sequence[Bookmark]) -> None:
    for section in sections(page.lines, marks):
        if section.bookmark is not None:
            builder.heading(section.bookmark.level, section.bookmark.heading, number)
        for _, _, text in join_wrapped_lines(_with_paragraphs(section.lines)):
            builder.text(text, number, number)
    if page.fields:
        builder.text("\n".join(page.fields), number, number)


def _with_paragraphs(lines: Sequence[Line]) -> str:
    """Return lines as a text with a blank line where the page leaves a gap."""
    steps = sorted(gap for one, two in pairwise(lines) if (gap := one.top - two.top) > 1)
    usual = steps[len(steps) // 2] if steps else 0.0
    texts = []
    for number, line in enumerate(lines):
        if number and usual and lines[number - 1].top - line.top > _PARAGRAPH_GAP * usual:
            texts.append("")
        texts.append(line.text)
    return "\n".join(texts)


def _counted_pages(count: int) -> str:
    return "its page is" if count == 1 else f"its {count:,} pages are"
