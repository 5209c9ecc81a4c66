"""From a question to a grounded answer in four steps: retrieve, route, generate, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.answer_row import AnswerRow, Piece, Sampling
from memgpt_rag.answering.choice import Choice, completed
from memgpt_rag.answering.confidence import ConfidenceModel, confidence_key, load_confidence
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.entry_states import CachedStates, ComputedStates, MemoryStates, StatesSource
from memgpt_rag.answering.generate import OngoingAnswer, generate
from memgpt_rag.answering.generation_hooks import HeldStreamer
from memgpt_rag.answering.generator import Generator
from memgpt_rag.answering.judge import judge
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.route import route
from memgpt_rag.answering.shared_batches import SharedBatches
from memgpt_rag.answering.signals import SCORED_CANDIDATES, says_something
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.io.pictures import kept_picture, read_picture
from memgpt_rag.limits import MOST_PICTURES, require_between
from memgpt_rag.memory import Searchable, StateCache
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.picture_inputs import Pictures
from memgpt_rag.model.presets import confidence_file, decoder_key
from memgpt_rag.model.reader_files import learned_to_decline
from memgpt_rag.model.stored import states_fingerprint
from memgpt_rag.retrieval.retriever import Retrieved, Retriever, Search, open_memories


class RAG:
    """A memory, the encoder that searches it and the language model that reads it.

    Args:
        states_folder: where to keep states that are computed, for later processes; None to keep none. States that the
            memory stores come first.
        stored_states: whether to take those; False where the model reads after another prefix than questions have.

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
        stored_states: bool = True,
    ):
        self.retriever = Retriever(memory, encoder, search)
        self.model = model
        self.prompt = prompt = model.prompt
        if model.prefix_ids != prompt.prefix_ids:  # states that were read after the same prefix stay
            model.prefix_ids = prompt.prefix_ids
        self._confidence: dict[str, ConfidenceModel] = {}
        states: StatesSource = ComputedStates(model, prompt)
        if stored_states and (stored := memory.manifest.states) is not None:
            stored.require_match(states_fingerprint(model, probe_layer=stored.layers[-1]))
            states = MemoryStates(model, prompt, memory)
        elif states_folder is not None:
            states = CachedStates(model, prompt, StateCache(states_folder, states_fingerprint(model)))
        self.generator = Generator(model, prompt, states)

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
            config: preset "quality" or "compact", or a configuration of your own.
            encoder: name or folder of the memory's encoder; needed where that does not come as a package.
            search: how entries are searched: dense, lexical or hybrid, with or without a reranker.
            keep_states: keep states that are computed in the user's cache folder, at most a gigabyte a model, so that
                another process need not compute them again.
            settings: passed on to `MemoryDecoder.from_pretrained`.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            ModelError: a model cannot be had.
            MismatchError: the encoder is not the one that embedded the memory.
        """
        opened, loaded = open_memories(memory, encoder)
        folder = cache_folder("states") if keep_states else None
        decoder = MemoryDecoder.from_pretrained(model, config=config, **settings)
        return cls(opened, loaded, decoder, search=search, states_folder=folder)

    def answer(
        self,
        question: str,
        options: AskOptions = AskOptions(),
        *,
        pictures: Sequence[str | Path | bytes] = (),
        streamer: BaseStreamer | None = None,
        **settings: Any,
    ) -> Answer:
        """Answer a question.

        Args:
            options: how, with every setting in `AskOptions`.
            pictures: files, or what they hold, that a model which reads pictures sees with the question. The search reads the words.
            streamer: receives tokens as they come, as in transformers. Nothing comes before `use_memory="auto"` has decided,
                and with `abstain` nothing before the end, when it is known what to say.
            settings: passed on to `generate` of the language model, such as do_sample, temperature or num_beams.

        Raises:
            ValueError: an empty question, or one that asks for more than `memgpt_rag.limits` allow, alone or with its entries; pictures
                for a model that reads text only.
            MismatchError: an entry is longer than a language model is given.
            ModelError: the language model reads pictures in another way than in its prompt, or has no processor of pictures.
            SourceError: a picture cannot be read.

        Example:
            >>> rag = RAG.open("my-memory")
            >>> rag.answer("How much is a rowing boat?", AskOptions(k=2)).text
            '40 yuan'
        """
        drafts = self.drafts([question], options, pictures=[pictures])
        return self.answer_from(drafts, options, streamer=streamer, **settings)[0]

    def answer_all(
        self,
        questions: Sequence[str],
        options: AskOptions = AskOptions(),
        *,
        streamer: BaseStreamer | None = None,
        **settings: Any,
    ) -> list[Answer]:
        """Answer questions as one batch, each from its own entries; otherwise as `answer`. A streamer takes one question only.

        Where the search finds no entry, and for a question of punctuation only, `Answer.nothing_found` is true.
        """
        return self.answer_from(self.drafts(questions, options), options, streamer=streamer, **settings)

    def drafts(
        self,
        questions: Sequence[str],
        options: AskOptions = AskOptions(),
        *,
        contexts: Sequence[str] | None = None,
        queries: Sequence[str] | None = None,
        pictures: Sequence[Sequence[str | Path | bytes]] | None = None,
    ) -> list[Draft]:
        """Retrieve the entries of questions, which `answer_from` answers.

        Args:
            contexts: what the language model reads before each question: instructions, earlier turns.
            queries: what to search for instead of each question.
            pictures: those of each question, as `answer` takes them.

        Raises:
            ValueError: an empty question or query, or one that is too long.
            ModelError, SourceError: as `answer`.
        """
        began = time.perf_counter()
        contexts, queries = contexts or [""] * len(questions), queries or questions
        if not questions or not all(text.strip() for text in (*questions, *queries)):
            raise ValueError("A question is empty; ask something.")
        for question, context in zip(questions, contexts, strict=True):
            self.prompt.question_row(question, [], context)  # what is too long is refused before anything is searched
        seen = [self._seen(given) for given in pictures or [()] * len(questions)]
        found: list[list[Retrieved]] = [[] for _ in questions]
        # A search by meaning would find some entries even for punctuation.
        searched = [place for place, query in enumerate(queries) if options.searches and says_something(query)]
        if searched:
            asked, most = [queries[place] for place in searched], max(options.k, SCORED_CANDIDATES)
            retrieved = self.retriever.retrieve(asked, most, where=options.where)
            for place, entries in zip(searched, retrieved, strict=True):
                found[place] = entries
        return [
            Draft(question, entries, began, context=context, pictures=own)
            for question, entries, context, own in zip(questions, found, contexts, seen, strict=True)
        ]

    def _seen(self, pictures: Sequence[str | Path | bytes]) -> Pictures | None:
        """Return the pictures of a question as the language model takes them."""
        if not pictures:
            return None
        require_between("The number of pictures", len(pictures), 1, MOST_PICTURES)
        name = "A picture of the question"
        return self.model.picture_reader.read(
            [
                kept_picture(one, name) if isinstance(one, bytes) else read_picture(Path(one), str(one))
                for one in pictures
            ]
        )

    def answer_from(
        self,
        drafts: Sequence[Draft],
        options: AskOptions = AskOptions(),
        *,
        streamer: BaseStreamer | None = None,
        **settings: Any,
    ) -> list[Answer]:
        """Answer questions whose entries are retrieved already; otherwise as `answer_all`."""
        if misplaced := {field.name for field in fields(AskOptions)} & settings.keys():
            name = min(misplaced)
            raise TypeError(f"{name} is an option: give AskOptions({name}=…) after the question.")
        held = HeldStreamer(streamer) if streamer is not None and options.may_withhold else None
        if options.retrieve_every is not None:
            for draft in drafts:
                draft.renew = draft.renew or partial(self._renewed, draft.question, options)
        self._route(drafts, options)
        generate(self.generator, drafts, options, self.confidence, held or streamer, **settings)
        answers = [judge(draft, self.confidence, abstain=options.abstain) for draft in drafts]
        if held is not None:
            abstained = answers[0].text != drafts[0].text
            ids = self.model.tokenizer(answers[0].text, add_special_tokens=False)["input_ids"] if abstained else None
            held.release(None if ids is None else torch.tensor(ids))
        return answers

    def stream(
        self, draft: Draft, options: AskOptions, sampling: Sampling, is_over: Callable[[], bool] = lambda: False
    ) -> Iterator[Piece | Choice]:
        """Yield the text of an answer in pieces as it comes, and last the whole answer. Nothing comes before `options` let it.

        Args:
            draft: the question, whose entries are retrieved already.
            sampling: how tokens are chosen, and where the answer ends.
            is_over: whether it is to end where it is, asked at every token.

        Raises:
            ValueError, MismatchError: as `answer`.
        """
        pieces: list[Piece] = []
        on_piece = None if options.may_withhold else pieces.append
        row = AnswerRow(self.model.tokenizer, sampling, 0, on_piece=on_piece, is_over=is_over)
        controlled = replace(draft, control=row)
        batches = SharedBatches()
        batches.add(self.begin(controlled, options))
        while len(batches):
            ended = batches.step()
            yield from pieces
            pieces.clear()
            for _, result in ended:
                if isinstance(result, Exception):
                    raise result
                choice = completed(self.generator, controlled, options, result, row)
                yield choice.rest
                yield choice

    def begin(self, draft: Draft, options: AskOptions = AskOptions()) -> OngoingAnswer:
        """Begin the answer to a question whose entries are retrieved already, to be generated token by token with others.

        Once it is done it equals that of `answer_from`.

        Raises:
            ValueError: entries were to be renewed, which `answer_from` does.
        """
        if options.retrieve_every is not None:
            raise ValueError("Answers that are generated with others keep their entries; leave retrieve_every out.")
        self._route([draft], options)
        return OngoingAnswer(self.generator, draft, options, self.confidence)

    def _renewed(self, question: str, options: AskOptions, latest: str) -> list[Retrieved]:
        """Return the entries for what an answer to a question goes on with."""
        return self.retriever.retrieve([f"{question}\n{latest}"], options.k, where=options.where)[0]

    def _route(self, drafts: Sequence[Draft], options: AskOptions) -> None:
        self._add_rare_overlap([draft for draft in drafts if draft.retrieved])
        route(drafts, options, self.confidence)

    def _add_rare_overlap(self, drafts: Sequence[Draft]) -> None:
        best = [draft.retrieved[0].passage.titled_text for draft in drafts]
        shares = self.retriever.rare_overlaps([draft.question for draft in drafts], best)
        for draft, share in zip(drafts, shares, strict=True):
            draft.signals = replace(draft.signals, rare_overlap=share)

    @property
    def confidence(self) -> ConfidenceModel:
        """What tells which questions need the memory and which answers it supports, as fitted to these models; may be set."""
        key = self.confidence_key
        if key not in self._confidence:
            self._confidence[key] = load_confidence(
                key, confidence_file(self.model.name), declines=learned_to_decline(self.model.reader)
            )
        return self._confidence[key]

    @confidence.setter
    def confidence(self, confidence: ConfidenceModel) -> None:
        self._confidence[self.confidence_key] = confidence

    @property
    def confidence_key(self) -> str:
        """The key of the confidence model for these models, the layers that read memory, and the search."""
        encoder, layers = self.retriever.memory.manifest.encoder.name, str(self.model.config.layers)
        decoder = decoder_key(self.model.decoder.config)
        if self.model.reader is not None:
            decoder = f"{decoder} {self.model.reader.digest}"
        return confidence_key(decoder, layers, encoder, self.retriever.search.key)
