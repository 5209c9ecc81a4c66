"""PDF files for tests: how they are made, and what is read of them."""

from __future__ import annotations

from pathlib import Path

from indexing.sources.document import Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions


def read(path: Path) -> tuple[list[Document], list[str]]:
    """Documents, and the texts of notes."""
    items = list(read_path(path, path.name, ReadOptions()))
    assert all(item.source == path.name for item in items)
    return [i for i in items if isinstance(i, Document)], [i.text for i in items if isinstance(i, Note)]


def only(path: Path) -> Document:
    (document,), notes = read(path)
    assert notes == []
    return document


class Pages:
    """Draws the pages of a PDF file."""

    def __init__(self, path: Path, title: str = ""):
        from reportlab.pdfgen.canvas import Canvas

        self.path, self.canvas = path, Canvas(str(path))
        self.canvas.setTitle(title)

    def page(self, *lines: str, size: int = 11, x: int = 72, y: int = 740, step: int = 14) -> Pages:
        self.write(*lines, size=size, x=x, y=y, step=step)
        self.canvas.showPage()
        return self

    def write(self, *lines: str, size: int = 11, x: int = 72, y: int = 740, step: int = 14) -> Pages:
        self.canvas.setFont("Helvetica", size)
        for number, line in enumerate(lines):
            self.canvas.drawString(x, y - step * number, line)
        return self

    def save(self) -> Path:
        self.canvas.save()
        return self.path


def raw_pdf(*objects: bytes) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is its catalog."""
    content, places = b"%PDF-1.7\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return content + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (size, table, size, len(content))
    )


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(content), content)
