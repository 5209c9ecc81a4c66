"""Answers questions from the best paths, and shows the path that the answer rests on.

A path of triples is read as one entry, so that its steps attend to each other: the language model reads "The country code of Spain is
ESP. The continent of Spain is Europe." The passages of paths through texts are entries of their own, as those of a search are: they are
as long as those that readers are trained on. Which of the two is better was measured for both, see docs/development/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.quote import attention_shares
from memgpt_rag.answering.signals import says_something
from memgpt_rag.choices import DEFAULT_PATHS
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.tasks.graph.links import path_end
from memgpt_rag.tasks.graph.paths import Path, PathFinder

_FOUND = 48
_PASSAGES = 2  # of texts that are read for each path asked for
_MARGIN = 0.1  # below the best path's score; a path of triples that is worse than that is not read


@dataclass(frozen=True)
class Step:
    """An entry of a path, with its share of the attention to memory; None where that is not known."""

    passage: Passage
    share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        return {
            "id": self.passage.id,
            "text": self.passage.text,
            "place": self.passage.place,
            "share": self.share,
        }


@dataclass(frozen=True)
class PathAnswer:
    """An answer with the path that it rests on.

    Attributes:
        answer: as every answer of the project; its citations are paths of triples, each joined to one passage, or passages of texts.
        steps: the path that attention went to most, or the best one with the passage cited first; in a prompt, the best one.
        end: the name that it leads to, in a memory of triples; None in one of texts, or where nothing was found.
    """

    answer: Answer
    steps: tuple[Step, ...]
    end: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON."""
        return {**self.answer.to_dict(), "end": self.end, "steps": [step.to_dict() for step in self.steps]}


def answer_by_paths(
    rag: RAG, finder: PathFinder, questions: Sequence[str], options: AskOptions = AskOptions(k=DEFAULT_PATHS)
) -> list[PathAnswer]:
    """Answer questions, each from its best paths.

    Args:
        options: how; `k` is the number of paths. In a memory of texts, twice as many passages are read.

    Raises:
        ValueError: an empty question, or one that is too long; or options that renew entries by search, which would not be paths.
    """
    if options.retrieve_every is not None:
        raise ValueError(
            f"retrieve_every is {options.retrieve_every}: a search would put single entries in the place of paths; leave it out."
        )
    if not all(question.strip() for question in questions):
        raise ValueError("A question is empty; ask something.")
    for question in questions:
        rag.prompt.question_row(question, [])  # what is too long is refused before anything is searched
    found = [_found(finder, question, options.k) for question in questions]
    drafts = [Draft(question, entries) for question, (_, entries) in zip(questions, found, strict=True)]
    most = max([options.k, *(len(entries) for _, entries in found)])
    answers = rag.answer_from(drafts, replace(options, k=most))
    with_steps = _with_joined_steps if finder.links.joins else _with_steps
    return [with_steps(answer, paths) for answer, (paths, _) in zip(answers, found, strict=True)]


def entries_by_paths(finder: PathFinder, question: str, count: int) -> list[Retrieved]:
    """Return what is read of the best paths: so many paths of triples, or twice as many passages of texts."""
    return _found(finder, question, count)[1]


def _found(finder: PathFinder, question: str, count: int) -> tuple[list[Path], list[Retrieved]]:
    """The best paths, and the entries that are read of them."""
    # A search by meaning would find paths even for punctuation.
    paths = finder.paths(question, _FOUND) if says_something(question) else []
    if finder.links.joins:
        paths = read_paths(paths, count)
        return paths, [joined(path) for path in paths]
    entries: dict[str, Retrieved] = {}  # the same text in two memories is read once
    for path in paths:
        for row, passage in zip(path.rows, path.passages):
            entries.setdefault(passage.titled_text, Retrieved(row, passage, path.score, path.score))
    longest = max((len(path.rows) for path in paths[:1]), default=0)  # the best path is read whole
    return paths, list(entries.values())[: max(_PASSAGES * count, longest)]


def read_paths(paths: Sequence[Path], count: int) -> list[Path]:
    """Return the paths to read, best first: near the best one, and no longer than is of use.

    Where going on makes a path better, only what it goes on to is read; where it does not, the first part answers by itself.
    """
    near = [path for path in paths if path.score >= paths[0].score - _MARGIN]
    scores = {path.rows: path.score for path in near}
    begun: set[tuple[int, ...]] = set()
    worse: set[tuple[int, ...]] = set()
    for path in near:
        for length in range(1, len(path.rows)):
            first = path.rows[:length]
            if first in scores:
                (begun if path.score > scores[first] else worse).add(first if path.score > scores[first] else path.rows)
    return [path for path in near if path.rows not in begun | worse][:count]


def joined(path: Path) -> Retrieved:
    """Return a path as one entry."""
    if len(path.rows) == 1:
        return Retrieved(path.rows[0], path.passages[0], path.score, path.score)
    text, _ = _text_and_spans(path)
    id = "+".join(passage.id for passage in path.passages)
    passage = replace(path.passages[-1], id=id, title="", text=text)
    ids = tuple(one.id for one in path.passages)
    return Retrieved(path.rows[-1], passage, path.score, path.score, joined=path.rows, joined_ids=ids)


def _text_and_spans(path: Path) -> tuple[str, list[tuple[int, int]]]:
    """The text of a joined path, and where each step stands in it."""
    if len(path.passages) == 1:
        return path.passages[0].text, [(0, len(path.passages[0].text))]
    texts = [passage.titled_text for passage in path.passages]
    gap = "\n\n" if any(passage.title for passage in path.passages) else " "
    starts = [0, *accumulate(len(text) + len(gap) for text in texts[:-1])]
    return gap.join(texts), [(start, start + len(text)) for start, text in zip(starts, texts)]


def _with_steps(answer: Answer, paths: Sequence[Path]) -> PathAnswer:
    """The best path whose passages were all read, the one cited first among them."""
    if not answer.citations:
        return PathAnswer(answer, (), None)
    shares = {citation.passage.titled_text: citation.share for citation in answer.citations}
    first = answer.citations[0].passage
    by_text = ({passage.titled_text: passage for passage in path.passages} for path in paths)
    whole = (steps for steps in by_text if first.titled_text in steps and shares.keys() >= steps.keys())
    found = next(whole, {first.titled_text: first})
    steps = tuple(Step(passage, shares[text]) for text, passage in found.items())
    return PathAnswer(answer, steps, None)


def _with_joined_steps(answer: Answer, paths: Sequence[Path]) -> PathAnswer:
    if not answer.citations:
        return PathAnswer(answer, (), None)
    cited = answer.citations[0]
    path = next(path for path in paths if joined(path).passage.id == cited.passage.id)
    shares: list[float | None] = [None] * len(path.rows)
    if answer.trace is not None and cited.share is not None:
        text, spans = _text_and_spans(path)
        shares = [float(part) * cited.share for part in attention_shares(text, spans, answer.trace.entries[0])]
    steps = tuple(Step(passage, share) for passage, share in zip(path.passages, shares))
    return PathAnswer(answer, steps, path_end(answer.question, path))
