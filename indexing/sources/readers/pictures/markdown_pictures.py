"""Pictures of Markdown that lie in the folder of the source; nothing is fetched, and no link leads out of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from indexing.sources.document import BlockBuilder, DocumentPicture, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.markup.markdown import read_text
from indexing.sources.readers.note_text import numbered
from indexing.sources.readers.pictures.captions import caption_text, read_or_reject, require_few
from memgpt_rag.errors import SourceError
from memgpt_rag.io.pictures import read_picture

if TYPE_CHECKING:
    from markdown_it.token import Token

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[DocumentPicture | Note]:
    """Read the pictures that a Markdown file shows; the caption is the picture's title, or else its alternative text.

    Raises:
        SourceError: a picture is missing, lies outside of the source's folder, or cannot be read.
    """
    from indexing.sources.readers.markup.markdown_syntax import markdown_parser

    front, text = read_text(path, name, options)
    title, skipped = (front.title, front.lines) if front else ("", 0)
    remote: list[int] = []
    for place, (image, headings, line) in enumerate(_images(markdown_parser().parse(text)), 1):
        require_few(place, name)
        number, address = line + skipped, str(image.attrs.get("src", ""))
        if _ADDRESS.match(address):
            remote.append(number)
            continue
        words = caption_text(str(image.attrs.get("title", "")), image.content)
        picture = partial(_picture, path, address, words, name, title, headings, number)
        yield read_or_reject(picture, name, f"line {number}", options)
    if remote:
        yield Note(name, f"pictures at addresses are never fetched: {numbered('line', sorted(set(remote)))}")


def _picture(
    path: Path, address: str, words: str, name: str, title: str, headings: tuple[str, ...], number: int
) -> DocumentPicture:
    where = f"{name}, line {number}"
    found = _inside(_root(path, name), path, address, where)
    return DocumentPicture(name, read_picture(found, f"{where}: {address}"), words, title, headings, "line", number)


def _images(tokens: list[Token]) -> Iterator[tuple[Token, tuple[str, ...], int]]:
    """Yield each image with the headings that it stands under, and the number of its line in the text."""
    builder = BlockBuilder()
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.map:
            builder.heading(int(token.tag[1]), tokens[place + 1].content, token.map[0] + 1)
        if token.type == "inline" and token.map:
            line = token.map[0] + 1
            for child in token.children or []:
                if child.type in ("softbreak", "hardbreak"):
                    line += 1
                elif child.type == "image":
                    yield child, builder.headings(), line


def _root(path: Path, name: str) -> Path:
    """Return the folder that the source's names begin in; that of the file itself where its name tells nothing."""
    parts = PurePosixPath(name).parts
    return path.resolve().parents[len(parts) - 1] if path.parts[-len(parts) :] == parts else path.resolve().parent


def _inside(root: Path, path: Path, address: str, where: str) -> Path:
    """Return where a picture lies: beside the file, or elsewhere in the source's folder, links followed."""
    found = (path.parent / unquote(address.split("#")[0].split("?")[0])).resolve()
    if root not in found.parents:
        raise SourceError(f"{where}: {address!r} lies outside of the source's folder; copy the picture into it.")
    return found
