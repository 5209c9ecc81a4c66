"""Reading-comprehension datasets in the layout of SQuAD as retrieval datasets: the paragraph of a question is relevant.

Rajpurkar et al. 2016, SQuAD. XQuAD, CMRC 2018, DRCD, COVID-QA and MLQA have the same layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset, merge_equal
from memgpt_rag.evaluation.data.text_source import read_text
from memgpt_rag.io.json_file import parse_json

_EXPECTED = (
    'the layout of SQuAD, {"data": [{"paragraphs": [{"context": "…", "qas": [{"id": "…", "question": "…", '
    '"answers": [{"text": "…"}]}]}]}]}'
)


def read_squad(path: str | Path) -> RetrievalDataset:
    """Read a dataset: each paragraph is a document with the id "article.paragraph" from 0, relevant for its questions.

    Titles are left out, as in retrieval benchmarks of these datasets: they name the article, often in another language
    than the paragraph. Questions that are marked as impossible have no relevant paragraph and are left out, too.

    Raises:
        SourceError: the file cannot be read or has another layout; a question is empty, or its id occurs twice.
    """
    path = Path(path)
    try:
        content = parse_json(read_text(path))
    except ValueError as error:
        raise SourceError(f"{path.name}: {error}; expected {_EXPECTED}.") from error
    paragraphs = list(_paragraphs(content, path))
    documents, became = merge_equal(
        (name, Document("", _text(paragraph, "context", where))) for where, name, paragraph in paragraphs
    )
    if not documents:
        raise SourceError(f"{path.name} holds no paragraph; expected {_EXPECTED}.")
    queries: dict[str, str] = {}
    judgements: dict[str, dict[str, int]] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for where, name, paragraph in paragraphs:
        for number, asked in enumerate(_list(paragraph, "qas", where)):
            place = f"{where}.qas[{number}]"
            query = _text(asked, "id", place)
            if query in queries:
                raise SourceError(f"{place}: the id {query!r} was used before; give every question an id of its own.")
            question = _text(asked, "question", place)
            if asked.get("is_impossible"):
                continue
            queries[query], judgements[query] = question, {became[name]: 1}
            gold = dict.fromkeys(_text(answer, "text", f"{place}.answers") for answer in _list(asked, "answers", place))
            if gold:
                answers[query] = tuple(gold)
    if not queries:
        raise SourceError(f"{path.name} holds no question that its paragraphs answer; expected {_EXPECTED}.")
    return RetrievalDataset(path.stem, documents, queries, judgements, answers)


def _paragraphs(content: Any, path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for article_number, article in enumerate(_list(content, "data", path.name)):
        where = f"{path.name}, data[{article_number}]"
        for number, paragraph in enumerate(_list(article, "paragraphs", where)):
            yield f"{where}.paragraphs[{number}]", f"{article_number}.{number}", paragraph


def _list(record: Any, name: str, where: str) -> list[Any]:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, list):
        raise SourceError(f"{where}: no list {name!r}; expected {_EXPECTED}.")
    return value


def _text(record: Any, name: str, where: str) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise SourceError(f"{where}: its {name} is {'empty' if value == '' else repr(value)}; expected {_EXPECTED}.")
    return value.strip()
