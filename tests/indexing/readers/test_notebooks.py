"""Jupyter notebooks of formats 3 and 4: cells, outputs, what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexing.sources.document import Document, Note
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.errors import SourceError


def read(path: Path) -> tuple[Document, list[str]]:
    notes: list[Note] = []
    (document,) = read_documents(find_files([path]), ReadOptions(limits=None, on_note=notes.append))
    return document, [note.text for note in notes]


def notebook(path: Path, *cells: dict, **metadata) -> Path:
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))
    return path


def markdown(source: str | list[str]) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str | list[str], *outputs: dict) -> dict:
    return {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": source, "outputs": outputs}


def result(**data: str | list[str]) -> dict:
    types = {"plain": "text/plain", "html": "text/html", "png": "image/png", "json": "application/json"}
    return {"output_type": "execute_result", "metadata": {}, "data": {types[key]: data[key] for key in data}}


def test_sections_go_on_from_cell_to_cell(tmp_path):
    document, notes = read(
        notebook(
            tmp_path / "tides.ipynb",
            markdown(["# Tides\n", "\n", "How the harbour fills."]),
            markdown("## Data"),
            code(
                ["def high(tide):\n", "    return tide > 4\n"],
                {"output_type": "stream", "name": "stdout", "text": ["read 12 rows\n"]},
            ),
            markdown("## 结果\n\n最高潮位为四米。"),
        )
    )
    assert (document.title, document.unit, document.record, notes) == ("Tides", "cell", "", [])
    assert [(block.headings, block.kind, block.text, block.first, block.last) for block in document.blocks] == [
        ((), "text", "How the harbour fills.", 1, 1),
        (("Data",), "code", "def high(tide):\n    return tide > 4", 3, 3),
        (("Data",), "code", "read 12 rows", 3, 3),
        (("结果",), "text", "最高潮位为四米。", 4, 4),
    ]


def test_results_are_kept_and_pictures_named(tmp_path):
    table = "<div>\n<style>.a {}</style>\n<table>\n<tr><th>port</th><th>metres</th></tr>\n\n<tr><td>Brest</td><td>7</td></tr>\n</table></div>"
    document, notes = read(
        notebook(
            tmp_path / "a.ipynb",
            code("6 * 7", result(plain="42")),
            code("table", result(plain="  port metres\n0 Brest 7", html=table)),
            code("plot()", result(plain="<Figure size 640x480>", png="iVBORw0KGgo" * 400)),
            code(
                "1/0",
                {
                    "output_type": "error",
                    "ename": "ZeroDivisionError",
                    "evalue": "\u001b[31mdivision by zero\u001b[0m",
                    "traceback": [],
                },
            ),
            code("raw", result(json="{}")),
        )
    )
    table_texts = {text for block in document.blocks if block.first == 2 for text in (block.header, block.text) if text}
    assert table_texts == {"table", "port | metres", "Brest | 7"}
    assert [(block.kind, block.text, block.first) for block in document.blocks if block.first != 2] == [
        ("code", "6 * 7", 1),
        ("code", "42", 1),
        ("code", "plot()", 3),
        ("code", "1/0", 4),
        ("code", "ZeroDivisionError: division by zero", 4),
        ("code", "raw", 5),
    ]
    assert notes == [
        "1 cell (3) with pictures, which were left out",
        "outputs of types that are not read were left out: application/json",
    ]


def test_long_output_is_cut_with_a_note(tmp_path):
    document, notes = read(
        notebook(tmp_path / "a.ipynb", code("run()", {"output_type": "stream", "text": "x" * 30_000}))
    )
    assert document.blocks[1].text == "x" * 10_000
    assert notes == ["1 cell (1) with output that was cut after 10,000 characters"]


def test_what_a_cell_leaves_open_ends_with_it(tmp_path):
    document, _ = read(
        notebook(
            tmp_path / "a.ipynb",
            markdown("```python\nunclosed()"),
            markdown("<!-- a comment without an end"),
            code("fence = '```'"),
            markdown("Read me."),
        )
    )
    assert [(block.kind, block.text, block.first) for block in document.blocks] == [
        ("code", "unclosed()", 1),
        ("code", "fence = '```'", 3),
        ("text", "Read me.", 4),
    ]


def test_a_notebook_of_format_3_is_read(tmp_path):
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Old data"]},
        {"cell_type": "markdown", "source": ["From 2012."]},
        {
            "cell_type": "code",
            "language": "python",
            "input": ["print(3)"],
            "outputs": [
                {"output_type": "stream", "stream": "stdout", "text": ["3\n"]},
                {"output_type": "pyout", "text": ["9"], "prompt_number": 1},
                {"output_type": "display_data", "png": "iVBORw0K"},
            ],
        },
    ]
    (tmp_path / "a.ipynb").write_text(
        json.dumps({"nbformat": 3, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]})
    )
    document, notes = read(tmp_path / "a.ipynb")
    assert [(block.text, block.first) for block in document.blocks] == [
        ("From 2012.", 2),
        ("print(3)", 3),
        ("3", 3),
        ("9", 3),
    ]
    assert "Old data" in (document.title, *document.blocks[0].headings)
    assert notes == ["1 cell (3) with pictures, which were left out"]


def test_metadata_names_the_notebook(tmp_path):
    assert read(notebook(tmp_path / "a.ipynb", markdown("Text."), title="Harbour"))[0].title == "Harbour"


@pytest.mark.parametrize(
    "content, why",
    [
        ("{broken", "it is not the JSON that Jupyter writes"),
        ("[" * 100_000, "it is not the JSON that Jupyter writes"),
        ("[1]", "expected a JSON object with cells"),
        ('{"cells": 3}', "it has no list of cells"),
        ('{"worksheets": []}', "it has no list of cells"),
        ("{}", "it has no list of cells"),
    ],
)
def test_what_is_no_notebook_is_a_sentence(tmp_path, content, why):
    (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(SourceError, match=rf"^a.ipynb is no notebook: {why}"):
        read(tmp_path / "a.ipynb")
