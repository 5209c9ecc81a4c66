"""Decides how each question is answered: from memory, from a prompt, or closed book."""

from __future__ import annotations

from collections.abc import Sequence

from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions


def route(drafts: Sequence[Draft], options: AskOptions, confidence: ConfidenceModel) -> None:
    """Set the route of each draft, and the entries that are read on it.

    With `use_memory="auto"` a question that its search alone shows to need no memory is answered closed book. Of the others,
    the attention that memory gets when the question is read decides; see `reroute`. A question for which nothing was found
    stays on its route, so that it is judged.
    """
    for draft in drafts:
        reads = options.searches and (options.use_memory == "always" or confidence.may_need_memory(draft.signals))
        draft.route = options.mode if reads else "closed_book"
        draft.entries = draft.retrieved[: options.k] if reads else ()
        draft.nothing_found = reads and not draft.entries


def reroute(drafts: Sequence[Draft], confidence: ConfidenceModel) -> None:
    """Send drafts whose signals, those of the question's attention among them, need no memory to be answered closed book.

    Where nothing was found there was nothing to attend to, which tells nothing of the question.
    """
    for draft in drafts:
        if not draft.nothing_found and not confidence.needs_memory(draft.signals):
            draft.route, draft.entries = "closed_book", ()
