"""Jupyter notebooks: text, code and the text of outputs, cell by cell."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexing.sources.document import Document, Note
from indexing.sources.encodings import decode
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.markup import markdown
from indexing.sources.readers.note_text import first_names
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted

# Parsing takes some times a notebook's size in memory.
_MOST_BYTES = 150 * 10**6
# What a cell prints is kept up to this length: the rest is mostly progress bars and logs.
_MOST_OUTPUT_CHARACTERS = 10_000
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_TABLE = re.compile(r"<table.*</table>", re.IGNORECASE | re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Outputs of format 3: key → content type.
_VERSION_3_OUTPUTS = {
    "text": "text/plain",
    "html": "text/html",
    "latex": "text/latex",
    "markdown": "text/markdown",
    **{kind: f"image/{kind}" for kind in ("png", "jpeg", "svg", "pdf")},
}
_MOST_NAMED = 5


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a notebook of format 3 or 4: Markdown cells as Markdown, code as code, and what the code printed.

    Raises:
        SourceError: it is no notebook, or too large.
    """
    notebook = _parsed(path, name, options)
    text = _NotebookText()
    for cell in _cells(notebook, name):
        text.add(cell)
    # One text for the walk of Markdown, so that sections go on from cell to cell.
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cells.md"
        source.write_text("\n".join(text.lines), encoding="utf-8")
        items = list(markdown.read(source, name, dataclasses.replace(options, encoding="utf-8", encodings=())))
    for item in items:
        if isinstance(item, Document):
            blocks = (
                dataclasses.replace(block, first=text.cell_at(block.first), last=text.cell_at(block.last))
                for block in item.blocks
            )
            title = _text(notebook.get("metadata", {}).get("title", "")).strip() or item.title
            yield dataclasses.replace(item, title=title, unit="cell", blocks=tuple(blocks))
    yield from (Note(name, note) for note in text.notes())


def _parsed(path: Path, name: str, options: ReadOptions) -> dict[str, Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise SourceError(
            f"{name} is larger than {_MOST_BYTES:,} bytes, the most that is read of a notebook; clear its outputs."
        )
    try:
        notebook = json.loads(decode(path, name, dataclasses.replace(options, encoding=None, encodings=())))
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{name} is no notebook: it is not the JSON that Jupyter writes ({error}); mend it."
        ) from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("metadata", {}), dict):
        raise SourceError(f"{name} is no notebook: expected a JSON object with cells; mend it.")
    return notebook


def _cells(notebook: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the cells; in format 3 they are in worksheets."""
    sheets = notebook.get("worksheets", []) if "cells" not in notebook else [notebook]
    cells = (
        [sheet.get("cells") if isinstance(sheet, dict) else None for sheet in sheets]
        if isinstance(sheets, list)
        else []
    )
    if not cells or not all(isinstance(some, list) for some in cells):
        raise SourceError(f"{name} is no notebook: it has no list of cells; mend it.")
    return [cell for some in cells for cell in some or () if isinstance(cell, dict)]


class _NotebookText:
    """The lines of a Markdown text with the cells of a notebook; code and outputs are fenced."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._starts: list[int] = []  # of the cells, as positions in the lines
        self._pictures: list[int] = []
        self._cut: list[int] = []
        self._others: set[str] = set()  # types of outputs that are not read

    def cell_at(self, line: int) -> int:
        """Return the number of the cell of a line, both from 1."""
        return max(1, bisect_right(self._starts, line - 1))

    def add(self, cell: dict[str, Any]) -> None:
        """Add a cell: its source, and what it printed."""
        self._starts.append(len(self.lines))
        kind, source = cell.get("cell_type"), _text(cell.get("source", cell.get("input", "")))
        if kind == "markdown":
            self._add_markdown(source)
        elif kind == "heading":  # of format 3
            level = int(cell["level"]) if cell.get("level") in range(1, 7) else 1
            self._add_markdown(f"{'#' * level} {' '.join(source.split())}")
        elif kind == "code":
            self._add_fenced(source)
        else:
            self.lines += [*source.split("\n"), ""]
        if cell.get("attachments"):
            self._pictures.append(len(self._starts))
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            if isinstance(output, dict):
                self._add_output(output)

    def notes(self) -> Iterator[str]:
        """Yield what was left out."""
        if self._pictures:
            yield f"{_named(self._pictures)} with pictures, which were left out"
        if self._cut:
            yield f"{_named(self._cut)} with output that was cut after {_MOST_OUTPUT_CHARACTERS:,} characters"
        if self._others:
            yield f"outputs of types that are not read were left out: {', '.join(sorted(self._others))}"

    def _add_output(self, output: dict[str, Any]) -> None:
        if output.get("output_type") in ("error", "pyerr"):
            self._add_fenced(f"{_text(output.get('ename', ''))}: {_text(output.get('evalue', ''))}")
            return
        if output.get("output_type") == "stream":
            self._add_fenced(self._bounded(_text(output.get("text", ""))))
            return
        data = output.get("data")
        if not isinstance(data, dict):
            data = {_VERSION_3_OUTPUTS[key]: output[key] for key in output if key in _VERSION_3_OUTPUTS}
        if any(type.startswith("image/") for type in data):
            self._pictures.append(len(self._starts))  # the text beside it is only a name such as "<Figure>"
        elif _TABLE.search(page := _text(data.get("text/html", ""))) and len(page) <= 10 * _MOST_OUTPUT_CHARACTERS:
            self._add_table(page)
        elif "text/markdown" in data:
            self._add_markdown(self._bounded(_text(data["text/markdown"])))
        elif text := _text(data.get("text/plain", data.get("text/latex", ""))):
            self._add_fenced(self._bounded(text))
        else:
            self._others.update(data)

    def _add_table(self, page: str) -> None:
        """Add the tables of an HTML output; a line that is not empty belongs to the HTML for Markdown, too."""
        start, end = page.lower().index("<table"), page.lower().rindex("</table>")
        self.lines += ["", *(line for line in page[start:end].split("\n") if line.strip()), "</table>", ""]

    def _bounded(self, text: str) -> str:
        if len(text) <= _MOST_OUTPUT_CHARACTERS:
            return text
        if len(self._starts) not in self._cut[-1:]:
            self._cut.append(len(self._starts))
        return text[:_MOST_OUTPUT_CHARACTERS]

    def _add_markdown(self, text: str) -> None:
        lines, fence = text.split("\n"), ""
        for line in lines:
            found = _FENCE.match(line)
            if found and not fence:
                fence = found[1]
            elif found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2].strip():
                fence = ""
        # What a cell leaves open ends with it.
        self.lines += [*lines, *([fence] if fence else []), *(["-->"] if _opens_comment(text) else []), ""]

    def _add_fenced(self, text: str) -> None:
        text = _ESCAPES.sub("", text).strip("\n")
        if text.strip():
            longest = max((len(run) for run in re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            self.lines += ["", fence, *text.split("\n"), fence, ""]


def _opens_comment(text: str) -> bool:
    return text.rfind("<!--") > text.rfind("-->")


def _text(value: Any) -> str:
    """Return a text that may be stored as a list of lines."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else ""


def _named(cells: list[int]) -> str:
    numbers = list(dict.fromkeys(cells))
    return f"{counted(len(numbers), 'cell')} ({first_names(numbers, _MOST_NAMED)})"
