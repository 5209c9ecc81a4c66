"""Makers of files that crash, hang or fill the machine where a reader is careless; `tests/hostile_files.py` reads them."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

FILES: dict[str, Callable[[Path], None]] = {}


def hostile(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register what makes the file of this name."""

    def register(make: Callable[[Path], None]) -> Callable[[Path], None]:
        FILES[name] = make
        return make

    return register


def texts(contents: dict[str, Callable[[], str]]) -> None:
    """Register files of text."""
    for name, content in contents.items():
        FILES[name] = lambda path, content=content: path.write_text(content(), encoding="utf-8")


MARK = "\u0301\u0316"
texts(
    {
        "long_line.txt": lambda: "q7fx" * 250_000,
        "long_line_zh.txt": lambda: "公园里的树很多" * 50_000,
        "marks.txt": lambda: "a" + MARK * 80_000,
        "many_marks.md": lambda: "a" + MARK * 2_000_000,
        "short_lines.txt": lambda: "a\n" * 1_000_000,
        "wrapped.txt": lambda: ("word " * 14 + "\n") * 50_000,
        "headings.txt": lambda: "".join(f"{n % 90 + 1}.{n % 7}. Heading number {n}\n" for n in range(200_000)),
        "blank_lines.txt": lambda: "\n" * 20_000_000,
        "backticks.md": lambda: "`" * 3_000_000,
        "backtick_runs.md": lambda: " ".join("`" * (n % 3000) for n in range(2000)),
        "brackets.md": lambda: "[" * 1_000_000,
        "links.md": lambda: "[a](" * 200_000,
        "stars.md": lambda: "*a_" * 300_000,
        "dashes.md": lambda: "---\n" * 500_000,
        "nested_list.md": lambda: "".join(f"{'  ' * n}- item {n}\n" for n in range(300)),
        "nested_quotes.md": lambda: "> " * 5_000 + "innermost",
        "many_quotes.md": lambda: "".join("> " * n + f"level {n}\n\n" for n in range(400)),
        "table.md": lambda: "|a" * 2_000 + "|\n" + "|-" * 2_000 + "|\n" + ("|b" * 2_000 + "|\n") * 300,
        "front_matter.md": lambda: "---\n" + "key: [" * 50_000 + "\n---\ntext",
        "unclosed.html": lambda: "".join(f"<font><b><p>Paragraph number {n}." for n in range(2_000)),
        "deep.html": lambda: "<div>" * 50_000 + "innermost" + "</div>" * 50_000,
        "deep_table.html": lambda: "<table><tr><td>" * 10_000 + "innermost",
        "large_pre.html": lambda: "<pre>" + "line of text\n" * 900_000 + "</pre><p>after",
        "attributes.html": lambda: "<p " + " ".join(f"a{n}=1" for n in range(200_000)) + ">text",
        "less_than.html": lambda: "<" * 3_000_000,
        "spans.html": lambda: (
            "<table>" + "<tr><td colspan=100000000 rowspan=100000000>a</td></tr>" * 1_000 + "</table>"
        ),
        "comments.html": lambda: "<!-" * 500_000,
        "entities.html": lambda: "&" + "amp;" * 2_000_000,
        "nested.json": lambda: "[" * 100_000 + "]" * 100_000,
        "nested_objects.json": lambda: '{"a":' * 100_000 + "1" + "}" * 100_000,
        "wide.json": lambda: "{" + ",".join(f'"k{n}": {n}' for n in range(500_000)) + "}",
        "nested.jsonl": lambda: '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n" + '{"text": "fine"}\n',
        "number.jsonl": lambda: '{"text": "fine", "id": ' + "9" * 100_000 + "}\n",
        "columns.csv": lambda: ",".join(f"c{n}" for n in range(100_000)) + ",text\n" + "," * 100_000 + "fine\n",
        "quote.csv": lambda: 'id,text\n1,"' + "never closed, \n" * 500_000,
        "laughs.yaml": lambda: (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9))
        ),
        "deep.yaml": lambda: "".join("  " * n + f"k{n}:\n" for n in range(2_000)),
        "braces.rtf": lambda: "{\\rtf1 " + "{" * 1_000_000 + "text",
        "unicode.rtf": lambda: "{\\rtf1 " + "\\u20844?" * 500_000 + "}",
        "nested.eml": lambda: (
            "".join(
                f"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(5_000)
            )
            + "text"
        ),
        "headers.eml": lambda: "".join(f"X-{n}: {'v' * 50}\n" for n in range(100_000)) + "Subject: s\n\nbody",
        "messages.mbox": lambda: "".join(
            f"From a@b Thu Jan  1 00:00:00 2026\nSubject: {n}\n\nbody {n}\n\n" for n in range(50_000)
        ),
        "from_lines.mbox": lambda: "From \n" * 500_000,
        "output.ipynb": lambda: json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {},
                "cells": [
                    {
                        "cell_type": "code",
                        "source": "x",
                        "metadata": {},
                        "execution_count": 1,
                        "outputs": [{"output_type": "stream", "name": "stdout", "text": "line\n" * 5_000_000}],
                    }
                ],
            }
        ),
        "nested.rst": lambda: "".join("  " * n + f"- item {n}\n\n" for n in range(500)),
        "titles.rst": lambda: "".join(f"{'T' * 4}\n{chr(33 + n % 14) * 4}\n\n" for n in range(5_000)),
        "nested.py": lambda: "".join("    " * n + f"def f{n}():\n" for n in range(500)) + "    " * 500 + "pass\n",
        "brackets.py": lambda: "x = " + "(" * 200_000 + "1" + ")" * 200_000,
        "functions.py": lambda: "".join(f"def f{n}(a):\n    return a + {n}\n\n" for n in range(100_000)),
        "broken.js": lambda: "function f( { [ " * 100_000,
    }
)


@hostile("line_200mb.jsonl")
def _(path: Path) -> None:
    path.write_bytes(b'{"text": "' + b"word " * 40_000_000 + b'"}\n{"text": "fine"}\n')


@hostile("field_500mb.csv")
def _(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'id,text\n1,"')
        for _ in range(500):
            file.write(b"word " * 200_000)
        file.write(b'"\n2,fine\n')


@hostile("sparse_10gb.txt")
def _(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


@hostile("sparse_10gb.jsonl")
def _(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


@hostile("pipe.txt")
def _(path: Path) -> None:
    os.mkfifo(path)


@hostile("zero.txt")
def _(path: Path) -> None:
    path.symlink_to("/dev/zero")


@hostile("loop.txt")
def _(path: Path) -> None:
    path.symlink_to(path.name)


def make_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)


@hostile("zip_bomb.zip")
def _(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("a.txt", "w", force_zip64=True) as member:
        for _ in range(4_096):
            member.write(b"word " * 200_000)


@hostile("many_members.zip")
def _(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for number in range(100_000):
            made.writestr(f"{number}.txt", "")


@hostile("nested.zip")
def _(path: Path) -> None:
    content = b"text"
    for _ in range(50):
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as made:
            made.writestr("inner.zip", content)
        content = held.getvalue()
    path.write_bytes(content)


@hostile("up.tar")
def _(path: Path) -> None:
    with tarfile.open(path, "w") as made:
        for name, kind, target in (
            ("../up.txt", tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, "/etc/passwd"),
            ("zero", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.devmajor, member.devminor = kind, target, 1, 5
            made.addfile(member)


@hostile("bomb.txt.gz")
def _(path: Path) -> None:
    import gzip

    with gzip.open(path, "wb", compresslevel=9) as made:
        for _ in range(4_096):
            made.write(b"word " * 200_000)


_CONTENT_TYPES = b"""<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"""
_RELATIONS = b"""<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"""
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def word(path: Path, body: str, doctype: str = "") -> None:
    document = f'<?xml version="1.0"?>{doctype}<w:document {_W}><w:body>{body}</w:body></w:document>'
    make_zip(
        path, {"[Content_Types].xml": _CONTENT_TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": document.encode()}
    )


@hostile("one_text.docx")
def _(path: Path) -> None:
    word(path, f"<w:p><w:r><w:t>{'word ' * 100_000_000}</w:t></w:r></w:p>")


@hostile("paragraphs.docx")
def _(path: Path) -> None:
    word(path, "<w:p><w:r><w:t>word</w:t></w:r></w:p>" * 5_000_000)


@hostile("spans.docx")
def _(path: Path) -> None:
    cell = '<w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc>'
    word(path, f"<w:tbl>{f'<w:tr>{cell}</w:tr>' * 200}</w:tbl>")


@hostile("deep.docx")
def _(path: Path) -> None:
    word(path, "<w:tbl><w:tr><w:tc>" * 5_000 + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * 5_000)


@hostile("laughs.docx")
def _(path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    word(path, "<w:p><w:r><w:t>&e9;</w:t></w:r></w:p>", f'<!DOCTYPE x [<!ENTITY e0 "lol">{entities}]>')


@hostile("broken.docx")
def _(path: Path) -> None:
    make_zip(
        path, {"[Content_Types].xml": _CONTENT_TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": b"<w:document"}
    )


def workbook(path: Path, sheet: str) -> None:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    kinds = (
        _CONTENT_TYPES.replace(b"/word/document.xml", b"/xl/workbook.xml")
        .replace(b"wordprocessingml.document", b"spreadsheetml.sheet")
        .replace(
            b"</Types>",
            b'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
        )
    )
    make_zip(
        path,
        {
            "[Content_Types].xml": kinds,
            "_rels/.rels": _RELATIONS.replace(b"word/document.xml", b"xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>'.encode(),
            "xl/_rels/workbook.xml.rels": _RELATIONS.replace(b"officeDocument\"", b"worksheet\"").replace(b"word/document.xml", b"worksheets/sheet1.xml"),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}">{sheet}</worksheet>'.encode(),
        },
    )  # fmt: skip


@hostile("far_cells.xlsx")
def _(path: Path) -> None:
    cells = '<row r="1"><c r="A1" t="str"><v>first</v></c></row><row r="1048576"><c r="XFD1048576" t="str"><v>last</v></c></row>'
    workbook(path, f'<dimension ref="A1:XFD1048576"/><sheetData>{cells}</sheetData>')


@hostile("merged.xlsx")
def _(path: Path) -> None:
    merges = "".join(f'<mergeCell ref="A1:XFD{1048576 - n}"/>' for n in range(2_000))
    workbook(
        path,
        f'<sheetData><row r="1"><c r="A1" t="str"><v>cell</v></c></row></sheetData><mergeCells>{merges}</mergeCells>',
    )


@hostile("rows.xlsx")
def _(path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="str"><v>cell {n}</v></c></row>' for n in range(1, 1_000_000))
    workbook(path, f"<sheetData>{rows}</sheetData>")


@hostile("repeated.odt")
def _(path: Path) -> None:
    names = "urn:oasis:names:tc:opendocument:xmlns"
    table = (
        '<table:table><table:table-row table:number-rows-repeated="100000000"><table:table-cell '
        'table:number-columns-repeated="100000000"><text:p>cell</text:p></table:table-cell></table:table-row></table:table>'
    )
    content = (
        f'<office:document-content xmlns:office="{names}:office:1.0" xmlns:text="{names}:text:1.0" '
        f'xmlns:table="{names}:table:1.0"><office:body><office:text>{table}</office:text></office:body></office:document-content>'
    )
    make_zip(path, {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": content.encode()})


@hostile("dictionary.parquet")
def _(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["word " * 2_000_000]))
    pq.write_table(pa.table({"text": column}), path)


def pdf(path: Path, objects: list[bytes]) -> None:
    """Write objects, the first of which is the catalog, with their cross-reference table."""
    out = io.BytesIO(b"%PDF-1.7\n")
    out.seek(0, io.SEEK_END)
    places = []
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<</Root 1 0 R /Size %d>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start))
    path.write_bytes(out.getvalue())


def _stream(about: bytes, content: bytes) -> bytes:
    return b"<<%s /Length %d>>\nstream\n%s\nendstream" % (about, len(content), content)


_PAGES = [b"<</Type /Catalog /Pages 2 0 R>>", b"<</Type /Pages /Kids [3 0 R] /Count 1>>"]
_PAGE = b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R /Resources <</XObject <</F 5 0 R>>>>>>"
_FORM = b"/Type /XObject /Subtype /Form /BBox [0 0 100 100]"


@hostile("form_draws_itself.pdf")
def _(path: Path) -> None:
    form = _stream(_FORM + b" /Resources <</XObject <</F 5 0 R>>>>", b"/F Do /F Do")
    pdf(path, [*_PAGES, _PAGE, _stream(b"", b"/F Do"), form])


@hostile("nested_forms.pdf")
def _(path: Path) -> None:
    forms = [_stream(_FORM + b" /Resources <</XObject <</F %d 0 R>>>>" % (6 + n), b"/F Do /F Do") for n in range(24)]
    pdf(path, [*_PAGES, _PAGE, _stream(b"", b"/F Do"), *forms, _stream(_FORM, b"0 0 m")])


@hostile("kids_recursive.pdf")
def _(path: Path) -> None:
    pdf(path, [_PAGES[0], b"<</Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000>>"])


@hostile("inflated.pdf")
def _(path: Path) -> None:
    import zlib

    content = zlib.compress(b"BT /F1 12 Tf (word) Tj ET\n" * 30_000_000, 9)
    pdf(path, [*_PAGES, _PAGE, _stream(b"/Filter /FlateDecode", content), _stream(_FORM, b"")])


@hostile("huge_page.pdf")
def _(path: Path) -> None:
    page = _PAGE.replace(b"0 0 100 100", b"0 0 1000000000 1000000000")
    pdf(path, [*_PAGES, page, _stream(b"", b"/F Do"), _stream(_FORM, b"0 0 m")])
