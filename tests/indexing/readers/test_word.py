"""Word documents: the final view with nothing lost, its places, and what is said of files that cannot be read."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest

from indexing.sources.document import Document
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.list_numbers import list_number
from memgpt_rag.errors import SourceError

NAMESPACES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "v": "urn:schemas-microsoft-com:vml",
    "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
}
DECLARED = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())


def run(text: str, properties: str = "") -> str:
    return f'<w:r>{properties}<w:t xml:space="preserve">{text}</w:t></w:r>'


def para(content: str, properties: str = "") -> str:
    content = content if content.startswith("<") or not content else run(content)
    return f"<w:p>{f'<w:pPr>{properties}</w:pPr>' if properties else ''}{content}</w:p>"


def style(name: str) -> str:
    return f'<w:pStyle w:val="{name}"/>'


def cell(content: str, properties: str = "") -> str:
    content = content if content.startswith("<") else para(content)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def table(*rows: list[str], columns: int = 2) -> str:
    grid = "<w:gridCol/>" * columns
    lines = "".join(f"<w:tr>{''.join(one if one.startswith('<') else cell(one) for one in row)}</w:tr>" for row in rows)
    return f"<w:tbl><w:tblGrid>{grid}</w:tblGrid>{lines}</w:tbl>"


def word(path: Path, body: str, **parts: str) -> Path:
    """Write a document of a body and further parts, each the content of its root."""
    roots = {"styles": "styles", "numbering": "numbering", "footnotes": "footnotes", "endnotes": "endnotes", "comments": "comments"}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {DECLARED}><w:body>{body}</w:body></w:document>")
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", f"<w:{roots[name]} {DECLARED}>{content}</w:{roots[name]}>")
    return path


def read(path: Path) -> tuple[Document, list[str]]:
    """Return the document of a file and the texts of its notes."""
    items = list(read_path(path, path.name, ReadOptions()))
    (document,) = (item for item in items if isinstance(item, Document))
    return document, [item.text for item in items if not isinstance(item, Document)]


def texts(path: Path) -> list[str]:
    return [block.text for block in read(path)[0].blocks]


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as found:
        read(path)
    return str(found.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (run("It costs ") + f"<w:del>{'<w:r><w:delText>12</w:delText></w:r>'}</w:del><w:ins>{run('15 francs')}</w:ins>", "It costs 15 francs"),
        (f"<w:moveFrom>{run('gone ')}</w:moveFrom>{run('kept ')}<w:moveTo>{run('moved')}</w:moveTo>", "kept moved"),
        (f"<w:ins><w:del>{run('typed and deleted')}</w:del></w:ins>{run('left')}", "left"),
        (f"{run('Boat: ')}<w:sdt><w:sdtPr/><w:sdtContent>{run('Petrel')}</w:sdtContent></w:sdt>", "Boat: Petrel"),
        (f"<w:sdt><w:sdtContent><w:sdt><w:sdtContent>{run('two deep')}</w:sdtContent></w:sdt></w:sdtContent></w:sdt>", "two deep"),
        (f"{run('in ')}<w:smartTag><w:smartTag>{run('Oslo')}</w:smartTag></w:smartTag>", "in Oslo"),
        (f"{run('on ')}<w:fldSimple w:instr='DATE'>{run('3 June')}</w:fldSimple>{run('.')}", "on 3 June."),
        (
            '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> IF </w:instrText></w:r>' + run("hidden instruction")
            + '<w:r><w:fldChar w:fldCharType="separate"/></w:r>' + run("page 7") + '<w:r><w:fldChar w:fldCharType="end"/></w:r>' + run(" on"),
            "page 7 on",
        ),
        ('<w:r><w:fldChar w:fldCharType="begin"/></w:r>', None),
        (f"<w:hyperlink>{run('the office')}</w:hyperlink>", "the office"),
        (run("seen") + run("unseen", "<w:rPr><w:vanish/></w:rPr>") + run(" on", '<w:rPr><w:vanish w:val="0"/></w:rPr>'), "seen on"),
        ("<w:r><w:t>well</w:t><w:noBreakHyphen/><w:t>known</w:t><w:tab/><w:t>x</w:t><w:softHyphen/></w:r>", "well‑known\tx"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>' + run(" paid"), "☑ paid"),
        ("<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath>", "a/b"),
        (f"<w:bdo>{run('direction')}</w:bdo>", "direction"),
        (f"<w:ruby><w:rt>{run('とうきょう')}</w:rt><w:rubyBase>{run('東京')}</w:rubyBase></w:ruby>{run('都')}", "東京都"),
    ],
)  # fmt: skip
def test_a_paragraph_has_the_words_of_the_final_view(tmp_path, content, expected):
    assert texts(word(tmp_path / "a.docx", para(content))) == ([expected] if expected else [])


def test_a_paragraph_whose_end_was_deleted_goes_on_in_the_next_one(tmp_path):
    gone = "<w:rPr><w:del/></w:rPr>"
    body = para("First half, ", gone) + para("second half.") + para("Last words.", gone)
    assert texts(word(tmp_path / "a.docx", body)) == ["First half, second half.", "Last words."]


def test_an_instruction_without_an_end_hides_no_later_paragraph(tmp_path):
    body = para('<w:r><w:fldChar w:fldCharType="begin"/></w:r>' + run("PAGE")) + para("The ferry leaves at 8.")
    assert texts(word(tmp_path / "a.docx", body)) == ["The ferry leaves at 8."]


def test_content_controls_around_blocks_are_looked_through(tmp_path):
    inner = para("Insured until May.") + table(["Berth", "Fee"], ["12", "40"])
    document, _ = read(word(tmp_path / "a.docx", f"<w:sdt><w:sdtContent>{inner}</w:sdtContent></w:sdt>{para('End.')}"))
    assert [(block.text, block.header, block.first) for block in document.blocks] == [
        ("Insured until May.", "", 1),
        ("12 | 40", "Berth | Fee", 2),
        ("End.", "", 3),
    ]


def test_a_text_box_is_read_once_behind_its_paragraph(tmp_path):
    box = f"<w:txbxContent>{para('In a box.')}</w:txbxContent>"
    drawing = (
        f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:txbx>{box}</wps:txbx></w:drawing></mc:Choice>'
        f"<mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    document, _ = read(word(tmp_path / "a.docx", para(drawing + run("Beside it.")) + para("Next.")))
    assert [(block.text, block.first) for block in document.blocks] == [
        ("Beside it.", 1),
        ("In a box.", 1),
        ("Next.", 2),
    ]
    only_old = f"<w:r><w:pict><v:textbox>{box}</v:textbox></w:pict></w:r>"
    assert texts(word(tmp_path / "b.docx", para(only_old))) == ["In a box."]


def test_notes_follow_their_paragraph(tmp_path):
    notes = (
        f'<w:footnote w:id="-1" w:type="separator">{para("line")}</w:footnote>'
        f'<w:footnote w:id="2">{para("Children pay half.")}</w:footnote><w:footnote w:id="3">{para("In a cell.")}</w:footnote>'
    )
    body = (
        para(run("A berth costs 17") + '<w:r><w:footnoteReference w:id="2"/></w:r>' + run(" crowns."))
        + para('<w:r><w:t>See</w:t><w:endnoteReference w:id="2"/></w:r>')
        + table(["Fee", "When"], [cell(para('<w:r><w:t>9</w:t><w:footnoteReference w:id="3"/></w:r>')), "May"])
    )
    path = word(
        tmp_path / "a.docx", body, footnotes=notes, endnotes=f'<w:endnote w:id="2">{para("Rule 4.")}</w:endnote>'
    )
    assert texts(path) == ["A berth costs 17 crowns.", "Children pay half.", "See", "Rule 4.", "9; In a cell. | May"]


def test_a_note_that_refers_to_itself_ends(tmp_path):
    note = f'<w:footnote w:id="2">{para(run("Again") + "<w:r><w:footnoteReference w:id=" + chr(34) + "2" + chr(34) + "/></w:r>")}</w:footnote>'
    body = para('<w:r><w:t>See</w:t><w:footnoteReference w:id="2"/></w:r>')
    assert texts(word(tmp_path / "a.docx", body, footnotes=note)) == ["See", "Again"]


def test_merged_cells_are_read_once_and_tables_in_cells_too(tmp_path):
    restart, going_on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    body = table(
        [cell("Fees of 2024", '<w:gridSpan w:val="3"/>')],
        ["Boat", "Day", "Week"],
        [cell("Canoe", restart), cell("30", '<w:gridSpan w:val="2"/>')],
        [cell("", going_on), "40", cell(para("See") + table(["am", "50"], ["pm", "60"]) + para(""))],
        columns=3,
    )
    document, _ = read(word(tmp_path / "a.docx", body))
    assert {block.header for block in document.blocks} == {"Fees of 2024\nBoat | Day | Week"}
    assert [block.text for block in document.blocks] == ["Canoe | 30", " | 40 | See; am, 50; pm, 60"]


def test_a_span_of_a_hundred_million_columns_costs_nothing(tmp_path):
    rows = [[cell("wide", '<w:gridSpan w:val="100000000"/>'), "x"]] * 50
    assert texts(word(tmp_path / "a.docx", table(*rows)))[0] == "wide |  | x"


def test_a_first_row_that_continues_a_merge_keeps_its_text(tmp_path):
    body = table([cell("Torn", "<w:vMerge/>"), "off"], ["a", "b"])
    assert read(word(tmp_path / "a.docx", body))[0].blocks[0].header == "Torn | off"


def test_rows_that_are_marked_as_headers_and_rows_that_are_deleted(tmp_path):
    body = table(["Boat", "2024"], ["", "Day"], ["Canoe", "30"], ["Raft", "9"])
    marked = body.replace("<w:tr>", "<w:tr><w:trPr><w:tblHeader/></w:trPr>", 2)
    marked = marked[: marked.rindex("<w:tr>")] + marked[marked.rindex("<w:tr>") :].replace(
        "<w:tr>", "<w:tr><w:trPr><w:del/></w:trPr>"
    )
    (block,) = read(word(tmp_path / "a.docx", marked))[0].blocks
    assert (block.header, block.text, block.kind) == ("Boat | 2024\n | Day", "Canoe | 30", "row")


def test_the_description_of_a_table_stands_above_it(tmp_path):
    described = '<w:tblPr><w:tblCaption w:val="Prices"/><w:tblDescription w:val="What a boat costs"/></w:tblPr>'
    prices = table(["boat", "price"], ["kayak", "8 EUR"]).replace("<w:tbl>", f"<w:tbl>{described}", 1)
    assert texts(word(tmp_path / "a.docx", prices)) == ["Prices", "What a boat costs", "kayak | 8 EUR"]


def test_a_table_of_one_column_is_a_frame_around_paragraphs(tmp_path):
    inner = para("Rules", style("H1")) + para("No fishing.") + para("No fires.")
    path = word(tmp_path / "a.docx", table([cell(inner)], columns=1), styles=STYLES)
    assert [(block.headings, block.text) for block in read(path)[0].blocks] == [
        (("Rules",), "No fishing."),
        (("Rules",), "No fires."),
    ]


def make_style(id: str, name: str, content: str = "", based_on: str = "") -> str:
    base = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    return f'<w:style w:type="paragraph" w:styleId="{id}"><w:name w:val="{name}"/>{base}{content}</w:style>'


STYLES = (
    make_style("H1", "heading 1")
    + make_style("H2", "heading 2")
    + make_style("berschrift3", "Überschrift 3")
    + make_style("Own", "Chapter of ours", based_on="H1")
    + make_style("Level", "Deep", '<w:pPr><w:outlineLvl w:val="1"/></w:pPr>')
    + make_style("Body", "Not a heading", '<w:pPr><w:outlineLvl w:val="9"/></w:pPr>', "H1")
    + make_style("T", "Title")
    + make_style("Loop", "loop", based_on="Loop2")
    + make_style("Loop2", "loop 2", based_on="Loop")
    + make_style("Toc", "toc 1")
)


@pytest.mark.parametrize(
    ("properties", "is_heading"),
    [(style("H1"), True), (style("Own"), True), (style("berschrift3"), True), (style("Level"), True), ('<w:outlineLvl w:val="0"/>', True),
     (style("Body"), False), (style("Loop"), False), (style("H1") + '<w:outlineLvl w:val="9"/>', False), (style("missing"), False)],
)  # fmt: skip
def test_headings_are_known_by_the_styles_that_theirs_is_based_on(tmp_path, properties, is_heading):
    path = word(tmp_path / "a.docx", para("Head", properties) + para("Text."), styles=STYLES)
    assert read(path)[0].blocks[-1].headings == (("Head",) if is_heading else ())


def test_levels_of_headings_nest(tmp_path):
    heads = [("A", "H1"), ("B", "berschrift3"), ("C", "H2"), ("D", "Own")]
    body = "".join(para(name, style(item)) + para(f"in {name}") for name, item in heads)
    document, _ = read(word(tmp_path / "a.docx", body, styles=STYLES))
    assert [block.headings for block in document.blocks] == [("A",), ("A", "B"), ("A", "C"), ("D",)]


@pytest.mark.parametrize(
    ("title", "expected"),
    [("Harbour rules", "Harbour rules"), ("Microsoft Word - Dokument1.docx", ""), ("Document 1", ""), ("report_final.doc", ""),
     ("Dokumentation der Fähre", "Dokumentation der Fähre"), ("Vorlage", "")],
)  # fmt: skip
def test_titles_that_programs_put_in_are_none(tmp_path, title, expected):
    path = word(tmp_path / "a.docx", para("Text."))
    with zipfile.ZipFile(path, "a") as archive:
        core = '<c:p xmlns:c="urn:c" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>%s</dc:title></c:p>'
        archive.writestr("docProps/core.xml", core % title)
    assert read(path)[0].title == expected


def test_the_paragraph_in_the_style_title_is_the_title(tmp_path):
    document, _ = read(word(tmp_path / "a.docx", para("Boats", style("T")) + para("Text."), styles=STYLES))
    assert (document.title, [(block.text, block.first) for block in document.blocks]) == ("Boats", [("Text.", 2)])
    document, notes = read(word(tmp_path / "b.docx", para("Boats", style("T")), styles=STYLES))
    assert (document.blocks[0].text, notes) == ("Boats", [])


def level(at: int, text: str, format: str = "decimal", more: str = "") -> str:
    return f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/>{more}<w:numFmt w:val="{format}"/><w:lvlText w:val="{text}"/></w:lvl>'


NUMBERING = (
    f'<w:abstractNum w:abstractNumId="0">{level(0, "%1.")}{level(1, "%1.%2", "decimal")}{level(2, "(%3)", "lowerRoman")}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="1">{level(0, "", "bullet")}</w:abstractNum>'
    f'<w:abstractNum w:abstractNumId="2">{level(0, "Article %1", "upperRoman", chr(60) + "w:pStyle w:val=" + chr(34) + "H1" + chr(34) + "/>")}'
    f"{level(1, '第%2章', 'chineseCounting')}</w:abstractNum>"
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    '<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num>'
    '<w:num w:numId="4"><w:abstractNumId w:val="2"/></w:num>'
)


def item(text: str, id: int, at: int = 0, more: str = "") -> str:
    return para(text, f'{more}<w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="{id}"/></w:numPr>')


def test_numbers_of_lists_are_computed(tmp_path):
    body = (
        item("Open.", 1) + item("Wait.", 1) + item("a minute", 1, 1) + item("or two", 1, 1) + item("deep", 1, 2) + item("Press.", 1)
        + item("again", 1, 1) + item("point", 2) + item("restarted", 3) + item("goes on", 3) + item("unlisted", 0) + item("unknown", 99)
    )  # fmt: skip
    assert texts(word(tmp_path / "a.docx", body, numbering=NUMBERING)) == [
        "1. Open.", "2. Wait.", "2.1 a minute", "2.2 or two", "(i) deep", "3. Press.", "3.1 again", "• point", "7. restarted",
        "8. goes on", "unlisted", "unknown",
    ]  # fmt: skip


def test_numbers_of_headings_come_from_their_style(tmp_path):
    numbered = '<w:pPr><w:numPr><w:numId w:val="4"/></w:numPr></w:pPr>'
    styles = make_style("H1", "heading 1", numbered) + make_style("H2", "heading 2")
    body = (
        para("Scope", style("H1"))
        + item("道岔", 4, 1, style("H2"))
        + para("Text.")
        + para("Fees", style("H1"))
        + para("More.")
    )
    document, _ = read(word(tmp_path / "a.docx", body, numbering=NUMBERING, styles=styles))
    assert [block.headings for block in document.blocks] == [("Article I Scope", "第一章 道岔"), ("Article II Fees",)]


@pytest.mark.parametrize(
    ("value", "format", "expected"),
    [(4, "lowerRoman", "iv"), (1994, "upperRoman", "MCMXCIV"), (28, "lowerLetter", "bb"), (3, "upperLetter", "C"), (12, "chineseCounting", "十二"),
     (105, "chineseCountingThousand", "一百零五"), (2, "ordinal", "2nd"), (11, "ordinal", "11th"), (3, "decimalEnclosedCircle", "③"),
     (2, "ideographTraditional", "乙"), (7, "decimalZero", "07"), (5, "klingon", "5"), (10**12, "decimal", "1000000000"), (1, "none", "")],
)  # fmt: skip
def test_formats_of_list_numbers(value, format, expected):
    assert list_number(value, format) == expected


def test_what_is_left_out_is_said(tmp_path):
    path = word(
        tmp_path / "a.docx",
        para(run("Text.") + "<w:r><w:drawing><a:blip/></w:drawing></w:r>") + para("Contents 1", style("Toc")),
        styles=STYLES,
        comments=f"<w:comment>{para('Why?')}</w:comment>" * 2,
    )
    document, notes = read(path)
    assert [block.text for block in document.blocks] == ["Text."]
    assert notes == ["left out: 2 comments, 1 picture, table of contents"]
    assert read(word(tmp_path / "b.docx", para("")))[1] == ["holds no text"]


def test_headers_and_footers_are_left_out_with_a_note(tmp_path):
    import docx

    document = docx.Document()
    document.add_paragraph("Body.")
    document.sections[0].header.paragraphs[0].text = "Company confidential"
    document.save(str(tmp_path / "a.docx"))
    found, notes = read(tmp_path / "a.docx")
    assert ([block.text for block in found.blocks], notes) == (["Body."], ["left out: headers and footers"])


def test_strict_open_xml_is_read(tmp_path):
    path = word(tmp_path / "a.docx", para("At 7:40.", style("H1")) + para("From pier 2."), styles=STYLES)
    strict = tmp_path / "strict.docx"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(strict, "w") as copy:
        for name in archive.namelist():
            content = re.sub(
                rb"http://schemas.openxmlformats.org/(\w+)/2006", rb"http://purl.oclc.org/ooxml/\1", archive.read(name)
            )
            copy.writestr(name, content)
    (block,) = read(strict)[0].blocks
    assert (block.headings, block.text) == (("At 7:40.",), "From pier 2.")


def make_archive(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)
    return path


START = f"<w:document {DECLARED}><w:body>".encode()
END = b"</w:body></w:document>"
ENTITIES = b'<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"document": START + b"<w:p><w:r><w:t>Half"}, "a.docx cannot be read as Word: its part word/document.xml is broken XML at line 1"),
        ({"document": ENTITIES + START + b"<w:p><w:r><w:t>&b;</w:t></w:r></w:p>" + END}, "declares a document type"),
        ({"document": START + END, "styles": ENTITIES + START + END}, "its part word/styles.xml declares a document type"),
        ({"other": b"<x/>"}, "its part word/document.xml is missing"),
        ({"document": b"<x/>"}, "its part word/document.xml holds no document of Word"),
        ({"document": START + b"<w:sdt>" * 300 + b"</w:sdt>" * 300 + END}, "broken XML at line 1 (Excessive depth"),
        ({"document": START + b" " * (129 * 2**20) + END}, "its text parts inflate to more than 128 MB; split it"),
        ({"document": START + END, "footnotes": START + b" " * (33 * 2**20) + END}, "inflate to more than 32 MB"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_refused_in_one_sentence(tmp_path, parts, expected):
    shown = refusal(make_archive(tmp_path / "a.docx", **parts))
    assert expected in shown and shown.startswith("a.docx ") and shown.endswith("or leave it out with --exclude.")
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"words", "it is no .docx document, or a damaged one"), (b"", "it is no .docx document"), (b"PK\x03\x04" + b"x" * 99, "damaged"),
     (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "it is encrypted with a password, or in the format of Office before 2007")],
)  # fmt: skip
def test_what_is_no_archive_is_refused(tmp_path, content, expected):
    (tmp_path / "a.docx").write_bytes(content)
    assert expected in refusal(tmp_path / "a.docx")


def test_a_damaged_stream_is_refused_and_pictures_are_never_inflated(tmp_path):
    path = word(tmp_path / "a.docx", para("Text."))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/image1.png", bytes(300 * 2**20))
    assert texts(path) == ["Text."]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", START + b"<w:p/>" * 100 + END)
    content = bytearray(packed.getvalue())
    content[60:80] = bytes(20)
    (tmp_path / "b.docx").write_bytes(content)
    assert "b.docx cannot be read as Word" in refusal(tmp_path / "b.docx")
