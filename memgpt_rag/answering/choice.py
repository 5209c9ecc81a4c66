"""One of the answers to a request, complete: its text cut at a stop, how many tokens it took, and the spans that rest on each entry."""

from __future__ import annotations

from dataclasses import dataclass

from memgpt_rag.answering.answer import Answer, Citation
from memgpt_rag.answering.answer_row import AnswerRow, Piece
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.generator import Generator
from memgpt_rag.answering.options import AskOptions


@dataclass(frozen=True)
class Choice:
    """An answer as it was generated: the answer, its text cut at a stop, and how it came about.

    Attributes:
        prompt_tokens: tokens of the prefix, of what stands before the question, and of the question.
        memory_tokens: tokens of the entries that were attended to.
        abstained: whether the text stands in place of an answer that the memory does not support.
        rest: what of the text, and of the log-probabilities, was not given as a piece.
    """

    answer: Answer
    text: str
    tokens: int
    prompt_tokens: int
    memory_tokens: int
    row: AnswerRow
    abstained: bool
    rest: Piece


def completed(generator: Generator, draft: Draft, options: AskOptions, answer: Answer, row: AnswerRow) -> Choice:
    """Return the choice of a row that has ended.

    Args:
        draft: of the answer, with the tokens that were generated.
    """
    generator = generator.on_route(draft.route)  # with use_memory it may be another one than was asked for
    prompt = generator.prompt
    row.keep(len(draft.tokens))
    entries = [entry.passage for entry in draft.entries]
    pasted = entries if draft.route == "prompt" else []
    seen = () if draft.pictures is None else draft.pictures.ids
    asked = len(prompt.question_row(draft.question, pasted, draft.context, seen))
    memory = sum(len(prompt.entry_ids(passage)) for passage in entries) if draft.route == "memory" else 0
    abstained = options.abstain and not answer.supported and answer.mode == "memory"
    text = answer.text if abstained else row.final_text(answer.text)
    prefix = generator.model.prefix_tokens
    return Choice(answer, text, len(draft.tokens), prefix + asked, memory, row, abstained, row.rest(text))


def cited_spans(choice: Choice) -> list[tuple[Citation, list[tuple[int, int]]]]:
    """Return the spans of the answer's text for which each entry has the greatest share of attention, in code points.

    Where attention is not known token by token, the entry with the largest share has the whole answer.
    """
    citations, length = choice.answer.citations, len(choice.text)
    spans: list[tuple[Citation, list[tuple[int, int]]]] = []
    for number, citation in enumerate(citations):
        own = getattr(citation, "spans", None)
        if own is None:
            own = [(0, length)] if number == 0 and citation.share is not None else []
        cut = [(start, min(end, length)) for start, end in own if start < min(end, length)]
        spans.append((citation, [] if choice.abstained else cut))
    return spans
