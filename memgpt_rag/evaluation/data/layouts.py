"""Detects the layout of a dataset from its path, and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.beir import CORPUS, QUERIES, read_beir
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.data.squad import read_squad
from memgpt_rag.evaluation.data.trec import read_trec

Layout = Literal["beir", "trec", "squad", "questions"]

_EXPECTED = (
    "expected a folder with corpus.jsonl, queries.jsonl and qrels/ (BEIR), a folder with corpus.jsonl, topics.* and qrels.* "
    "(TREC), or a file .json in the layout of SQuAD"
)


def guess_layout(path: str | Path) -> Layout:
    """Return the layout of a dataset, from the names of its files; no file is opened.

    Raises:
        SourceError: the path does not exist, or has no known layout.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; {_EXPECTED}.")
    if path.is_dir():
        if (path / QUERIES).is_file():
            return "beir"
        if any(path.glob("topics*")):
            return "trec"
        there = "has no corpus.jsonl either" if not (path / CORPUS).is_file() else "has documents only"
        raise SourceError(f"{path} has neither queries.jsonl nor topics.*, and {there}; {_EXPECTED}.")
    if path.suffix == ".json":
        return "squad"
    if path.suffix in (".jsonl", ".ndjson"):
        return "questions"
    raise SourceError(f"{path} has a name that tells no layout; {_EXPECTED}.")


def read_dataset(path: str | Path, split: str = "test") -> RetrievalDataset:
    """Read a retrieval dataset in any known layout.

    Args:
        split: split of a BEIR folder; ignored for other layouts.

    Raises:
        SourceError: the layout is unknown, or the files are not valid in it.
    """
    layout = guess_layout(path)
    if layout == "beir":
        return read_beir(path, split)
    if layout == "trec":
        return read_trec(path)
    if layout == "squad":
        return read_squad(path)
    raise SourceError(
        f"{path} tells answers and no documents, so that search cannot be judged by it; {_EXPECTED}, or measure answers with "
        "memgpt-rag eval answers."
    )
