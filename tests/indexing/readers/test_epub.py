"""EPUB: chapters in reading order, title and authors, protected and damaged books, bounds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from indexing.sources.document import Document, Note
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.web import epub
from memgpt_rag.errors import SourceError

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?>{doctype}
<package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>
<manifest>{items}</manifest><spine>{refs}</spine></package>"""
PAGE = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head><body>{}</body></html>'


def book(path: Path, chapters: dict[str, str | None], metadata: str = "", doctype: str = "", **more: str) -> Path:
    """Write a book: path of each chapter → its body; None for one that is missing."""
    items, refs = "", ""
    for number, name in enumerate(chapters):
        type = "image/svg+xml" if name.endswith(".svg") else "application/xhtml+xml"
        items = f'<item id="c{number}" href="{name}" media-type="{type}"/>' + items  # the spine tells the order
        refs += f'<itemref idref="c{number}"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", PACKAGE.format(metadata=metadata, items=items, refs=refs, doctype=doctype))
        for name, body in chapters.items():
            if body is not None:
                archive.writestr(f"OEBPS/{name.replace('%20', ' ')}", PAGE.format(body))
        for name, content in more.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def read(path: Path) -> tuple[Document, list[str]]:
    notes: list[Note] = []
    (document,) = read_documents(find_files([path]), ReadOptions(limits=None, on_note=notes.append))
    return document, [note.text for note in notes]


def test_chapters_are_read_in_the_order_of_the_spine(tmp_path):
    document, notes = read(
        book(
            tmp_path / "harbour.epub",
            {
                "z.xhtml": "<h1>The quay</h1><p>Boats moor &amp; wait.</p>",
                "text/a%20b.xhtml": "<h1>潮汐</h1><p>最高潮位为四米。</p><p>Low at noon.</p>",
                "cover.svg": "<svg/>",
                "gone.xhtml": None,
            },
            "<dc:title>The harbour</dc:title><dc:title>Second</dc:title><dc:creator>Ann Lee</dc:creator><dc:creator>王五</dc:creator>",
        )
    )
    assert (document.title, document.unit, document.source, document.record) == (
        "The harbour",
        "chapter",
        "harbour.epub",
        "",
    )
    assert [(block.headings, block.text, block.first, block.last) for block in document.blocks] == [
        ((), "The harbour\nAuthor: Ann Lee, 王五", 1, 1),
        (("The quay",), "Boats moor & wait.", 1, 1),
        (("潮汐",), "最高潮位为四米。", 2, 2),
        (("潮汐",), "Low at noon.", 2, 2),
    ]
    assert notes == ["left out, since missing in the file: chapter 4", "left out, since no page of text: chapter 3"]


def test_a_book_with_encrypted_chapters_is_a_sentence_and_encrypted_fonts_are_not(tmp_path):
    encrypted = '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:CipherData><e:CipherReference URI="{}"/></e:CipherData></e:EncryptedData></encryption>'
    chapters = {"a.xhtml": "<p>Text.</p>"}
    fonts = book(tmp_path / "f.epub", chapters, **{"META-INF__encryption.xml": encrypted.format("OEBPS/f.otf")})
    assert [block.text for block in read(fonts)[0].blocks] == ["Text."]
    path = book(tmp_path / "d.epub", chapters, **{"META-INF__encryption.xml": encrypted.format("OEBPS/a.xhtml")})
    with pytest.raises(SourceError, match=r"^d.epub is protected against copying \(DRM\)"):
        read(path)


def test_external_entities_are_not_read(tmp_path):
    (tmp_path / "secret.txt").write_text("SECRET")
    doctype = f'<!DOCTYPE package [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]>'
    path = book(tmp_path / "a.epub", {"a.xhtml": "<p>Text.</p>"}, "<dc:title>T &x;</dc:title>", doctype)
    assert "SECRET" not in str(read(path))


def test_what_is_no_book_is_a_sentence(tmp_path):
    (tmp_path / "a.epub").write_bytes(b"no zip")
    with pytest.raises(SourceError, match=r"^a.epub is damaged, or no EPUB file \(File is not a zip file\)"):
        read(tmp_path / "a.epub")
    with zipfile.ZipFile(tmp_path / "b.epub", "w") as archive:
        archive.writestr("a.txt", "Text.")
    with pytest.raises(SourceError, match=r"^b.epub is no EPUB file: it holds no META-INF/container.xml"):
        read(tmp_path / "b.epub")
    with pytest.raises(SourceError, match=r"^c.epub is no EPUB file: its package document names no chapters"):
        read(book(tmp_path / "c.epub", {}))
    with pytest.raises(SourceError, match=r"^d.epub, OEBPS/book.opf: broken XML"):
        read(book(tmp_path / "d.epub", {"a.xhtml": ""}, "<dc:title>"))


def test_a_chapter_that_inflates_to_too_much_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(epub, "_MOST_PART_BYTES", 2**20)
    path = book(tmp_path / "a.epub", {"a.xhtml": "<p>word</p>" * 200_000})
    with pytest.raises(SourceError, match=r"^a.epub, OEBPS/a.xhtml: a part of more than 1 MiB"):
        read(path)
