"""Translates texts by the sentence pairs in a memory: the pairs nearest to a text are attended to while its translation is written.

A text that is in the memory word for word gets the translation that stands there, and no model runs. Terms of a glossary are attended to
like pairs, and placed where the model has left them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from memgpt_rag.choices import DEFAULT_PAIRS
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_memory_encoder
from memgpt_rag.io.printable import shortened
from memgpt_rag.limits import MOST_MEMORY_TOKENS, MOST_PAIRS
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR, AttendedMemory, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retrieved, Retriever
from memgpt_rag.tasks.translation.decoding import place_terms, write
from memgpt_rag.tasks.translation.exact_hits import ExactHits, checked, other_language
from memgpt_rag.tasks.translation.glossary import Glossary
from memgpt_rag.tasks.translation.pairs import TARGET, TRANSLATION, require_pairs
from memgpt_rag.tasks.translation.translation import Translation, UsedPair
from memgpt_rag.tasks.translation.wording import PairWords

_ROWS = 8  # texts that are translated at once
# A translation has at most so many tokens for each one of its text, and so many more.
_TOKENS_PER_TOKEN, _MORE_TOKENS = 2, 16
# Pairs in each direction that stand before every text, of so many characters at most, out of the first ones.
_WORKED, _SHORT, _LOOKED_AT = 2, 80, 100
_SCORE_BIAS = 2.0  # β: how much more a nearer pair counts; see docs/development/decisions.md
_STATES_BYTES = 2**27  # few pairs are near to several texts


class Translator:
    """Translates with the pairs of a memory.

    Args:
        memory: from `create_memory`.
        encoder: that of the memory.
        model: a language model; it reads as it was pretrained.
        k: pairs of each text.

    Raises:
        MismatchError: the entries of the memory are no sentence pairs, or another encoder embedded them.
        ValueError: k is out of bounds.
    """

    def __init__(self, memory: Memory, encoder: Encoder, model: MemoryDecoder, *, k: int = DEFAULT_PAIRS):
        self._hits = ExactHits(memory, k=k)
        self.memory, self.k = memory, k
        self._retriever, self._words = Retriever(memory, encoder), PairWords(Prompt(model.tokenizer))
        begin = model.tokenizer.bos_token_id
        worked = [token for pair in self._worked_pairs() for token in self._words.passage_ids(pair)]
        # The model as it was pretrained, behind pairs that are the same for every text; weights are shared.
        self.model = MemoryDecoder(
            model.writer,
            model.tokenizer,
            config=MemoryAttentionConfig(score_bias=_SCORE_BIAS),
            prefix_ids=(*(() if begin is None else (begin,)), *worked),
            states_cache_bytes=_STATES_BYTES,
        )

    @classmethod
    def open(
        cls,
        memory: str | Path,
        *,
        model: MemoryDecoder | str = DEFAULT_GENERATOR,
        encoder: str | None = None,
        k: int = DEFAULT_PAIRS,
    ) -> Translator:
        """Open a memory of pairs.

        Args:
            encoder: its name or folder; needed where it does not come as a package.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            MismatchError: its entries are no sentence pairs.
            ModelError: a model cannot be had.
        """
        opened = Memory.open(memory)
        require_pairs(opened)
        embeds = load_memory_encoder(opened.manifest.encoder, encoder, memories=[opened.path])
        reads = model if isinstance(model, MemoryDecoder) else MemoryDecoder.from_pretrained(model, reader=None)
        return cls(opened, embeds, reads, k=k)

    def translate(
        self, texts: Sequence[str], target: str | None = None, glossary: Glossary | None = None
    ) -> list[Translation]:
        """Translate sentences.

        Args:
            target: language to translate to; None for Chinese, or English where a text is Chinese.
            glossary: terms whose translation is prescribed.

        Raises:
            ValueError: a text is empty or longer than `MOST_SIDE`, or it has too many tokens with its pairs.
            MismatchError: no pair of the memory is in this language.
        """
        glossary, asked = glossary or Glossary(), [checked(text) for text in texts]
        by_target: dict[str, list[int]] = {}
        for place, text in enumerate(asked):
            by_target.setdefault(target or other_language(text), []).append(place)
        done: dict[int, Translation] = {}
        for to, places in by_target.items():
            exact = {place: self._hits.find(asked[place], to, glossary) for place in places}
            done |= {place: one for place, one in exact.items() if one is not None}
            others = sorted((place for place in places if place not in done), key=lambda place: len(asked[place]))
            size = self.model.rows_at_once(_ROWS)
            for start in range(0, len(others), size):
                batch = others[start : start + size]
                done |= dict(zip(batch, self._read([asked[place] for place in batch], to, glossary), strict=True))
        return [done[place] for place in range(len(asked))]

    def nearest(self, texts: Sequence[str], target: str, k: int) -> list[list[Retrieved]]:
        """Return the pairs nearest to each text that have a translation in a language, best first."""
        return self._retriever.retrieve(texts, k, where=pc.field(TARGET) == target)

    def text_ids(self, text: str, target: str) -> tuple[int, ...]:
        """Return the tokens of a text, up to where its translation begins."""
        return self._words.text_ids(text, self._hits.source_language(target), target)

    def pair_ids(self, pair: Retrieved) -> tuple[int, ...]:
        """Return the tokens of a pair, as the language model reads them."""
        return self._words.passage_ids(pair.passage)

    def _worked_pairs(self) -> list[Passage]:
        """Return a few short pairs of the memory, as many in each direction, that show the model what a pair is."""
        chosen = []
        for number, target in enumerate(self._hits.languages):
            rows = self.memory.rows(pc.field(TARGET) == target)[:_LOOKED_AT]
            short = [
                one for one in self.memory.passages(rows) if len(one.text) + len(one.metadata[TRANSLATION]) <= _SHORT
            ]
            places = {len(short) * (2 * part + number) // (2 * _WORKED) for part in range(_WORKED)}  # no pair in both
            chosen.append([short[place] for place in sorted(places) if short])
        return [pair for pairs in zip(*chosen, strict=False) for pair in pairs]

    def _read(self, texts: Sequence[str], target: str, glossary: Glossary) -> list[Translation]:
        """Translate texts that the memory does not hold, in as few batches as there is room for."""
        language, found = self._hits.source_language(target), self.nearest(texts, target, self.k)
        terms = [glossary.terms(text, language, target) for text in texts]
        asked = [self._words.text_ids(text, language, target) for text in texts]
        entries = [
            [
                *map(self.pair_ids, near),
                *(self._words.pair_ids(one.term, language, target, one.translations[0]) for one in text_terms),
            ]
            for near, text_terms in zip(found, terms, strict=True)
        ]
        if not _fit(asked, entries):
            if len(texts) == 1:
                raise ValueError(
                    f"{self.k:,} pairs and {shortened(texts[0])!r} have more tokens than can be read at once; take fewer pairs (k)."
                )
            half = len(texts) // 2
            return [one for part in (texts[:half], texts[half:]) for one in self._read(part, target, glossary)]
        near = [[one.normalized_score for one in text_entries] for text_entries in found]
        # A term counts as much as the nearest pair.
        scores = [
            [*text_scores, *[max(text_scores, default=0.0)] * len(known)]
            for text_scores, known in zip(near, terms, strict=True)
        ]
        memory, most = self.model.make_memory(entries, scores), most_tokens(asked)
        written = write(self.model, asked, memory, most)
        steps = [1 + len(self.model.prompt.token_ids(f" {one}")) for one in written]  # the last one ends the line
        results = []
        for place, mass in enumerate(memory.entry_mass(steps)):
            pairs = tuple(UsedPair(one, given / (sum(mass) or 1.0)) for one, given in zip(found[place], mass))
            again = partial(self._memory, entries[place], scores[place])
            placed = place_terms(self.model, asked[place], written[place], terms[place], again, most)
            results.append(Translation(texts[place], placed, target, False, pairs, terms[place]))
        return results

    def _memory(self, entries: Sequence[Sequence[int]], scores: Sequence[float], rows: int) -> AttendedMemory:
        return self.model.make_memory([entries] * rows, [scores] * rows)


def _fit(asked: Sequence[Sequence[int]], entries: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Return whether texts and what each attends to may be read in one batch."""
    longest, most = max(map(len, asked)), max(sum(map(len, text_entries)) for text_entries in entries)
    return len(asked) * most <= MOST_MEMORY_TOKENS and len(asked) * longest * (longest + most) <= MOST_PAIRS


def most_tokens(asked: Sequence[Sequence[int]]) -> int:
    """Return how many tokens translations may have.

    Args:
        asked: tokens of their texts.
    """
    return _MORE_TOKENS + _TOKENS_PER_TOKEN * max(map(len, asked))
