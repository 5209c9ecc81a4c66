"""Text in scanned pages and pictures is recognised, in English and Chinese, with the models of the extra `ocr` alone."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from scans import picture, scan

from indexing.sources.document import Document, Note
from indexing.sources.formats import file_format, read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.pages import image, ocr
from indexing.sources.readers.pages import scan as pdf_scan
from memgpt_rag.errors import SourceError
from memgpt_rag.io import pictures


@pytest.fixture
def installed():
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")


def read(path: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """Text and page of each block, and the texts of notes."""
    items = list(read_path(path, path.name, ReadOptions()))
    blocks = [(block.text, block.first) for i in items if isinstance(i, Document) for block in i.blocks]
    return blocks, [item.text for item in items if isinstance(item, Note)]


def test_scanned_pages_are_read_in_english_and_chinese(installed, tmp_path, monkeypatch, capfd):
    def no_network(*_):
        raise AssertionError("a model was looked for in the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    blocks, notes = read(
        scan(
            tmp_path / "a.pdf",
            ("The ferry costs 25 crowns.", "中山三十日"),
            ("=Written text.",),
            ("三十日", "Closed on Mondays"),
        )
    )
    assert blocks == [
        ("The ferry costs 25 crowns.\n中山三十日", 1),
        ("Written text.", 2),
        ("三十日\nClosed on Mondays", 3),
    ]
    assert notes == ["the text of 2 pages was recognised in pictures"]
    assert capfd.readouterr() == ("", "")


def test_words_of_a_scanned_page_are_kept_beside_a_stamp_on_it(installed, tmp_path):
    blocks, _ = read(scan(tmp_path / "a.pdf", ("Rowing boats for hire", "=Received")))
    assert blocks == [("Received\nRowing boats for hire", 1)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_pictures_are_documents(installed, tmp_path, suffix):
    path = tmp_path / f"sign.{suffix}"
    picture("Dogs stay ashore", "王田中").save(path)
    assert read(path) == ([("Dogs stay ashore\n王田中", 1)], [])


def test_a_fax_has_pages_and_a_photograph_is_turned(installed, tmp_path):
    first, second = picture("Order of two boats"), picture("Paid in coins")
    first.save(tmp_path / "fax.tiff", save_all=True, append_images=[second])
    assert read(tmp_path / "fax.tiff")[0] == [("Order of two boats", 1), ("Paid in coins", 2)]
    exif = first.getexif()
    exif[0x0112] = 6  # the camera was held upright
    first.rotate(90, expand=True).save(tmp_path / "photo.jpeg", exif=exif, quality=95)
    assert read(tmp_path / "photo.jpeg")[0] == [("Order of two boats", 1)]


def test_a_picture_without_text_is_named(installed, tmp_path):
    picture().save(tmp_path / "sea.png")
    assert read(tmp_path / "sea.png") == ([], ["a picture in which no text was found"])


def test_a_huge_page_is_drawn_small(installed, tmp_path, monkeypatch):
    from reportlab.pdfgen.canvas import Canvas

    seen = []
    monkeypatch.setattr(pdf_scan, "recognise", lambda drawn: seen.append(drawn.shape) or ocr.Recognised([], 0, 0))
    for number, size in enumerate([(100_000, 100_000), (14_000, 20), (595, 842)]):
        canvas = Canvas(str(tmp_path / f"{number}.pdf"), pagesize=size)
        canvas.rect(1, 1, 10, 10, fill=1)
        canvas.save()
        assert read(tmp_path / f"{number}.pdf") == ([], ["page 1 holds pictures in which no text was found"])
    assert seen == [(3465, 3465, 3), (12, 8000, 3), (2339, 1653, 3)]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_picture_that_lies_on_its_side_is_turned(installed, tmp_path, turn):
    path = tmp_path / "a.png"
    picture("Dogs stay ashore", "Boats leave at noon", "The pier is closed").rotate(turn, expand=True).save(path)
    assert read(path)[0] == [("Dogs stay ashore\nBoats leave at noon\nThe pier is closed", 1)]


def test_transparent_and_grey_pictures(installed, tmp_path):
    from PIL import Image

    drawn = picture("Boats leave at noon").convert("L")
    black = Image.new("L", drawn.size, 0)
    Image.merge("LA", (black, drawn.point(lambda value: 255 - value))).save(tmp_path / "clear.png")
    drawn.convert("1").save(tmp_path / "fax.tif")
    drawn.convert("I;16").point(lambda value: value * 257).save(tmp_path / "deep.png")
    for name in ("clear.png", "fax.tif", "deep.png"):
        assert read(tmp_path / name)[0] == [("Boats leave at noon", 1)], name


def test_a_missing_model_is_an_error_that_says_what_to_install(installed, monkeypatch):
    monkeypatch.setitem(ocr._MODELS, "Rec", "another.onnx")
    with pytest.raises(SourceError, match=r"^rapidocr has no model another.onnx.*install it anew with pip install"):
        ocr._engine.__wrapped__()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"no picture", "it is none, or in no format"),
        ("a.jpg", b"", "it is none, or in no format"),
        ("a.gif.bmp", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "it is none, or in no format"),
    ],
)
def test_what_is_no_picture_is_named(installed, tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"^{name} cannot be read as a picture: {reason}.*mend it, or leave it out"):
        read(tmp_path / name)


def test_a_second_picture_without_a_size_is_named(installed, tmp_path):
    Image.new("L", (8, 8), 255).save(file := tmp_path / "fax.tif")
    content = bytearray(file.read_bytes())
    directory = int.from_bytes(content[4:8], "little")
    after = directory + 2 + 12 * int.from_bytes(content[directory : directory + 2], "little")
    content[after : after + 4] = len(content).to_bytes(4, "little")  # the next picture: a directory without entries
    file.write_bytes(content + bytes(6))
    with pytest.raises(SourceError, match=r"^fax.tif cannot be read as a picture: Missing dimensions; mend it"):
        read(file)


def test_half_a_picture_and_one_that_is_too_large_are_named(installed, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    picture("Dogs stay ashore").save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SourceError, match=r"^a.png cannot be read as a picture: .*mend it, or leave it out"):
        read(path)
    picture("Dogs").save(path)
    monkeypatch.setattr(pictures, "MOST_PICTURE_PIXELS", 1000)
    with pytest.raises(SourceError, match=r"^a.png is too large a picture \(240,000 pixels.*make it smaller"):
        read(path)


def test_pictures_without_the_extra_are_left_out_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "is_installed", lambda: False)
    for name in ("a.png", "b.JPG", "c.tiff"):
        (tmp_path / name).write_bytes(b"\x89PNG")
        assert file_format(name) == "image"
        assert read(tmp_path / name) == (
            [],
            ["a picture, which is left out; install the extra `ocr` to read its text: pip install 'memgpt_rag[ocr]'"],
        )


def piece(left: float, top: float, text: str, width: float = 100.0):
    return ocr._Piece(left, top, left + width, top + 20, text, 1.0)


def test_pieces_of_a_picture_are_read_by_line_and_by_column():
    row = [piece(300, 12, "5 crowns"), piece(0, 10, "Adults"), piece(0, 40, "Children"), piece(300, 41, "free")]
    assert [line.text for line in ocr._reading_order(row)] == ["Adults  5 crowns", "Children  free"]
    prose = [piece(x, 30.0 * at, f"{side}{at}", 380) for at in range(9) for x, side in ((0, "left"), (420, "right"))]
    assert [line.text for line in ocr._reading_order(prose)] == [
        f"{side}{at}" for side in ("left", "right") for at in range(9)
    ]


def test_doubtful_lines_are_counted_and_bad_ones_dropped(monkeypatch):
    import numpy as np

    boxes = [np.array([[0, y], [90, y], [90, y + 20], [0, y + 20]]) for y in (0, 30, 60)]
    found = SimpleNamespace(boxes=boxes, txts=("certain", "doubtful", "noise"), scores=(0.98, 0.7, 0.3))
    monkeypatch.setattr(ocr, "_engine", lambda: lambda picture, **_: found)
    monkeypatch.setattr(ocr, "_quarter_turns", lambda *_: 0)
    found = ocr.recognise(np.zeros((9, 9, 3), "uint8"))
    assert ([line.text for line in found.lines], found.doubtful, found.dropped) == (["certain", "doubtful"], 1, 1)
