"""Generates the answers of drafts: those from memory first, since the attention of a question may show that it needs none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor
from transformers import StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.answer import Timings
from memgpt_rag.answering.attention_trace import AttentionTrace, EntryTrace
from memgpt_rag.answering.confidence import ConfidenceModel
from memgpt_rag.answering.declining import Declining
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.entry_states import StatesSource, make_memory, require_room
from memgpt_rag.answering.generation_hooks import (
    AnswerStreamer,
    BarRecital,
    Clock,
    HeldStreamer,
    StopAtEnd,
    StopUnread,
    TokenLogProbs,
)
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.route import reroute
from memgpt_rag.answering.row_control import ControlledRows
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS, MODES, Mode
from memgpt_rag.limits import MOST_BEAMS, require_between
from memgpt_rag.model import AttendedMemory, MemoryDecoder
from memgpt_rag.model.answer_text import written_spans
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.retrieval.retriever import Retrieved


@dataclass(frozen=True)
class Generated:
    """What was generated for a batch of questions.

    Attributes:
        tokens: of each answer, without what ends it.
        memory: what the questions attended to.
        clock: when the states were ready and when the first token came.
    """

    tokens: list[list[int]]
    memory: AttendedMemory
    clock: Clock


class Generator:
    """Generates answers with a language model, from entries in its attention or in its prompt.

    Args:
        states: where the states of entries come from.
    """

    def __init__(self, model: MemoryDecoder, prompt: Prompt, states: StatesSource):
        self.model, self.prompt, self.states = model, prompt, states

    def on_route(self, route: Mode) -> Generator:
        """Return what generates on a route: a reader was trained to read memory, so prompts and closed book go without it."""
        return self if route == "memory" or self.model.reader is None else self._pretrained

    @cached_property
    def _pretrained(self) -> Generator:
        model = self.model.without_reader()
        return Generator(model, model.prompt, self.states)

    def generate(
        self,
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
            decide = _Decision(batch, options, confidence, streamer) if route == "memory" else None
            self.on_route(route)._generate(batch, options.max_new_tokens, decide, streamer, settings)

    def _generate(
        self,
        drafts: list[Draft],
        max_new_tokens: int,
        decide: _Decision | None,
        streamer: BaseStreamer | None,
        settings: dict[str, Any],
    ) -> None:
        before, log_probs = time.perf_counter(), TokenLogProbs()
        rows = ControlledRows([draft.control for draft in drafts], self._until_end)
        entries, nothing = [draft.entries for draft in drafts], [() for _ in drafts]
        from_memory = decide is not None
        processors = [*settings.get("logits_processor", ()), log_probs]
        if decide is not None and self.model.reader is not None:
            processors.append(Declining(self.prompt, [draft.question for draft in drafts], decide.declines))
        generated = self.generate_batch(
            [draft.question for draft in drafts],
            nothing if from_memory else entries,
            entries if from_memory else nothing,
            contexts=[draft.context for draft in drafts],
            max_new_tokens=max_new_tokens,
            decide=decide,
            streamer=streamer,
            rows=rows,
            **{**settings, "logits_processor": processors},
        )
        rows.cut(generated.tokens)
        masses = generated.memory.entry_mass([max(1, len(tokens)) for tokens in generated.tokens])
        of_tokens = log_probs.of(generated.tokens)
        for row, draft in enumerate(drafts):
            retrieved, clock = before - draft.began, generated.clock
            draft.tokens, draft.log_probs, draft.mass = generated.tokens[row], of_tokens[row], masses[row]
            draft.text = self.prompt.answer_text(draft.tokens)
            if draft.route == "memory" and draft.entries:
                draft.trace = self._trace(draft, generated.memory, row)
            draft.timings = Timings(
                retrieved,
                retrieved + clock.states_ready,
                retrieved + clock.first_token,
                time.perf_counter() - draft.began,
            )

    def _trace(self, draft: Draft, memory: AttendedMemory, row: int) -> AttentionTrace | None:
        weights = memory.answer_attention(row, len(draft.tokens))
        spans = [self.prompt.entry_spans(entry.passage) for entry in draft.entries]
        if weights is None or None in spans:
            return None
        entries = [
            # Trained vectors behind an entry are tokens without text.
            EntryTrace(of_entry.numpy(), (*known, *[(known[-1][1],) * 2] * (of_entry.shape[1] - len(known))))
            for of_entry, known in zip(weights, spans, strict=True)
            if known is not None
        ]
        written = written_spans(self.model.tokenizer, draft.tokens, draft.text)
        return AttentionTrace(tuple(written), tuple(entries))

    def generate_batch(
        self,
        questions: Sequence[str],
        pasted: Sequence[Sequence[Retrieved]],
        attended: Sequence[Sequence[Retrieved]],
        *,
        contexts: Sequence[str] | None = None,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        decide: Callable[[AttendedMemory], Sequence[bool]] | None = None,
        streamer: BaseStreamer | None = None,
        rows: ControlledRows | None = None,
        **settings: Any,
    ) -> Generated:
        """Generate an answer to each question from given entries.

        Args:
            pasted: entries that stand in the prompt of each question, best first.
            attended: entries that each question attends to.
            contexts: what stands as text right before each question; None for nothing.
            decide: is asked once, after the pass that reads the questions, which rows go on; the others end there.
            rows: controls of rows that are generated by rules of their own; None where no row is.
        """
        prompt, end = self.prompt, self.prompt.answer_end
        clock = Clock(streamer if streamer is None or end.itself else AnswerStreamer(streamer, end))
        contexts = contexts or [""] * len(questions)
        asked = [
            prompt.question_row(question, [entry.passage for entry in entries], context)
            for question, entries, context in zip(questions, pasted, contexts, strict=True)
        ]
        require_room(self.model, prompt, asked, attended, max_new_tokens)
        memory = make_memory(self.model, self.states, attended)
        clock.states_ready = clock.elapsed()
        ids, mask = self.model.pad_left(asked)
        settings = {
            "do_sample": False,
            "max_new_tokens": max_new_tokens,
            "pad_token_id": self.model.pad_token_id,
            **settings,
        }
        if not end.itself:
            settings.setdefault("stopping_criteria", StoppingCriteriaList([StopAtEnd(end)]))
        if prompt.example_answers:
            read = [_text_read(*one) for one in zip(contexts, questions, pasted, attended, strict=True)]
            bar = BarRecital(prompt.example_answers, self.model.tokenizer.decode, read)
            settings["logits_processor"] = [*settings.get("logits_processor", ()), bar]
        if decide is not None:
            stop = StopUnread(lambda: decide(memory))
            settings["stopping_criteria"] = StoppingCriteriaList([*settings.get("stopping_criteria", ()), stop])
        if rows is not None and rows.controls:
            # Last of all: a control leaves one token to choose from, which no later processor may rule out.
            settings["logits_processor"] = [*settings.get("logits_processor", ()), *rows.processors()]
            stopping = [*(settings.get("stopping_criteria") or ()), *rows.stopping()]
            settings["stopping_criteria"] = StoppingCriteriaList(stopping)
        if settings.get("num_beams", 1) == 1:
            settings["streamer"] = clock
        sequences: Tensor = self.model.generate(ids, mask, memory=memory, **settings)
        return Generated([self._until_end(row) for row in sequences[:, ids.shape[1] :].tolist()], memory, clock)

    def _until_end(self, token_ids: list[int]) -> list[int]:
        end = self.model.decoder.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list) else {end}
        place = next((place for place, token in enumerate(token_ids) if token in ends), len(token_ids))
        return self.prompt.answer_end.tokens(token_ids[:place])


def _text_read(context: str, question: str, pasted: Sequence[Retrieved], attended: Sequence[Retrieved]) -> str | None:
    """Return all text that a question is answered from; None without entries, where a model knows what it knows."""
    entries = (*pasted, *attended)
    return "\n".join([context, question, *(entry.passage.titled_text for entry in entries)]) if entries else None


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

    def declines(self, log_odds: Sequence[float]) -> list[bool | None]:
        """Whether each answer is to be "not in memory", where that was fitted; None leaves it to the reader.

        Args:
            log_odds: by the reader, that each answer begins that way.
        """
        decided: list[bool | None] = []
        for draft, odds in zip(self._drafts, log_odds, strict=True):
            draft.signals = replace(draft.signals, declining=odds)
            decided.append(self._confidence.declines(draft.signals))
        return decided
