"""Pictures of documents: each with its caption and its place; nothing is fetched, and what cannot be read is named."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from hashing import HashEncoder
from pdf_files import Pages
from pictures import ColorEncoder, bomb, png
from PIL import Image

from indexing.cli.main import main
from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import build_memory
from indexing.jobs.change_memory import add_sources
from indexing.jobs.picture_entries import PictureReport, add_document_pictures
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.document import DocumentPicture, Note
from indexing.sources.find_files import find_files
from indexing.sources.formats import read_pictures as read_file_pictures
from indexing.sources.read_documents import read_pictures
from indexing.sources.read_options import ReadOptions
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.errors import SourceError
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
DECLARED = f'xmlns:w="{W}" xmlns:a="{A}" xmlns:r="{R}"'
WP = "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"
IN_PLACE = ReadOptions(limits=None).for_pictures(lambda note: None, None)


def read(path: Path, name: str = "", options: ReadOptions = IN_PLACE) -> tuple[list[DocumentPicture], list[str]]:
    items = list(read_file_pictures(path, name or path.name, options))
    return [one for one in items if isinstance(one, DocumentPicture)], [
        one.text for one in items if isinstance(one, Note)
    ]


def color(picture: DocumentPicture) -> tuple[int, int, int]:
    seen = Image.open(io.BytesIO(picture.data)).convert("RGB")
    return seen.getpixel((seen.width // 2, seen.height // 2))


def word(path: Path, body: str, **media: bytes) -> Path:
    relations = (
        "".join(f'<Relationship Id="{id}" Type="{R}/image" Target="media/{id}.png"/>' for id in media)
        + f'<Relationship Id="far" Type="{R}/image" Target="http://example.com/a.png" TargetMode="External"/>'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "word/document.xml", f'<w:document {DECLARED} xmlns:wp="{WP}"><w:body>{body}</w:body></w:document>'
        )
        archive.writestr("word/_rels/document.xml.rels", f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{relations}</Relationships>')  # fmt: skip
        archive.writestr("word/styles.xml", f'<w:styles {DECLARED}><w:style w:styleId="H"><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style></w:styles>')  # fmt: skip
        for id, data in media.items():
            archive.writestr(f"word/media/{id}.png", data)
    return path


def para(content: str, properties: str = "") -> str:
    run = content if content.startswith("<") else f"<w:r><w:t>{content}</w:t></w:r>"
    return f"<w:p><w:pPr>{properties}</w:pPr>{run}</w:p>"


def style(name: str) -> str:
    return f'<w:pStyle w:val="{name}"/>'


def drawing(id: str, described: str = "") -> str:
    return (
        f'<w:r><w:drawing><wp:inline><wp:docPr id="1" name="x" descr="{described}"/><a:graphic><a:graphicData>'
        f'<a:blip r:embed="{id}"/></a:graphicData></a:graphic></wp:inline></w:drawing></w:r>'
    )


def test_a_pdf_gives_its_figures_as_they_stand_on_the_page(tmp_path):
    pictures, notes = read(ROOT / "examples" / "images" / "report.pdf")
    assert notes == []
    assert [(one.caption, one.title, one.headings, one.unit, one.number) for one in pictures] == [
        (
            "Figure 1. Visitors of 2025 by season. The busiest was summer, when 31,800 visitors came.",
            "Riverside Park: yearly report",
            ("Visitors",),
            "page",
            1,
        ),
        (
            "Figure 2. Plan of the park: the tea house stands east of Mirror Lake, and the river runs along the southern edge.",
            "Riverside Park: yearly report",
            ("The grounds",),
            "page",
            2,
        ),
    ]
    first = Image.open(io.BytesIO(pictures[0].data))
    assert abs(first.width / first.height - 640 / 360) < 0.02


def test_captions_above_tiles_small_pictures_and_whole_pages_of_a_pdf(tmp_path):
    pages = Pages(tmp_path / "a.pdf")
    draw = pages.canvas.drawInlineImage
    pages.write("Text of the page.", "Fig. 3 Two halves of one picture", y=700)
    for place, shade in enumerate(("red", "blue")):
        draw(Image.new("RGB", (9, 9), shade), 72 + 100 * place, 560, width=100, height=100)
    draw(Image.new("RGB", (9, 9), "green"), 400, 100, width=10, height=10)
    pages.page("Not a caption, only words below.", y=540)
    draw(Image.new("RGB", (9, 9), "green"), 0, 0, width=596, height=842)
    pages.page("A scanned page.")
    pages.write("图 4：公园", y=300)  # Helvetica has no such letters, so that this is no caption
    draw(Image.new("RGB", (9, 9), "green"), 72, 350, width=100, height=100)
    pages.canvas.showPage()
    pictures, notes = read(pages.save())
    assert [(one.caption, one.number) for one in pictures] == [("Fig. 3 Two halves of one picture", 1), ("", 3)]
    assert Image.open(io.BytesIO(pictures[0].data)).width == pytest.approx(200 * 150 / 72, abs=2)
    assert notes == [
        "pictures smaller than 24 points are left out on page 1",
        "pictures as large as the page are left out on page 2",
    ]


def test_word_gives_captions_below_and_above_and_alternative_texts(tmp_path):
    body = (
        para("Boats", style("H")) + para(drawing("red")) + para("Figure 1: A red boat.") + para("Words.")
        + para("Figure 2 A blue boat") + para(drawing("blue")) + para("More.") + para("Kites", style("H"))
        + para(drawing("green", "a green kite")) + para("Nothing.") + para(drawing("far"))
    )  # fmt: skip
    path = word(tmp_path / "a.docx", body, red=png("red"), blue=png("blue"), green=png("green"))
    pictures, notes = read(path)
    assert [(one.caption, one.headings, one.unit, one.number, color(one)) for one in pictures] == [
        ("Figure 1: A red boat.", ("Boats",), "paragraph", 2, (255, 0, 0)),
        ("Figure 2 A blue boat", ("Boats",), "paragraph", 6, (0, 0, 255)),
        ("a green kite", ("Kites",), "paragraph", 9, (0, 128, 0)),
    ]
    assert notes == ["pictures that are linked or drawn as vectors are left out: paragraph 11"]


def test_markdown_gives_local_pictures_of_the_folder_only(tmp_path):
    root = tmp_path / "docs"
    (root / "guide").mkdir(parents=True)
    (root / "img").mkdir()
    (root / "img" / "a b.png").write_bytes(png("red"))
    (root / "guide" / "b.png").write_bytes(png("blue"))
    path = root / "guide" / "a.md"
    path.write_text('---\ntitle: Boats\n---\n\n# One\n\nSee ![a red boat](../img/a%20b.png "Red")\nand ![a blue boat](b.png).\n\n'
                    "![far](https://example.com/a.png) ![data](data:image/png;base64,AAAA)\n", encoding="utf-8")  # fmt: skip
    pictures, notes = read(path, "guide/a.md")
    assert [(one.caption, one.title, one.headings, one.number, color(one)) for one in pictures] == [
        ("Red", "Boats", ("One",), 7, (255, 0, 0)),
        ("a blue boat", "Boats", ("One",), 8, (0, 0, 255)),
    ]
    assert notes == ["pictures at addresses are never fetched: line 10"]
    (tmp_path / "secret.png").write_bytes(png())
    (root / "guide" / "link.png").symlink_to(tmp_path / "secret.png")
    for address in ("../../secret.png", "link.png", "/etc/hostname"):
        path.write_text(f"![x]({address})", encoding="utf-8")
        with pytest.raises(SourceError, match=rf"^guide/a.md, line 1: '{address}' lies outside of the source's folder"):
            read(path, "guide/a.md")
    path.write_text("![x](none.png)", encoding="utf-8")
    with pytest.raises(SourceError, match=r"^guide/a.md, line 1: none.png cannot be read: No such file"):
        read(path, "guide/a.md")


def test_a_bomb_in_a_document_stops_the_job_or_is_a_reject_by_name(tmp_path):
    path = word(
        tmp_path / "a.docx", para(drawing("bad", "a bomb")) + para(drawing("red", "a boat")), bad=bomb(), red=png("red")
    )
    files, notes = find_files([path]), []
    with pytest.raises(SourceError, match=r"^a.docx, paragraph 1: word/media/bad.png .*10,?000,?000,?000 pixels"):
        list(read_pictures(files, ReadOptions().for_pictures(notes.append, None)))  # in a process of its own
    rejects = []
    found = list(read_pictures(files, ReadOptions().for_pictures(notes.append, rejects.append)))
    assert [one.caption for one in found] == ["a boat"]
    assert [(one.source, one.position) for one in rejects] == [("a.docx", "paragraph 1")] and "pixels" in rejects[
        0
    ].reason
    assert [one.text for one in notes] == ["the picture in paragraph 1 is among the rejects"]


def test_formats_without_pictures_are_named(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    assert read(tmp_path / "a.txt") == (
        [],
        ["no pictures are read from plain text; only from image, markdown, pdf, word"],
    )


def folder_of_documents(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "red.png").write_bytes(png("red"))
    (docs / "a.md").write_text(
        "# Boats\n\nA boat costs 40 yuan.\n\n![a red boat](red.png)\n\n![](red.png)\n", encoding="utf-8"
    )
    return docs


def test_pictures_join_a_memory_of_texts_and_texts_are_changed_beside_them(tmp_path):
    docs, encoder, memory = folder_of_documents(tmp_path), HashEncoder(), tmp_path / "m"
    engine = LocalEngine(encoder, PassageSplitter(encoder.count_tokens))

    def pictures() -> PictureReport:
        return add_document_pictures(
            find_files([docs]), memory, encoder, options=ReadOptions(), log=JobLog("pictures")
        )[1]

    def texts() -> list[tuple[str, bool]]:
        opened = Memory.open(memory)
        rows = opened.rows().tolist()
        return sorted((one.text, opened.has_picture(row)) for row, one in zip(rows, opened.passages(rows), strict=True))

    def job(run: Callable[..., object], **settings: object) -> None:
        run(find_files([docs], ["*.png"]), memory, engine=engine, **settings)

    job(build_memory, tokenizer_name="hash")
    report = pictures()
    assert (report.pictures, report.repeated) == (1, 0)
    assert [one.text for one in report.notes] == [
        "the picture in line 7 has no caption to find it by, and is left out",
        "the picture in picture 1 has no caption to find it by, and is left out",
    ]
    (passage,) = Memory.open(memory).passages(Memory.open(memory).rows('text == "a red boat"'))
    assert (passage.title, passage.place) == ("Boats", "a.md, line 5")
    both = [("A boat costs 40 yuan.\n\na red boat", False), ("a red boat", True)]
    assert texts() == both
    job(add_sources)
    job(build_memory, tokenizer_name="hash")
    assert texts() == both
    (docs / "a.md").write_text("# Boats\n\nA boat costs 50 yuan.\n\n![a blue boat](red.png)\n", encoding="utf-8")
    job(add_sources, update=True)
    assert texts() == [("A boat costs 50 yuan.\n\na blue boat", False), ("a red boat", True)]
    pictures()
    assert texts() == [("A boat costs 50 yuan.\n\na blue boat", False), ("a blue boat", True)]
    (docs / "b.md").write_text("Kites.", encoding="utf-8")
    (docs / "a.md").unlink()
    job(build_memory, tokenizer_name="hash")
    assert texts() == [("Kites.", False)]


def test_keys_are_of_pictures_in_a_memory_of_pictures(tmp_path):
    docs = folder_of_documents(tmp_path)
    encoder = ColorEncoder()
    memory, report = add_document_pictures(
        find_files([docs]), tmp_path / "m", encoder, options=ReadOptions(), log=JobLog("pictures")
    )
    assert (report.pictures, report.repeated, report.notes) == (3, 0, [])
    assert sorted(one.text for one in memory.passages(memory.rows())) == ["a", "a red boat", "red"]
    assert (memory.keys() == encoder.encode_passages(["red"] * 3)).all()


def test_the_command_says_what_is_missing(tmp_path):
    docs = folder_of_documents(tmp_path)
    result = CliRunner().invoke(main, ["pictures", str(docs), "--memory", str(tmp_path / "m")])
    assert result.exit_code == 2 and "holds no memory. To add pictures to texts, build it first" in result.output


@pytest.mark.offline_models
def test_the_command_says_why_nothing_was_added(tmp_path):
    Memory.create(tmp_path / "m", [Passage("a#1", "no picture", "", "a.md", "", "line", 1, 1, 0, 10)], load_encoder())
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "a.md").write_text("no picture")
    for file, reason in (
        ("red.png", "red.png holds no picture that can be kept: the picture in picture 1 has no caption to find it by"),
        ("a.md", "a.md holds no picture that can be kept; give PDF, Word or Markdown files with pictures"),
    ):
        result = CliRunner().invoke(main, ["pictures", str(tmp_path / file), "--memory", str(tmp_path / "m")])
        assert (result.exit_code, reason in result.output) == (1, True), result.output


@pytest.mark.offline_models
def test_the_command_adds_the_figures_of_a_report_to_its_texts(tmp_path):
    run, memory = CliRunner(), ["--memory", str(tmp_path / "m")]
    report = str(ROOT / "examples" / "images" / "report.pdf")
    assert run.invoke(main, ["build", report, *memory, "--no-cache"], catch_exceptions=False).exit_code == 0
    for version in (2, 2):  # the second time, nothing is new
        result = run.invoke(main, ["pictures", report, *memory], catch_exceptions=False)
        assert result.exit_code == 0 and "2 pictures in 1 file." in result.output
        assert f"version {version}." in result.output
    result = run.invoke(main, ["update", report, *memory, "--no-cache"], catch_exceptions=False)
    opened = Memory.open(tmp_path / "m")
    assert (
        result.exit_code == 0 and sum(map(opened.has_picture, opened.rows().tolist())) == 2
    )  # texts alone are updated
