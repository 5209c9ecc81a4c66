"""PDF files: their title, headings, columns, pages that are pictures, damage; each file is made in the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdf_files import Pages, only, raw_pdf, read, stream
from reading import texts

from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.pages import pdf
from memgpt_rag.errors import SourceError


@pytest.fixture(autouse=True)
def without_ocr(monkeypatch):
    """Without the extra `ocr`, whether it is installed here or not."""
    monkeypatch.setattr(pdf, "is_installed", lambda: False)


def test_a_pdf_whose_title_is_a_file_name_has_none(tmp_path):
    assert (
        only(Pages(tmp_path / "a.pdf", "Microsoft Word - Dokument7.docx").page("The kiosk opens.").save()).title == ""
    )
    assert (
        only(Pages(tmp_path / "b.pdf", "Rules of the kiosk").page("The kiosk opens.").save()).title
        == "Rules of the kiosk"
    )


# Headings


def test_bookmarks_are_the_headings_of_what_follows_their_lines(tmp_path):
    pages = Pages(tmp_path / "a.pdf")
    pages.canvas.bookmarkPage("one")
    pages.canvas.addOutlineEntry("Tickets", "one", 0)
    pages.canvas.bookmarkPage("season")
    pages.canvas.addOutlineEntry("Season tickets", "season", 1)
    pages.page(
        "Welcome to the ferry.", "1. Tickets", "They cost 25 crowns.", "1.1  Season  tickets", "They cost 300 crowns."
    )
    pages.page("They last a year.")
    pages.canvas.bookmarkPage("three")
    pages.canvas.addOutlineEntry("Bicycles on board", "three", 0)
    pages.canvas.bookmarkPage("page")
    pages.canvas.addOutlineEntry("Page 3", "page", 0)
    pages.page("They travel free.")
    assert [(block.headings, block.text, block.first) for block in only(pages.save()).blocks] == [
        ((), "Welcome to the ferry.", 1),
        (("Tickets",), "They cost 25 crowns.", 1),
        (("Tickets", "Season tickets"), "They cost 300 crowns.", 1),
        (("Tickets", "Season tickets"), "They last a year.", 2),
        (("Bicycles on board",), "They travel free.", 3),
    ]


def test_a_gap_between_lines_is_the_end_of_a_paragraph(tmp_path):
    pages = (
        Pages(tmp_path / "a.pdf").write("The ferry leaves.", "It returns.", "It is full.").page("Dogs pay half.", y=660)
    )
    assert texts(only(pages.save())) == ["The ferry leaves.\nIt returns.\nIt is full.", "Dogs pay half."]


# Columns


LEFT = [f"left line {number} runs on to the edge of its column" for number in range(9)]
RIGHT = [f"right line {number} fills the width of the other one" for number in range(9)]


def test_two_columns_in_a_file_that_holds_them_row_by_row(tmp_path):
    pages = Pages(tmp_path / "a.pdf").write(
        "A headline that goes across both of the columns of this page", y=770, size=16
    )
    for number, (left, right) in enumerate(zip(LEFT, RIGHT)):
        pages.write(left, size=9, x=60, y=740 - 12 * number).write(right, size=9, x=320, y=740 - 12 * number)
    pages.write("A footnote that goes across both of the columns of this page, too, and on", y=600).page()
    words = " ".join(texts(only(pages.save()))).replace("\n", " ")
    assert words == " ".join(
        ["A headline that goes across both of the columns of this page", *LEFT, *RIGHT,
         "A footnote that goes across both of the columns of this page, too, and on"]
    )  # fmt: skip


def test_rows_of_a_table_stay_together(tmp_path):
    pages = Pages(tmp_path / "a.pdf")
    for number in range(12):
        name = "Boat" if number % 3 else "Boat with an engine and a cabin for six"
        pages.write(name, x=60, y=740 - 14 * number).write(f"{number} crowns", x=330, y=740 - 14 * number)
    assert texts(only(pages.page().save()))[0].split()[9:15] == ["0", "crowns", "Boat", "1", "crowns", "Boat"]


# Pages that are pictures, blank or damaged


def scanned(path: Path, pages: str) -> Path:
    """A page for each letter: "t"ext, a "p"icture, a "d"rawing, "m"ixed, or a "b"lank one with a white background."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    drawn = Pages(path)
    picture = ImageReader(Image.new("L", (40, 60), 128))
    for number, kind in enumerate(pages, 1):
        if kind in "pm":
            drawn.canvas.drawImage(picture, 50, 50, 500, 700)
        if kind == "d":
            drawn.canvas.line(70, 70, 300, 300)
        if kind == "b":
            drawn.canvas.setFillColorRGB(1, 1, 1)
            drawn.canvas.rect(0, 0, 595, 842, stroke=0, fill=1)
        if kind in "tm":
            drawn.write(f"Word{'s' * number}.")
        drawn.page()
    return drawn.save()


@pytest.mark.parametrize(
    ("pages", "note"),
    [
        ("tppp", "pages 2–4 hold pictures and no text"),
        ("ptdtbt", "pages 1, 3 hold pictures and no text"),
        ("tp", "page 2 holds pictures and no text"),
        ("tmt", "page 2 holds a picture and little text"),
    ],
)
def test_pages_that_are_pictures_are_named_with_what_to_install(tmp_path, pages, note):
    (document,), notes = read(scanned(tmp_path / "a.pdf", pages))
    written = [f"Word{'s' * number}." for number, kind in enumerate(pages, 1) if kind in "tm"]
    assert texts(document) == written
    assert [text.split(";")[0] for text in notes] == [note]
    assert notes[0].endswith("install the extra `ocr` to read them: pip install 'memgpt_rag[ocr]'")


def test_blank_pages_are_passed_over_in_silence(tmp_path):
    assert texts(only(scanned(tmp_path / "a.pdf", "tb"))) == ["Words."]


def test_a_pdf_of_blank_pages_is_an_empty_document(tmp_path):
    (document,), notes = read(scanned(tmp_path / "a.pdf", "bb"))
    assert (texts(document), notes) == ([], ["its 2 pages are blank"])


@pytest.mark.parametrize("pages", ["pp", "bpp", "d"])
def test_a_pdf_of_pictures_alone_is_refused_with_what_to_install(tmp_path, pages):
    message = (
        rf"^a.pdf has no text on its {len(pages)} pages?, only pictures; install the extra `ocr` .*memgpt_rag\[ocr\]"
    )
    with pytest.raises(SourceError, match=message):
        read(scanned(tmp_path / "a.pdf", pages))


def test_pages_that_cannot_be_loaded_are_named(tmp_path):
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>"
    words = stream(b"BT /F 12 Tf 72 700 Td (Still here.) Tj ET")
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    catalog = b"<</Type/Catalog/Pages 2 0 R>>"
    path = tmp_path / "a.pdf"
    path.write_bytes(raw_pdf(catalog, b"<</Type/Pages/Kids[3 0 R 9 0 R 3 0 R]/Count 3>>", page, words, font))
    (document,), notes = read(path)
    assert [(block.text, block.first) for block in document.blocks][:1] == [("Still here.", 1)]
    assert notes == ["page 2 cannot be loaded"] or notes == ["pages 2–3 cannot be loaded"]
    path.write_bytes(raw_pdf(catalog, b"<</Type/Pages/Kids[9 0 R 8 0 R]/Count 2>>", page, words, font))
    with pytest.raises(SourceError, match=r"^a.pdf cannot be read as PDF: none of its 2 pages can be loaded; mend it"):
        read(path)


def test_text_in_a_font_that_hides_its_letters_is_named(tmp_path):
    cmap = b"begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfrange <20> <7E> <E020> endbfrange endcmap"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</Font<</F 6 0 R/G 8 0 R>>>>>>"
    path = tmp_path / "a.pdf"
    path.write_bytes(
        raw_pdf(
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>",
            page % 5,
            page % 9,
            stream(b"BT /F 12 Tf 72 700 Td (Boats are let by the hour.) Tj ET"),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 7 0 R>>",
            stream(cmap),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            stream(b"BT /G 12 Tf 72 700 Td (Dogs stay ashore.) Tj ET"),
        )
    )
    (document,), notes = read(path)
    assert [(block.text, block.first) for block in document.blocks] == [("Dogs stay ashore.", 2)]
    assert notes[0] == "page 1 is set in fonts that do not say which letters they show"
    assert notes[1].startswith("page 1 holds pictures and no text; install the extra `ocr`")


def test_a_reader_of_many_pages_shows_that_it_goes_on(tmp_path):
    path, steps = Pages(tmp_path / "a.pdf").page("One.").page("Two.").save(), []
    list(read_path(path, "a.pdf", ReadOptions(on_progress=lambda done: steps.append("page"))))
    assert steps == ["page", "page"]
