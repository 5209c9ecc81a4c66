"""PDF files: words, order, headings and notes about what is left out; each file is made in the test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from indexing.sources.document import Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.document_titles import own_title
from indexing.sources.readers.pages import pdf
from indexing.sources.readers.pages.lines import Line, Vocabulary, join_divided_words
from indexing.sources.readers.pages.running_lines import leave_out_contents, leave_out_running_lines
from memgpt_rag.errors import SourceError


@pytest.fixture(autouse=True)
def without_ocr(monkeypatch):
    """Without the extra `ocr`, whether it is installed here or not."""
    monkeypatch.setattr(pdf, "is_installed", lambda: False)


def read(path: Path) -> tuple[list[Document], list[str]]:
    """Documents, and the texts of notes."""
    items = list(read_path(path, path.name, ReadOptions()))
    assert all(item.source == path.name for item in items)
    return [i for i in items if isinstance(i, Document)], [i.text for i in items if isinstance(i, Note)]


def only(path: Path) -> Document:
    (document,), notes = read(path)
    assert notes == []
    return document


def texts(document: Document) -> list[str]:
    return [block.text for block in document.blocks]


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


# Words divided at the end of a line


def test_words_divided_at_a_line_end_are_joined(tmp_path):
    path = Pages(tmp_path / "ferry.pdf").page(
        "Rowing boats are hired out beside the light-",
        "house; the infor-",
        "mation desk, also for price-",
        "sensitive guests, is shut on holi-",
        "days. Thirty-",
        "two crowns buy a ticket for the An-",
        "glo-",
        "Norman ferry.",
    )
    assert texts(only(path.save())) == [
        "Rowing boats are hired out beside the lighthouse; the information\ndesk, also for price-sensitive\n"
        "guests, is shut on holidays.\nThirty-two\ncrowns buy a ticket for the Anglo-Norman ferry."
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # The document's own words decide.
        (["the set-up and the set-", "up"], ["the set-up and the set-up"]),
        (["a lighthouse, the light-", "house"], ["a lighthouse, the lighthouse"]),
        (["salt and water: salt-", "water fish"], ["salt and water: salt-water", "fish"]),
        (["how ever, what-", "ever"], ["how ever, whatever"]),
        # Words that are joined because of what they are.
        (["a self-", "made boat"], ["a self-made", "boat"]),
        (["from 2019-", "2020"], ["from 2019-", "2020"]),
        (["an A4-", "paper tray"], ["an A4-paper", "tray"]),
        (["short-", "and long-term"], ["short- and", "long-term"]),
        (["Jean\ufffePaul came"], ["Jean-Paul", "came"]),
        (["Ver\ufffekehr, Fahr\ufffeten."], ["Verkehr,", "Fahrten."]),
        (["ferry time\u00ad", "table"], ["ferry timetable"]),
        (["the time\u2010", "table (summer)"], ["the timetable", "(summer)"]),
        # No hyphen of a word.
        (["open 9 -", "noon"], ["open 9 -", "noon"]),
        (["closed -", "sorry"], ["closed -", "sorry"]),
        (["one-"], ["one-"]),
        (["票价\ufffe说明"], ["票价说明"]),
    ],
)
def test_a_hyphen_at_a_line_end_stays_where_it_belongs_to_the_word(lines, expected):
    ((*joined,),) = join_divided_words([[Line(line) for line in lines]])
    assert [line.text for line in joined] == expected


def test_a_word_divided_between_two_pages_is_whole_on_the_first(tmp_path):
    path = Pages(tmp_path / "a.pdf").page("The harbour is open for naviga-").page("tion all year.").save()
    blocks = only(path).blocks
    assert [(block.text, block.first) for block in blocks] == [
        ("The harbour is open for navigation", 1),
        ("all year.", 2),
    ]


def test_a_compound_seen_elsewhere_keeps_its_hyphen():
    known = Vocabulary(["a tide-table hangs", "the tides"])
    assert known.joined("tide", "table") == "tide-table"
    assert known.joined("ti", "des") == "tides"


def test_long_lines_are_joined_in_linear_time():
    lines = [[Line("a" * 300_000 + "-"), Line("b" * 300_000), Line("a\ufffe" * 20_000)]]
    begun = time.perf_counter()
    join_divided_words(lines)
    assert time.perf_counter() - begun < 5


# Titles


@pytest.mark.parametrize(
    "title",
    [
        "untitled", "Microsoft Word - Dokument1.docx", "Microsoft Word - timetable_final_v3.doc", "report.pdf", "Document1",
        "PowerPoint Presentation", "PowerPoint-Präsentation", "C:\\Users\\me\\plan", "/home/me/plan", "Scan0001", "scan_20240501",
        "Layout 1", "Folie 1", "文档1", "无标题", "12-04-2024", "___", "<untitled>", "Book1.xlsx", "", "IMG_2041",
    ],
)  # fmt: skip
def test_what_programs_write_is_no_title(title):
    assert own_title(title) == ""


@pytest.mark.parametrize(
    "title",
    [
        "Ferry timetable",
        "Report on the harbour",
        "Document management in 2024",
        "图书馆规则",
        "Presentation skills",
        "1984: a novel",
    ],
)
def test_titles_of_authors_are_kept(title):
    assert own_title(title) == title


def test_a_title_without_the_name_of_its_program():
    assert own_title("Microsoft Word - Rules of the harbour") == "Rules of the harbour"


def test_a_pdf_whose_title_is_a_file_name_has_none(tmp_path):
    assert (
        only(Pages(tmp_path / "a.pdf", "Microsoft Word - Dokument7.docx").page("The kiosk opens.").save()).title == ""
    )
    assert (
        only(Pages(tmp_path / "b.pdf", "Rules of the kiosk").page("The kiosk opens.").save()).title
        == "Rules of the kiosk"
    )


# Headers, footers, page numbers, tables of contents


BODY = ["Boats are let by the hour.", "Children wear a vest.", "Dogs stay ashore.", "The pier closes in storms."]


def test_headers_footers_and_page_numbers_are_left_out_and_counted(tmp_path):
    pages = Pages(tmp_path / "a.pdf")
    for number, line in enumerate(BODY, 1):
        pages.write(line)
        # The file holds the header last, and the footer first.
        pages.write(f"Page {number} of {len(BODY)}", y=40).write("Harbour handbook", y=800, size=9).page()
    (document,), notes = read(pages.save())
    assert [(block.text, block.first) for block in document.blocks] == [(line, at) for at, line in enumerate(BODY, 1)]
    assert notes == ["8 headers, footers and page numbers are left out: “Harbour handbook”, “Page 1 of 4”"]


def running(*pages: list[str], sizes: float = 10.0) -> list[list[str]]:
    """What is left of pages, given as lines from the top."""
    lines = [[Line(text, 700.0 - 20 * at, sizes) for at, text in enumerate(page)] for page in pages]
    leave_out_running_lines(lines)
    return [[line.text for line in page] for page in lines]


def test_headers_of_left_and_right_pages():
    assert running(
        ["Harbour handbook", "one", "10"], ["Rules for boats", "two", "11"], ["Harbour handbook", "three", "12"],
        ["Rules for boats", "four", "13"], ["Harbour handbook", "five", "14"], ["Rules for boats", "six", "15"],
    ) == [["one"], ["two"], ["three"], ["four"], ["five"], ["six"]]  # fmt: skip


def test_headers_that_name_the_chapter_and_the_page():
    heads = [
        "1",
        "2",
        "Chapter 1: Boats for hire 3",
        "Chapter 1: Boats for hire 4",
        "5",
        "6 Chapter 2: Dogs and bicycles",
        "Chapter 2: Dogs and bicycles 7",
    ]
    # The first page of a chapter has its number at the foot.
    pages = [
        [f"text {'x' * at}", head] if head in ("1", "5") else [head, f"text {'x' * at}"]
        for at, head in enumerate(heads)
    ]
    assert running(*pages) == [[f"text {'x' * at}"] for at in range(5)] + [[f"text {'x' * 5}"], [f"text {'x' * 6}"]]


def test_the_title_in_large_letters_is_kept_where_smaller_ones_repeat_it():
    lines = [
        [Line("Harbour handbook", 700, 10), Line("text" * at, 600, 10), Line("more" * at, 500, 10)]
        for at in range(1, 5)
    ]
    lines[0][0] = Line("Harbour handbook", 700, 24)
    leave_out_running_lines(lines)
    assert [len(page) for page in lines] == [3, 2, 2, 2]


def test_roman_page_numbers_and_numbers_that_begin_anew():
    assert running(["one", "iii"], ["two", "iv"], ["three", "v"]) == [["one"], ["two"], ["three"]]
    assert running(["Part A – 8", "a"], ["Part A – 9", "b"], ["Part A – 1", "c"], ["Part A – 2", "d"]) == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
    ]


@pytest.mark.parametrize(
    "pages",
    [
        [["Room 101 costs 5 crowns."], ["Room 102 costs 7 crowns."], ["Room 103 costs 9 crowns."]],
        [["Lesson 1", "a"], ["Lesson 2", "b"], ["Lesson 3", "c"]],
        [["Invoice number 1001", "a"], ["Invoice number 1002", "b"], ["Invoice number 1003", "c"]],
        [["Sum due 310", "a"], ["Sum due 95", "b"], ["Sum due 77", "c"]],
        [
            ["Boat 1", "for 4 people"],
            ["Boat 2", "for 5 people"],
            ["Boat 3", "for 6 people"],
            ["Boat 4", "for 9 people"],
        ],
        [["12 boats", "a"], ["40 crowns", "b"], ["3 dogs", "c"]],
        [["Header", "a"], ["Header", "b"]],
        [["Form", "Name", "Age", "Town", "Date", "Sign here", str(at) * at] for at in (3, 5, 9)],
        [["Same page"], ["Same page"], ["Same page"]],
        [["Header", "a"], ["b"], ["c"], ["d"], ["Header", "e"], ["Header", "f"], ["g"]],
    ],
)
def test_lines_that_say_something_on_each_page_are_kept(pages):
    assert running(*pages) == pages


def test_a_heading_in_larger_letters_on_most_pages_is_kept():
    lines = [[Line("Pump P10", 700, 20), Line("text" * at, 600, 10), Line("more" * at, 500, 10)] for at in range(1, 5)]
    assert leave_out_running_lines(lines) == []
    assert [page[0].text for page in lines] == ["Pump P10"] * 4


def contents(*pages: list[str]) -> tuple[dict[int, int], list[list[str]]]:
    lines = [[Line(text) for text in page] for page in pages]
    return leave_out_contents(lines), [[line.text for line in page] for page in lines]


def test_a_table_of_contents_is_left_out():
    entries = [
        "Contents",
        "1 Boats ........ 2",
        "1.1 Rowing boats",
        "and sailing boats . . . . . . 3",
        "2 Kiosk ____ 12",
    ]
    assert contents(["Handbook", *entries], ["Boats", "They float."]) == (
        {0: 5},
        [["Handbook"], ["Boats", "They float."]],
    )
    assert contents(["目 录", "第一章 码头……………1", "第二章 渡轮……………4", "第三章 票价……………9"], ["x"])[1] == [[], ["x"]]
    # No heading that says so, but its entries are headings of the document.
    assert contents(["Boats.....2", "Dogs.....3", "Kiosk.....iv"], ["1. Boats", "x", "Kiosk", "y"])[0] == {0: 3}
    # It goes on over the page.
    assert contents(["Contents", "A.....2", "B.....3", "C.....4"], ["D.....5", "E.....6", "F.....7", "Text"])[1] == [
        [],
        ["Text"],
    ]


@pytest.mark.parametrize(
    "menu",
    [
        ["Soup ........ 5", "Fish ........ 14", "Ice cream ..... 20"],
        ["Menu", "Soup ........ 5.50", "Fish ........ 14.00", "Cake .... 3.20"],
        ["Contents", "Sugar ..... 60", "Salt ..... 2", "Flour ..... 38"],
        ["Contents", "One ..... 1"],
    ],
)
def test_lists_with_leaders_that_are_no_tables_of_contents_are_kept(menu):
    assert contents(menu, ["The kitchen is open."]) == ({}, [menu, ["The kitchen is open."]])


def test_a_note_counts_the_lines_of_a_table_of_contents(tmp_path):
    pages = Pages(tmp_path / "a.pdf").page("Contents", "Boats ........ 2", "Dogs ........ 3", "Storms ........ 4")
    for line in BODY[:3]:
        pages.page(line)
    (document,), notes = read(pages.save())
    assert texts(document) == BODY[:3]
    assert notes == ["a table of contents on page 1 is left out (4 lines)"]


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


# Forms, comments, attached files


def test_values_of_form_fields_follow_their_page(tmp_path):
    pages = Pages(tmp_path / "a.pdf").write("Registration of a boat")
    form = pages.canvas.acroForm
    form.textfield(name="boat", tooltip="Name of the boat", value="Sea Swallow", x=72, y=600)
    form.textfield(name="owner", value="", x=72, y=560)
    form.checkbox(name="insured", checked=True, x=72, y=520)
    form.checkbox(name="engine", checked=False, x=72, y=500)
    form.choice(name="port", value="North", options=["North", "South"], x=72, y=460)
    form.radio(name="season", value="summer", selected=True, x=72, y=420)
    form.radio(name="season", value="winter", selected=False, x=102, y=420)
    pages.page().page("Second page")
    assert [(block.text, block.first) for block in only(pages.save()).blocks] == [
        ("Registration of a boat", 1),
        ("Name of the boat: Sea Swallow\ninsured: yes\nport: North\nseason: summer", 1),
        ("Second page", 2),
    ]


def annotated(*annotations: bytes) -> bytes:
    """A page with words and annotations, which are fields of a form, too."""
    numbers = b" ".join(b"%d 0 R" % (6 + at) for at in range(len(annotations)))
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[%b]>>>>" % numbers,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>/Annots[%b]>>"
        % numbers,
        stream(b"BT /F 12 Tf 72 700 Td (Plan of the pier) Tj ET"),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *annotations,
    )


def test_typed_texts_are_read_and_comments_are_counted(tmp_path):
    rect = b"/Type/Annot/Rect[10 10 90 90]"
    path = tmp_path / "a.pdf"
    path.write_bytes(
        annotated(
            b"<<%b/Subtype/FreeText/Contents(Built in 1931)>>" % rect,
            b"<<%b/Subtype/Text/Contents(Is this right?)>>" % rect,
            b"<<%b/Subtype/Highlight/Contents(Ask the harbour master)>>" % rect,
            b"<<%b/Subtype/Highlight>>" % rect,
            b"<<%b/Subtype/Link/Contents(a link)>>" % rect,
        )
    )
    (document,), notes = read(path)
    assert texts(document) == ["Plan of the pier", "Built in 1931"]
    assert notes == ["2 comments are left out"]


def test_names_in_any_script_and_no_passwords(tmp_path):
    def field(name: str, value: str, more: bytes = b"") -> bytes:
        texts = [b"<%b>" % ("\ufeff" + text).encode("utf-16-be").hex().encode() for text in (name, value)]
        return b"<</Type/Annot/Subtype/Widget/FT/Tx/Rect[10 10 90 90]/T%b/V%b%b>>" % (*texts, more)

    path = tmp_path / "a.pdf"
    path.write_bytes(
        annotated(field("码头", "三号码头"), field("code", "s3cret", b"/Ff 8192"), field("rows", "one\r\ntwo"))
    )
    (document,), notes = read(path)
    assert texts(document) == ["Plan of the pier", "码头: 三号码头\nrows: one\ntwo"]
    assert notes == ["1 password in its form is left out"]


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
