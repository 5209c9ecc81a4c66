"""From a question to a grounded answer: decide to query, retrieve, attend, generate, cite, and judge.

Citations come from the attention itself: an entry's share is the part of all memory attention that went to its tokens
while the answer was written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.answer import (
    MODES,
    Answer,
    Citation,
    Mode,
    Timings,
    judged,
)
from memgpt_rag.answering.confidence import (
    NEIGHBOURS,
    Decisions,
    answer_figures,
    decision_key,
    decisions_for,
    search_figures,
)
from memgpt_rag.answering.entry_states import attend, require_room
from memgpt_rag.answering.generation_hooks import (
    Clock,
    EndOfLine,
    HeldStreamer,
    StopUnread,
    TokenLogProbs,
    ends_line,
)
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder_of
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.limits import (
    MOST_BEAMS,
    MOST_ENTRIES,
    MOST_NEW_TOKENS,
    require_between,
)
from memgpt_rag.memory import (
    Memory,
    Searchable,
    Shards,
    StateCache,
)
from memgpt_rag.model import (
    DEFAULT_GENERATOR,
    AttendedMemory,
    MemoryAttentionConfig,
    MemoryDecoder,
)
from memgpt_rag.model.from_scratch.attached_memory import Query
from memgpt_rag.model.presets import decisions_file, decoder_key
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.retrieval.retriever import Retrieved, Retriever, Search


class RAG:
    """A memory, the encoder that searches it and the language model that reads it.

    Args:
        states_folder: where to keep states that are computed, for later processes; None to keep none. States that the
            memory stores come first.

    Raises:
        MismatchError: the memory was embedded by another encoder, or holds states of another language model.
    """

    def __init__(
        self,
        memory: Searchable,
        encoder: Encoder,
        model: MemoryDecoder,
        *,
        search: Search = Search(),
        states_folder: Path | None = None,
    ):
        self.retriever = Retriever(memory, encoder, search)
        self.model = model
        self.prompt = Prompt(model.tokenizer)
        self.model.prefix_ids = self.prompt.prefix_ids
        self._states: Searchable | StateCache | None = None
        self._decisions: dict[str, Decisions] = {}
        if (stored := memory.manifest.states) is not None:
            stored.require_match(states_fingerprint(model, dtype=stored.dtype, probe_layer=stored.layers[-1]))
            self._states = memory
        elif states_folder is not None:
            self._states = StateCache(states_folder, states_fingerprint(model))

    @classmethod
    def open(
        cls,
        memory: str | Path | Sequence[str | Path],
        *,
        model: str | Path = DEFAULT_GENERATOR,
        config: MemoryAttentionConfig | str = "quality",
        encoder: str | None = None,
        search: Search = Search(),
        keep_states: bool = True,
        **settings: Any,
    ) -> RAG:
        """Open a memory for questions.

        Args:
            memory: folder of the memory; or several, which are searched as one.
            model: language model, by hub name, folder, or the name of one that comes as a package.
            config: preset "quality" or "compact", or numbers of your own.
            encoder: name or folder of the memory's encoder; needed where that does not come as a package.
            search: how entries are looked for: by key, by words or by both, and whether a reranker looks again.
            keep_states: keep states that are computed in the user's cache folder, at most a gigabyte a model, so that
                another process need not compute them again.
            settings: passed on to `MemoryDecoder.from_pretrained`.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            ModelError: a model cannot be had.
            MismatchError: the encoder is not the one that embedded the memory.
        """
        folders = [memory] if isinstance(memory, str | Path) else memory
        opened = Memory.open(folders[0]) if len(folders) == 1 else Shards([Memory.open(folder) for folder in folders])
        asking = load_encoder_of(opened.manifest.encoder, encoder, memories=[Path(folder) for folder in folders])
        folder = cache_folder("states") if keep_states else None
        decoder = MemoryDecoder.from_pretrained(model, config=config, **settings)
        return cls(opened, asking, decoder, search=search, states_folder=folder)

    def answer(self, question: str, **settings: Any) -> Answer:
        """Answer one question; the settings are those of `answer_all`."""
        return self.answer_all([question], **settings)[0]

    def answer_all(
        self,
        questions: Sequence[str],
        *,
        mode: Mode = "memory",
        k: int = 4,
        where: str | None = None,
        query: Query = "always",
        abstain: bool = False,
        max_new_tokens: int = 48,
        streamer: BaseStreamer | None = None,
        **generation: Any,
    ) -> list[Answer]:
        """Answer questions as one batch, each from its own entries.

        Args:
            mode: "memory" attends to the entries' states; "prompt" pastes the entries before the question, the best one
                last; "closed" uses none.
            k: entries per question.
            where: which entries to search among, such as 'year >= 2020'; see `memgpt_rag.memory.filter`.
            query: "never" leaves the memory out; "auto" leaves it out for inputs that need none, such as a greeting, by
                what the search finds and by the attention that memory gets when the question is read.
            abstain: say that it is not in memory, in the question's language, where the memory does not support the
                answer. What "auto" answers without the memory stays as it is.
            max_new_tokens: longest answer.
            streamer: receives tokens as they come, as in transformers; for one question only. Nothing comes before
                "auto" has decided, and with `abstain` nothing before the end, when it is known what to say.
            generation: passed on to `generate`, such as do_sample, temperature or num_beams.

        Raises:
            ValueError: an unknown mode or decision to query, settings that exclude each other, no question, an empty one,
                or one that asks for more than `memgpt_rag.limits` allow, alone or with its entries.
            MismatchError: an entry is longer than a language model is given.
        """
        if mode not in MODES:
            raise ValueError(f"There is no mode {mode!r}; expected one of {', '.join(MODES)}.")
        if query not in get_args(Query):
            raise ValueError(f"There is no query {query!r}; expected always, never or auto.")
        if mode != "memory" and (query == "auto" or abstain):
            raise ValueError(f'query="auto" and abstain judge by attention to memory; mode is {mode!r}, not "memory".')
        if query == "never" and abstain:
            raise ValueError('abstain judges what memory supports, and query="never" leaves it out; give one of them.')
        if not questions or not all(question.strip() for question in questions):
            raise ValueError("A question is empty; ask something.")
        require_between("k", k, 1, MOST_ENTRIES)
        require_between("max_new_tokens", max_new_tokens, 1, MOST_NEW_TOKENS)
        for name in ("num_beams", "num_return_sequences"):
            require_between(name, generation.get(name) or 1, 1, MOST_BEAMS)
        for question in questions:
            self.prompt.question_ids(question)  # one that is too long is told before anything is searched
        began = time.perf_counter()
        settings = {"began": began, "max_new_tokens": max_new_tokens, "streamer": streamer, **generation}
        answers: list[Answer | None] = [None] * len(questions)
        if mode != "closed" and query != "never":
            found = self.retriever.retrieve(questions, max(k, NEIGHBOURS), where=where)
            reading = [
                place
                for place, question in enumerate(questions)
                if query == "always" or self.decisions.may_need(_searched(question, found[place]))
            ]
            if reading:
                read = self.read(
                    [questions[place] for place in reading],
                    [found[place] for place in reading],
                    mode=mode,
                    k=k,
                    query=query,
                    abstain=abstain,
                    **settings,
                )
                for place, answer in zip(reading, read, strict=True):
                    answers[place] = answer
        unread = [place for place, answer in enumerate(answers) if answer is None]
        if unread:
            closed = self.read([questions[place] for place in unread], [[] for _ in unread], mode="closed", **settings)
            for place, answer in zip(unread, closed, strict=True):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]

    def read(
        self,
        questions: Sequence[str],
        found: Sequence[Sequence[Retrieved]],
        *,
        mode: Mode = "memory",
        k: int = 4,
        query: Query = "always",
        abstain: bool = False,
        began: float | None = None,
        streamer: BaseStreamer | None = None,
        **generation: Any,
    ) -> list[Answer | None]:
        """Answer questions from what was found for them; settings as for `answer_all`.

        Args:
            found: entries of each question, best first. The first k are read; the scores of the others tell how far
                those stand out.
            began: when the questions arrived, by `time.perf_counter`; None for now.

        Returns:
            An answer to each question; None where "auto" finds that the memory is not needed.
        """
        began = time.perf_counter() if began is None else began
        retrieved = time.perf_counter() - began
        entries = [list(of_question[:k]) for of_question in found]
        searched = [_searched(*of_question) for of_question in zip(questions, found, strict=True)]
        nothing: list[list[Retrieved]] = [[] for _ in questions]
        pasted, attended = (entries, nothing) if mode == "prompt" else (nothing, entries)
        held = HeldStreamer(streamer) if streamer is not None and (abstain or query == "auto") else None
        decisions, needed, log_probs = self.decisions, [True] * len(questions), TokenLogProbs()

        def decide(memory: AttendedMemory) -> list[bool]:
            for figures, mass in zip(searched, memory.entry_mass([1] * len(questions)), strict=True):
                figures["question_mass"] = sum(mass)
            if query == "auto":
                needed[:] = [decisions.needs(figures) for figures in searched]
            if held is not None and not abstain and all(needed):
                held.release()
            return needed

        outputs, memory, clock = self.write(
            questions,
            pasted,
            attended,
            decide=decide if mode == "memory" else None,
            streamer=held or streamer,
            **{**generation, "logits_processor": [*generation.get("logits_processor", ()), log_probs]},
        )
        timings = Timings(
            retrieved, retrieved + clock.states_ready, retrieved + clock.first_token, time.perf_counter() - began
        )
        masses = memory.entry_mass([max(1, len(output)) for output in outputs])
        told = log_probs.of(outputs)
        answers: list[Answer | None] = []
        for place, (question, output, mass) in enumerate(zip(questions, outputs, masses, strict=True)):
            if not needed[place]:
                answers.append(None)
                continue
            total = sum(mass)
            shares = [one / total for one in mass] if mode == "memory" else [None] * len(entries[place])
            citations = [
                Citation(entry.passage, entry.score, share) for entry, share in zip(entries[place], shares, strict=True)
            ]
            citations.sort(key=lambda citation: -(citation.share or 0.0))
            answer = Answer(question, self.prompt.answer_text(output), mode, citations, total, timings)
            if mode == "memory" and mass:
                figures = {**searched[place], **answer_figures(mass, told[place])}
                answer = judged(answer, decisions, figures, abstain=abstain)
            answers.append(answer)
        if held is not None and abstain and answers[0] is not None:
            words = None
            if not answers[0].supported:
                words = torch.tensor(self.model.tokenizer(answers[0].text, add_special_tokens=False)["input_ids"])
            held.release(words)
        return answers

    @property
    def decisions(self) -> Decisions:
        """What needs the memory and what the memory supports, as fitted to these models; may be set."""
        if self.decision_key not in self._decisions:
            self._decisions[self.decision_key] = decisions_for(self.decision_key, decisions_file(self.model.name))
        return self._decisions[self.decision_key]

    @decisions.setter
    def decisions(self, decisions: Decisions) -> None:
        self._decisions[self.decision_key] = decisions

    @property
    def decision_key(self) -> str:
        """What decisions for these models, and the layers that read memory now, are kept under."""
        encoder, layers = self.retriever.memory.manifest.encoder.name, str(self.model.config.layers)
        return decision_key(decoder_key(self.model.decoder.config), layers, encoder, self.retriever.search.key)

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
        decide: Callable[[AttendedMemory], Sequence[bool]] | None = None,
        streamer: BaseStreamer | None = None,
        **generation: Any,
    ) -> tuple[list[list[int]], AttendedMemory, Clock]:
        """Write an answer to each question from given entries.

        Args:
            pasted: entries that stand in the prompt of each question, best first.
            attended: entries that each question attends to.
            decide: is asked once, after the pass that reads the questions, which rows go on; the others end there.

        Returns:
            The tokens of each answer, the memory that was attended to, and when the first token came.
        """
        clock = Clock(streamer)
        rows = [self.question_row(question, entries) for question, entries in zip(questions, pasted, strict=True)]
        require_room(self.model, self.prompt, rows, attended, max_new_tokens)
        memory = attend(self.model, self.prompt, attended, self._states)
        clock.states_ready = clock.elapsed()
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
            settings.setdefault("stopping_criteria", StoppingCriteriaList([EndOfLine(tokenizer)]))
        if decide is not None:
            stop = StopUnread(lambda: decide(memory))
            settings["stopping_criteria"] = StoppingCriteriaList([*settings.get("stopping_criteria", ()), stop])
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


def _searched(question: str, found: Sequence[Retrieved]) -> dict[str, float]:
    scores, texts = [entry.standardised for entry in found], [entry.passage.titled_text for entry in found]
    return search_figures(question, scores, texts)
