"""The files of TREC: topics, judgements (qrels) and runs, as trec_eval reads them.

https://trec.nist.gov/data/qrels_eng and https://github.com/usnistgov/trec_eval. A topic may be SGML without closing tags,
as in the first TRECs, or XML. A run has six columns, query Q0 document rank score tag.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.beir import CORPUS, read_corpus
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.data.qrels import Judgements
from memgpt_rag.evaluation.data.text_source import numbered_lines, place, read_text

# Query id → documents with their scores, best first. The order is the ranking, also where scores are equal.
Run = Mapping[str, Sequence[tuple[str, float]]]

_TOPIC = "<top> <num> Number: 301 <title> the query </top>"


def read_trec(folder: str | Path) -> RetrievalDataset:
    """Read a dataset from a folder with one file topics.*, one file qrels.* and the documents in corpus.jsonl, as in BEIR.

    Raises:
        SourceError: a file is missing or there are several, or as the readers of the files.
    """
    folder = Path(folder)
    documents, queries = read_corpus(folder / CORPUS), read_topics(_one(folder, "topics"))
    judgements = read_qrels(_one(folder, "qrels"), queries, documents)
    return RetrievalDataset(folder.resolve().name, documents, queries, judgements)


def read_topics(path: Path) -> dict[str, str]:
    """Read the titles of topics, by their number as it is written, which the qrels must use as query id.

    Raises:
        SourceError: no topic, one without number or title, or a number that occurs twice.
    """
    text = read_text(path)
    queries: dict[str, str] = {}
    for found in re.finditer(r"<top>(.*?)</top>", text, re.DOTALL | re.IGNORECASE):
        where = place(path, text.count("\n", 0, found.start()) + 1)
        fields = dict(re.findall(r"<(num|title)>(.*?)(?=</?[a-z]+>|\Z)", found[1], re.DOTALL | re.IGNORECASE))
        values = {name.lower(): " ".join(html.unescape(value).split()) for name, value in fields.items()}
        number = re.sub(r"^Number:\s*", "", values.get("num", ""), flags=re.IGNORECASE)
        title = re.sub(r"^Topic:\s*", "", values.get("title", ""), flags=re.IGNORECASE)
        for name, value in (("number", number), ("title", title)):
            if not value:
                raise SourceError(f"{where}: a topic without a {name}; expected {_TOPIC}.")
        if number in queries:
            raise SourceError(f"{where}: the number {number!r} was used before; give every topic a number of its own.")
        queries[number] = title
    if not queries:
        raise SourceError(f"{path.name} holds no topic; expected {_TOPIC}.")
    return queries


def read_qrels(
    path: Path, queries: Container[str] | None = None, documents: Container[str] | None = None
) -> dict[str, dict[str, int]]:
    """Read qrels in four columns: query, iteration (ignored), document, grade.

    Args:
        queries, documents: ids that may be judged; None for any.

    Raises:
        SourceError: a line with other columns, a grade that is no integer, an unknown id, or no relevant document.
    """
    judgements = Judgements(path.name, queries, documents)
    for where, line in numbered_lines(path):
        columns = line.split()
        if len(columns) != 4:
            raise SourceError(f"{where}: {len(columns)} columns; expected four: query, 0, document, grade.")
        query, _, document, grade = columns
        judgements.add(where, query, document, grade)
    judgements.require_some()
    return judgements.grades


def read_run(path: Path) -> tuple[str, dict[str, list[tuple[str, float]]]]:
    """Read the tag and the rankings of a run, ordered by the ranks in it.

    Raises:
        SourceError: a line with other columns, a rank or score that is no number, a document or a rank that occurs twice
            for a query, or a score above that of the rank before, so that ranks and scores contradict each other.
    """
    ranked: dict[str, dict[int, tuple[str, float, str]]] = {}
    seen: set[tuple[str, str]] = set()
    tag = path.stem
    for where, line in numbered_lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise SourceError(f"{where}: {len(columns)} columns; expected six: query, Q0, document, rank, score, tag.")
        query, _, document, rank, score, tag = columns
        if not re.fullmatch(r"\d+", rank):
            raise SourceError(f"{where}: the rank {rank!r} is no whole number; expected 1, 2, 3 and so on.")
        ranking = ranked.setdefault(query, {})
        if int(rank) in ranking:
            raise SourceError(
                f"{where}: the query {query!r} has the rank {rank} twice; number its documents from 1 on."
            )
        if (query, document) in seen:
            raise SourceError(
                f"{where}: the query {query!r} has the document {document!r} twice; keep the better rank."
            )
        seen.add((query, document))
        ranking[int(rank)] = document, _finite(score, where), where
    if not ranked:
        raise SourceError(f"{path.name} holds no line; expected six columns: query, Q0, document, rank, score, tag.")
    run = {}
    for query, ranking in ranked.items():
        ordered = [ranking[rank] for rank in sorted(ranking)]
        for (_, above, _), (document, document_score, where) in pairwise(ordered):
            if document_score > above:
                raise SourceError(
                    f"{where}: {document!r} has the score {document_score:g} and the rank before it {above:g}; ranks and scores of "
                    f"the query {query!r} disagree; sort it by score and number it anew."
                )
        run[query] = [(document, document_score) for document, document_score, _ in ordered]
    return tag, run


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write a run with its true ranks, from 1, and the scores of `distinct_scores`.

    Raises:
        ValueError: a score above the one before it, one that is not finite, or an id or tag with white space in it.
    """
    lines = []
    for query, found in run.items():
        for rank, (document, score) in enumerate(distinct_scores(query, found), 1):
            for name in (query, document, tag):
                if not name or len(name.split()) != 1 or name != name.strip():
                    raise ValueError(
                        f"{name!r} holds white space or nothing; a run's columns are parted by white space."
                    )
            lines.append(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")
    path.write_text("".join(lines), encoding="utf-8")


def distinct_scores(query: str, found: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return a ranking with scores from which every tool reads the order given here.

    trec_eval and others ignore ranks, sort by score in 32 bits, and break ties by the id. So a score that is not below the one
    before it becomes the next smaller number of 32 bits.

    Args:
        query: its id, for messages.

    Raises:
        ValueError: a score above the one before it, or one that is not finite.
    """
    above, below = math.inf, np.float32(np.inf)
    distinct = []
    for rank, (document, score) in enumerate(found, 1):
        if not math.isfinite(score) or score > above:
            raise ValueError(
                f"Rank {rank} of the query {query!r} has the score {score:g} after {above:g}; expected finite scores that "
                "never increase."
            )
        above, below = score, min(np.float32(score), np.nextafter(below, np.float32(-np.inf)))
        distinct.append((document, float(below)))
    return distinct


def _finite(score: str, where: str) -> float:
    try:
        value = float(score)
    except ValueError as error:
        raise SourceError(f"{where}: the score {score!r} is no number; expected one such as 0.73.") from error
    if not math.isfinite(value):
        raise SourceError(f"{where}: the score {score!r} is not finite; expected a number such as 0.73.")
    return value


def _one(folder: Path, name: str) -> Path:
    there = sorted(path for path in folder.glob(f"{name}*") if path.is_file())
    if len(there) != 1:
        found = ", ".join(path.name for path in there) or "none"
        raise SourceError(f"{folder} should hold one file {name}.*; found: {found}.")
    return there[0]
