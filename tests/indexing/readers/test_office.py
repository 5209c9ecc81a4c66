"""Presentations, workbooks, OpenDocument and RTF: what people see in them, with its places, and what is said of the rest."""

from __future__ import annotations

import base64
import datetime
import io
import zipfile
import zlib
from pathlib import Path

import pytest

from indexing.passages.split_passages import PassageSplitter
from indexing.sources.document import Document
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.office.number_format import shown_date, shown_number
from memgpt_rag.errors import SourceError

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def read(path: Path) -> tuple[list[Document], list[str]]:
    """Return the documents of a file and the texts of its notes."""
    items = list(read_path(path, path.name, ReadOptions()))
    documents = [item for item in items if isinstance(item, Document)]
    return documents, [item.text for item in items if not isinstance(item, Document)]


def lines(document: Document) -> list[tuple[str, str, int]]:
    return [(block.header, block.text, block.first) for block in document.blocks]


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as found:
        read(path)
    assert path.name in str(found.value) and "\n" not in str(found.value)
    return str(found.value)


def slides(path: Path) -> Path:
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    show = Presentation()
    first = show.slides.add_slide(show.slide_layouts[0])
    first.shapes.title.text, first.placeholders[1].text = "Harbour fees", "Season 2024"
    second = show.slides.add_slide(show.slide_layouts[1])
    second.shapes.title.text, second.placeholders[1].text = "Prices", "Rowing boat 40\nMotor boat 90"
    second.notes_slide.notes_text_frame.text = "Children pay half."
    table = second.shapes.add_table(2, 3, 0, 0, 900, 900).table
    for column, text in enumerate(("Boat", "Day", "Week")):
        table.cell(0, column).text = text
    table.cell(1, 0).text, table.cell(1, 1).text = "Canoe", "30"
    table.cell(1, 1).merge(table.cell(1, 2))
    inner = second.shapes.add_group_shape().shapes.add_group_shape()
    inner.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "Two groups deep"
    second._element.set("show", "0")
    show.slides.add_slide(show.slide_layouts[6]).shapes.add_picture(io.BytesIO(PIXEL), 0, 0)
    fourth = show.slides.add_slide(show.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("Adults", (1200, 1500))
    data.add_series("Children", (None, 300))
    chart = fourth.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9, 9, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Visitors"
    show.save(str(path))
    return path


def test_slides_have_titles_tables_groups_charts_and_notes(tmp_path):
    (document,), notes = read(slides(tmp_path / "a.pptx"))
    assert (document.title, document.unit) == ("Harbour fees", "slide")
    assert [(block.headings, block.header, block.text, block.first) for block in document.blocks] == [
        (("Harbour fees",), "", "Season 2024", 1),
        (("Prices",), "", "Rowing boat 40\nMotor boat 90", 2),
        (("Prices",), "Boat | Day | Week", "Canoe | 30", 2),
        (("Prices",), "", "Two groups deep", 2),
        (("Prices",), "", "Speaker notes: Children pay half.", 2),
        ((), "Visitors | Adults | Children", "May | 1200", 4),
        ((), "Visitors | Adults | Children", "June | 1500 | 300", 4),
    ]
    assert notes == ["slide 3 holds a picture and no text", "slide 2 is hidden in the show, and kept"]


def test_a_presentation_that_is_damaged_or_empty(tmp_path):
    from pptx import Presentation

    Presentation().save(str(tmp_path / "empty.pptx"))
    assert read(tmp_path / "empty.pptx")[1] == ["holds no text"]
    with zipfile.ZipFile(slides(tmp_path / "a.pptx")) as archive, zipfile.ZipFile(tmp_path / "b.pptx", "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            copy.writestr(name, content[:400] if name == "ppt/slides/slide2.xml" else content)
    assert "b.pptx cannot be read as PowerPoint: its part ppt/slides/slide2.xml is broken XML" in refusal(
        tmp_path / "b.pptx"
    )


def workbook(path: Path, fill) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    fill(book, book.active)
    book.save(path)
    return path


def test_a_workbook_has_a_document_for_each_visible_sheet(tmp_path):
    def fill(book, sheet):
        sheet.title = "Prices"
        rows = [["Boat hire 2024"], ["Boat", "Since", "Price", "Share", "Open"], ["Canoe", datetime.date(2024, 5, 1), 1234.5, 0.125, True],
                ["Raft", datetime.datetime(2024, 5, 2, 14, 30), 7, 1, False], [], ["Rule", "Text"], ["R1", "No fires."]]  # fmt: skip
        for row in rows:
            sheet.append(row)
        sheet.merge_cells("A1:E1")
        for row in (3, 4):
            sheet.cell(row, 3).number_format, sheet.cell(row, 4).number_format = '#,##0.00 "€"', "0.0%"
        book.create_sheet("Lookup").append(["hidden"])
        book["Lookup"].sheet_state = "hidden"
        years = book.create_sheet("Sheet9")
        for row in ([None, 2023, 2024], ["Visitors", 5, "=B2+1"]):
            years.append(row)

    documents, notes = read(workbook(tmp_path / "hire.xlsx", fill))
    assert [(one.record, one.title, one.unit) for one in documents] == [
        ("Prices!A:E", "hire › Prices", "row"),
        ("Sheet9!A:C", "hire", "row"),
    ]
    header = "Boat hire 2024\nBoat | Since | Price | Share | Open"
    assert lines(documents[0]) == [
        (header, "Canoe | 2024-05-01 | 1,234.50 € | 12.5% | TRUE", 3),
        (header, "Raft | 2024-05-02 14:30 | 7.00 € | 100.0% | FALSE", 4),
        ("Rule | Text", "R1 | No fires.", 7),
    ]
    assert lines(documents[1]) == [(" | 2023 | 2024", "Visitors | 5", 2)]
    assert notes == ["left out: hidden sheet Lookup", "left out: 1 formula without a stored value"]
    (passage,) = PassageSplitter(len, 1000).split(Document(**vars(documents[1])))
    assert passage.place == "hire.xlsx, Sheet9!A:C, row 2"


@pytest.mark.parametrize(
    ("rows", "headers"),
    [
        ([["a", "b"], ["c", "d"]], ["a | b"]),
        ([[1, 2], [3, 4]], ["", ""]),
        ([["only"], ["one"], ["column"]], ["", "", ""]),
        ([["x", 1], ["y", 2]], ["", ""]),
        ([["", "Spring"], ["Boat", "Day", "Week"], ["Canoe", 3, 4]], [" | Spring\nBoat | Day | Week"]),
        ([["Note"], ["Boat", "Day"], ["Canoe", 3]], ["Note\nBoat | Day"]),
    ],
)  # fmt: skip
def test_the_header_is_the_first_row_of_texts(tmp_path, rows, headers):
    def fill(book, sheet):
        for row in rows:
            sheet.append([value or None for value in row])

    ((document,), _) = read(workbook(tmp_path / "a.xlsx", fill))
    assert [block.header for block in document.blocks] == headers


def test_cells_at_the_ends_of_a_sheet_cost_nothing(tmp_path):
    def fill(book, sheet):
        sheet["A1"], sheet["XFD1048576"], sheet["B900000"] = "first", "last", "between"

    ((document,), _) = read(workbook(tmp_path / "a.xlsx", fill))
    assert document.record == "Sheet!A:XFD"
    assert [(block.text, block.first) for block in document.blocks] == [
        ("first", 1),
        ("between", 900_000),
        ("last", 1_048_576),
    ]


def test_a_workbook_beyond_the_bounds_is_refused(tmp_path, monkeypatch):
    from indexing.sources.readers.office import sheet_tables

    def fill(book, sheet):
        for _ in range(20):
            sheet.append(["word"] * 10)

    path = workbook(tmp_path / "a.xlsx", fill)
    monkeypatch.setattr(sheet_tables.Budget, "__init__", lambda self, name: vars(self).update(name=name, cells=150, characters=10**6))  # fmt: skip
    assert "a.xlsx holds more than 2,000,000 cells; save its tables as CSV" in refusal(path)
    monkeypatch.setattr(sheet_tables.Budget, "__init__", lambda self, name: vars(self).update(name=name, cells=999, characters=99))  # fmt: skip
    assert "holds more than 100,000,000 characters" in refusal(path)


@pytest.mark.parametrize(
    ("value", "format", "expected"),
    [(0.1 + 0.2, "General", "0.3"), (12.0, "", "12"), (1e15, "", "1e+15"), (-5, "0.00", "-5.00"), (-5, "0;(0)", "(5)"), (0.5, "0%", "50%"),
     (1234567, "#,##0", "1,234,567"), (2.675, "0.00", "2.68"), (1.5, '[$€-407] #,##0.00', "€ 1.50"), (3, '0 "boats"', "3 boats"),
     (2500, '0.0,"k"', "2.5k"), (7, "000", "007"), (0.5, "# ?/?", "0.5"), (1.25, "0.##", "1.25"), (1.0, "0.##", "1"),
     (12345, "0.00E+00", "1.23E+04"), (5, r"\$0", "$5"), (4, "[Red]0.0", "4.0"), (8, "nonsense", "8")],
)  # fmt: skip
def test_numbers_are_shown_in_their_format(value, format, expected):
    assert shown_number(value, format) == expected


def test_dates_are_shown_without_midnight():
    assert shown_date(datetime.datetime(2024, 1, 2)) == "2024-01-02"
    assert shown_date(datetime.time(9, 5, 7)) == "09:05:07"
    assert shown_date(datetime.timedelta(hours=27, minutes=3)) == "27:03:00"


# Written by xlwt: a sheet "Prices" from B3 on with a date and numbers, and a hidden sheet "Old".
XLS = (
    "c-"
    "rk)O=uHA6#iy+(<HUcUsItKN+`72zk_)3(ymstCu`J$B7#kmJ%qN2#2%~{t2HMP1VK=|6zaiC)r&u<pa;Q&5YdAm2#Fp&2?`$CtZ&}#)}&Twz!"
    "p;WTjtH1H}huR&U^E-"
    "`>qf!&OdA~VHJj;qHOxnP$3hP{7xYRsy9u^I=PRM>7uUS_mLwTJb2dp)+>D|{au2B2ihy5z!yrVaTcT5j1k*J46_XhA#E5G8pWQ1JCp)wW4j_u"
    "lT2Hf-siT@neJoBHKv2qwkS@appW+Mwd44t(#drJq5_Xu=MzhIqZMyt9ACUHthOHP&!rQSbym@#HDLkd(h(zL<YYOByJ!Sv2m@171F2LIQF8YJ"
    "ews1hhqJC<#$5U4$^}UNt6J{;hulX_TrIz$XuvGYF(HFFPeI+KSxY&dODBzUd2B<$BV$9wk;&8&`Y1@iiP{Zk6Vt>VPiK+_<*Y*afkY;2P)MC`"
    "l$$<p5}~S1qM4UY6VVic%!hdag~-"
    "OGd*9z59*^s1STf58gLQm#Nn2s!lGGsO0JqS%R?=QB_c6W9z3yPXooSSero21eYBPuCxXl%=?WS?|Fh1xzEBIZ+=f53&(vknF_Yl80Qo0ab{HV"
    "{Pla8|#>C0yh{i0voz9sQgcXDBGG@qHa{k7@%l#u-frhP^Ru}sU%nhy!9q)<t$lvI1Jq_(<-"
    "w#wSF<^_$fQrie_zLtGlZ2^^sln5Tl4rrtMgN^o-Q)AJ3^ps_L^;}DYIrex~vDU1*aN)v*3l}b2Y$3?2oV*^X_BGsNUmCskf1PDYW%oD9mc=n-"
    ">6xZa%7e&Ip2JK{@v|Ks;q)cespI@FlsG}7=P-eBwqv5^_@zs~sC=JwD~A5x5~_9laxHdl@c6$0W5)r|"
)


def test_an_old_workbook_is_read(tmp_path):
    (tmp_path / "a.xls").write_bytes(zlib.decompress(base64.b85decode(XLS)))
    documents, notes = read(tmp_path / "a.xls")
    assert [(one.record, lines(one)) for one in documents] == [
        ("Prices!B:D", [("Boat | Since | Price", "Canoe | 2024-05-01 | 12.5", 4)])
    ]
    assert notes == ["left out: hidden sheet Old"]
    (tmp_path / "b.xls").write_bytes(b"no workbook")
    assert "b.xls cannot be read as Excel" in refusal(tmp_path / "b.xls")


NAMES = "office style text table draw presentation"
URIS = {
    name: f"urn:oasis:names:tc:opendocument:xmlns:{'drawing' if name == 'draw' else name}:1.0" for name in NAMES.split()
}
DECLARED = " ".join(f'xmlns:{name}="{uri}"' for name, uri in URIS.items())


def opendocument(path: Path, body: str, automatic: str = "", styles: str = "") -> Path:
    kind = {".odt": "text", ".ods": "spreadsheet", ".odp": "presentation"}[path.suffix]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "content.xml",
            f"<office:document-content {DECLARED}><office:automatic-styles>{automatic}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
        )
        if styles:
            archive.writestr("styles.xml", f"<office:document-styles {DECLARED}>{styles}</office:document-styles>")
    return path


LISTS = (
    '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>'
    '<text:list-level-style-number text:level="2" style:num-format="a" style:num-suffix=")"/></text:list-style>'
    '<text:list-style style:name="L2"><text:list-level-style-bullet text:level="1"/></text:list-style>'
)


def test_an_opendocument_text_in_its_final_view(tmp_path):
    body = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>deleted</text:p></text:deletion></text:changed-region></text:tracked-changes>"
        '<text:p text:style-name="Title">Boats</text:p><text:h text:outline-level="1">Fees</text:h>'
        '<text:p>A <text:span>berth</text:span> costs<text:s text:c="900000000"/>17<text:note><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>Free in winter.</text:p></text:note-body></text:note> crowns.<office:annotation><text:p>Why?</text:p></office:annotation></text:p>"
        '<text:list text:style-name="L1"><text:list-item><text:p>Open.</text:p><text:list><text:list-item><text:p>slowly</text:p></text:list-item></text:list></text:list-item>'
        "<text:list-header><text:p>bare</text:p></text:list-header><text:list-item><text:p>Press.</text:p><text:p>Hold.</text:p></text:list-item></text:list>"
        '<text:list text:style-name="L1" text:continue-numbering="true"><text:list-item><text:p>Go on.</text:p></text:list-item></text:list>'
        '<text:list text:style-name="L1"><text:list-item><text:p>Anew.</text:p></text:list-item></text:list>'
        '<text:list text:style-name="L2"><text:list-item><text:p>point</text:p></text:list-item></text:list>'
        "<table:table><table:table-column table:number-columns-repeated='3'/><table:table-header-rows><table:table-row><table:table-cell table:number-columns-spanned='2'>"
        "<text:p>Boat</text:p></table:table-cell><table:covered-table-cell/><table:table-cell><text:p>Day</text:p></table:table-cell></table:table-row></table:table-header-rows>"
        "<table:table-row><table:table-cell><text:p>Canoe</text:p></table:table-cell><table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell><text:p>30</text:p></table:table-cell></table:table-row></table:table>"
        "<text:p>Beside<draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame> it.</text:p>"
    )
    (document,), notes = read(opendocument(tmp_path / "a.odt", body, LISTS))
    assert (document.title, document.unit) == ("Boats", "paragraph")
    assert {block.headings for block in document.blocks} == {("Fees",)}
    assert [(block.header, " ".join(block.text.split()), block.first) for block in document.blocks] == [
        ("", "A berth costs 17 crowns.", 3), ("", "Free in winter.", 3), ("", "1. Open.", 4), ("", "a) slowly", 5), ("", "bare", 6),
        ("", "2. Press.", 7), ("", "Hold.", 8), ("", "3. Go on.", 9), ("", "1. Anew.", 10), ("", "• point", 11),
        ("Boat |  | Day", "Canoe | x | 30", 12), ("", "Beside it.", 13), ("", "In a box.", 13),
    ]  # fmt: skip
    assert notes == ["left out: 1 comment, 1 tracked deletion"]


def test_a_document_of_openoffice_2_whose_manifest_names_a_document_type(tmp_path):
    path = opendocument(tmp_path / "a.odt", "<text:p>Boats</text:p>")
    with zipfile.ZipFile(path, "a") as archive:
        named = '<!DOCTYPE m:manifest PUBLIC "-//OpenOffice.org//DTD Manifest 1.0//EN" "Manifest.dtd">'
        archive.writestr("META-INF/manifest.xml", f'{named}<m:manifest xmlns:m="http://openoffice.org/2001/manifest"/>')
    (document,), _ = read(path)
    assert [block.text for block in document.blocks] == ["Boats"]


def test_an_opendocument_presentation(tmp_path):
    def frame(text: str, kind: str = "") -> str:
        kind = f' presentation:class="{kind}"' if kind else ""
        return f"<draw:frame{kind}><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>"

    body = (
        f"<draw:page>{frame('40 crowns')}{frame('Fees', 'title')}<presentation:notes>{frame('Half for children.', 'notes')}</presentation:notes></draw:page>"
        '<draw:page draw:style-name="dp1"><draw:frame><draw:image/></draw:frame></draw:page>'
    )
    hidden = (
        '<style:style style:name="dp1"><style:drawing-page-properties presentation:visibility="hidden"/></style:style>'
    )
    (document,), notes = read(opendocument(tmp_path / "a.odp", body, hidden))
    assert [(block.headings, block.text, block.first) for block in document.blocks] == [
        (("Fees",), "40 crowns", 1),
        (("Fees",), "Speaker notes: Half for children.", 1),
    ]
    assert notes == ["slide 2 holds a picture and no text", "slide 2 is hidden in the show, and kept"]


def test_an_opendocument_spreadsheet_shows_what_people_see_and_bounds_repetitions(tmp_path):
    def sheet_cell(text: str, kind: str = "string", times: int = 1) -> str:
        return f'<table:table-cell office:value-type="{kind}" table:number-columns-repeated="{times}"><text:p>{text}</text:p></table:table-cell>'

    empty = '<table:table-cell table:number-columns-repeated="16000"/>'
    rows = (
        f"<table:table-header-rows><table:table-row>{sheet_cell('Boat')}{sheet_cell('Share')}{empty}</table:table-row></table:table-header-rows>"
        f"<table:table-row>{sheet_cell('Canoe')}{sheet_cell('12.5 %', 'percentage')}</table:table-row>"
        f'<table:table-row table:number-rows-repeated="1000000"><table:table-cell/></table:table-row>'
        f"<table:table-row>{sheet_cell('x', 'float', 2**40)}</table:table-row>"
    )
    hidden = '<style:style style:name="ta2"><style:table-properties table:display="false"/></style:style>'
    body = f'<table:table table:name="Prices">{rows}</table:table><table:table table:name="Old" table:style-name="ta2">{rows}</table:table>'
    (document,), notes = read(opendocument(tmp_path / "a.ods", body, hidden))
    assert document.record == "Prices!A:CV"
    assert lines(document)[0] == ("Boat | Share", "Canoe | 12.5 %", 2)
    assert lines(document)[1] == ("", " | ".join(["x"] * 100), 1_000_003)
    assert notes == ["left out: hidden sheet Old", "left out: 1,999,999,800 repetitions of cells"]


def test_an_encrypted_opendocument_is_refused(tmp_path):
    path = opendocument(tmp_path / "a.odt", "<text:p>x</text:p>")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("META-INF/manifest.xml", '<m:manifest xmlns:m="urn:m"><m:encryption-data/></m:manifest>')
    assert "it is encrypted with a password; save it without one" in refusal(path)
    assert "holds no document of OpenDocument" in refusal(
        opendocument(tmp_path / "b.odt", "").rename(tmp_path / "b.odp")
    )


HEAD = (
    rb"{\rtf1\ansi\ansicpg936\deff0{\fonttbl{\f0\fcharset0 Times;}{\f1\fcharset134 SimSun;}{\f2\fcharset238 Arial CE;}}"
    rb"{\colortbl;\red0;}{\stylesheet{\s1\outlinelevel0 Kapitel;}{\s2 heading 2;}{\s5 Title;}}"
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (rb"Leaves at 7:40 \u20844?.", "Leaves at 7:40 公."),
        (rb"{\f1 \'c4\'e3\'ba\'c3} \'c4\'e3", "你好 你"),
        (rb"\uc0\u-10179 \u-8704 x", "😀x"),
        (rb"\u-10179 ?x", "�x"),
        (rb"\uc2\u20320\'c4\'e3\u22909\'ba\'c3!", "你好!"),
        (rb"{\f2 \'9a}\emdash b\~c\{\}", "š—b\u00a0c{}"),
        (rb"{\deleted 15}17{\v hidden} crowns", "17 crowns"),
        (rb'{\field{\*\fldinst HYPERLINK "http://x.org"}{\fldrslt the site}}', "the site"),
        (rb"{\*\unknown gone}{\upr{old}{\*\ud{new}}} text", "new text"),
        (rb"{\pict\pngblip 89504e47}{\pict\bin5 }}{{}}picture", "picture"),
        (rb"{\listtext\pard\plain 3.\tab}Press.", "3.\tPress."),
    ],
)  # fmt: skip
def test_an_rtf_paragraph(tmp_path, content, expected):
    (tmp_path / "a.rtf").write_bytes(HEAD + rb"\pard\f0 " + content + rb"\par}")
    ((document,), _) = read(tmp_path / "a.rtf")
    assert [block.text for block in document.blocks] == [expected]


def test_an_rtf_file_has_headings_tables_notes_and_boxes(tmp_path):
    content = (
        HEAD
        + rb"{\info{\title Microsoft Word - Document1}}{\header Secret\par}\pard\s5 Boats\par\pard\s1 Fees\par\pard\s2 Berths\par\pard "
        rb"It costs 17.{\footnote\pard\plain Free in winter.}\par{\shp{\*\shpinst{\sp{\sn x}{\sv 1}}{\shptxt\pard Boxed.\par}}{\shprslt twice}}Anchor\par "
        rb"\trowd\cellx1\cellx2\pard\intbl Boat\cell Day\cell\row\trowd\pard\intbl Canoe\par of wood\cell 30\cell\row\pard End.\par}"
    )
    (tmp_path / "a.rtf").write_bytes(content)
    (document,), notes = read(tmp_path / "a.rtf")
    assert document.title == "Boats"
    assert {block.headings for block in document.blocks} == {("Fees", "Berths")}
    assert lines(document) == [
        ("", "It costs 17.", 4), ("", "Free in winter.", 4), ("", "Anchor", 5), ("", "Boxed.", 5),
        ("Boat | Day", "Canoe; of wood | 30", 6), ("", "End.", 7),
    ]  # fmt: skip
    assert notes == ["left out: headers and footers"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"plain words", "does not begin with {\\rtf"), (b"{\\rtf1 " + b"{" * 20_000, "nested more than 10,000 deep")],
)
def test_an_rtf_file_that_cannot_be_read(tmp_path, content, expected):
    (tmp_path / "a.rtf").write_bytes(content)
    assert expected in refusal(tmp_path / "a.rtf")


def test_an_rtf_file_without_an_end_keeps_what_is_there(tmp_path):
    (tmp_path / "a.rtf").write_bytes(rb"{\rtf1 Half of{\b  it")
    ((document,), _) = read(tmp_path / "a.rtf")
    assert [block.text for block in document.blocks] == ["Half of it"]
