"""From entries to tensors: what was found for a question becomes what the language model attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memgpt_rag.memory import Searchable, StateCache
from memgpt_rag.retrieve import Retrieved

if TYPE_CHECKING:
    from memgpt_rag.model import AttendedMemory, EntryStates, MemoryDecoder
    from memgpt_rag.prompt import Prompt


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


def _stored(model: MemoryDecoder, prompt: Prompt, memory: Searchable, found: Sequence[Retrieved]) -> list[EntryStates]:
    """States from the memory; those of joined entries and of later ones than the states, computed and rounded alike."""
    from memgpt_rag.memory.states import StatesShape, encode
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
