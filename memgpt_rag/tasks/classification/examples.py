"""Labelled examples, read from files, and the memory whose entries they are.

An entry's text is that of the example, and so is its key; the label is metadata, so that searches can be narrowed by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.evaluation.data.text_source import DELIMITERS, json_lines, place, table_rows, text_field
from memgpt_rag.io.printable import shortened
from memgpt_rag.memory import Memory
from memgpt_rag.memory.memory import PassageEncoder
from memgpt_rag.passage import Passage

LABEL = "label"  # the column of a memory that was made of examples


@dataclass(frozen=True)
class LabelledText:
    """A text, its label, and where it stands: a name of a file, and the number of its line."""

    text: str
    label: str
    source: str = "example"
    line: int = 0


def read_examples(path: str | Path, *, text: str = "text", label: str = LABEL) -> list[LabelledText]:
    """Read labelled texts: comma- or tab-separated values under a line of names, if the file's name says so, else JSON Lines.

    Args:
        text, label: names of the columns, or fields.

    Raises:
        SourceError: the file cannot be read, has no such columns or no example, or a line lacks its text or its label.
        ValueError: text and label are one column.
    """
    if text == label:
        raise ValueError(
            f"{text!r} is named for the texts and for the labels; name two columns, with --text and --label."
        )
    path = Path(path)
    expected = f"a text in {text!r} and a label in {label!r}"
    is_table = path.suffix.lower() in DELIMITERS
    advice = "Name your own with --text and --label."
    records: Iterator[tuple[int, dict[str, Any]]] = (
        table_rows(path, (text, label), advice) if is_table else _json_records(path, expected)
    )
    found = []
    for line, record in records:
        where = place(path, line)
        record = {**record, label: _as_label(record.get(label))}
        found.append(
            LabelledText(
                text_field(record, text, where, expected), text_field(record, label, where, expected), path.name, line
            )
        )
    if not found:
        raise SourceError(f"{path.name} holds no example; expected {expected} in each line.")
    return found


def create_memory(
    folder: str | Path, examples: Sequence[LabelledText], encoder: PassageEncoder, *, replace: bool = False
) -> Memory:
    """Embed examples into a new memory, one entry each; everything else as `Memory.create`."""
    return Memory.create(folder, example_passages(examples), encoder, metadata={LABEL: "string"}, replace=replace)


def example_passages(examples: Sequence[LabelledText], *, first: int = 1, column: str = LABEL) -> list[Passage]:
    """Return examples as entries.

    Args:
        first: number of the first one, by which their ids differ.
        column: of the label.
    """
    return [
        Passage(
            f"{example.source}#{number}",
            example.text,
            "",
            example.source,
            "",
            "line" if example.line else "example",
            example.line or number,
            example.line or number,
            0,
            len(example.text),
            {column: example.label},
        )
        for number, example in enumerate(examples, first)
    ]


def memory_labels(memory: Memory, column: str) -> list[str]:
    """Return the label of every entry of a memory, in the order of its rows.

    Raises:
        MismatchError: the memory has no such column of words, or an entry has no label.
    """
    columns = memory.manifest.metadata
    if columns.get(column) != "string":
        columns_named = ", ".join(name for name, kind in columns.items() if kind == "string") or "none"
        raise MismatchError(
            f"{memory.path} has no column {column!r} of labels; its metadata columns of type string: {columns_named}."
        )
    labels = []
    for passage in memory.passages(memory.rows()):
        label = passage.metadata.get(column)
        if not label or not label.strip():
            raise MismatchError(
                f"The entry {shortened(passage.id)!r} of {memory.path} has no {column}; label it, or delete it."
            )
        labels.append(label)
    return labels


def _as_label(value: Any) -> Any:
    """Return a label in words: a whole number or a truth value of JSON as it is written there."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int) else value


def _json_records(path: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for where, record in json_lines(path, f"an object with {expected}"):
        yield int(where.rpartition(" ")[2]), record
