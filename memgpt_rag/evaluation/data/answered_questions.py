"""Questions with their gold answers, from JSON Lines or from a dataset in the layout of SQuAD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.squad import read_squad
from memgpt_rag.evaluation.data.text_source import json_lines, text_field

_EXPECTED = 'an object such as {"id": "q1", "question": "…", "golden_answers": ["…"]}'


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question, its id, and its gold answers, any of which is right."""

    id: str
    question: str
    answers: tuple[str, ...]


def read_answered(path: str | Path) -> list[AnsweredQuestion]:
    """Read answered questions: JSON in the layout of SQuAD if the file's name ends with .json, else JSON Lines.

    A line has the answers as "golden_answers" or "answers", or one "answer". A missing id becomes the number of the
    question, from 1.

    Raises:
        SourceError: the file cannot be read or holds no question; a line lacks a question or an answer; an id occurs twice.
    """
    path = Path(path)
    if path.suffix == ".json":
        judged = read_squad(path)
        return [AnsweredQuestion(name, judged.queries[name], answers) for name, answers in judged.answers.items()]
    asked: dict[str, AnsweredQuestion] = {}
    for number, (where, record) in enumerate(json_lines(path, _EXPECTED), 1):
        name = text_field(record, "id", where, _EXPECTED) if record.get("id") is not None else str(number)
        if name in asked:
            raise SourceError(f"{where}: the id {name!r} was used before; give every question an id of its own.")
        asked[name] = AnsweredQuestion(name, text_field(record, "question", where, _EXPECTED), _answers(record, where))
    if not asked:
        raise SourceError(f"{path.name} holds no question; expected {_EXPECTED} in each line.")
    return list(asked.values())


def _answers(record: dict[str, Any], where: str) -> tuple[str, ...]:
    key = next((name for name in ("golden_answers", "answers", "answer") if name in record), "golden_answers")
    found = [record[key]] if isinstance(record.get(key), str) else record.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one.strip() for one in found):
        shown = "missing" if found is None else repr(found)[:60]
        raise SourceError(f"{where}: its {key} is {shown}; expected {_EXPECTED}.")
    return tuple(dict.fromkeys(one.strip() for one in found))
