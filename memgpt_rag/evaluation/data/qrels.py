"""Relevance judgements (qrels), collected line by line from files of any layout; contradictions are refused."""

from __future__ import annotations

import re
from collections.abc import Container

from memgpt_rag.errors import SourceError


class Judgements:
    """Collects the grades of documents for queries; unknown ids and contradictory grades are refused.

    Args:
        file: name of the file, for errors.
        queries, documents: ids that may be judged; None for any.

    Attributes:
        grades: query id → document id → grade.
    """

    def __init__(self, file: str, queries: Container[str] | None, documents: Container[str] | None):
        self.grades: dict[str, dict[str, int]] = {}
        self._file, self._queries, self._documents = file, queries, documents

    def add(self, where: str, query: str, document: str, grade: str) -> None:
        """Add a judgement; raises SourceError for an unknown id, a grade that is no integer, or a contradictory grade."""
        for kind, name, known in (("query", query, self._queries), ("document", document, self._documents)):
            if known is not None and name not in known:
                raise SourceError(
                    f"{where}: judges the {kind} {name!r}, which is none of the {kind} ids; give both files the same ids."
                )
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", grade):
            raise SourceError(f"{where}: the grade {grade!r} is no whole number; expected one such as 0, 1 or 2.")
        value = int(grade)
        before = self.grades.setdefault(query, {}).setdefault(document, value)
        if before != value:
            raise SourceError(
                f"{where}: {document!r} has grade {value} for {query!r}, and had {before} before; keep one of them."
            )

    def require_some(self) -> None:
        """Check that some document is relevant; raises SourceError if not, since nothing could be measured."""
        if not any(grade > 0 for query_grades in self.grades.values() for grade in query_grades.values()):
            raise SourceError(
                f"{self._file} judges no document as relevant (grade 1 or more); nothing can be measured."
            )
