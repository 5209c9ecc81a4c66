"""Reads questions with known answers from a file of JSON Lines, for calibrations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from memgpt_rag.errors import SourceError
from memgpt_rag.io.json_file import parse_json

_EXPECTED = 'expected an object such as {"question": "…", "answer": "…"}'


def read_questions(path: str | Path) -> list[tuple[str, str]]:
    """Read pairs of question and answer, one JSON object a line; the first one of a list of `answers` is used.

    Raises:
        SourceError: the file does not exist, is not UTF-8 or has no question, or a line lacks a question or an answer.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; name a file of JSON Lines.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    pairs = [_pair(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise SourceError(f"{path} holds no question; {_EXPECTED} in each line.")
    return pairs


def write_questions(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Write pairs of question and answer as `read_questions` reads them, all or, after an interruption, those that were there.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"question": question, "answer": answer}, ensure_ascii=False) for question, answer in pairs)
    written = path.with_name(f"{path.name}.new")
    written.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    written.replace(path)


def _pair(line: str, where: str) -> tuple[str, str]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise SourceError(f"{where}: {error}; {_EXPECTED}.") from error
    if not isinstance(record, dict):
        raise SourceError(f"{where}: no object; {_EXPECTED}.")
    answers = record.get("answers", [])
    answer = record.get("answer")
    if answer is None and isinstance(answers, list) and answers:
        answer = answers[0]
    for name, value in (("question", record.get("question")), ("answer", answer)):
        if not isinstance(value, str) or not value.strip():
            raise SourceError(f"{where}: its {name} is {'missing' if value is None else repr(value)}; {_EXPECTED}.")
    return record["question"].strip(), str(answer).strip()
