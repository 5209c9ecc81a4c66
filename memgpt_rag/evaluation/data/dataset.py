"""A retrieval dataset: documents, queries and relevance judgements. Reads no files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Document(NamedTuple):
    """A document; its title may be empty, and so may its text: real collections have such documents."""

    title: str
    text: str


@dataclass(frozen=True)
class RetrievalDataset:
    """A retrieval dataset: documents, queries and relevance judgements.

    Attributes:
        name: common name of the dataset.
        documents: document id → document, in the order of the collection.
        queries: query id → text, with and without judgements.
        judgements: query id → document id → grade. Grades of 1 and more are relevant, 0 and less are not; unjudged
            documents count as not relevant.
        answers: query id → gold answers, where they are known.

    Raises:
        ValueError: no document, a judgement or an answer for an unknown query or document, or no query with a relevant
            document.
    """

    name: str
    documents: Mapping[str, Document]
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.documents:
            raise ValueError(f"{self.name} has no document; expected at least one.")
        for query in (*self.judgements, *self.answers):
            if query not in self.queries:
                raise ValueError(f"{self.name} judges or answers the query {query!r}, which is none of its queries.")
        for query, grades in self.judgements.items():
            for document in grades:
                if document not in self.documents:
                    raise ValueError(
                        f"{self.name} judges the document {document!r} for the query {query!r}; it is none of its documents."
                    )
        if not self.judged:
            raise ValueError(f"No query of {self.name} has a relevant document; nothing can be measured.")

    @cached_property
    def judged(self) -> dict[str, str]:
        """Return the queries that are measured: those with a relevant document, in order.

        The others have no correct ranking: they would only lower the mean of every system.
        """
        return {
            query: text
            for query, text in self.queries.items()
            if any(grade > 0 for grade in self.judgements.get(query, {}).values())
        }

    def relevant(self, query: str) -> list[str]:
        """Return the ids of the relevant documents of a query."""
        return [document for document, grade in self.judgements.get(query, {}).items() if grade > 0]

    @cached_property
    def documents_digest(self) -> str:
        """Return a SHA-256 digest of the collection, independent of its file and the order of documents."""
        return digest(sorted([name, *document] for name, document in self.documents.items()))

    @cached_property
    def query_digests(self) -> dict[str, str]:
        """Return a SHA-256 digest of each measured query's text and judgements, to compare two datasets by."""
        return {
            query: digest([text, sorted(self.relevant_grades(query).items())]) for query, text in self.judged.items()
        }

    def relevant_grades(self, query: str) -> dict[str, int]:
        """Return the relevant documents of a query with their grades, from which all measures are computed."""
        return {document: grade for document, grade in self.judgements.get(query, {}).items() if grade > 0}


def merge_equal(documents: Iterable[tuple[str, Document]]) -> tuple[dict[str, Document], dict[str, str]]:
    """Merge documents of equal title and text into the first one, since no search can distinguish them.

    Returns:
        The documents that are kept, and for the id of every document the id of the one that it was merged into.
    """
    kept: dict[str, Document] = {}
    first: dict[Document, str] = {}
    became: dict[str, str] = {}
    for name, document in documents:
        became[name] = first.setdefault(document, name)
        kept[became[name]] = document
    return kept, became


def digest(content: object) -> str:
    """Return the SHA-256 of JSON data, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
