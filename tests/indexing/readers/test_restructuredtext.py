"""reStructuredText: sections, directives known and unknown, code, tables; no file is read and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import texts

from indexing.sources.document import Block, Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions


def read(folder: Path, text: str) -> tuple[Document, list[str]]:
    path = folder / "page.rst"
    path.write_bytes(text.encode())
    document, *notes = read_path(path, "page.rst", ReadOptions())
    assert isinstance(document, Document)
    return document, [note.text for note in notes if isinstance(note, Note)]


@pytest.fixture
def page(tmp_path, capfd):
    def read_whole(text: str) -> Document:
        document, notes = read(tmp_path, text)
        assert notes == []
        assert capfd.readouterr() == ("", "")
        return document

    return read_whole


def test_sections_are_headings_and_an_only_one_is_the_title(page):
    document = page("Quay\n====\n\nA *wet*\nplace.\n\nFees\n----\n\nTen.\n\nBoats\n~~~~~\n\nSix.\n\nEnd\n---\n\nBye.\n")
    assert document.title == "Quay"
    assert document.blocks == (
        Block("A wet place.", 4, 5),
        Block("Ten.", 10, 10, ("Fees",)),
        Block("Six.", 15, 15, ("Fees", "Boats")),
        Block("Bye.", 20, 20, ("End",)),
    )


def test_text_before_the_first_section_stands_under_none(page):
    document = page("Wet.\n\nFees\n----\n\nTen.\n")
    assert (document.title, [block.headings for block in document.blocks]) == ("", [(), ("Fees",)])


def test_code_keeps_its_indentation_and_its_lines(page):
    document = page(
        "Run::\n\n    if a:\n        b()\n\n.. code-block:: py\n   :caption: go.py\n   :linenos:\n\n   for x in y:\n       z\n"
    )
    assert document.blocks == (
        Block("Run:", 1, 1),
        Block("if a:\n    b()", 3, 4, (), "code"),
        Block("go.py", 6, 6),
        Block("for x in y:\n    z", 10, 11, (), "code"),
    )


@pytest.mark.parametrize(
    "text, expected",
    [
        (".. note:: Wet.\n\n   Very.\n", ["Note: Wet.\nVery."]),
        (".. admonition:: Shoes\n\n   Bring them.\n", ["Shoes\nBring them."]),
        (".. figure:: a.png\n   :alt: the quay\n\n   At *night*.\n", ["the quay\nAt night."]),
        (".. versionadded:: 3.2\n   Gates.\n", ["New in version 3.2 Gates."]),
        (".. py:method:: Gate.open(self)\n   :async:\n\n   Opens it.\n\n   :param x: the width\n", ["Gate.open(self)", "Opens it.", "param x: the width"]),
        (".. unheard-of:: one\n   :strange: option\n\n   - two\n", ["one", "two"]),
        (".. toctree::\n   :caption: Parts\n\n   The gates <gates>\n", ["Parts", "The gates"]),
        (".. raw:: html\n\n   <p>Wet <b>quay</b></p>\n", ["Wet quay"]),
        ("3. Lift.\n4. Turn.\n", ["3. Lift.\n4. Turn."]),
        ("(c) Lift.\n(d) Turn.\n", ["(c) Lift.\n(d) Turn."]),
        (":Author: Lin\n:orphan:\n\nText.\n", ["Author: Lin", "Text."]),
        ("gate\n  It opens.\n", ["gate\nIt opens."]),
        ("See :ref:`the gates <gates>`, :meth:`~gate.open` and `a map <http://x.org>`__.\n", ["See the gates, gate.open and a map."]),
        ("A |quay| [1]_.\n\n.. |quay| replace:: wet quay\n\n.. [1] A note.\n", ["A wet quay [1].", "[1] A note."]),
        ("北岸码头\n周末关闭。\n", ["北岸码头周末关闭。"]),
        (".. a comment\n\nText.\n", ["Text."]),
        ("Broken *emphasis and ``code.\n", ["Broken *emphasis and ``code."]),
        ("+---+\n| a\n+---+\n\nAfter.\n", ["+---+\n| a\n+---+", "After."]),
    ],
)  # fmt: skip
def test_markup_becomes_text(page, text, expected):
    assert [part for text in texts(page(text)) for part in text.split("\n\n")] == expected


@pytest.mark.parametrize(
    "text, lines",
    [
        ("==== ===\nBoat Fee\n==== ===\nRaft 4\nPunt 6\n==== ===\n", [4, 5]),
        ("+------+-----+\n| Boat | Fee |\n+======+=====+\n| Raft | 4   |\n+------+-----+\n| Punt | 6   |\n+------+-----+\n", [4, 6]),
        (".. list-table::\n   :header-rows: 1\n\n   * - Boat\n     - Fee\n   * - Raft\n     - 4\n   * - Punt\n     - 6\n", [6, 8]),
    ],
)  # fmt: skip
def test_tables_have_rows_with_lines_and_a_header(page, text, lines):
    document = page(text)
    assert [(block.text, block.header, block.kind) for block in document.blocks] == [
        ("Raft | 4", "Boat | Fee", "row"),
        ("Punt | 6", "Boat | Fee", "row"),
    ]
    assert [block.first for block in document.blocks] == lines


def test_no_file_is_read_and_each_is_named(tmp_path):
    (tmp_path / "secret.txt").write_text("Secret.")
    secret = tmp_path / "secret.txt"
    text = f"Text.\n\n.. include:: {secret}\n\n.. csv-table::\n   :file: {secret}\n\n.. raw:: html\n   :file: {secret}\n\nEnd.\n"
    document, notes = read(tmp_path, text)
    assert "Secret" not in " ".join(texts(document))
    assert (texts(document)[0], texts(document)[-1]) == ("Text.", "End.")
    assert notes[0] == f"line 3: {secret}, which it includes, was not inserted"


def test_directives_of_one_file_are_forgotten_after_it(page):
    from docutils.parsers.rst import directives, roles

    known = (set(directives._directives), set(roles._roles))
    page(".. strange-one:: a\n\n:strange-role:`b`\n")
    assert (set(directives._directives), set(roles._roles)) == known


@pytest.mark.parametrize(
    "text, reason",
    [
        ("*a " * 5000, "its paragraph that reaches line 1 is too long"),
        ("a\n\n" * 20_000, "its 40,001 lines are too many"),
        ("".join(f"{' ' * level}word\n\n" for level in range(300)), "it is nested too deeply"),
        ("== " * 1000 + "\n" + "a " * 1000 + "\n", "its table in line 1 is too wide"),
    ],
)
def test_what_docutils_cannot_read_in_linear_time_is_plain_text(tmp_path, text, reason):
    document, notes = read(tmp_path, text)
    assert " ".join(texts(document)).split() == text.split()
    assert notes == [f"{reason} to be read as reStructuredText; it was read as plain text"]


def test_substitutions_within_substitutions_do_not_grow(page):
    definitions = "".join(f".. |{chr(97 + n)}| replace:: {f'|{chr(98 + n)}| ' * 10}\n" for n in range(20))
    assert sum(map(len, texts(page("|a|\n\n" + definitions)))) < 1000


def test_what_docutils_leaves_out_is_kept_or_noted(tmp_path):
    text = (
        "Boats\n=====\n\n:Prices:\n\n===== ===== ======\n        Min   Max\n===== ===== ======\n        2     3\nrowing 4    9\n"
        "===== ===== ======\n\n.. csv-table::\n   :file: prices.csv\n\n.. raw:: html\n   :file: page.html\n\n"
        ".. toctree::\n\n   north\n   south\n"
    ).replace("rowing 4    9", "boat  4     9")
    document, notes = read(tmp_path, text)
    assert [(block.kind, block.header, block.text) for block in document.blocks] == [
        ("text", "", "Prices:"),
        ("row", " | Min | Max", " | 2 | 3"),
        ("row", " | Min | Max", "boat | 4 | 9"),
    ]
    assert notes == [
        "line 13: prices.csv, which it includes, was not inserted",
        "line 16: page.html, which it includes, was not inserted",
        "line 19: a table of contents of 2 documents was left out",
    ]
