"""Pictures of text for tests, and PDF files of such pictures."""

from __future__ import annotations

from pathlib import Path

# Characters of straight strokes, in a box of 40 by 40, so that no font is needed.
STROKES = {
    "中": [(8, 10, 32, 10), (8, 10, 8, 26), (32, 10, 32, 26), (8, 26, 32, 26), (20, 2, 20, 38)],
    "日": [(10, 4, 30, 4), (10, 4, 10, 36), (30, 4, 30, 36), (10, 20, 30, 20), (10, 36, 30, 36)],
    "王": [(6, 6, 34, 6), (8, 20, 32, 20), (4, 35, 36, 35), (20, 6, 20, 35)],
    "田": [(6, 6, 34, 6), (6, 6, 6, 35), (34, 6, 34, 35), (6, 35, 34, 35), (6, 20, 34, 20), (20, 6, 20, 35)],
    "山": [(20, 4, 20, 34), (6, 14, 6, 34), (34, 14, 34, 34), (6, 34, 34, 34)],
    "三": [(7, 7, 33, 7), (9, 20, 31, 20), (4, 34, 36, 34)],
    "十": [(4, 18, 36, 18), (20, 3, 20, 38)],
}


def picture(*lines: str, size: tuple[int, int] = (800, 300)):
    """A picture of lines of text; those of Chinese characters are drawn by strokes."""
    import reportlab
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(Path(reportlab.__file__).parent / "fonts" / "Vera.ttf"), 30)
    drawn = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(drawn)
    for number, line in enumerate(lines):
        y = 30 + 60 * number
        for at, character in enumerate(line if line[0] in STROKES else ""):
            for x1, y1, x2, y2 in STROKES[character]:
                pen.line([(40 + 46 * at + x1, y + y1), (40 + 46 * at + x2, y + y2)], fill="black", width=3)
        if line[0] not in STROKES:
            pen.text((40, y), line, fill="black", font=font)
    return drawn


def scan(path: Path, *pages: tuple[str, ...]) -> Path:
    """A PDF file of pictures of lines; the words of a page that begin with "=" are its text."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(420, 160))
    for lines in pages:
        drawn = [line for line in lines if line[0] != "="]
        if drawn:
            canvas.drawImage(ImageReader(picture(*drawn)), 0, 0, 400, 150)
        for line in lines:
            if line[0] == "=":
                canvas.drawString(20, 10, line[1:])
        canvas.showPage()
    canvas.save()
    return path
