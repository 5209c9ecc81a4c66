"""From entries to tensors: what was found for a question becomes what the language model attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memgpt_rag.limits import MOST_MEMORY_TOKENS, MOST_PAIRS, MOST_PROMPT_TOKENS
from memgpt_rag.memory import Searchable, StateCache
from memgpt_rag.retrieval.retriever import Retrieved

if TYPE_CHECKING:
    from memgpt_rag.model import AttendedMemory, EntryStates, MemoryDecoder
    from memgpt_rag.model.prompt import Prompt


def attend(
    model: MemoryDecoder,
    prompt: Prompt,
    found: Sequence[Sequence[Retrieved]],
    states: Searchable | StateCache | None = None,
) -> AttendedMemory:
    """Let the model attend to the entries found for each question.

    Args:
        states: the memory, where it stores the entries' states; where to keep those that are computed now; None to compute
            them as they are, without rounding, or take them from the model's own cache.
    """
    scores = [[entry.standardised for entry in of_question] for of_question in found]
    if states is None:
        return model.attend(
            [[prompt.entry_ids(entry.passage) for entry in of_question] for of_question in found], scores
        )
    if isinstance(states, StateCache):
        rows = [_cached(model, [prompt.entry_ids(entry.passage) for entry in of_row], states) for of_row in found]
    else:
        rows = [_stored(model, prompt, states, of_question) for of_question in found]
    return model.attend_states(rows, scores)


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
    lengths = [[len(prompt.entry_ids(entry.passage)) for entry in of_question] for of_question in found]
    memory, asked = max(map(sum, lengths)), max(map(len, rows))
    longest = max((length for of_row in lengths for length in of_row), default=0)
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


def _stored(model: MemoryDecoder, prompt: Prompt, memory: Searchable, found: Sequence[Retrieved]) -> list[EntryStates]:
    """States from the memory; those of joined entries and of later ones than the states, computed and rounded alike."""
    from memgpt_rag.memory.storage.states import StatesShape, encode
    from memgpt_rag.model.stored import from_array, load_states, to_array

    fingerprint = memory.manifest.states
    assert fingerprint is not None
    missing = [entry for entry in found if entry.joined or memory.entry(entry.row) is None]
    computed = {}
    if missing:
        of_missing = model.states_of([prompt.entry_ids(entry.passage) for entry in missing])
        for entry, states in zip(missing, of_missing, strict=True):
            codes = encode(to_array(states), StatesShape.of(fingerprint).dtype)
            computed[entry.row] = from_array(*codes, model.layers, model.decoder.dtype, model.decoder.device)
    there = [entry.row for entry in found if entry.row not in computed]
    loaded = dict(zip(there, load_states(model, memory, fingerprint, there), strict=True)) | computed
    return [loaded[entry.row] for entry in found]


def _cached(model: MemoryDecoder, entries: Sequence[tuple[int, ...]], cache: StateCache) -> list[EntryStates]:
    from memgpt_rag.model.stored import from_array, to_array

    codes = {token_ids: cache.get(token_ids) for token_ids in entries}
    missing = [token_ids for token_ids, known in codes.items() if known is None]
    for token_ids, states in zip(missing, model.states_of(missing), strict=True):
        codes[token_ids] = cache.put(token_ids, to_array(states))
    known = [codes[token_ids] for token_ids in entries]
    return [
        from_array(*of_entry, model.layers, model.decoder.dtype, model.decoder.device)
        for of_entry in known
        if of_entry is not None
    ]
