"""Which entries an entry leads to: triples of the same entity, or passages that hold a name which the passage mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow.compute as pc

from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Searchable
from memgpt_rag.model.prompt import HAN
from memgpt_rag.tasks.graph.build import COLUMNS
from memgpt_rag.tasks.graph.knowledge import normalized
from memgpt_rag.tasks.graph.paths import Links, Path

_MOST_ROWS = 500  # that are followed at once
_MOST_TOKENS = 12  # of a name
# Capitalized words, joined by the small words that stand in names; and titles in Chinese marks.
_NAME = re.compile(
    r"(?:[A-Z0-9][\w’'.&-]*)(?:\s+(?:(?:of|the|and|de|la|von|van|for|in)\s+)*[A-Z0-9][\w’'.&-]*)*|《[^》]{1,40}》|“[^”]{2,40}”"
)
_TOKEN = re.compile(rf"[{HAN}]|[^\W{HAN}]+|\S")


def read_links(memory: Searchable) -> Links:
    """Return the links of a memory: those of its triples, or else of the names in its texts."""
    return TripleLinks(memory) if COLUMNS.keys() <= memory.manifest.metadata.keys() else NameLinks(memory)


def require_triples(memory: Searchable) -> None:
    """Raises MismatchError: the memory was not built of triples."""
    if missing := COLUMNS.keys() - memory.manifest.metadata.keys():
        raise MismatchError(
            f"The memory has no column {min(missing)!r}, as one of triples has; build it with memgpt-rag graph build, or follow "
            "the names in its texts."
        )


class TripleLinks:
    """Links of a memory of triples: an entity leads to its triples, to the first 500 where it has more.

    Raises:
        MismatchError: the memory was not built of triples.
    """

    # Chosen on 80 questions about countries, others than those of benchmarks/graph.py.
    lexical_weight = 0.75
    cost = 0.05
    joins = True

    def __init__(self, memory: Searchable):
        require_triples(memory)
        self._memory = memory

    def begin(self, question: str) -> Sequence[int]:
        """Return the triples of the entities that the question names."""
        spans = {normalized(span) for span in _spans(question)}
        return self._rows(
            pc.utf8_lower(pc.field("subject")).isin(sorted(spans))
            | pc.utf8_lower(pc.field("object")).isin(sorted(spans))
        )

    def follow(self, question: str, path: Path) -> Sequence[int]:
        """Return the triples, in its language, of the entity that a path leads to: the one that the question does not name."""
        last = path.passages[-1].metadata
        ends = [(last[f"{end}_id"], last[end]) for end in ("subject", "object") if f"{end}_id" in last]
        named = [holds_answer(question, name) for _, name in ends]
        ids = [id for (id, _), is_named in zip(ends, named) if not is_named or all(named)]
        touching = pc.field("subject_id").isin(ids) | pc.field("object_id").isin(ids)
        return self._rows(touching & (pc.field("language") == last.get("language", "")))

    def _rows(self, condition: pc.Expression) -> Sequence[int]:
        found: list[int] = self._memory.rows(condition)[:_MOST_ROWS].tolist()
        return found


class NameLinks:
    """Links of a memory of texts: names in a passage lead to passages that hold them.

    Args:
        each: passages that a name leads to, the best by BM25.
        most_names: of a passage that are followed, the first ones and its title.
    """

    # Chosen on every third question of HotpotQA and MuSiQue; benchmarks/graph.py reports the others.
    lexical_weight = 0.4
    cost = 0.3
    joins = False

    def __init__(self, memory: Searchable, *, each: int = 3, most_names: int = 12):
        self._memory, self._each, self._most_names = memory, each, most_names

    def begin(self, question: str) -> Sequence[int]:
        """Return nothing: paths begin with what the search finds."""
        return ()

    def follow(self, question: str, path: Path) -> Sequence[int]:
        """Return the passages that hold names of the last passage."""
        names = self._names(path)
        if not names:
            return ()
        rows = []
        for name, found in zip(names, self._memory.candidates(None, names, self._each), strict=True):
            order = found.bm25_scores.argsort(kind="stable")[::-1][: self._each]
            best = [int(row) for row in found.rows[order]]
            for row, passage in zip(best, self._memory.passages(best)):
                if holds_answer(passage.titled_text, name):
                    rows.append(row)
        return rows

    def _names(self, path: Path) -> list[str]:
        passage = path.passages[-1]
        found = [passage.title, *(match.group().strip("《》“”.,'’ ") for match in _NAME.finditer(passage.text))]
        names = [name for name in dict.fromkeys(found) if len(name) > 2 and not name.isdigit()]
        return names[: self._most_names]


def path_end(question: str, path: Path) -> str | None:
    """Return the name that a path of triples leads to; None of a path of texts.

    It is the end of the last triple that the path did not come from: neither part of the triple before it nor named by the question.
    """
    last = path.passages[-1].metadata
    if "subject_id" not in last:
        return None
    subject, object = str(last["subject"]), str(last["object"])
    if len(path.passages) > 1:
        before = path.passages[-2].metadata
        came_from = {before["subject_id"], before.get("object_id")}
        return subject if last.get("object_id") in came_from and last["subject_id"] not in came_from else object
    return subject if holds_answer(question, object) and not holds_answer(question, subject) else object


def _spans(question: str) -> Iterator[str]:
    """All runs of words, or of Chinese characters, that a name may be."""
    tokens = list(_TOKEN.finditer(question))
    for start in range(len(tokens)):
        for end in range(start, min(start + _MOST_TOKENS, len(tokens))):
            yield question[tokens[start].start() : tokens[end].end()]
