"""Pictures of a Word document, with their captions, under the headings that they stand under."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from indexing.sources.document import Block, BlockBuilder, DocumentPicture, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.note_text import numbered
from indexing.sources.readers.office.drawing_text import A
from indexing.sources.readers.office.package import OFFICE, Package
from indexing.sources.readers.office.word import walk_document
from indexing.sources.readers.office.word_walk import WordWalk
from indexing.sources.readers.pictures.captions import caption_text, is_caption, read_or_reject, require_few
from memgpt_rag.io.pictures import kept_picture

if TYPE_CHECKING:
    from lxml.etree import _Element

_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_VECTORS = (".emf", ".wmf", ".svg")
_NEAR = (1, 0, -1)  # a caption stands below the picture, in its paragraph, or above it


@dataclass(frozen=True)
class _Seen:
    """A picture where the walk met it: what names its part, its alternative text, its paragraph and its headings."""

    relation: str
    alternative: str
    number: int
    headings: tuple[str, ...]


def read(path: Path, name: str, options: ReadOptions) -> Iterator[DocumentPicture | Note]:
    """Read the pictures of the final view of a Word document; the caption begins as "Figure 1", else it is the alternative text.

    Raises:
        SourceError: not a Word document, one beyond the bounds, or a picture cannot be read.
    """
    seen: list[_Seen] = []
    builder = BlockBuilder()
    with Package(path, name, "Word") as package:
        walk, relations = walk_document(package, builder, lambda walk: _watch(walk, seen))
        title, blocks = walk.title or package.title(), builder.blocks()
        require_few(len(seen), name)
        vectors = []
        for one in seen:
            part = relations[one.relation].target if one.relation in relations else ""
            if not part or PurePosixPath(part).suffix.lower() in _VECTORS:
                vectors.append(one.number)
                continue
            words = caption_text(_caption(blocks, one.number), one.alternative)
            picture = partial(_picture, package, part, words, name, title, one)
            yield read_or_reject(picture, name, f"paragraph {one.number}", options)
    if vectors:
        yield Note(name, f"pictures that are linked or drawn as vectors are left out: {numbered('paragraph', vectors)}")


def _picture(package: Package, part: str, words: str, name: str, title: str, seen: _Seen) -> DocumentPicture:
    data = kept_picture(package.media(part), f"{name}, paragraph {seen.number}: {part}")
    return DocumentPicture(name, data, words, title, seen.headings, "paragraph", seen.number)


def _watch(walk: WordWalk, seen: list[_Seen]) -> None:
    """Let a walk note each picture that it meets."""

    def note(element: _Element) -> None:
        described = next(element.iterancestors(f"{_DRAWING}inline", f"{_DRAWING}anchor"), None)
        properties = None if described is None else described.find(f"{_DRAWING}docPr")
        alternative = "" if properties is None else properties.get("descr", "")
        seen.append(_Seen(element.get(f"{OFFICE}embed", ""), alternative, walk.number, walk.builder.headings()))

    walk.starts[f"{A}blip"] = note


def _caption(blocks: tuple[Block, ...], number: int) -> str:
    """Return the caption near a paragraph; empty if there is none."""
    near = (block.text for step in _NEAR for block in blocks if block.first == number + step)
    return next((text for text in near if is_caption(text)), "")
