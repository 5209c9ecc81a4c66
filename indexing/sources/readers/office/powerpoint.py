"""PowerPoint: the text of each slide under its title, in PowerPoint's own reading order.

The XML is walked without a library: python-pptx inflates every picture, and reads neither diagrams nor Strict Open XML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.note_text import numbered
from indexing.sources.readers.office.drawing_text import (
    CHART,
    DIAGRAM,
    A,
    drawn_paragraphs,
    graphic_rows,
    seen_children,
)
from indexing.sources.readers.office.package import OFFICE, Package, Relation, slide_notes
from indexing.sources.readers.office.table_text import cell_text, row_text
from memgpt_rag.io.printable import counted

if TYPE_CHECKING:
    from lxml.etree import _Element

_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_FURNITURE = {"dt", "ftr", "sldNum", "hdr"}  # placeholders that repeat on every slide
_TITLES = {"title", "ctrTitle"}
_SHAPES = {f"{_P}sp", f"{_P}cxnSp"}
# Elements whose children are walked.
_FRAMES = {
    f"{_P}{name}" for name in ("cSld", "spTree", "grpSp", "graphicFrame", "sld", "notes")
} | {f"{A}graphic", f"{A}graphicData"}  # fmt: skip


@dataclass
class _Seen:
    """What the slides hold besides text, for the notes: numbers of slides and counts."""

    hidden: list[int] = field(default_factory=list)
    only_pictures: list[int] = field(default_factory=list)
    pictures: int = 0
    comments: int = 0
    objects: int = 0
    missing: list[int] = field(default_factory=list)


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the slides of a presentation, hidden ones too, with the notes of the speaker; blocks are numbered by slide.

    Raises:
        SourceError: not a presentation of the .pptx form, or one beyond the bounds.
    """
    blocks: list[Block] = []
    seen, first_title = _Seen(), ""
    with Package(path, name, "PowerPoint") as package:
        main = package.main_part("ppt/presentation.xml")
        relations = package.relations(main)
        for number, one in enumerate(package.required_tree(main).iterfind(f"{_P}sldIdLst/{_P}sldId"), 1):
            relation = relations.get(one.get(f"{OFFICE}id", ""))
            root = None if relation is None else package.tree(relation.target)
            if relation is None or root is None:
                seen.missing.append(number)
                continue
            slide = _Slide(package, package.relations(relation.target), number, seen)
            blocks += slide.read(root)
            first_title = first_title or slide.title
        title = package.title() or first_title
    yield Document(name, "", title, "slide", tuple(blocks))
    for text in _notes(seen, not blocks):
        yield Note(name, text)


def _notes(seen: _Seen, is_empty: bool) -> Iterator[str]:
    if is_empty:
        yield "holds no text"
    if seen.missing:
        yield f"{numbered('slide', seen.missing)} cannot be read: the file has no such part"
    yield from slide_notes(seen.only_pictures, seen.hidden)
    left_out = [
        counted(number, what)
        for number, what in ((seen.pictures, "picture"), (seen.comments, "comment"), (seen.objects, "embedded object"))
        if number
    ]
    if left_out:
        yield f"left out: {', '.join(left_out)}"


class _Slide:
    """One slide: its title, the text of its shapes, and the notes of the speaker."""

    def __init__(self, package: Package, relations: dict[str, Relation], number: int, seen: _Seen):
        self._package, self._relations, self._number, self._seen = package, relations, number, seen
        self._builder = BlockBuilder()
        self._pictures = 0
        self.title = ""

    def read(self, root: _Element) -> tuple[Block, ...]:
        """Return the blocks of a slide."""
        shapes = list(_shapes(root))
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        self.title = " ".join(" ".join(text.split()) for shape in titles for text in drawn_paragraphs(shape))
        if self.title:
            self._builder.heading(1, self.title, self._number)
        for shape in shapes:
            if _placeholder(shape) not in _TITLES:
                self._add(shape)
        self._add_notes()
        if root.get("show") in ("0", "false"):
            self._seen.hidden.append(self._number)
        blocks = self._builder.blocks()
        if self._pictures and not blocks:
            self._seen.only_pictures.append(self._number)
        elif self._pictures:
            self._seen.pictures += self._pictures
        return blocks

    def _add(self, shape: _Element) -> None:
        if shape.tag in _SHAPES:
            if _placeholder(shape) not in _FURNITURE:
                self._add_text(drawn_paragraphs(shape))
        elif shape.tag == f"{A}tbl":
            self._add_table(shape)
        elif shape.tag in (f"{CHART}chart", f"{DIAGRAM}relIds"):
            header, rows = graphic_rows(shape, self._package, self._relations)
            if shape.tag == f"{DIAGRAM}relIds":
                self._add_text(rows)
            else:
                self._builder.table(header, [(row, self._number, self._number) for row in rows])
        elif shape.tag == f"{_P}oleObj":
            self._seen.objects += 1
        else:
            self._pictures += 1

    def _add_text(self, paragraphs: Iterator[str] | list[str]) -> None:
        text = "\n".join(paragraphs)
        if text:
            self._builder.text(text, self._number, self._number)

    def _add_table(self, table: _Element) -> None:
        lines = [
            row_text(
                "" if _is_merged(cell) else cell_text(drawn_paragraphs(cell)) for cell in row.iterchildren(f"{A}tc")
            )
            for row in table.iterchildren(f"{A}tr")
        ]
        lines = [line for line in lines if line]
        header, rows = ("", lines) if len(lines) < 2 else (lines[0], lines[1:])
        self._builder.table(header, [(row, self._number, self._number) for row in rows])

    def _add_notes(self) -> None:
        for relation in self._relations.values():
            if relation.kind == "comments":
                root = self._package.tree(relation.target)
                self._seen.comments += 0 if root is None else len(root)
            if relation.kind != "notesSlide":
                continue
            root = self._package.tree(relation.target)
            shapes = () if root is None else _shapes(root)
            bodies = [shape for shape in shapes if shape.tag in _SHAPES and _placeholder(shape) not in _FURNITURE]
            text = "\n".join(text for body in bodies for text in drawn_paragraphs(body))
            if text:
                self._builder.text(f"Speaker notes: {text}", self._number, self._number)


def _shapes(root: _Element) -> Iterator[_Element]:
    """Yield shapes, tables, charts, diagrams and pictures of a slide in order, also those in groups."""
    stack = [seen_children(root)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag in _FRAMES or element.tag.endswith("}AlternateContent"):
            stack.append(seen_children(element))
        elif element.tag in _SHAPES or element.tag in (
            f"{A}tbl", f"{CHART}chart", f"{DIAGRAM}relIds", f"{_P}oleObj", f"{_P}pic",
        ):  # fmt: skip
            yield element


def _placeholder(shape: _Element) -> str:
    """Return the kind of placeholder that a shape fills; empty for none."""
    found = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return "" if found is None else found.get("type", "obj")


def _is_merged(cell: _Element) -> bool:
    """Return whether a cell is a part of the one to its left or above it."""
    return cell.get("hMerge") in ("1", "true") or cell.get("vMerge") in ("1", "true")
