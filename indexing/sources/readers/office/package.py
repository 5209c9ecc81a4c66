"""An office file: a ZIP archive of XML parts, which are read one by one and within bounds.

Media are inflated only where pictures are what is read. The depth of an XML part is bounded by its parser (256 elements), and so is
every recursion over it.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote

from indexing.sources.readers.document_titles import own_title
from indexing.sources.readers.note_text import numbered
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_PICTURE_BYTES

if TYPE_CHECKING:
    from lxml.etree import _Element

OFFICE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_PACKAGE = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Namespaces of the form "Strict Open XML" and what the usual ("transitional") form calls them.
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)")
_TRANSITIONAL = rb"http://schemas.openxmlformats.org/\1/2006"
_MEGABYTE = 2**20
MOST_BYTES = 128 * _MEGABYTE  # of all parts that are read; as XML trees they take about ten times as much
_MOST_BYTES_OF_A_TREE = 32 * _MEGABYTE
_DEFLATED_OR_STORED = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)
_UNCOUNTED = {"hidden text", "table of contents", "headers and footers"}


@dataclass(frozen=True)
class Relation:
    """A relation of a part: its kind (the last word of its type) and the name of the part that it names."""

    kind: str
    target: str


class Package:
    """An open office file.

    Args:
        path: where it lies.
        name: its name in messages.
        kind: name of its program in messages, such as "Word".
        most_bytes: most bytes of all parts that are read.

    Raises:
        SourceError: no ZIP archive, or a damaged one.
    """

    def __init__(self, path: Path, name: str, kind: str, most_bytes: int = MOST_BYTES):
        self.name, self.kind, self._left, self._most = name, kind, most_bytes, most_bytes
        self._suffix = path.suffix.lower()
        with path.open("rb") as file:
            if file.read(8) == _OLE_MAGIC:
                raise self.error(
                    "it is encrypted with a password, or in the format of Office before 2007",
                    f"save it as {self._suffix} without a password",
                )
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self._damaged() from error
        self._entries = {info.filename: info for info in self._zip.infolist()}

    def __enter__(self) -> Package:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def __contains__(self, part: str) -> bool:
        return part in self._entries

    def error(self, found: str, remedy: str = "mend it") -> SourceError:
        """Return the error about what was found in this file."""
        return SourceError(
            f"{self.name} cannot be read as {self.kind}: {found}; {remedy}, or leave it out with --exclude."
        )

    def _damaged(self) -> SourceError:
        return self.error(f"it is no {self._suffix} document, or a damaged one")

    def parts(self) -> list[str]:
        """Names of all parts."""
        return list(self._entries)

    def tree(self, part: str) -> _Element | None:
        """Return the root of an XML part; None if the file has no such part.

        Raises:
            SourceError: broken XML, a declared document type, or a part beyond the bounds.
        """
        from lxml import etree

        if part not in self._entries:
            return None
        self._charge(part, _MOST_BYTES_OF_A_TREE)
        with self._reported(part), self._open(part) as file:
            root = etree.parse(file, _parser()).getroot()
            self._refuse_document_type(root, part)
            return root

    def media(self, part: str) -> bytes:
        """Return the bytes of a picture.

        Raises:
            SourceError: the part is missing, damaged, or larger than a picture may be.
        """
        if part not in self._entries:
            raise self.error(f"its picture {part or 'that is named'} is missing")
        if self._entries[part].file_size > MOST_PICTURE_BYTES:
            raise self.error(f"its picture {part} has more than {MOST_PICTURE_BYTES:,} bytes", "make it smaller")
        self._charge(part, self._most)
        with self._reported(part), self._zip.open(self._entries[part]) as file:
            return file.read()

    def required_tree(self, part: str) -> _Element:
        """Return the root of an XML part that every such file has.

        Raises:
            SourceError: as `tree` does, or the part is missing.
        """
        root = self.tree(part)
        if root is None:
            raise self.error(f"its part {part or 'that holds the document'} is missing")
        return root

    def stream(
        self, part: str, tags: set[str], inside: set[str], beside: frozenset[str] = frozenset()
    ) -> Iterator[_Element]:
        """Yield the elements of some tags whose parent has a tag of `inside` or `beside`; each is freed when the next one is asked for.

        Raises:
            SourceError: as `required_tree` does, or the part has no element of `inside`.
        """
        from lxml import etree

        if part not in self._entries:
            raise self.error(f"its part {part or 'that holds the document'} is missing")
        self._charge(part, self._most)
        with self._reported(part), self._open(part) as file:
            checked = found = False
            wanted = tuple(tags | inside)
            for _, element in etree.iterparse(
                file, tag=wanted, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
            ):
                if not checked:
                    self._refuse_document_type(element, part)
                    checked = True
                found = found or element.tag in inside
                parent = element.getparent()
                if parent is None or not (parent.tag in inside or parent.tag in beside):
                    continue
                yield element
                element.clear()
                while element.getprevious() is not None:
                    del parent[0]
        if not found:
            raise self.error(f"its part {part} holds no document of {self.kind}")

    def relations(self, part: str) -> dict[str, Relation]:
        """Return the relations of a part, or of the whole file for ""; those to the outside are left out."""
        folder, file = posixpath.split(part)
        root = self.tree(posixpath.join(folder, "_rels", f"{file}.rels"))
        found = {}
        for one in () if root is None else root.iter(f"{_PACKAGE}Relationship"):
            if one.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, unquote(one.get("Target", "")))).lstrip("/")
                found[one.get("Id", "")] = Relation(posixpath.basename(one.get("Type", "")), target)
        return found

    def main_part(self, usual: str) -> str:
        """Return the name of the part that holds the document."""
        kinds = (one.target for one in self.relations("").values() if one.kind == "officeDocument")
        return next(kinds, usual)

    def title(self, part: str = "docProps/core.xml") -> str:
        """Return the title in the file's properties; empty if it has none but one that a program put in."""
        root = self.tree(part)
        return "" if root is None else own_title(root.findtext(f".//{_DUBLIN_CORE}title") or "")

    @contextmanager
    def _open(self, part: str) -> Iterator[IO[bytes]]:
        with self._zip.open(self._entries[part]) as file:
            is_strict = _STRICT.search(file.read(65_536)) is not None  # namespaces are declared at the root
            file.seek(0)
            yield io.BytesIO(_STRICT.sub(_TRANSITIONAL, file.read())) if is_strict else file

    def _charge(self, part: str, most: int) -> None:
        """Count a part towards the bounds before it is inflated; an archive's reader stops at the size that it declares."""
        info = self._entries[part]
        self._left -= info.file_size
        if self._left < 0 or info.file_size > most:
            bound = self._most if self._left < 0 else most
            raise self.error(f"its text parts inflate to more than {bound // _MEGABYTE} MB", "split it")
        if info.compress_type not in _DEFLATED_OR_STORED:
            raise self._damaged()

    @contextmanager
    def _reported(self, part: str) -> Iterator[None]:
        """Report what an archive and an XML parser raise as a SourceError."""
        from lxml import etree

        try:
            yield
        except etree.XMLSyntaxError as error:
            reason = (error.msg or "it ends too early").split(", line ")[0]
            line = error.lineno or 1
            raise self.error(f"its part {part} is broken XML at line {line} ({reason})") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise self._damaged() from error

    def _refuse_document_type(self, element: _Element, part: str) -> None:
        """Refuse a document type with declarations of its own; OpenOffice 2 named one, and the parser fetches none."""
        declared = element.getroottree().docinfo.internalDTD
        if declared is not None and any(True for _ in (*declared.iterentities(), *declared.iterelements())):
            raise self.error(f"its part {part} declares a document type, which no office file does")


def _parser() -> object:
    from lxml import etree

    return etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)


def left_out_text(left_out: Counter[str]) -> str:
    """Return the clause about what was left out, with counts where they tell something; empty for nothing."""
    said = [what if what in _UNCOUNTED else counted(n, what) for what, n in sorted(left_out.items()) if n > 0]
    return f"left out: {', '.join(said)}" if said else ""


def slide_notes(only_pictures: list[int], hidden: list[int]) -> Iterator[str]:
    """Yield what is said of slides with pictures and no text, and of those that the show leaves out."""
    if only_pictures:
        verb = "holds a picture" if len(only_pictures) == 1 else "hold pictures"
        yield f"{numbered('slide', only_pictures)} {verb} and no text"
    if hidden:
        yield f"{numbered('slide', hidden)} {'is' if len(hidden) == 1 else 'are'} hidden in the show, and kept"
