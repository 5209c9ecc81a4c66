"""Word: the final view of a document, in reading order.

The XML is walked without a library: mammoth gives HTML without numbers of lists and headings and without places;
python-docx sees neither content controls nor footnotes, and inflates every picture.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.office.drawing_text import COMPATIBILITY, graphic_rows
from indexing.sources.readers.office.package import Package, Relation, left_out_text
from indexing.sources.readers.office.word_styles import Numbering, Styles, W
from indexing.sources.readers.office.word_walk import WordWalk

if TYPE_CHECKING:
    from lxml.etree import _Element

_MAIN = "word/document.xml"
_BLOCKS = {
    *(f"{W}{name}" for name in ("p", "tbl", "sdt", "customXml", "altChunk", "ins", "moveTo", "smartTag")),
    f"{COMPATIBILITY}AlternateContent",
}


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the final view of a Word document: tracked insertions in, deletions out; notes follow their paragraph.

    Blocks are numbered by paragraph and table.

    Raises:
        SourceError: not a Word document of the .docx form, or one beyond the bounds.
    """
    builder = BlockBuilder()
    with Package(path, name, "Word") as package:
        walk, relations = walk_document(package, builder)
        left_out = walk.left_out + _beside(package, _parts(package, relations))
        title = walk.title or package.title()
    blocks = builder.blocks()
    if not blocks and walk.title:
        builder.text(walk.title, 1, 1)
        blocks = builder.blocks()
    yield Document(name, "", title, "paragraph", blocks)
    if not blocks:
        yield Note(name, "holds no text")
    if text := left_out_text(left_out):
        yield Note(name, text)


def walk_document(
    package: Package, builder: BlockBuilder, watch: Callable[[WordWalk], object] = lambda walk: None
) -> tuple[WordWalk, dict[str, Relation]]:
    """Walk over a document, whose blocks go to the builder; returns the walk, and the relations of the main part.

    Args:
        watch: is given the walk before it begins.
    """
    main = package.main_part(_MAIN)
    relations = package.relations(main)
    parts = _parts(package, relations)
    walk = WordWalk(
        builder,
        Styles(_tree(package, parts, "styles")),
        Numbering(_tree(package, parts, "numbering")),
        _notes(package, parts),
        lambda element: graphic_rows(element, package, relations),
    )
    watch(walk)
    for element in package.stream(main, _BLOCKS, {f"{W}body"}):
        walk.add(element)
    walk.finish()
    return walk, relations


def _parts(package: Package, relations: dict[str, Relation]) -> dict[str, list[str]]:
    """Return kind → names of the parts beside the main one; a kind that no relation names is found by its usual name."""
    found: dict[str, list[str]] = {}
    for relation in relations.values():
        if relation.target in package and relation.target not in found.setdefault(relation.kind, []):
            found[relation.kind].append(relation.target)
    for kind in ("styles", "numbering", "footnotes", "endnotes", "comments"):
        usual = posixpath.join(posixpath.dirname(package.main_part(_MAIN)), f"{kind}.xml")
        if not found.get(kind) and usual in package:
            found[kind] = [usual]
    return found


def _tree(package: Package, parts: dict[str, list[str]], kind: str) -> _Element | None:
    return package.tree(parts[kind][0]) if parts.get(kind) else None


def _notes(package: Package, parts: dict[str, list[str]]) -> dict[tuple[str, str], _Element]:
    """Return the footnotes and endnotes by kind and id, without the lines that separate them from the text."""
    found = {}
    for kind in ("footnote", "endnote"):
        root = _tree(package, parts, f"{kind}s")
        for one in () if root is None else root.iterchildren(f"{W}{kind}"):
            if one.get(f"{W}type", "normal") == "normal":
                found[kind, one.get(f"{W}id", "")] = one
    return found


def _beside(package: Package, parts: dict[str, list[str]]) -> Counter[str]:
    """Return what stands beside the text and is left out: comments, headers and footers."""
    found = Counter[str]()
    root = _tree(package, parts, "comments")
    if root is not None:
        found["comment"] = sum(1 for _ in root.iterchildren(f"{W}comment"))
    for part in [*parts.get("header", ()), *parts.get("footer", ())]:
        root = package.tree(part)
        if root is not None and any(not _is_number(one.text) for one in root.iter(f"{W}t")):
            found["headers and footers"] += 1
    return +found


def _is_number(text: str | None) -> bool:
    return not (text or "").strip() or (text or "").strip().isdecimal()
