"""One memory of a scanned page, a deck, a workbook, a mailbox and source code: each question is answered from its own place."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from commands import run
from scans import scan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.offline_models,
    pytest.mark.skipif(importlib.util.find_spec("rapidocr") is None, reason="the extra `ocr` is missing"),
]


@pytest.fixture(scope="module")
def memory(tmp_path_factory) -> Path:
    import openpyxl
    import pptx

    folder = tmp_path_factory.mktemp("kinds")
    docs = folder / "docs"
    docs.mkdir()
    scan(docs / "notice.pdf", ("Notice of the harbour master",), ("The ferry costs 25 crowns.", "三十日中山"))
    deck = pptx.Presentation()
    for title, text in (("Our year", "Income grew by nine per cent."), ("Staff", "We hired fourteen gardeners.")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, text
    deck.save(docs / "review.pptx")
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (["boat", "crowns an hour"], ["rowing boat", 40], ["pedal boat", 65], ["canoe", 30]):
        book.active.append(row)
    book.save(docs / "hire.xlsx")
    messages = (
        ("Keys", "The keys of the boathouse hang behind the clock."),
        ("Lunch", "Lunch is at noon in the canteen."),
    )
    (docs / "club.mbox").write_text(
        "".join(
            f"From a@b.org Thu Jan  1 00:00:00 2026\nSubject: {subject}\n\n{body}\n\n" for subject, body in messages
        )
    )
    (docs / "locks.py").write_text(
        '"""Locks of the canal."""\n\n\ndef open_gate(level):\n    """Open a gate once the water is level."""\n    return level == 0\n'
        '\n\ndef lock_fee(length):\n    """Return the fee of a boat of a length in metres."""\n    return 12 if length < 7 else 20\n'
    )
    built = run("memgpt-index", "build", docs, "--memory", folder / "memory", "--generator", "gemma-3-270m-4bit")
    assert built.returncode == 0, built.stderr
    assert "notice.pdf: the text of 2 pages was recognised in pictures." in built.stderr
    return folder / "memory"


@pytest.mark.parametrize(
    "question, place, answer",
    [
        ("What does the ferry cost?", "notice.pdf, pages 1–2", "25"),
        ("三十日", "notice.pdf, pages 1–2", ""),
        ("How many gardeners were hired?", "review.pptx, slide 2", "fourteen"),
        ("How many crowns an hour does a rowing boat cost?", "hire.xlsx, Prices!A:B, rows 2–4", "40"),
        ("Where do the keys of the boathouse hang?", "club.mbox, message 1", "clock"),
        ("Which function returns the fee of a boat of a length?", "locks.py, lines 9–11", ""),
    ],
)
def test_each_question_is_answered_and_cited_to_its_place(memory, question, place, answer):
    done = run("memgpt-rag", "ask", question, "--memory", memory, "--json", "-k", "2")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    best = max(shown["citations"], key=lambda citation: citation["share"])
    assert best["place"] == place
    assert answer.casefold() in shown["text"].casefold()
