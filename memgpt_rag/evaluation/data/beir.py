"""A folder in the layout of BEIR: corpus.jsonl, queries.jsonl, and judgements in qrels/SPLIT.tsv.

Thakur et al. 2021, BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models.
"""

from __future__ import annotations

from pathlib import Path

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.evaluation.data.qrels import Judgements
from memgpt_rag.evaluation.data.text_source import json_lines, numbered_lines, text_field

CORPUS, QUERIES, JUDGEMENTS = "corpus.jsonl", "queries.jsonl", "qrels"
HEADER = ("query-id", "corpus-id", "score")

_DOCUMENT = 'an object such as {"_id": "d1", "title": "…", "text": "…"}, whose title may be missing'
_QUERY = 'an object such as {"_id": "q1", "text": "…"}'


def read_beir(folder: str | Path, split: str = "test") -> RetrievalDataset:
    """Read a dataset from a folder.

    Args:
        split: name of the file in qrels/, without .tsv.

    Raises:
        SourceError: a file is missing, malformed or not UTF-8; an id occurs twice, or in the qrels only; a query is
            empty; no query has a relevant document. The message names file and line.
    """
    folder = Path(folder)
    documents = read_corpus(folder / CORPUS)
    queries: dict[str, str] = {}
    for where, record in json_lines(folder / QUERIES, _QUERY):
        name = _new_id(record, queries, where, _QUERY)
        queries[name] = text_field(record, "text", where, _QUERY)
    judgements = _read_judgements(_split_file(folder / JUDGEMENTS, split), queries, documents)
    return RetrievalDataset(folder.resolve().name, documents, queries, judgements.grades)


def read_corpus(path: Path) -> dict[str, Document]:
    """Read the documents of a corpus.jsonl, by their id.

    Raises:
        SourceError: as `read_beir`.
    """
    documents: dict[str, Document] = {}
    for where, record in json_lines(path, _DOCUMENT):
        name = _new_id(record, documents, where, _DOCUMENT)
        title = text_field(record, "title", where, _DOCUMENT, empty=True)
        if "text" not in record:
            raise SourceError(f"{where}: its text is missing; expected {_DOCUMENT}.")
        documents[name] = Document(title, text_field(record, "text", where, _DOCUMENT, empty=True))
    if not documents:
        raise SourceError(f"{path.name} holds no document; expected {_DOCUMENT} in each line.")
    return documents


def _new_id(record: dict[str, object], known: dict[str, Document] | dict[str, str], where: str, expected: str) -> str:
    id = record.get("_id")
    if isinstance(id, int | float) and not isinstance(id, bool):
        record = {"_id": str(id)}  # the judgements, which are text, name it so
    name = text_field(record, "_id", where, expected)
    if name in known:
        raise SourceError(f"{where}: the id {name!r} was used before; give every line an id of its own.")
    return name


def _split_file(folder: Path, split: str) -> Path:
    path = folder / f"{split}.tsv"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.tsv"))) or "none"
        raise SourceError(f"{folder} has no file {path.name}; its splits are: {there}. Name one of them with --split.")
    return path


def _read_judgements(path: Path, queries: dict[str, str], documents: dict[str, Document]) -> Judgements:
    judgements = Judgements(path.name, queries, documents)
    expected = "three columns with tabs between them: query-id, corpus-id, score"
    for number, (where, line) in enumerate(numbered_lines(path)):
        columns = tuple(line.split("\t"))
        if not number:
            if columns != HEADER:
                raise SourceError(
                    f"{where}: no header but {line[:60]!r}; expected query-id, corpus-id, score in a line of their own."
                )
            continue
        if len(columns) != len(HEADER):
            raise SourceError(f"{where}: {len(columns)} columns; expected {expected}.")
        judgements.add(where, *(column.strip() for column in columns))
    judgements.require_some()
    return judgements
