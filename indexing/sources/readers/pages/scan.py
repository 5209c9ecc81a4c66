"""Recognises the text of PDF pages that are pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from indexing.sources.readers.pages.lines import Line
from indexing.sources.readers.pages.ocr import MOST_PIXELS, recognise
from memgpt_rag.io.printable import counted

_POINTS_PER_INCH = 72
_DOTS_PER_INCH = 200
_MOST_PIXELS_A_SIDE = 8_000


@dataclass
class Scan:
    """Counts of the pages and lines of a file that were recognised."""

    pages: int = 0
    lines: int = 0
    doubtful: int = 0
    dropped: int = 0

    def notes(self) -> list[str]:
        """Return a note if text was recognised, since letters may be wrong."""
        if not self.lines and not self.dropped:
            return []
        text = f"the text of {counted(self.pages, 'page')} was recognised in pictures"
        doubts = [f"{self.doubtful:,} of {self.lines:,} lines are doubtful"] if self.doubtful else []
        doubts += [f"{self.dropped:,} too unclear ones are left out"] if self.dropped else []
        return [text + (f" ({'; '.join(doubts)})" if doubts else "")]


def recognise_page(pdf: Any, number: int, scan: Scan) -> list[Line]:
    """Draw a page and return the lines that are recognised on it, and count them in `scan`; `number` counts from 1."""
    from pypdfium2 import PdfiumError

    page = pdf[number - 1]
    try:
        width, height = page.get_size()
        if width <= 0 or height <= 0:
            return []
        scale = min(
            _DOTS_PER_INCH / _POINTS_PER_INCH,
            sqrt(MOST_PIXELS / (width * height)),
            _MOST_PIXELS_A_SIDE / max(width, height),
        )
        picture = page.render(scale=scale, may_draw_forms=False).to_numpy()
    except PdfiumError:
        return []
    finally:
        page.close()
    found = recognise(picture)
    scan.pages += bool(found.lines)
    scan.lines += len(found.lines)
    scan.doubtful += found.doubtful
    scan.dropped += found.dropped
    return [Line(line.text, height - line.top / scale) for line in found.lines]
