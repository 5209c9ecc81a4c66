"""Character sets of text files: byte-order marks, names of the user, declarations, and what is said of all others."""

from __future__ import annotations

import codecs
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from indexing.cli.options import ReadingOptions, reading_options
from indexing.sources.encodings import text_codec
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError

TEXT = "Die Fähre fährt um 7 Uhr ab.\n渡船七点出发。"


def texts(path: Path, **options) -> list[str]:
    return [
        block.text
        for document in read_documents(find_files([path]), ReadOptions(**options))
        for block in document.blocks
    ]


@pytest.mark.parametrize(
    "mark, encoding",
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"encoding": "cp1252"}])
def test_a_byte_order_mark_names_the_encoding(tmp_path, mark, encoding, options):
    for name, source in {
        "a.txt": TEXT,
        "b.html": f"<p>{TEXT.replace(chr(10), '<br>')}</p>",
        "c.jsonl": '{"text": "Die Fähre fährt um 7 Uhr ab.\\n渡船七点出发。"}\n',
        "d.csv": f'id,text\n1,"{TEXT}"\n',
        "e.md": TEXT.replace("\n", "  \n"),
    }.items():
        (tmp_path / name).write_bytes(mark + source.encode(encoding))
    assert texts(tmp_path, **options) == [TEXT] * 5


@pytest.mark.parametrize(
    "label, codec",
    [
        ("iso-8859-1", "cp1252"),
        ("Latin1", "cp1252"),
        ("us-ascii", "cp1252"),
        ("shift_jis", "cp932"),
        ("x-sjis", "cp932"),
        ("ks_c_5601-1987", "cp949"),
        ("euc-kr", "cp949"),
        ("big5", "big5hkscs"),
        ("gb2312", "gb18030"),
        ("GBK", "gb18030"),
        ("cp437", "cp437"),
        ("uft-8", None),
        ("windows-UTF-8", None),
        ("punycode", None),
        ("unicode_escape", None),
        ("base64", None),
        ("hz-gb-2312", None),
        ("utf\0", None),
        ("", None),
    ],
)
def test_labels_are_understood_as_browsers_do(label, codec):
    assert text_codec(label) == codec


@pytest.mark.parametrize(
    "label, text, encoding",
    [
        ("iso-8859-1", "“Zwei” Boote – 4 €", "cp1252"),
        ("us-ascii", "l’été", "cp1252"),
        ("x-sjis", "①番線", "cp932"),
        ("big5", "渡輪喺七點開", "big5hkscs"),
        ("euc-kr", "펲은 일곱 시", "cp949"),
        ("gb2312", "朱镕基", "gb18030"),
        ("koi8-r", "Пароход", "koi8-r"),
        ("uft-8", "Fähre", "utf-8"),
        ("utf-16", "Fähre", "utf-8"),
        # The page is mistaken, beyond doubt.
        ("gbk", "公园每天八点开门。", "utf-8"),
        ("iso-8859-1", "Fähre", "utf-8"),
    ],
)
@pytest.mark.parametrize(
    "page",
    [
        '<html><head><meta charset="{}"></head><p>{}</p></html>',
        "<META http-equiv=Content-Type content='text/html; charset={}'><p>{}</p>",
        "<!-- <meta charset=utf-7> --><script>'<meta charset=utf-16>'</script><meta charset={} /><p>{}",
        '<?xml version="1.0" encoding="{}"?>\n<html><body><p>{}</p></body></html>',
    ],
)
def test_a_page_is_read_in_the_character_set_that_it_declares(tmp_path, label, text, encoding, page):
    path = tmp_path / "a.html"
    path.write_bytes(page.format(label, text).encode(encoding))
    assert texts(path) == [text]


def test_bytes_that_windows_1252_leaves_open_are_no_error_in_a_page(tmp_path):
    path = tmp_path / "a.html"
    path.write_bytes(b"<meta charset=latin1><p>caf\xe9\x81 \x80 4</p>")
    assert texts(path) == ["café\x81 € 4"]


def test_the_name_that_the_user_gives_goes_before_what_a_page_declares(tmp_path):
    path = tmp_path / "a.html"
    path.write_bytes("<meta charset=iso-8859-1><p>Пароход</p>".encode("cp1251"))
    assert texts(path, encoding="cp1251") == ["Пароход"]
    assert texts(path, encodings=(("*.htm*", "cp1251"),), encoding="utf-8") == ["Пароход"]


def test_one_job_reads_files_of_several_encodings(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").write_bytes("公园".encode("gb18030"))
    (tmp_path / "b.csv").write_bytes("text\nété\n".encode("cp1252"))
    (tmp_path / "c.txt").write_bytes("Fähre".encode())
    encodings = (("old/*.txt", "gb18030"), ("*.csv", "cp1252"))
    assert texts(tmp_path, encodings=encodings) == ["été", "Fähre", "公园"]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("a.csv", "id,text\n1,Un café coûte 4 €.\n".encode("cp1252"), "it looks like cp1252; .* '[*].csv=cp1252'"),
        ("a.md", "El niño comió mañana.".encode("cp1252"), "offset 5; it looks like cp1252; .* '[*].md=cp1252'"),
        ("NOTES", "Die Straße".encode("cp1252"), "it looks like cp1252; .* 'NOTES=cp1252'"),
        ("a.txt", "Пароход уходит утром в семь часов.".encode("cp1251"), "it looks like cp1251;"),
        ("a.txt", "배는 매일 아침 일곱 시에 떠난다".encode("cp949"), "it looks like cp949;"),
        ("a.txt", "フェリーは毎朝七時に出ます。".encode("cp932"), "it looks like cp932;"),
        ("a.html", "<p>Un café</p>".encode("cp1252"), "a.html is not utf-8: byte 0xE9 at offset 9;"),
        ("a.txt", "Notes of May".encode("utf-16-le"), "binary file .byte 0 at offset 1.*'[*].txt=utf-16-le', or leave"),
        ("a.txt", "Notes of May".encode("utf-16-be"), "binary file .byte 0 at offset 0.*'[*].txt=utf-16-be', or leave"),
        ("a.txt", b"\x7fELF\x02\x01\0\0" + bytes(range(200)), "is read here; leave it out with --exclude '[*].txt'"),
        ("a.txt", codecs.BOM_UTF16_LE + b"a\0\x00\xd8", "a.txt is not utf-16: byte 0x00 at offset 4"),
    ],
)
def test_text_in_an_unknown_encoding_is_refused_with_what_to_do(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        texts(tmp_path / name)


def test_the_refusal_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").write_bytes("公园每天八点开门。".encode("gb18030"))
    with pytest.raises(SourceError) as refusal:
        texts(tmp_path)
    assert str(refusal.value) == (
        "a.txt is not utf-8: byte 0xB9 at offset 0; it looks like gb18030; name its encoding with --encoding "
        "'*.txt=gb18030', or leave it out with --exclude 'a.txt'."
    )


@click.command()
@reading_options
def read_command(reading: ReadingOptions) -> None:
    options = reading.options({})
    click.echo((options.encoding, options.encodings, options.main_content))


@pytest.mark.parametrize(
    "arguments, read",
    [
        ([], (None, (), False)),
        (["--encoding", "latin1"], ("cp1252", (), False)),
        (
            ["--encoding", "*.txt=gb2312", "--encoding", "utf-8", "--encoding", "a=b/*=x-sjis", "--main-content"],
            ("utf-8", (("*.txt", "gb18030"), ("a=b/*", "cp932")), True),
        ),
    ],
)
def test_encodings_are_named_for_all_files_or_by_pattern(arguments, read):
    assert CliRunner().invoke(read_command, arguments).output == f"{read}\n"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--encoding", "*.txt=utf-99"], "'utf-99' is no character encoding; name one such as utf-8 or gb18030"),
        (["--encoding", "punycode"], "'punycode' is no character encoding"),
        (["--encoding", "=utf-8"], "'=utf-8' has no pattern; write '*.txt=utf-8', or utf-8 for all files"),
        (["--encoding", "utf-8", "--encoding", "gbk"], "utf-8 and gb18030 are both for all files"),
    ],
)
def test_unknown_encodings_are_a_usage_error(arguments, sentence):
    done = CliRunner().invoke(read_command, arguments)
    assert done.exit_code == 2
    assert sentence in done.output
