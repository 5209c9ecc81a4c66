"""Citations of an answer: which span of it rests on which entry, and where that entry can be looked up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any
from urllib.parse import quote

from memgpt_rag.answering.choice import Choice, cited_spans
from memgpt_rag.passage import Passage
from memgpt_rag.serving.conversations import TURN
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.pictures import has_picture
from memgpt_rag.serving.trace import trace_fields
from memgpt_rag.serving.viewer import signature


@dataclass(frozen=True)
class Links:
    """Makes addresses of the document viewer.

    Args:
        base_url: what stands before its path.
        secret: signs the addresses of a server with keys, so that a browser can open them; None where there are none.
        user: of the request, whose conversations they may lead to.
    """

    base_url: str
    secret: bytes | None = None
    user: str = ""

    def entry(self, memory: ServedMemory, passage: Passage) -> str:
        """Return the address of the document viewer at an entry; for a turn, that of its conversation's items."""
        if passage.unit == TURN:
            turns = f"{self.base_url.rstrip('/')}/v1/{passage.source.replace('conversation', 'conversations', 1)}/items"
            return f"{turns}?user={quote(self.user, safe='')}" if self.user else turns
        return f"{self._view(memory)}?{self._query(memory, passage)}#cited"

    def picture(self, memory: ServedMemory, passage: Passage) -> str:
        """Return the address of the picture of an entry that has one."""
        return f"{self._view(memory)}/picture?{self._query(memory, passage)}"

    def _view(self, memory: ServedMemory) -> str:
        return f"{self.base_url.rstrip('/')}/view/{quote(memory.name, safe='')}"

    def _query(self, memory: ServedMemory, passage: Passage) -> str:
        query = f"entry={quote(passage.id, safe='')}&version={memory.version}"
        if self.secret is not None:
            query += f"&signed={signature(self.secret, memory.name, passage.id)}"
        return query


def url_citations(choice: Choice, memory: ServedMemory, links: Links) -> list[dict[str, Any]]:
    """Return the citations as OpenAI's clients read them, in the order of the text."""
    cited = [(start, end, citation.passage) for citation, spans in cited_spans(choice) for start, end in spans]
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": end,
                "title": passage.title or shown_name(passage.place),
                "url": links.entry(memory, passage),
            },
        }
        for start, end, passage in sorted(cited, key=lambda one: one[:2])
    ]


def memory_fields(choice: Choice, memory: ServedMemory, links: Links, *, trace: bool = False) -> dict[str, Any]:
    """Return what the memory gave to an answer: the extension object `memory`.

    Args:
        trace: with what each token of the answer attended to.
    """
    answer = choice.answer
    return {
        **({"trace": trace_fields(choice)} if trace else {}),
        "name": memory.name,
        "version": memory.version,
        "mode": answer.mode,
        "mass": answer.memory_mass,
        "null_mass": getattr(answer, "null_mass", None),
        "confidence": answer.confidence,
        "supported": answer.supported,
        "abstained": choice.abstained,
        "nothing_found": answer.nothing_found,
        "leads": answer.leads,
        "quote": _quote(getattr(answer, "quote", None)),
        "second_quote": _quote(getattr(answer, "second_quote", None)),
        "entries": [
            {
                "id": citation.passage.id,
                "title": citation.passage.title,
                "source": citation.passage.source,
                "place": shown_name(citation.passage.place),
                "text": citation.passage.text,
                "url": links.entry(memory, citation.passage),
                "picture": links.picture(memory, citation.passage)
                if has_picture(memory.memory, citation.passage)
                else None,
                "score": citation.score,
                "share": citation.share,
                "spans": [list(span) for span in spans],
            }
            for citation, spans in cited_spans(choice)
        ],
        "timings": {
            "retrieved": answer.timings.retrieved,
            "states_ready": answer.timings.states_ready,
            "first_token": answer.timings.first_token,
            "complete": answer.timings.complete,
        },
    }


def _quote(quote: Any) -> Any:
    """Return a quotation in JSON, whatever fields it has."""
    return asdict(quote) if is_dataclass(quote) and not isinstance(quote, type) else quote
