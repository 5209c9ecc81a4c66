"""Answers whose entries are renewed while they are written: every so many tokens, what was written last is searched for.

The stride of retrieval is that of Ram et al. 2023 (arXiv 2302.00083, §3.2), with entries in attention and not in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from memgpt_rag.answering.entry_states import make_memory, require_room
from memgpt_rag.answering.generator import Generated, Generator, Prepared
from memgpt_rag.limits import MOST_TRACED_WEIGHTS
from memgpt_rag.model import AttendedMemory
from memgpt_rag.model.decoding import DecodingRow, exchange_memory
from memgpt_rag.model.drafts import decode, drafts_for
from memgpt_rag.retrieval.retriever import Retrieved

Renew = Callable[[str], Sequence[Retrieved]]  # what was written last → the entries to go on with


class RenewedMemory:
    """The memories that one answer attended to, one after the other, as one record of its attention.

    Attributes:
        entries: all that were attended to, in the order in which they first were.
    """

    def __init__(self) -> None:
        self.entries: list[Retrieved] = []
        # Each memory with the places of its entries, and the token that was the first to attend to it.
        self._periods: list[tuple[AttendedMemory, list[int], int]] = []
        self._places: dict[tuple[int, str], int] = {}

    def add(self, memory: AttendedMemory, entries: Sequence[Retrieved], first_token: int) -> None:
        """Note what the answer attends to from one of its tokens on."""
        places = []
        for entry in entries:
            places.append(self._places.setdefault((entry.row, entry.passage.id), len(self.entries)))
            if places[-1] == len(self.entries):
                self.entries.append(entry)
        self._periods.append((memory, places, first_token))

    def entry_mass(self, steps: Sequence[int]) -> list[list[float]]:
        """Return the attention mass of each entry, averaged over the answer's tokens, as `AttendedMemory.entry_mass`."""
        total = [0.0] * len(self.entries)
        for memory, places, _, tokens in self._lengths(steps[0]):
            for place, mass in zip(places, memory.entry_mass([tokens])[0], strict=True):
                total[place] += mass * tokens / steps[0]
        return [total]

    def answer_attention(self, row: int, tokens: int) -> list[Float[Tensor, "answer_tokens entry_tokens"]] | None:
        """Return what each token of the answer gave to each token of each entry, as `AttendedMemory.answer_attention`.

        An entry got nothing while it was not attended to.
        """
        whole: list[Tensor | None] = [None] * len(self.entries)
        weights = 0
        for memory, places, first, length in self._lengths(tokens):
            given = memory.answer_attention(row, length)
            if given is None:
                return None
            for place, entry_weights in zip(places, given, strict=True):
                if (all_tokens := whole[place]) is None:
                    weights += tokens * entry_weights.shape[1]
                    if weights > MOST_TRACED_WEIGHTS:
                        return None
                    all_tokens = whole[place] = entry_weights.new_zeros(tokens, entry_weights.shape[1])
                all_tokens[first : first + length] = entry_weights
        return [entry_weights for entry_weights in whole if entry_weights is not None]

    def _lengths(self, tokens: int) -> list[tuple[AttendedMemory, list[int], int, int]]:
        """The periods with the number of tokens that were written in each, of an answer that has so many."""
        ends = [*[first for _, _, first in self._periods[1:]], tokens]
        return [
            (memory, places, first, max(0, min(end, tokens) - first))
            for (memory, places, first), end in zip(self._periods, ends, strict=True)
        ]


def generate_renewed(
    generator: Generator, prepared: Prepared, entries: Sequence[Retrieved], renew: Renew, every: int
) -> tuple[Generated, RenewedMemory]:
    """Generate the answer to one prepared question, and exchange its entries after every so many tokens.

    Args:
        entries: that the question is prepared with.
        renew: returns the entries to go on with, for the text of the latest tokens.

    Raises:
        ValueError: tokens are chosen in a way that needs all of them at once, as beams, or the entries are too many.
    """
    if prepared.drafts is None:
        raise ValueError(
            "Entries are renewed while one answer is written token by token; leave out settings such as num_beams."
        )
    row, record, drafts = generator.read(prepared), RenewedMemory(), prepared.drafts
    record.add(prepared.memory, entries, 0)
    written = 0
    while True:
        decode(generator.model, row, drafts, most=written + every)
        if row.ended:
            break
        latest = generator.model.tokenizer.decode(row.ids[0, row.asked + written :], skip_special_tokens=True)
        written = row.ids.shape[1] - row.asked
        entries = renew(latest)
        record.add(_exchange(generator, row, entries, every), entries, written)
        drafts = drafts_for(generator.model.decoder, [generator.prompt.entry_ids(entry.passage) for entry in entries])
    prepared.clock.end()
    return generator.generated(prepared, row), record


@torch.inference_mode()
def _exchange(generator: Generator, row: DecodingRow, entries: Sequence[Retrieved], every: int) -> AttendedMemory:
    require_room(generator.model, generator.prompt, [row.ids[0].tolist()], [entries], every)
    memory = make_memory(generator.model, generator.states, [entries])
    exchange_memory(generator.model, row, memory)
    return memory
