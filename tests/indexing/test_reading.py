"""Readers on real files of every format, and the sentence for each way in which a file can be unreadable."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.sources.document import Document
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions, RecordFields
from memgpt_rag.errors import SourceError


def read(path: Path, **options) -> list[Document]:
    return list(read_documents(find_files([path]), ReadOptions(**options)))


def only(path: Path, **options) -> Document:
    (document,) = read(path, **options)
    return document


def outline(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(block.headings, block.text) for block in document.blocks]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_plain_text_has_paragraphs_titles_and_lines(tmp_path):
    text = "Station handbook\n\nFirst paragraph.\nIts second line.\n\n3.1. Signals\n\nRed means stop.\n\n第 4 章 道岔\n\n道岔必须锁闭。\n"
    document = only(write(tmp_path / "handbook.txt", text))
    assert (document.title, document.unit, document.source, document.record) == (
        "Station handbook",
        "line",
        "handbook.txt",
        "",
    )
    assert outline(document) == [
        ((), "Station handbook"),
        ((), "First paragraph.\nIts second line."),
        (("3.1. Signals",), "Red means stop."),
        (("第 4 章 道岔",), "道岔必须锁闭。"),
    ]
    assert [(block.first, block.last) for block in document.blocks] == [(1, 1), (3, 4), (8, 8), (12, 12)]


def test_a_heading_with_nothing_under_it_is_kept_as_text(tmp_path):
    document = only(write(tmp_path / "a.md", "# Title\n\n## Empty\n\n## Full\n\nText.\n\n## Last\n"))
    assert outline(document) == [((), "Empty"), (("Full",), "Text."), ((), "Last")]


def test_markdown_keeps_words_and_drops_marks(tmp_path):
    text = (
        "---\nauthor: someone\n---\n# Guide 指南\n\nSee the **bold** [link](http://x.org) and `code`.\n\n## Lists\n\n- one\n- two *three*\n\n"
        "### Tables\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake  all\nmake install\n```\n\n> 引用的话。\n"
    )
    document = only(write(tmp_path / "guide.md", text))
    assert document.title == "Guide 指南"
    assert outline(document) == [
        ((), "author: someone"),
        ((), "See the bold link and code."),
        (("Lists",), "one\ntwo three"),
        (("Lists", "Tables"), "1 | 2"),
        (("Lists", "Tables"), "make  all\nmake install"),
        (("Lists", "Tables"), "引用的话。"),
    ]
    assert document.blocks[3].header == "a | b"
    assert [block.first for block in document.blocks] == [2, 6, 10, 17, 19, 24]
    lines = text.split("\n")
    assert "bold" in lines[document.blocks[1].first - 1]
    assert "引用" in lines[document.blocks[5].first - 1]


def test_html_shows_what_a_browser_shows(tmp_path):
    page = (
        "<html><head><title>Shop – 商店</title><style>p{}</style><script>var x = 'hidden';</script></head><body><nav>Menu</nav>"
        "<h1>Opening   hours</h1><p>Open from <b>9</b> to\n 17.<br>Closed on Sundays.</p><h2>地址</h2><div>公园路<span>三号</span></div>"
        "<table><tr><th>Day</th><th>Hours</th></tr><tr><td>Monday</td><td>9–17</td></tr></table><pre>a  b\n c</pre><!-- comment --></body></html>"
    )
    document = only(write(tmp_path / "shop.html", page))
    assert document.title == "Shop – 商店"
    assert outline(document) == [
        (("Opening hours",), "Open from 9 to 17.\nClosed on Sundays."),
        (("Opening hours", "地址"), "公园路三号"),
        (("Opening hours", "地址"), "Monday | 9–17"),
        (("Opening hours", "地址"), "a  b\n c"),
    ]


def test_html_in_the_character_set_that_it_declares(tmp_path):
    page = "<html><head><meta charset=gb2312><title>公园</title></head><body><p>门票免费。</p></body></html>".encode(
        "gb18030"
    )
    assert outline(only(write(tmp_path / "park.htm", page))) == [((), "门票免费。")]


def make_pdf(path: Path, pages: list[list[str]], title: str = "") -> Path:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(str(path))
    canvas.setTitle(title)
    for lines in pages:
        canvas.setFont("STSong-Light", 12)
        for number, line in enumerate(lines):
            canvas.drawString(72, 760 - 18 * number, line)
        canvas.showPage()
    canvas.save()
    return path


def test_pdf_has_pages(tmp_path):
    document = only(
        make_pdf(tmp_path / "report.pdf", [["The bridge opened in 1931."], [], ["大桥于1931年通车。"]], title="Bridges")
    )
    assert (document.title, document.unit) == ("Bridges", "page")
    assert [(block.text, block.first) for block in document.blocks] == [
        ("The bridge opened in 1931.", 1),
        ("大桥于1931年通车。", 3),
    ]


def test_word_has_headings_and_tables(tmp_path):
    import docx

    word = docx.Document()
    word.core_properties.title = "Minutes 会议记录"
    word.add_paragraph("Present: all.")
    word.add_heading("Budget 预算", 1)
    word.add_paragraph("预算获得通过。")
    table = word.add_table(2, 2)
    for row, cells in enumerate([("Item", "Cost"), ("Boats", "400")]):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    word.save(str(tmp_path / "minutes.docx"))
    document = only(tmp_path / "minutes.docx")
    assert (document.title, document.unit) == ("Minutes 会议记录", "paragraph")
    assert outline(document) == [
        ((), "Present: all."),
        (("Budget 预算",), "预算获得通过。"),
        (("Budget 预算",), "Boats | 400"),
    ]
    assert [block.first for block in document.blocks] == [1, 3, 4]


RECORDS = [{"_id": "a", "title": "Boats", "text": "Forty yuan."}, {"_id": "b", "title": "船", "text": "四十元。"}]


def write_records(folder: Path, format: str, records: list[dict]) -> Path:
    path = folder / f"records.{format}"
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif format == "jsonl":
        write(path, "".join(json.dumps(record, ensure_ascii=False) + "\n\n" for record in records))
    else:
        mark = "\t" if format == "tsv" else ","
        write(path, "\n".join([mark.join(records[0]), *(mark.join(record.values()) for record in records)]) + "\n")
    return path


@pytest.mark.parametrize("format, numbers", [("jsonl", [1, 3]), ("csv", [2, 3]), ("tsv", [2, 3]), ("parquet", [1, 2])])
def test_each_record_is_a_document(tmp_path, format, numbers):
    documents = read(write_records(tmp_path, format, RECORDS))
    assert [(one.record, one.title, one.blocks[0].text) for one in documents] == [
        tuple(record.values()) for record in RECORDS
    ]
    assert [one.blocks[0].first for one in documents] == numbers
    assert {one.unit for one in documents} == {"row" if format == "parquet" else "line"}


def test_csv_fields_may_hold_line_breaks(tmp_path):
    documents = read(write(tmp_path / "a.csv", 'id,text\n1,"first\nsecond"\n2,third\n'))
    assert [(one.blocks[0].text, one.blocks[0].first, one.blocks[0].last) for one in documents] == [
        ("first\nsecond", 2, 3),
        ("third", 4, 4),
    ]


def test_a_text_may_be_a_list_of_paragraphs(tmp_path):
    document = only(
        write(tmp_path / "a.jsonl", json.dumps({"id": "x", "paragraphs": ["Intro.", "1.2. Setup", "Do this."]}))
    )
    assert outline(document) == [((), "Intro."), (("1.2. Setup",), "Do this.")]


def test_fields_can_be_named(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"nr": 7, "question": "Why?", "reply": "Because."}))
    document = only(path, fields=RecordFields(text="reply", title="question", id="nr"))
    assert (document.record, document.title, document.blocks[0].text) == ("7", "Why?", "Because.")


def test_other_encodings_can_be_named(tmp_path):
    assert outline(only(write(tmp_path / "a.txt", "门票免费。".encode("gb18030")), encoding="gb18030")) == [
        ((), "门票免费。")
    ]
    assert outline(only(write(tmp_path / "b.txt", "\ufeff门票免费。"))) == [((), "门票免费。")]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        (
            "a.jsonl",
            '{"text": "fine"}\n{"text": "broken\n',
            r"a.jsonl, line 2: broken JSON \(.+ at column \d+\); mend the line or remove it\.",
        ),
        (
            "a.jsonl",
            '{"text": "fine"}\n["text"]\n',
            r"a.jsonl, line 2: found a JSON list, expected an object such as \{\"text\": \"…\"\}\.",
        ),
        (
            "a.jsonl",
            '{"text": "fine"}\n{"texte": "x"}\n',
            r"a.jsonl, line 2: found the fields texte and none that is usual for a text .* --text-field",
        ),
        ("a.jsonl", '{"text": 3}\n', r"a.jsonl, line 1: its text is number, expected text or a list of texts\."),
        (
            "a.jsonl",
            '{"id": 1, "text": "x"}\n{"id": 1, "text": "y"}\n',
            r"a.jsonl, line 2: its id '1' is that of line 1 already; ids must differ\.",
        ),
        (
            "a.csv",
            "id,text\n1,fine\n2,too,many\n",
            r"a.csv, line 3: found 3 fields, the header has 2; mend the line or quote its commas\.",
        ),
        (
            "a.csv",
            'id,text\n1,"open\n',
            r"a.csv, line 2: broken CSV \(unexpected end of data\); mend the line's quotation marks\.",
        ),
        (
            "a.parquet",
            b"PAR1 but not really",
            r"a.parquet cannot be read as Parquet: .+; mend it, or leave it out with --exclude\.",
        ),
        ("a.pdf", b"%PDF-1.4 but not really", r"a.pdf cannot be read as PDF: it is no PDF, or a damaged one; mend it"),
        (
            "a.docx",
            b"PK but not really",
            r"a.docx cannot be read as Word: it is no .docx document, or a damaged one; mend it",
        ),
        (
            "a.bin",
            b"\x7fELF\x00\x01",
            r"a.bin is a binary file \(byte 0 at offset 4\) in no format that is read here; leave it out with --exclude '\*\.bin'\.",
        ),
        ("a.txt", b"fine \xb5\xbb", r"a.txt is not utf-8: byte 0xB5 at offset 5.*; name its encoding with --encoding"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 10 else "",
)
def test_a_file_that_cannot_be_read_is_named_with_its_fault(tmp_path, name, content, sentence):
    with pytest.raises(SourceError, match=f"^{sentence}") as refused:
        read(write(tmp_path / name, content))
    assert "\n" not in str(refused.value)


def test_the_likely_encoding_is_suggested(tmp_path):
    with pytest.raises(
        SourceError, match=r"a.txt is not utf-8: byte 0x\w\w at offset 0; it looks like gb\w+; name its encoding"
    ):
        read(write(tmp_path / "a.txt", ("河滨公园每天早上六点开门，晚上十点关门，门票免费。" * 20).encode("gb18030")))


def test_a_locked_pdf_is_named(tmp_path):
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "locked.pdf"), encrypt=StandardEncryption("secret"))
    canvas.drawString(72, 700, "hidden")
    canvas.save()
    with pytest.raises(SourceError, match=r"locked.pdf cannot be read as PDF: it is locked by a password; mend it"):
        read(tmp_path / "locked.pdf")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named(tmp_path):
    write(tmp_path / "a.txt", "secret").chmod(0)
    with pytest.raises(SourceError, match=r"a.txt cannot be read: Permission denied\."):
        read(tmp_path)


def test_a_link_to_nowhere_is_named(tmp_path):
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(SourceError, match=r"a.txt cannot be read: No such file or directory\."):
        read(tmp_path)


def test_all_unreadable_files_are_named_together(tmp_path):
    write(tmp_path / "a.pdf", b"no")
    write(tmp_path / "b.txt", "fine")
    write(tmp_path / "c.jsonl", "{")
    with pytest.raises(SourceError, match=r"a.pdf cannot be read as PDF.*\nc.jsonl, line 1: broken JSON"):
        read(tmp_path)


def test_records_are_read_one_at_a_time_however_many_there_are(tmp_path):
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        for number in range(12_000):
            file.write(json.dumps({"id": str(number), "text": f"Record {number}. " + "A long text. " * 80}) + "\n")
    assert path.stat().st_size > 12e6
    tracemalloc.start()
    try:
        last = ""
        for document in read_documents(find_files([path])):
            last = document.record
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last == "11999"
    assert peak < path.stat().st_size / 3
    with path.open("ab") as file:
        file.write(b'{"id": "x", "text": "Caf\xe9"}\n')
    size = path.stat().st_size
    with pytest.raises(SourceError, match=f"many.jsonl is not utf-8: byte 0xE9 at offset {size - 4}"):
        next(iter(read_documents(find_files([path]))))
