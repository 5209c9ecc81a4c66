"""Plain text: headings of every kind, tables of contents, pages, code, and work that grows with the text and no faster."""

from __future__ import annotations

import textwrap
import unicodedata
from pathlib import Path

import pytest

from indexing.sources import clean_text
from indexing.sources.clean_text import clean, join_wrapped_lines
from indexing.sources.document import Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions


def read(folder: Path, content: str) -> tuple[Document, list[str]]:
    """The document of a text file, and the notes about it."""
    (folder / "a.txt").write_text(content, encoding="utf-8", newline="")
    *notes, document = read_path(folder / "a.txt", "a.txt", ReadOptions())
    assert isinstance(document, Document)
    return document, [note.text for note in notes if isinstance(note, Note)]


def outline(folder: Path, content: str) -> list[tuple[tuple[str, ...], str]]:
    return [(block.headings, block.text) for block in read(folder, content)[0].blocks]


ANSWER = (
    "    It takes about ten minutes on foot from the old pier to the\n    upper gate, and the path is lit after dark.\n"
)
JOINED = "It takes about ten minutes on foot from the old pier to the upper gate, and the path is lit after dark."

# Headings


@pytest.mark.parametrize(
    ("lines", "heading"),
    [
        ("2.10. How do I get to the upper gate?", "2.10. How do I get to the upper gate?"),
        (
            "2.11. Which of the paths to the upper gate can be used by people who\ncome with a pram?",
            "2.11. Which of the paths to the upper gate can be used by people who come with a pram?",
        ),
        ("3.1 Paths to the gate", "3.1 Paths to the gate"),
        ("7. Is the gate open?", "7. Is the gate open?"),
        ("Q: Is the gate open?", "Q: Is the gate open?"),
        ("问：门什么时候开？", "问：门什么时候开？"),
        ("2.3. 从旧码头到上门要走多久？", "2.3. 从旧码头到上门要走多久？"),
        ("PATHS AND GATES", "PATHS AND GATES"),
        ("4. PATHS AND GATES", "4. PATHS AND GATES"),
        ("Chapter 4. Paths", "Chapter 4. Paths"),
        ("第三章 道路", "第三章 道路"),
        ("Paths\n=====", "Paths"),
        ("Paths and gates\n---------------", "Paths and gates"),
        ("=====\nPaths\n=====", "Paths"),
        ("----------------------------------------\nPaths\n----------------------------------------", "Paths"),
        ("道路与大门\n==========", "道路与大门"),
    ],
)
def test_headings_are_found(tmp_path, lines, heading):
    text = f"A guide to the park.\nIt has two chapters.\n\n{lines}\n\n{ANSWER}"
    assert outline(tmp_path, text) == [((), "A guide to the park.\nIt has two chapters."), ((heading,), JOINED)]


@pytest.mark.parametrize(
    "lines",
    [
        "1. Open the gate",
        "1.1. Open the gate, and shut it behind you.",
        "    2.1 Turn the key",
        "3) Turn the key",
        "What is it that he wants?",
        "NO SMOKING!",
        "A",
        "The gate:",
        "one | two\n--- | ---",
        "1.1 Gate\n1.2 Path\n1.3 Pier",
    ],
)
def test_steps_and_sentences_are_no_headings(tmp_path, lines):
    found = outline(tmp_path, f"A guide to the park.\n\n{lines}\n\n{JOINED}\n\n{JOINED}")
    assert [headings for headings, _ in found] == [()] * len(found)
    assert (
        "\n".join(text for _, text in found).replace("\n", " ").split()
        == f"A guide to the park. {lines} {JOINED} {JOINED}".split()
    )


def test_an_answer_may_follow_its_question_without_a_blank_line(tmp_path):
    text = f"1.1. Is it far?\n{ANSWER}\n1.2. Is it steep?\nNo.\n"
    assert outline(tmp_path, text) == [(("1.1. Is it far?",), JOINED), (("1.2. Is it steep?",), "No.")]


def test_sections_of_a_manual_page(tmp_path):
    text = "NAME\n       gate - open the gate\n\nSEE ALSO\n       path, pier\n"
    assert outline(tmp_path, text) == [(("NAME",), "gate - open the gate"), (("SEE ALSO",), "path, pier")]


def test_underlines_have_levels_in_the_order_in_which_they_occur(tmp_path):
    text = "Park\n====\n\nPaths\n-----\n\nTwo.\n\nGates\n-----\n\nOne.\n\nLake\n====\n\nDeep.\n"
    document, _ = read(tmp_path, text)
    assert document.title == "Park"
    assert [(block.headings, block.text, block.first) for block in document.blocks] == [
        (("Park", "Paths"), "Two.", 7),
        (("Park", "Gates"), "One.", 12),
        (("Lake",), "Deep.", 17),
    ]


def test_a_statement_among_the_questions_of_an_faq_is_a_heading(tmp_path):
    text = " 1. Is it far?\n\n    No.\n\n 2. The gate is shut.\n\n    Ring the bell.\n\n 3. May I swim?\n\n    Yes.\n"
    assert outline(tmp_path, text) == [
        (("1. Is it far?",), "No."),
        (("2. The gate is shut.",), "Ring the bell."),
        (("3. May I swim?",), "Yes."),
    ]


# Tables of contents

TITLES = [
    "Paths",
    "Gates",
    "The lake and its boats",
    "What does a boat cost?",
    "The kiosk sells tea, and ice. Or not!",
    "Trees",
]


@pytest.mark.parametrize(
    "entry",
    ["{n}. {t}", "  1.{n}. {t}", "1.{n} {t} ......... {n}", "Section {n}  {t}", "{t} . . . . . . {n}", "第 {n} 节 {t}"],
)
def test_a_table_of_contents_is_left_out_with_a_note(tmp_path, entry):
    numbered = entry.split(" ...")[0].split(" . .")[0].strip()
    entries = "\n".join(entry.format(n=n, t=title) for n, title in enumerate(TITLES, 1))
    body = "\n\n".join(f"{numbered.format(n=n, t=title)}\n\n{ANSWER}" for n, title in enumerate(TITLES, 1))
    document, notes = read(tmp_path, f"Park guide\n\nContents\n\n{entries}\n\n{body}")
    assert notes == ["a table of contents of 6 entries left out (lines 3 to 10)"]
    headings = tuple(numbered.format(n=n, t=title) for n, title in enumerate(TITLES, 1))
    assert [(block.headings, block.text) for block in document.blocks] == [
        ((), "Park guide"),
        *(((heading,), JOINED) for heading in headings),
    ]


def test_entries_of_two_lines_belong_to_the_table_of_contents(tmp_path):
    long = "How long does it take to walk around the lake with small children and a dog?"
    wrapped = {width: "\n    ".join(textwrap.wrap(long, width)) for width in (50, 64)}
    entries = "".join(f"    2.{n}. {wrapped[50]} ({n})\n" for n in range(1, 7))
    body = "".join(f"2.{n}. {wrapped[64]} ({n})\n\n{ANSWER}\n" for n in range(1, 7))
    document, notes = read(tmp_path, f"Table of Contents\n\n{entries}\n{body}")
    assert notes == ["a table of contents of 6 entries left out (lines 1 to 14)"]
    assert [block.headings for block in document.blocks] == [(f"2.{n}. {long} ({n})",) for n in range(1, 7)]


STEPS = "".join(f"{n}. Turn the wheel number {n} by a quarter.\n" for n in range(1, 7))


@pytest.mark.parametrize(
    "text", [STEPS, f"To open:\n\n{STEPS}\nTo shut:\n\n{STEPS}\nDone.\n", STEPS.replace("\n", "\n\n") * 2]
)
def test_a_list_of_steps_is_kept_though_it_stands_there_twice(tmp_path, text):
    document, notes = read(tmp_path, text)
    assert notes == []
    assert "\n".join(block.text for block in document.blocks).split() == text.split()


# Pages


def test_headers_and_footers_of_pages_are_left_out_with_a_note(tmp_path):
    pages = [
        f"Park guide                 May 2024\n\n\nPage {n} tells of the gate.\nIt is green.\n\n\nAnn Smith          [Page {n}]\n"
        for n in range(1, 5)
    ]
    document, notes = read(tmp_path, "\f".join(pages))
    assert notes == ["8 lines of page headers and footers left out, such as 'Park guide                 May 2024'"]
    assert [(block.text, block.first) for block in document.blocks] == [
        (f"Page {n} tells of the gate.\nIt is green.", 8 * n - 4) for n in range(1, 5)
    ]


def test_form_feeds_without_headers_leave_nothing_out(tmp_path):
    assert outline(tmp_path, "One boat.\n\fTwo oars.\n\fThree men.\n\f\nFour.") == [
        ((), "One boat.\nTwo oars.\nThree men."),
        ((), "Four."),
    ]


# Code

CODE = "    def toll(people):\n        total = 4 * people\n\n        return total  # in crowns\n"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (CODE, "def toll(people):\n    total = 4 * people\n\n    return total  # in crowns"),
        ("    $ open gate\n    gate: open\n", "$ open gate\ngate: open"),
        ("host = pier\nport = 80\n", "host = pier\nport = 80"),
        ("    Ann Smith\n      Pier 4\n    Lakeside\n", "Ann Smith\n  Pier 4\nLakeside"),
        (
            "day        opens\nMonday     9:00\nSunday     10:30\n",
            "day        opens\nMonday     9:00\nSunday     10:30",
        ),
    ],
)
def test_lines_laid_out_by_hand_are_kept(tmp_path, lines, code):
    prose = (
        "The toll of the pier is asked of everybody who comes to it by boat, and\nnobody is let through without it.\n"
    )
    document, _ = read(tmp_path, f"{prose}\n{lines}\n{prose}")
    assert [(block.kind, block.text) for block in document.blocks] == [
        ("text", prose.replace("\n", " ").strip()),
        ("code", code),
        ("text", prose.replace("\n", " ").strip()),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "    This indented paragraph is prose that was wrapped by a program at some\n    width, as are many texts.\n",
        "    * one\n    * two\n",
        "(a) the keeper;\n(b) the guest (if any);\n(c) the owner of the boat;\n",
        "If you want to come by boat,\nwith children:\n",
        "    A single indented sentence.\n",
    ],
)
def test_prose_is_no_code(tmp_path, lines):
    prose = (
        "The toll of the pier is asked of everybody who comes to it by boat, and\nnobody is let through without it.\n"
    )
    document, _ = read(tmp_path, f"{prose}\n{lines}\n{prose}")
    assert [block.kind for block in document.blocks] == ["text"] * 3
    assert document.blocks[1].text.split() == lines.split()


def test_entries_of_a_log_stay_lines(tmp_path):
    lines = [
        f"2024-05-01 07:40:0{n} the ferry number {n} has left the old pier with passengers on board" for n in range(5)
    ]
    assert outline(tmp_path, "\n".join(lines)) == [((), "\n".join(lines))]


# Work that grows with the text and no faster


@pytest.mark.parametrize(
    "line",
    [
        "The keeper wrote down every boat that came in through the lock.",
        "守门人把每一条进闸的船都记在本子上，一条也没有漏掉，从早到晚。",
    ],
)
def test_lines_without_blank_ones_are_joined_in_linear_time(monkeypatch, line):
    joint, work = clean_text._joint, []

    def counting(one: str, other: str) -> str:
        work.append(len(one) + len(other))
        return joint(one, other)

    monkeypatch.setattr(clean_text, "_joint", counting)
    totals = []
    for lines in (500, 1000, 2000):
        work.clear()
        ((first, last, text),) = join_wrapped_lines("\n".join([line] * lines))
        assert (first, last) == (1, lines)
        assert text == ("" if ord(line[0]) > 255 else " ").join([line] * lines)
        totals.append(sum(work))
    assert totals[2] < 2.1 * totals[1] < 4.4 * totals[0]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a" + "\u0301\u0316" * 80_000, "\u00e1" + "\u0316" * 15 + "\u0301" * 14),
        ("a" + ("\u0301" * 20 + "\u200b") * 10_000, "\u00e1" + "\u0301" * 29),
        ("e\u200b\u0301", "\u00e9"),
        ("x\x01\x02" * 50_000, ("x " * 50_000).strip()),
        ("a\n" * 100_000, ("a\n" * 100_000).strip()),
        ("\n" * 300_000 + "a", "a"),
        (" " * 300_000 + "a", "a"),
    ],
)
def test_long_runs_are_cleaned(text, cleaned):
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


def test_marks_of_real_languages_are_all_kept():
    for text in ("Vie\u0323\u0302t", "שָׁלוֹם", "हिन्दी", "ก็", "Z\u0335\u0321\u0322a\u0328\u0321"):
        assert clean(text) == unicodedata.normalize("NFC", text)
