"""From a question to a grounded answer: retrieve, attend, generate, cite.

Citations come from the attention itself: an entry's share is the part of all memory attention that went to its tokens
while the answer was written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.encoder import Encoder, load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR, AttendedMemory, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.passage import Passage
from memgpt_rag.prompt import Prompt
from memgpt_rag.retrieve import Retrieved, Retriever, attend

Mode = Literal["memory", "prompt", "closed"]
MODES: tuple[Mode, ...] = ("memory", "prompt", "closed")


@dataclass(frozen=True)
class Citation:
    """An entry that the answer rests on.

    Attributes:
        passage: the entry, with its source.
        score: its retrieval score.
        share: its share of the attention mass on memory, 0 to 1; None in prompt mode, which cannot tell.
    """

    passage: Passage
    score: float
    share: float | None


@dataclass(frozen=True)
class Timings:
    """Seconds from the question's arrival to the end of each step; of a batch, all its questions share them."""

    retrieved: float
    states_ready: float
    first_token: float
    complete: float


@dataclass(frozen=True)
class Answer:
    """What a question got.

    Attributes:
        text: the answer.
        citations: the entries retrieved, the one with the largest share first.
        memory_mass: how much of all attention went to memory, averaged over attended layers, heads and tokens, 0 to 1.
    """

    question: str
    text: str
    mode: Mode
    citations: list[Citation]
    memory_mass: float
    timings: Timings


class RAG:
    """A memory, the encoder that searches it and the language model that reads it.

    Raises:
        MismatchError: the memory was embedded by another encoder, or holds states of another language model.
    """

    def __init__(self, memory: Memory, encoder: Encoder, model: MemoryDecoder):
        self.retriever = Retriever(memory, encoder)
        self.model = model
        self.prompt = Prompt(model.tokenizer)
        self.model.prefix_ids = self.prompt.prefix_ids
        self._stored: Memory | None = None
        if (stored := memory.manifest.states) is not None:
            stored.require_match(states_fingerprint(model, dtype=stored.dtype, probe_layer=stored.layers[-1]))
            self._stored = memory

    @classmethod
    def open(
        cls,
        memory: str | Path,
        *,
        model: str | Path = DEFAULT_GENERATOR,
        config: MemoryAttentionConfig | str = "quality",
        encoder: str | None = None,
        **loading: Any,
    ) -> RAG:
        """Open a memory for questions.

        Args:
            memory: folder of the memory.
            model: language model, by hub name, folder, or the name of one that comes as a package.
            config: preset "quality" or "compact", or numbers of your own.
            encoder: name or folder of the memory's encoder, where it is not where it was when the memory was built.
            loading: passed on to `MemoryDecoder.from_pretrained`.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            ModelError: a model cannot be had.
            MismatchError: the encoder is not the one that embedded the memory.
        """
        opened = Memory.open(memory)
        stored = opened.manifest.encoder
        asking = load_encoder(
            encoder or stored.name,
            query_prompt=stored.query_prompt,
            passage_prompt=stored.passage_prompt,
            normalise=stored.normalised,
        )
        return cls(opened, asking, MemoryDecoder.from_pretrained(model, config=config, **loading))

    def answer(self, question: str, **settings: Any) -> Answer:
        """Answer one question; the settings are those of `answer_all`."""
        return self.answer_all([question], **settings)[0]

    def answer_all(
        self,
        questions: Sequence[str],
        *,
        mode: Mode = "memory",
        k: int = 4,
        max_new_tokens: int = 48,
        streamer: BaseStreamer | None = None,
        **generation: Any,
    ) -> list[Answer]:
        """Answer questions as one batch, each from its own entries.

        Args:
            mode: "memory" attends to the entries' states; "prompt" pastes the entries before the question, the best one
                last; "closed" uses none.
            k: entries per question.
            max_new_tokens: longest answer.
            streamer: receives tokens as they come, as in transformers; for one question only.
            generation: passed on to `generate`, such as do_sample, temperature or num_beams.

        Raises:
            ValueError: an unknown mode, no question, or an empty one.
        """
        if mode not in MODES:
            raise ValueError(f"There is no mode {mode!r}; expected one of {', '.join(MODES)}.")
        if not questions or not all(question.strip() for question in questions):
            raise ValueError("A question is empty; ask something.")
        began = time.perf_counter()
        found = self.retriever.retrieve(questions, k) if mode != "closed" else [[] for _ in questions]
        retrieved = time.perf_counter() - began
        nothing: list[list[Retrieved]] = [[] for _ in questions]
        pasted, attended = (found, nothing) if mode == "prompt" else (nothing, found)
        outputs, memory, clock = self.write(
            questions, pasted, attended, max_new_tokens=max_new_tokens, streamer=streamer, **generation
        )
        timings = Timings(
            retrieved, retrieved + clock.states_ready, retrieved + clock.first_token, time.perf_counter() - began
        )
        masses = memory.entry_mass([max(1, len(output)) for output in outputs])
        answers = []
        for question, entries, output, mass in zip(questions, found, outputs, masses, strict=True):
            total = sum(mass)
            shares: list[float | None] = [one / total for one in mass] if mode == "memory" else [None] * len(entries)
            citations = [
                Citation(entry.passage, entry.score, share) for entry, share in zip(entries, shares, strict=True)
            ]
            citations.sort(key=lambda citation: -(citation.share or 0.0))
            answers.append(Answer(question, self.prompt.answer_text(output), mode, citations, total, timings))
        return answers

    def question_row(self, question: str, pasted: Sequence[Retrieved]) -> list[int]:
        """Tokens of a question, after the entries that are to stand in the prompt as text, the best one last."""
        before = [token for entry in reversed(pasted) for token in self.prompt.entry_ids(entry.passage)]
        return [*before, *self.prompt.question_ids(question)]

    def write(
        self,
        questions: Sequence[str],
        pasted: Sequence[Sequence[Retrieved]],
        attended: Sequence[Sequence[Retrieved]],
        *,
        max_new_tokens: int = 48,
        streamer: BaseStreamer | None = None,
        **generation: Any,
    ) -> tuple[list[list[int]], AttendedMemory, Clock]:
        """Write an answer to each question from given entries.

        Args:
            pasted: entries that stand in the prompt of each question, best first.
            attended: entries that each question attends to.

        Returns:
            The tokens of each answer, the memory that was attended to, and when the first token came.
        """
        clock = Clock(streamer)
        memory = attend(self.model, self.prompt, attended, self._stored)
        clock.states_ready = clock.elapsed()
        rows = [self.question_row(question, entries) for question, entries in zip(questions, pasted, strict=True)]
        tokenizer, device = self.model.tokenizer, self.model.decoder.device
        width = max(map(len, rows))
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        settings: dict[str, Any] = {
            "do_sample": False,
            "max_new_tokens": max_new_tokens,
            "pad_token_id": pad,
            **generation,
        }
        if not self.prompt.is_chat:
            settings.setdefault("stopping_criteria", StoppingCriteriaList([_EndOfLine(tokenizer)]))
        if settings.get("num_beams", 1) == 1:
            settings["streamer"] = clock
        sequences: Tensor = self.model.generate(ids, mask, memory=memory, **settings)
        return [self._until_end(row) for row in sequences[:, width:].tolist()], memory, clock

    def _until_end(self, token_ids: list[int]) -> list[int]:
        end = self.model.decoder.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list) else {end}
        for place, token in enumerate(token_ids):
            if token in ends or (not self.prompt.is_chat and ends_line(self.model.tokenizer, token)):
                return token_ids[:place]
        return token_ids


class _EndOfLine(StoppingCriteria):  # type: ignore[misc]
    """Stops a row at the end of its first line: a model without chat turns would go on to a next question."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.tensor([ends_line(self._tokenizer, int(row[-1])) for row in input_ids], device=input_ids.device)


def ends_line(tokenizer: PreTrainedTokenizerBase, token: int) -> bool:
    return "\n" in tokenizer.decode([token])


class Clock(BaseStreamer):  # type: ignore[misc]
    """Passes tokens on to another streamer, and notes when the first one came."""

    def __init__(self, streamer: BaseStreamer | None):
        self._streamer = streamer
        self._began = time.perf_counter()
        self._puts = 0
        self._first: float | None = None
        self.states_ready = 0.0

    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    @property
    def first_token(self) -> float:
        """Seconds from the start; with beams, which choose their tokens at the end, the time up to now."""
        return self.elapsed() if self._first is None else self._first

    def put(self, value: Tensor) -> None:
        self._puts += 1  # the first one is the question itself
        if self._puts == 2:
            self._first = self.elapsed()
        if self._streamer is not None:
            self._streamer.put(value)

    def end(self) -> None:
        if self._streamer is not None:
            self._streamer.end()
