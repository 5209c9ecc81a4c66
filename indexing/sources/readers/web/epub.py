"""EPUB: the chapters of a book in reading order."""

from __future__ import annotations

import dataclasses
import posixpath
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.inflation import Allowance, Counted
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.note_text import first_names
from indexing.sources.readers.web.html import add_html
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted

if TYPE_CHECKING:
    from lxml.etree import _Element

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
# A chapter, or a list of chapters, is parsed as a whole.
_MOST_PART_BYTES = 32 * 2**20
_MOST_TEXT_BYTES = 256 * 2**20
_MOST_NAMED = 10
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read the chapters of a book in the order of its spine; its title and its authors come from its package document.

    Raises:
        SourceError: it is no EPUB, is damaged or protected, or inflates to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _Book(archive, name, options.allowance or Allowance(path, name)).read()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise SourceError(
            f"{name} is damaged, or no EPUB file ({error}); mend it, or leave it out with --exclude."
        ) from error


class _Book:
    def __init__(self, archive: zipfile.ZipFile, name: str, allowance: Allowance):
        self._archive, self._name, self._allowance = archive, name, allowance
        self._members = set(archive.namelist())
        self._left = _MOST_TEXT_BYTES
        self._left_out: Counter[str] = Counter()

    def read(self) -> Iterator[Document | Note]:
        package_path = self._package_path()
        package = self._xml(package_path)
        chapters = self._spine(package, posixpath.dirname(package_path))
        if self._encrypted() & {path for path, _ in chapters}:
            raise SourceError(
                f"{self._name} is protected against copying (DRM), so that its text cannot be read; leave it out with --exclude."
            )
        title, authors = self._texts(package, "title")[:1], self._texts(package, "creator")
        blocks: list[Block] = []
        if authors:
            blocks.append(Block("\n".join([*title, f"Author: {', '.join(authors)}"]), 1, 1))
        missing, pictures = [], []
        for number, (path, type) in enumerate(chapters, 1):
            if path not in self._members:
                missing.append(number)
            elif type not in _PAGES:
                pictures.append(number)
            else:
                blocks += self._chapter(path, number)
        yield Document(self._name, "", title[0] if title else "", "chapter", tuple(blocks))
        for numbers, what in ((missing, "missing in the file"), (pictures, "no page of text")):
            if numbers:
                yield Note(self._name, f"left out, since {what}: chapter {first_names(numbers, _MOST_NAMED)}")
        for kind, words in self._left_out.items():
            yield Note(self._name, f"{counted(words, 'word')} of {kind} left out")

    def _chapter(self, path: str, number: int) -> list[Block]:
        builder = BlockBuilder()
        content = self._content(path)
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
        add_html(builder, text.removeprefix("\ufeff"), left_out=self._left_out)
        return [dataclasses.replace(block, first=number, last=number) for block in builder.blocks()]

    def _package_path(self) -> str:
        if _CONTAINER not in self._members:
            raise SourceError(
                f"{self._name} is no EPUB file: it holds no {_CONTAINER}; mend it, or leave it out with --exclude."
            )
        roots = self._xml(_CONTAINER).findall(".//{*}rootfile")
        path = next((unquote(str(root.get("full-path"))) for root in roots if root.get("full-path")), "")
        if path not in self._members:
            raise SourceError(f"{self._name} is no EPUB file: its package document {path!r} is missing; mend it.")
        return path

    def _spine(self, package: _Element, folder: str) -> list[tuple[str, str]]:
        """Return the path and the content type of each chapter, in reading order."""
        items = {
            item.get("id"): (self._resolved(item.get("href") or "", folder), item.get("media-type") or "")
            for item in package.findall("{*}manifest/{*}item")
        }
        chapters = [items[id] for ref in package.findall("{*}spine/{*}itemref") if (id := ref.get("idref")) in items]
        if not chapters:
            raise SourceError(f"{self._name} is no EPUB file: its package document names no chapters; mend it.")
        return list(dict.fromkeys(chapters))

    def _resolved(self, href: str, folder: str) -> str:
        path = posixpath.normpath(posixpath.join(folder, href.split("#")[0]))
        return path if path in self._members else unquote(path)

    def _texts(self, package: _Element, name: str) -> list[str]:
        found = package.findall(f"{{*}}metadata//{{http://purl.org/dc/elements/1.1/}}{name}")
        return [text for element in found if (text := " ".join("".join(element.itertext()).split()))]

    def _encrypted(self) -> set[str]:
        """Return the paths of encrypted members; fonts are encrypted in many books that are not protected."""
        if _ENCRYPTION not in self._members:
            return set()
        return {unquote(str(one.get("URI"))) for one in self._xml(_ENCRYPTION).iterfind(".//{*}CipherReference")}

    def _xml(self, path: str) -> _Element:
        from lxml import etree

        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            return etree.fromstring(self._content(path), parser)
        except etree.XMLSyntaxError as error:
            raise SourceError(
                f"{self._name}, {path}: broken XML ({error}); mend it, or leave it out with --exclude."
            ) from error

    def _content(self, path: str) -> bytes:
        with self._archive.open(path) as stream:
            content = Counted(stream, self._allowance).read(_MOST_PART_BYTES + 1)
        self._left -= len(content)
        if len(content) > _MOST_PART_BYTES or self._left < 0:
            raise SourceError(
                f"{self._name}, {path}: a part of more than {_MOST_PART_BYTES >> 20} MiB, or a book of more than "
                f"{_MOST_TEXT_BYTES >> 20} MiB of text, is not read; leave it out with --exclude."
            )
        return content
