"""Options that say how entries are looked for, for every command that searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.limits import MOST_ENTRIES, MOST_NEIGHBOURS

if TYPE_CHECKING:
    from memgpt_rag.rag import RAG
    from memgpt_rag.retrieval.fusion import Fusion
    from memgpt_rag.retrieval.retriever import Kind, Search

# Name of the reranker that is the language model itself.
OWN_MODEL = "model"


@dataclass(frozen=True)
class SearchOptions:
    """What was given, before any model is loaded."""

    word_weight: float
    fusion: Fusion
    rerank: str | None
    rerank_weight: float | None
    depth: int
    diversity: float
    neighbours: int
    kind: Kind = "dense"

    def load(self) -> Search:
        """The search, without the language model as a reranker, which `add_own_model` adds.

        Raises:
            ModelError: no such reranker.
        """
        from memgpt_rag.retrieval.retriever import Search

        reranker = None
        if self.rerank not in (None, OWN_MODEL):
            from memgpt_rag.retrieval.rerankers import load_reranker

            reranker = load_reranker(str(self.rerank))
        return Search(
            kind=self.kind,
            word_weight=self.word_weight,
            fusion=self.fusion,
            reranker=reranker,
            rerank_weight=self.rerank_weight,
            depth=self.depth,
            diversity=self.diversity,
            neighbours=self.neighbours,
        )

    def add_own_model(self, rag: RAG) -> None:
        """Let the language model of `rag` look again at what is found, where that was asked for."""
        if self.rerank == OWN_MODEL:
            from memgpt_rag.retrieval.rerankers import LikelihoodReranker

            reranker = LikelihoodReranker(rag.model, rag.prompt)
            rag.retriever.search = replace(rag.retriever.search, reranker=reranker)


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the options, which arrive as one `search` of `SearchOptions`."""
    return _KIND(refining_options(command))


def refining_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that has a --search of its own, or none."""
    names = [field.name for field in fields(SearchOptions)]

    @wraps(command)
    def gathered(*arguments: Any, **settings: Any) -> Any:
        options = {name: settings.pop(name) for name in names if name in settings}
        return command(*arguments, search=SearchOptions(**options), **settings)

    for option in reversed(_REFINING):
        gathered = option(gathered)
    return gathered


_KIND = click.option(
    "--search",
    "kind",
    default="dense",
    show_default=True,
    type=click.Choice(["dense", "bm25", "hybrid"]),
    help="Find entries by their keys, by their words, or by both; words need memgpt-index words.",
)
_REFINING = [
    click.option(
        "--word-weight",
        default=0.25,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Weight of words against keys in a hybrid search.",
    ),
    click.option(
        "--fusion",
        default="scores",
        show_default=True,
        type=click.Choice(["scores", "ranks"]),
        help="How a hybrid search makes one ranking of two: weighted scores, or reciprocal ranks.",
    ),
    click.option(
        "--rerank",
        metavar="NAME",
        help="Look again at the best entries: with a cross-encoder by name or folder; as tokens:NAME, with the tokens of an "
        f"embedding model; or, as {OWN_MODEL!r}, with the language model itself.",
    ),
    click.option(
        "--rerank-weight",
        type=click.FloatRange(0, 1),
        help="Weight of the reranker's scores against those of the search; without it, what suits the reranker.",
    ),
    click.option(
        "--depth",
        default=20,
        show_default=True,
        type=click.IntRange(1, MOST_ENTRIES),
        help="How many of the best entries a reranker, or --diversity, looks at.",
    ),
    click.option(
        "--diversity",
        default=0.0,
        show_default=True,
        type=click.FloatRange(0, 1),
        help="Above 0, prefer entries that say something new.",
    ),
    click.option(
        "--neighbours",
        default=0,
        show_default=True,
        type=click.IntRange(0, MOST_NEIGHBOURS),
        help="Join so many passages before and after an entry to it.",
    ),
]
