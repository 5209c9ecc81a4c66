"""Pictures of a PDF file, drawn as they stand on their pages, with the captions below or above them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from indexing.sources.document import DocumentPicture, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.document_titles import own_title
from indexing.sources.readers.note_text import numbered
from indexing.sources.readers.pages.lines import with_letters
from indexing.sources.readers.pages.outline import bookmarks
from indexing.sources.readers.pages.page import seen_objects
from indexing.sources.readers.pages.pdf import opened_pdf
from indexing.sources.readers.pictures.captions import caption_text, is_caption, read_or_reject, require_few
from memgpt_rag.errors import SourceError
from memgpt_rag.io.pictures import KEPT_SIDE, kept_picture

_DOTS_PER_INCH, _POINTS_PER_INCH = 150, 72
_LEAST_SIDE = 24.0  # points; smaller pictures are bullets, rules and icons
_WHOLE_PAGE = 0.9  # share of a page that is a scan or a background
_TILES = 2.0  # points between the strips and tiles that a program cuts a picture into
_CAPTION_GAP = 60.0  # points from a picture to its caption
_LINE_GAP = 0.8  # heights of a line between two lines of a caption
_MOST_RUNS = 20_000  # of text on a page


class Box(NamedTuple):
    """Where something lies on a page, in points from its lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def touches(self, other: Box) -> bool:
        """Return whether two boxes meet, or nearly."""
        across = self.left <= other.right + _TILES and other.left <= self.right + _TILES
        return across and self.bottom <= other.top + _TILES and other.bottom <= self.top + _TILES

    def around(self, other: Box) -> Box:
        """Return the box around two boxes."""
        return Box(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))


class _Run(NamedTuple):
    box: Box
    text: str


@dataclass
class _LeftOut:
    """Numbers of pages on which something is left out."""

    small: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        if self.small:
            yield f"pictures smaller than {_LEAST_SIDE:g} points are left out on {_pages(self.small)}"
        if self.whole:
            yield f"pictures as large as the page are left out on {_pages(self.whole)}"
        if self.damaged:
            yield f"{_pages(self.damaged)} cannot be loaded"


def read(path: Path, name: str, options: ReadOptions) -> Iterator[DocumentPicture | Note]:
    """Read the pictures of a PDF file; each is named by its caption, such as "Figure 1", and by the bookmark before it.

    Drawings of lines and curves are no pictures, and neither are scanned pages; notes say what is left out.

    Raises:
        SourceError: not a PDF, protected by a password, or a picture cannot be drawn.
    """
    from pypdfium2 import PdfiumError

    left_out, found = _LeftOut(), 0
    with opened_pdf(path, name) as pdf:
        title, marks = own_title(with_letters(pdf.get_metadata_dict().get("Title", ""))), bookmarks(pdf)
        headings: tuple[str, ...] = ()
        for number in range(1, len(pdf) + 1):
            options.on_progress((number - 1) / len(pdf))
            headings = tuple(mark.heading for mark in marks.get(number, [])[-1:]) or headings
            try:
                page = pdf[number - 1]
            except PdfiumError:
                left_out.damaged.append(number)
                continue
            try:
                boxes = _picture_boxes(page, number, left_out)
                found += len(boxes)
                require_few(found, name)
                runs = _runs(page) if boxes else []
                for box in boxes:
                    picture = partial(
                        _picture, page, box, caption_text(_caption(runs, box)), name, title, headings, number
                    )
                    yield read_or_reject(picture, name, f"page {number}", options)
            finally:
                page.close()
    yield from (Note(name, text) for text in left_out.notes())


def _pages(numbers: Sequence[int]) -> str:
    return numbered("page", sorted(set(numbers)))


def _picture(
    page: Any, box: Box, caption: str, name: str, title: str, headings: tuple[str, ...], number: int
) -> DocumentPicture:
    return DocumentPicture(name, _drawn(page, box, f"{name}, page {number}"), caption, title, headings, "page", number)


def _picture_boxes(page: Any, number: int, left_out: _LeftOut) -> list[Box]:
    """Return where the pictures of a page lie, top first; tiles of one picture are one."""
    from pypdfium2 import raw

    left, bottom, right, top = page.get_bbox()
    boxes: list[Box] = []
    for kind, bounds in seen_objects(page):
        if kind != raw.FPDF_PAGEOBJ_IMAGE:
            continue
        box = Box(max(bounds[0], left), max(bounds[1], bottom), min(bounds[2], right), min(bounds[3], top))
        if box.left >= box.right or box.bottom >= box.top:
            continue  # beside the page
        for other in [one for one in boxes if one.touches(box)]:
            boxes.remove(other)
            box = box.around(other)
        boxes.append(box)
    kept = []
    for box in boxes:
        if min(box.right - box.left, box.top - box.bottom) < _LEAST_SIDE:
            left_out.small.append(number)
        elif (box.right - box.left) * (box.top - box.bottom) > _WHOLE_PAGE * (right - left) * (top - bottom):
            left_out.whole.append(number)
        else:
            kept.append(box)
    return sorted(kept, key=lambda box: (-box.top, box.left))


def _drawn(page: Any, box: Box, name: str) -> bytes:
    """Return a part of a page as a picture, no larger than a memory keeps.

    Raises:
        SourceError: it cannot be drawn.
    """
    from pypdfium2 import PdfiumError

    left, bottom, right, top = page.get_bbox()
    scale = min(_DOTS_PER_INCH / _POINTS_PER_INCH, KEPT_SIDE / max(box.right - box.left, box.top - box.bottom))
    margins = (box.left - left, box.bottom - bottom, right - box.right, top - box.top)
    written = io.BytesIO()
    try:
        page.render(scale=scale, crop=margins, may_draw_forms=False).to_pil().save(written, "PNG")
    except (PdfiumError, ValueError) as error:
        raise SourceError(
            f"{name}: a picture cannot be drawn ({error}); mend the file, or leave it out with --exclude."
        ) from error
    return kept_picture(written.getvalue(), name)


def _runs(page: Any) -> list[_Run]:
    """Return the pieces of text on a page, top first."""
    text_page = page.get_textpage()
    try:
        count = min(text_page.count_rects(), _MOST_RUNS)
        boxes = [Box(*text_page.get_rect(place)) for place in range(count)]
        runs = [_Run(box, with_letters(text_page.get_text_bounded(*box))) for box in boxes]
    finally:
        text_page.close()
    return sorted((run for run in runs if run.text.strip()), key=lambda run: (-run.box.top, run.box.left))


def _caption(runs: Sequence[_Run], box: Box) -> str:
    """Return the caption of a picture: lines that begin as captions do, below it or else above it; empty if there is none."""
    beside = [run for run in runs if run.box.left < box.right and run.box.right > box.left]
    below = [run for run in beside if box.bottom - _CAPTION_GAP < run.box.top <= box.bottom + _TILES]
    above = [run for run in beside if box.top - _TILES <= run.box.bottom < box.top + _CAPTION_GAP]
    for near in (below, above):
        for place, run in enumerate(near):
            if is_caption(run.text):
                return _paragraph(beside[beside.index(near[place]) :])
    return ""


def _paragraph(runs: Sequence[_Run]) -> str:
    """Return the text of the first run, and of those that follow it without a gap."""
    words: list[str] = []
    lowest = runs[0].box
    for run in runs:
        height = max(run.box.top - run.box.bottom, 1.0)
        if lowest.bottom - run.box.top > _LINE_GAP * height or (words and is_caption(run.text)):
            break
        words.append(run.text.strip())
        lowest = run.box
    return " ".join(words)
