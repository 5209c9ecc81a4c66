"""Writes titles and parts of a summary with the language model, which attends to passages.

What is written does not repeat itself: no run of eight tokens is written twice, in a part or in two parts. A line break ends a part, but
not before a quarter of its length; a small model would often begin with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import LogitsProcessor
from transformers.generation.logits_process import (
    EncoderNoRepeatNGramLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
)

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.row_control import Deadline
from memgpt_rag.choices import Mode
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.memory import Searchable
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.presets import calibrated_preset
from memgpt_rag.model.prompt import detect_language
from memgpt_rag.model.tokenizer import line_end_ids
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved, open_memories
from memgpt_rag.tasks.summaries.summary import Sentence, cited_sentences
from memgpt_rag.tasks.summaries.wording import SummaryPrompt, part_wanted, title_wanted

TITLE_TOKENS = 32
_REPEATED = 8  # tokens that are not written twice in a row


def open_writer(
    memory: str | Path | Sequence[str | Path], *, model: str | Path = DEFAULT_GENERATOR, encoder: str | None = None
) -> Writer:
    """Open a memory, or several as one, to write about it.

    Args:
        model: language model, by hub name, folder, or the name of one that comes as a package.
        encoder: name or folder of the memory's encoder; needed where that does not come as a package.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
        ModelError: a model cannot be had.
        MismatchError: the encoder is not the one that embedded the memory.
    """
    opened, loaded = open_memories(memory, encoder)
    return Writer(opened, loaded, MemoryDecoder.from_pretrained(model, reader=None, int8_weights=True))


def summary_model(model: MemoryDecoder) -> MemoryDecoder:
    """Return a model as it was pretrained, which is asked for titles and summaries; weights are shared.

    A reader was trained to answer questions in a few words.
    """
    if isinstance(model.prompt, SummaryPrompt):
        return model  # with the states that it has computed
    plain = model.without_reader()
    plain.config = calibrated_preset("quality", plain.name, plain.decoder.config, None)
    plain.prompt = SummaryPrompt(plain.tokenizer)
    return plain


class Writer:
    """Writes from entries that are given to it.

    Args:
        memory, encoder: what entries are found in.
        model: any decoder; it writes as it was pretrained, see `summary_model`.
    """

    def __init__(self, memory: Searchable, encoder: Encoder, model: MemoryDecoder):
        # States that a memory stores were read after the prefix of questions.
        self.rag = RAG(memory, encoder, summary_model(model), stored_states=False)
        self._ends = line_end_ids(model.tokenizer)

    def titles(self, found: Sequence[Sequence[Retrieved]], mode: Mode = "memory") -> list[str]:
        """Return a title for each group of entries, as one batch.

        Args:
            mode: whether the entries are attended to, or stand in the prompt.
        """
        drafts = [Draft(title_wanted(_language(entries)), entries) for entries in found]
        options = AskOptions(mode, max(map(len, found)), max_new_tokens=TITLE_TOKENS)
        return [answer.text for answer in self._answers(drafts, options, least=2)]

    def part(
        self,
        heading: str,
        entries: Sequence[Retrieved],
        options: AskOptions,
        earlier: list[int],
        renew: Callable[[str], Sequence[Retrieved]] | None = None,
        deadline: Deadline | None = None,
    ) -> tuple[tuple[Sentence, ...], int]:
        """Return the sentences that are written about a heading, and how many entries were attended to.

        Args:
            heading: empty for a summary of everything.
            entries: that it is begun with.
            options: how; `retrieve_every` only with `renew`.
            earlier: tokens of what was written before; those of the part are added.
            renew: returns the entries to go on with, for the text that was written last.
            deadline: ends the part behind its last whole sentence.
        """
        draft = Draft(part_wanted(heading, _language(entries)), entries, renew=renew, control=deadline)
        (answer,) = self._answers([draft], options, options.max_new_tokens // 4, earlier)
        earlier += draft.tokens
        cut = len(draft.tokens) >= options.max_new_tokens or (deadline is not None and not deadline.goes_on(0))
        return cited_sentences(answer, cut=cut), len(answer.citations)

    def _answers(
        self, drafts: list[Draft], options: AskOptions, least: int, earlier: Sequence[int] = ()
    ) -> list[Answer]:
        pasted = options.mode == "prompt"
        rows = [
            self.rag.prompt.question_row(draft.question, [one.passage for one in draft.retrieved] if pasted else [])
            for draft in drafts
        ]
        processors: list[LogitsProcessor] = [
            NoRepeatNGramLogitsProcessor(_REPEATED),
            MinNewTokensLengthLogitsProcessor(max(map(len, rows)), least, self._ends),
        ]
        if earlier:
            processors.append(EncoderNoRepeatNGramLogitsProcessor(_REPEATED, torch.tensor([earlier] * len(drafts))))
        return self.rag.answer_from(drafts, options, logits_processor=processors)


def _language(entries: Sequence[Retrieved]) -> str:
    return detect_language("\n".join(entry.passage.text for entry in entries))
