"""From entries to tensors: what was found for a question becomes what the language model attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from memgpt_rag.limits import MOST_MEMORY_TOKENS, MOST_PAIRS, MOST_PROMPT_TOKENS
from memgpt_rag.memory import Searchable, StateCache
from memgpt_rag.retrieval.retriever import Retrieved

if TYPE_CHECKING:
    from memgpt_rag.model import AttendedMemory, EntryStates, MemoryDecoder
    from memgpt_rag.model.prompt import Prompt


class StatesSource(Protocol):
    """Where the states of entries come from."""

    def states(self, entries: Sequence[Retrieved]) -> list[EntryStates]:
        """Return the states of each entry."""
        ...


class ComputedStates:
    """Computes states as they are, without rounding, or takes them from the model's own cache."""

    def __init__(self, model: MemoryDecoder, prompt: Prompt):
        self._model, self._prompt = model, prompt

    def states(self, entries: Sequence[Retrieved]) -> list[EntryStates]:
        return self._model.entry_states([self._prompt.entry_ids(entry.passage) for entry in entries])


class CachedStates:
    """Takes states from the user's cache folder, and keeps there those that it has to compute."""

    def __init__(self, model: MemoryDecoder, prompt: Prompt, cache: StateCache):
        self._model, self._prompt, self._cache = model, prompt, cache

    def states(self, entries: Sequence[Retrieved]) -> list[EntryStates]:
        from memgpt_rag.model.stored import from_array, to_array

        model, wanted = self._model, [self._prompt.entry_ids(entry.passage) for entry in entries]
        codes = {token_ids: self._cache.get(token_ids) for token_ids in wanted}
        missing = [token_ids for token_ids, known in codes.items() if known is None]
        for token_ids, states in zip(missing, model.entry_states(missing), strict=True):
            codes[token_ids] = self._cache.put(token_ids, to_array(states, model))
        known = [codes[token_ids] for token_ids in wanted]
        return [from_array(*entry_codes, model) for entry_codes in known if entry_codes is not None]


class MemoryStates:
    """Takes states from the memory; those of joined entries, of later ones than the states, and of passages that are in no memory
    (their row is below 0) are computed and rounded alike.
    """

    def __init__(self, model: MemoryDecoder, prompt: Prompt, memory: Searchable):
        assert memory.manifest.states is not None
        self._model, self._prompt, self._memory, self._fingerprint = model, prompt, memory, memory.manifest.states

    def states(self, entries: Sequence[Retrieved]) -> list[EntryStates]:
        from memgpt_rag.model.stored import load_states

        # By place, since entries that are joined from others may have one row and different texts.
        missing = [
            place
            for place, entry in enumerate(entries)
            if entry.joined or entry.row < 0 or self._memory.states(entry.row) is None
        ]
        known = dict(zip(missing, self._computed([entries[place] for place in missing]), strict=True))
        stored = [place for place in range(len(entries)) if place not in known]
        loaded = load_states(self._model, self._memory, self._fingerprint, [entries[place].row for place in stored])
        known |= dict(zip(stored, loaded, strict=True))
        return [known[place] for place in range(len(entries))]

    def _computed(self, entries: Sequence[Retrieved]) -> list[EntryStates]:
        if not entries:
            return []
        from memgpt_rag.memory.storage.states import StatesShape
        from memgpt_rag.model.stored import from_array, to_array
        from memgpt_rag.state_codes import encode, stored_rounding

        model, fingerprint = self._model, self._fingerprint
        dtype, rounding = StatesShape.of(fingerprint).dtype, stored_rounding(fingerprint)
        states = model.entry_states([self._prompt.entry_ids(entry.passage) for entry in entries])
        rounded = [encode(to_array(entry_states, model), dtype, rounding) for entry_states in states]
        return [from_array(*codes, model, rounding=rounding) for codes in rounded]


def make_memory(model: MemoryDecoder, source: StatesSource, entries: Sequence[Sequence[Retrieved]]) -> AttendedMemory:
    """Return the memory that a batch of questions attends to.

    Args:
        entries: those of each question, best first.
    """
    scores = [[entry.normalized_score for entry in question_entries] for question_entries in entries]
    # All at once, so that entries are computed together and one that several questions share only once.
    states = iter(source.states([entry for question_entries in entries for entry in question_entries]))
    return model.memory_from_states([[next(states) for _ in question_entries] for question_entries in entries], scores)


def require_room(
    model: MemoryDecoder,
    prompt: Prompt,
    rows: Sequence[Sequence[int]],
    found: Sequence[Sequence[Retrieved]],
    max_new_tokens: int,
) -> None:
    """See that questions and what they attend to are no more than the model, or a machine, can take at once.

    Args:
        rows: tokens of each question, with the entries that stand before it as text.
        found: entries that each question attends to.

    Raises:
        ValueError: they are more.
        MismatchError: an entry is longer than a language model is given.
    """
    lengths = [
        [model.entry_tokens(prompt.entry_ids(entry.passage)) for entry in question_entries]
        for question_entries in found
    ]
    memory, asked = max(map(sum, lengths)), max(map(len, rows))
    longest = max((length for row_lengths in lengths for length in row_lengths), default=0)
    fewer = "ask for fewer entries (k), or shorter ones"
    if memory > MOST_MEMORY_TOKENS:
        raise ValueError(
            f"The entries of a question have {memory:,} tokens; expected at most {MOST_MEMORY_TOKENS:,}: {fewer}."
        )
    if asked > MOST_PROMPT_TOKENS:
        raise ValueError(
            f"The question and the entries before it have {asked:,} tokens; expected at most {MOST_PROMPT_TOKENS:,}: {fewer}."
        )
    before = model.prefix_tokens
    if memory and (pairs := len(rows) * asked * (before + memory + asked)) > MOST_PAIRS:
        raise ValueError(
            f"{len(rows):,} questions of {asked:,} tokens and {memory:,} tokens of entries make {pairs:,} pairs of tokens that "
            f"meet in attention; expected at most {MOST_PAIRS:,}: ask fewer or shorter questions, or for fewer entries (k)."
        )
    needed = before + longest + asked + max_new_tokens
    if model.context is not None and needed > model.context:
        raise ValueError(
            f"The language model reads {model.context:,} tokens; asked for are {needed:,}: {before:,} before the question, "
            f"{longest:,} of the longest entry, {asked:,} of the question, {max_new_tokens:,} of the answer."
        )
