"""Generates the answers of drafts: those from memory first, since the attention of a question may show that it needs none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.answer import Answer, Timings
from memgpt_rag.answering.attention_trace import AttentionTrace, EntryTrace
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.declining import Declining
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.generation_hooks import HeldStreamer, TokenLogProbs
from memgpt_rag.answering.generator import Generated, Generator
from memgpt_rag.answering.judge import judge
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.renewal import RenewedMemory, generate_renewed
from memgpt_rag.answering.route import reroute
from memgpt_rag.answering.row_control import ControlledRows
from memgpt_rag.choices import MODES, Mode
from memgpt_rag.limits import MOST_BEAMS, require_between
from memgpt_rag.model import AttendedMemory, MemoryDecoder
from memgpt_rag.model.answer_text import written_spans
from memgpt_rag.model.decoding import DecodingRow
from memgpt_rag.model.reader_files import learned_to_decline


def generate(
    generator: Generator,
    drafts: Sequence[Draft],
    options: AskOptions,
    confidence: ConfidenceModel,
    streamer: BaseStreamer | None = None,
    **settings: Any,
) -> None:
    """Generate the answer of each draft on its route.

    Args:
        streamer: receives tokens as they come; one that is held is let go once it is known that they stay.
        settings: passed on to `generate` of the language model, such as do_sample, temperature or num_beams.

    Raises:
        ValueError: a question asks for more than `memgpt_rag.limits` allow, alone or with its entries.
        MismatchError: an entry is longer than a language model is given.
    """
    for name in ("num_beams", "num_return_sequences"):
        require_between(name, settings.get(name) or 1, 1, MOST_BEAMS)
    for route in MODES:  # closed book comes last, with what was sent there from memory
        batch = [draft for draft in drafts if draft.route == route]
        if not batch:
            continue
        if route != "memory" and isinstance(streamer, HeldStreamer):
            streamer.start_again()
        own = generator.on_route(route)
        is_alone = options.retrieve_every is not None or any(draft.pictures is not None for draft in batch)
        size = 1 if is_alone else own.model.rows_at_once(len(batch))
        for part in (batch[start : start + size] for start in range(0, len(batch), size)):
            decision = _Decision(part, options, confidence, streamer)
            together = _DraftBatch(own, part, options.max_new_tokens, decision, streamer, settings)
            if options.retrieve_every is not None and part[0].entries:  # where nothing was found, nothing is exchanged
                together.generate_renewed(options.retrieve_every)
            else:
                together.note(together.generator.generate(together.prepared))


class OngoingAnswer:
    """An answer that is generated a token at a time, in batches with others: see `memgpt_rag.model.decoding`.

    Its question is prepared and read, its row decoded until it ends, and then it is finished, or its question is read once more on
    another route.

    Args:
        draft: with its route.
    """

    def __init__(self, generator: Generator, draft: Draft, options: AskOptions, confidence: ConfidenceModel):
        self._generator, self._draft, self._options, self._confidence = generator, draft, options, confidence
        self._batch: _DraftBatch | None = None
        self._row: DecodingRow | None = None
        self._route: Mode | None = None  # on which the question was read

    @property
    def draft(self) -> Draft:
        """Return the question with what is known of its answer."""
        return self._draft

    @property
    def model(self) -> MemoryDecoder:
        """Return the model that reads the question on its route."""
        return self._generator.on_route(self._draft.route).model

    @property
    def row(self) -> DecodingRow:
        """Return the row of the question, once it is prepared."""
        assert self._row is not None, "the question is prepared first"
        return self._row

    def prepare(self) -> None:
        """Load the states of the question's entries and set up its row for reading; nothing is done twice on one route.

        Raises:
            ValueError: it asks for more than `memgpt_rag.limits` allow, alone or with its entries.
            MismatchError: an entry is longer than a language model is given.
        """
        if self._row is not None:
            return
        draft, self._route = self._draft, self._draft.route
        generator = self._generator.on_route(draft.route)
        decision = _Decision([draft], self._options, self._confidence, None)
        self._batch = _DraftBatch(generator, [draft], self._options.max_new_tokens, decision, None, {})
        self._row = generator.start_row(self._batch.prepared)

    def finish(self) -> Answer | None:
        """Return the answer of a row that has ended; None where its question must be read again on another route.

        Raises:
            Exception: the one with which its row failed.
        """
        assert self._batch is not None
        if self.row.error is not None:
            raise self.row.error
        batch, self._batch = self._batch, None
        batch.note(batch.generator.generated(batch.prepared, self.row))
        self._row = None
        if self._draft.route != self._route:
            return None
        return judge(self._draft, self._confidence, abstain=self._options.abstain)


class _DraftBatch:
    """Drafts whose answers are generated together on one route."""

    def __init__(
        self,
        generator: Generator,
        drafts: Sequence[Draft],
        max_new_tokens: int,
        decision: _Decision,
        streamer: BaseStreamer | None,
        settings: dict[str, Any],
    ):
        self.generator, self._drafts = generator, drafts
        self._began, self._log_probs = time.perf_counter(), TokenLogProbs()
        self._rows = ControlledRows(
            [draft.control for draft in drafts], generator.prompt.answer_end, generator.end_tokens
        )
        entries, nothing = [draft.entries for draft in drafts], [() for _ in drafts]
        from_memory = drafts[0].route == "memory"
        processors = [*settings.get("logits_processor", ()), self._log_probs]
        if from_memory and learned_to_decline(generator.model.reader):
            texts = ["\n".join(entry.passage.titled_text for entry in draft.entries) for draft in drafts]
            asked = [draft.question for draft in drafts]
            processors.append(Declining(generator.prompt, asked, decision.may_decline, texts))
        self.prepared = generator.prepare(
            [draft.question for draft in drafts],
            nothing if from_memory else entries,
            entries if from_memory else nothing,
            contexts=[draft.context for draft in drafts],
            pictures=drafts[0].pictures,
            max_new_tokens=max_new_tokens,
            decide=decision if from_memory else None,
            streamer=streamer,
            rows=self._rows,
            **{**settings, "logits_processor": processors},
        )

    def generate_renewed(self, every: int) -> None:
        """Generate the answer to the one question, whose entries are renewed after every so many tokens, and note it."""
        (draft,) = self._drafts
        assert draft.renew is not None, "answer_from sets it"
        generated, attended = generate_renewed(self.generator, self.prepared, draft.entries, draft.renew, every)
        if draft.route == "memory":
            draft.entries = attended.entries
        self.note(generated, attended)

    def note(self, generated: Generated, attended: RenewedMemory | None = None) -> None:
        """Note what was generated in the drafts.

        Args:
            attended: what the question attended to, where that was exchanged; None for the memory that it began with.
        """
        self._rows.cut(generated.tokens)
        memory = attended or generated.memory
        masses = memory.entry_mass([max(1, len(tokens)) for tokens in generated.tokens])
        log_probs = self._log_probs.of(generated.tokens)
        for row, draft in enumerate(self._drafts):
            retrieved, clock = self._began - draft.began, generated.clock
            draft.tokens, draft.log_probs, draft.mass = generated.tokens[row], log_probs[row], masses[row]
            draft.text = self.generator.prompt.answer_text(draft.tokens)
            if draft.route == "memory" and draft.entries:
                draft.trace = self._trace(draft, memory, row)
                if draft.pictures is None:
                    draft.rate = partial(self.generator.question_log_likelihoods, draft.question)
            draft.timings = Timings(
                retrieved,
                retrieved + clock.states_ready,
                retrieved + clock.first_token,
                time.perf_counter() - draft.began,
            )

    def _trace(self, draft: Draft, memory: AttendedMemory | RenewedMemory, row: int) -> AttentionTrace | None:
        weights = memory.answer_attention(row, len(draft.tokens))
        spans = [self.generator.prompt.entry_spans(entry.passage) for entry in draft.entries]
        if weights is None or None in spans:
            return None
        entries = [
            # Trained vectors behind an entry are tokens without text.
            EntryTrace(entry_weights.numpy(), (*known, *[(known[-1][1],) * 2] * (entry_weights.shape[1] - len(known))))
            for entry_weights, known in zip(weights, spans, strict=True)
            if known is not None
        ]
        written = written_spans(self.generator.model.tokenizer, draft.tokens, draft.text)
        return AttentionTrace(draft.text, tuple(written), tuple(entries))


class _Decision:
    """Notes how much attention memory got when the questions were read, and decides which of them go on with it."""

    def __init__(
        self, drafts: list[Draft], options: AskOptions, confidence: ConfidenceModel, streamer: BaseStreamer | None
    ):
        self._drafts, self._options, self._confidence, self._streamer = drafts, options, confidence, streamer

    def __call__(self, memory: AttendedMemory) -> list[bool]:
        for draft, mass in zip(self._drafts, memory.entry_mass([1] * len(self._drafts)), strict=True):
            draft.signals = replace(draft.signals, question_mass=sum(mass))
        if self._options.use_memory == "auto":
            reroute(self._drafts, self._confidence)
        goes_on = [draft.route == "memory" for draft in self._drafts]
        if isinstance(self._streamer, HeldStreamer) and not self._options.abstain and all(goes_on):
            self._streamer.release()
        return goes_on

    def may_decline(self, log_odds: Sequence[float]) -> list[bool]:
        """Return which answers may be "not in memory", and note what the reader says. One that no entry was found for may.

        Args:
            log_odds: by the reader, that each answer begins that way.
        """
        for draft, odds in zip(self._drafts, log_odds, strict=True):
            draft.signals = replace(draft.signals, declining=odds)
        return [draft.nothing_found or self._confidence.may_decline(draft.signals) for draft in self._drafts]
