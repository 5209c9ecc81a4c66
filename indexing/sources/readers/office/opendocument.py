"""OpenDocument: texts, presentations and spreadsheets of LibreOffice and others.

content.xml is walked without a library: odfdo writes out every repetition of a cell, and knows no places of paragraphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.office.block_walk import BlockWalk
from indexing.sources.readers.office.opendocument_sheets import read_sheets
from indexing.sources.readers.office.opendocument_styles import DRAW, PRESENTATION, STYLE, TEXT, OdfStyles
from indexing.sources.readers.office.opendocument_walk import (
    AUTOMATIC_STYLES,
    OFFICE,
    TABLE,
    OpenDocumentWalk,
    list_and_style_tags,
)
from indexing.sources.readers.office.package import Package, left_out_text, slide_notes

if TYPE_CHECKING:
    from lxml.etree import _Element

_KIND = "OpenDocument"
_META = "meta.xml"
_CONTENT = "content.xml"
_BLOCKS = {
    f"{TEXT}{name}"
    for name in (
        "p", "h", "list", "section", "numbered-paragraph", "table-of-content", "illustration-index", "table-index",
        "object-index", "user-index", "alphabetical-index", "bibliography", "tracked-changes",
    )
} | {f"{TABLE}table", f"{DRAW}frame", f"{DRAW}custom-shape", f"{DRAW}g", f"{DRAW}rect"}  # fmt: skip
_FURNITURE = {"header", "footer", "date-time", "page-number"}


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a text, by paragraph and table; a presentation, by slide; or a spreadsheet, a document for each sheet.

    Raises:
        SourceError: no OpenDocument file, one with a password, or one beyond the bounds.
    """
    with Package(path, name, _KIND, 512 * 2**20 if path.suffix.lower() in (".ods", ".ots") else 128 * 2**20) as package:
        _refuse_encryption(package)
        title = package.title(_META)
        if path.suffix.lower() in (".ods", ".ots"):
            yield from read_sheets(package, title or path.stem)
            return
        styles = OdfStyles()
        left_out = _read_styles(package, styles)
        if path.suffix.lower() in (".odp", ".otp"):
            yield from _read_slides(package, styles, title, left_out)
        else:
            yield from _read_text(package, styles, title, left_out)


def _refuse_encryption(package: Package) -> None:
    manifest = package.tree("META-INF/manifest.xml")
    if manifest is not None and any(one.tag.endswith("}encryption-data") for one in manifest.iter()):
        raise package.error("it is encrypted with a password", "save it without one")


def _read_styles(package: Package, styles: OdfStyles) -> Counter[str]:
    """Read the common styles, and count headers and footers, which are left out."""
    root = package.tree("styles.xml")
    found = Counter[str]()
    if root is not None:
        for element in root.iter(*list_and_style_tags()):
            styles.add(element)
        frames = (f"{STYLE}header", f"{STYLE}footer", f"{STYLE}header-left", f"{STYLE}footer-left")
        for frame in root.iter(*frames):
            if any(text.strip() and not text.strip().isdecimal() for text in frame.itertext()):
                found["headers and footers"] += 1
    return found


def _read_text(package: Package, styles: OdfStyles, title: str, left_out: Counter[str]) -> Iterator[Document | Note]:
    builder = BlockBuilder()
    walk = OpenDocumentWalk(builder, styles)
    tags = _BLOCKS | list_and_style_tags()
    for element in package.stream(_CONTENT, tags, {f"{OFFICE}text"}, AUTOMATIC_STYLES):
        if element.tag in _BLOCKS:
            walk.add(element)
        else:
            styles.add(element)
    blocks = builder.blocks()
    if not blocks and walk.title:
        builder.text(walk.title, 1, 1)
        blocks = builder.blocks()
    yield Document(package.name, "", walk.title or title, "paragraph", blocks)
    yield from _notes(package.name, not blocks, walk.left_out + left_out)


def _read_slides(package: Package, styles: OdfStyles, title: str, left_out: Counter[str]) -> Iterator[Document | Note]:
    blocks: list[Block] = []
    number, hidden, only_pictures, first_title = 0, [], [], ""
    tags = {f"{DRAW}page"} | list_and_style_tags()
    for element in package.stream(_CONTENT, tags, {f"{OFFICE}presentation"}, AUTOMATIC_STYLES):
        if element.tag != f"{DRAW}page":
            styles.add(element)
            continue
        number += 1
        builder = BlockBuilder()
        walk = OpenDocumentWalk(builder, styles, counts_paragraphs=False)
        walk.number = number
        heading = _add_slide(element, walk)
        first_title = first_title or heading
        if element.get(f"{DRAW}style-name") in styles.hidden_pages:
            hidden.append(number)
        found = builder.blocks()
        if walk.left_out["picture"] and not found:
            only_pictures.append(number)
            del walk.left_out["picture"]
        left_out += walk.left_out
        blocks += found
    yield Document(package.name, "", title or first_title, "slide", tuple(blocks))
    yield from _notes(package.name, not blocks, left_out)
    for text in slide_notes(only_pictures, hidden):
        yield Note(package.name, text)


def _add_slide(page: _Element, walk: BlockWalk) -> str:
    """Add a slide under its title, which is returned; the notes of the speaker come last."""
    titles = [frame for frame in page if frame.get(f"{PRESENTATION}class") == "title"]
    title = " ".join(" ".join(item.text.split()) for frame in titles for item in walk.collect(frame))
    if title:
        walk.builder.heading(1, title, walk.number)
    for child in page:
        kind = child.get(f"{PRESENTATION}class")
        if child.tag == f"{PRESENTATION}notes":
            frames = (one for one in child if one.get(f"{PRESENTATION}class") == "notes")
            text = "\n".join(item.text for frame in frames for item in walk.collect(frame))
            if text:
                walk.builder.text(f"Speaker notes: {text}", walk.number, walk.number)
        elif kind != "title" and kind not in _FURNITURE and child.get(f"{PRESENTATION}placeholder") != "true":
            walk.add(child)
    return title


def _notes(name: str, is_empty: bool, left_out: Counter[str]) -> Iterator[Note]:
    if is_empty:
        yield Note(name, "holds no text")
    if text := left_out_text(left_out):
        yield Note(name, text)
