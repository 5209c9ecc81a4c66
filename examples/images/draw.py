"""Draws the pictures of this folder: shapes in colors with their words, and a report with two figures.

python examples/images/draw.py          (needs Pillow and reportlab; the files are here already)
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image, ImageDraw
from reportlab.pdfgen.canvas import Canvas

FOLDER = Path(__file__).parent
SIDE = 64
COLORS = {
    "red": ("红色", (214, 40, 40)),
    "green": ("绿色", (46, 139, 87)),
    "blue": ("蓝色", (30, 90, 200)),
    "yellow": ("黄色", (240, 200, 30)),
    "purple": ("紫色", (130, 60, 170)),
    "black": ("黑色", (30, 30, 30)),
}
SHAPES = {"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "ring": "圆环", "cross": "十字"}
SEASONS = {"spring": 12_400, "summer": 31_800, "autumn": 18_200, "winter": 6_100}


def shape(name: str, color: tuple[int, int, int]) -> Image.Image:
    large = 4 * SIDE  # drawn large and scaled down, so that edges are smooth
    picture = Image.new("RGB", (large, large), "white")
    draw = ImageDraw.Draw(picture)
    low, high, middle = large // 8, large - large // 8, large / 2
    if name == "circle":
        draw.ellipse((low, low, high, high), fill=color)
    elif name == "square":
        draw.rectangle((low, low, high, high), fill=color)
    elif name == "triangle":
        draw.polygon([(middle, low), (high, high), (low, high)], fill=color)
    elif name == "ring":
        draw.ellipse((low, low, high, high), outline=color, width=large // 7)
    elif name == "cross":
        draw.rectangle((middle - large / 9, low, middle + large / 9, high), fill=color)
        draw.rectangle((low, middle - large / 9, high, middle + large / 9), fill=color)
    else:
        radii = [(high - low) / 2 * (1.0 if point % 2 == 0 else 0.42) for point in range(10)]
        angles = [math.pi * point / 5 - math.pi / 2 for point in range(10)]
        draw.polygon(
            [(middle + r * math.cos(a), middle + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)],
            fill=color,
        )
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def draw_shapes() -> None:
    lines = []
    for color, (chinese, rgb) in COLORS.items():
        for name, named in SHAPES.items():
            file = f"shapes/{color}-{name}.png"
            shape(name, rgb).save(FOLDER / file, optimize=True)
            lines.append(
                json.dumps({"image": file, "text": [f"a {color} {name}", f"{chinese}的{named}"]}, ensure_ascii=False)
            )
    (FOLDER / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def visitors() -> Image.Image:
    picture = Image.new("RGB", (640, 360), "white")
    draw = ImageDraw.Draw(picture)
    for place, (season, count) in enumerate(SEASONS.items()):
        left, top = 60 + 145 * place, 320 - count / 110
        draw.rectangle((left, top, left + 90, 320), fill=(46, 139, 87))
        draw.text((left + 20, 328), season, fill="black")
    draw.line((40, 320, 620, 320), fill="black", width=2)
    return picture


def plan() -> Image.Image:
    picture = Image.new("RGB", (640, 360), (205, 232, 196))
    draw = ImageDraw.Draw(picture)
    draw.polygon(
        [(0, 250), (200, 210), (420, 280), (640, 230), (640, 300), (420, 350), (200, 280), (0, 320)],
        fill=(120, 180, 230),
    )
    draw.ellipse((240, 60, 400, 160), fill=(120, 180, 230))
    draw.rectangle((520, 90, 580, 140), fill=(214, 40, 40))
    draw.text((285, 105), "Mirror Lake", fill="black")
    draw.text((520, 145), "tea house", fill="black")
    return picture


def draw_report() -> None:
    canvas = Canvas(str(FOLDER / "report.pdf"), invariant=1)
    canvas.setTitle("Riverside Park: yearly report")
    pages = [
        (
            "Visitors",
            ["Riverside Park counted its visitors at both gates in 2025.", "Most came when the water was warm."],
            visitors(),
            [
                "Figure 1. Visitors of 2025 by season. The busiest was summer, when",
                "31,800 visitors came.",
            ],
        ),
        (
            "The grounds",
            ["The paths around the lake were paved anew, and the meadow was left to the bees."],
            plan(),
            [
                "Figure 2. Plan of the park: the tea house stands east of Mirror Lake,",
                "and the river runs along the southern edge.",
            ],
        ),
    ]
    for heading, lines, picture, caption in pages:
        canvas.bookmarkPage(heading)
        canvas.addOutlineEntry(heading, heading)
        canvas.setFont("Helvetica-Bold", 16)
        canvas.drawString(72, 770, heading)
        canvas.setFont("Helvetica", 11)
        for number, line in enumerate(lines):
            canvas.drawString(72, 740 - 15 * number, line)
        canvas.drawInlineImage(picture, 72, 440, width=440, height=247.5)
        canvas.setFont("Helvetica-Oblique", 9)
        for number, line in enumerate(caption):
            canvas.drawString(72, 424 - 11 * number, line)
        canvas.showPage()
    canvas.save()


if __name__ == "__main__":
    draw_shapes()
    draw_report()
