"""Training rows: questions with the entries that they attend to and their answers, in tokens; and a decoder's hidden states at
each answer token, with the entries in memory or in the prompt, differentiable in everything that is trained.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from memgpt_rag.errors import ModelError
from memgpt_rag.model import AttendedMemory, MemoryDecoder
from memgpt_rag.model.attended import use_memory
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.model.entry_reading import read_entries
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.whole_cache import repeated
from memgpt_rag.training.answer_likelihood import Example

_Ids = tuple[int, ...]


@dataclass(frozen=True)
class TrainingRow:
    """A question in tokens.

    Attributes:
        entries: token ids of each entry, best first.
        scores: normalized retrieval score of each entry.
        gold: positions of the entries that contain the answer; empty for an unanswerable question.
        question: token ids of the question, up to the beginning of the answer.
        answer: token ids of the answer, including those that end it.
        name: name of the dataset of the question.
    """

    entries: tuple[_Ids, ...]
    scores: tuple[float, ...]
    gold: tuple[int, ...]
    question: _Ids
    answer: _Ids
    name: str = ""

    @property
    def num_tokens(self) -> int:
        """Return the number of tokens of all entries."""
        return sum(map(len, self.entries))


def training_row(prompt: Prompt, example: Example) -> TrainingRow:
    """Return a question with its entries and its answer in tokens."""
    words, end = prompt.answer_ids(example.question, example.answer)
    return TrainingRow(
        entries=tuple(prompt.entry_ids(entry.passage) for entry in example.found),
        scores=tuple(entry.normalized_score for entry in example.found),
        gold=tuple(example.gold),
        question=prompt.question_ids(example.question),
        answer=(*words, *end),
    )


def read_rows(file: str | Path, end: _Ids) -> list[TrainingRow]:
    """Read training rows written by `benchmarks/reading_sets.py`.

    Args:
        end: token ids that end every answer.
    """
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [_row(json.loads(line), end) for line in lines]


def _row(fields: dict[str, Any], end: _Ids) -> TrainingRow:
    return TrainingRow(
        entries=tuple(map(tuple, fields["entries"])),
        scores=tuple(fields["scores"]),
        gold=tuple(fields["gold"]),
        question=tuple(fields["question"]),
        answer=(*fields["answer"], *end),
        name=str(fields["set"]),
    )


def alike_row_batches(
    rows: Sequence[TrainingRow], batch_size: int, most_tokens: int, generator: torch.Generator
) -> Iterator[list[list[TrainingRow]]]:
    """Yield batches endlessly in random order, each split into parts of similar rows with at most `most_tokens` padded tokens.

    Raises:
        ValueError: there are no rows. Where there are fewer than a batch, all of them are a batch.
    """
    if not rows:
        raise ValueError("There are no rows to train on.")
    batch_size = min(batch_size, len(rows))
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            batch = sorted((rows[place] for place in order[start : start + batch_size]), key=_size)
            parts: list[list[TrainingRow]] = [[]]
            for row in batch:
                if parts[-1] and (len(parts[-1]) + 1) * _size(row) > most_tokens:
                    parts.append([])
                parts[-1].append(row)
            yield parts


def _size(row: TrainingRow) -> int:
    return len(row.entries) * max(map(len, row.entries)) + len(row.question) + len(row.answer)


def dropped(row: TrainingRow, generator: torch.Generator, share: float) -> TrainingRow:
    """Drop some entries of a row that do not contain its answer; at least one entry is kept."""
    keep = [
        place
        for place, drawn in enumerate(torch.rand(len(row.entries), generator=generator).tolist())
        if place in row.gold or drawn >= share
    ] or [0]
    return replace(
        row,
        entries=tuple(row.entries[place] for place in keep),
        scores=tuple(row.scores[place] for place in keep),
        gold=tuple(keep.index(place) for place in row.gold),
    )


def prompted_hidden(
    decoder: PreTrainedModel, prefix_ids: _Ids, rows: Sequence[TrainingRow], *, gold_last: bool = False
) -> Float[Tensor, "tokens hidden"]:
    """Compute the hidden states that predict the answers' tokens, row by row, with the entries in the prompt.

    The best entry comes last, next to the question.

    Args:
        gold_last: put entries that contain the answer after the others.
    """
    sequences = []
    for row in rows:
        order = sorted(range(len(row.entries)), key=lambda place: (gold_last and place in row.gold, -place))
        pasted = [token for place in order for token in row.entries[place]]
        sequences.append([*prefix_ids, *pasted, *row.question, *row.answer])
    ids, present = _padded(sequences, decoder.device)
    hidden = decoder.base_model(input_ids=ids, attention_mask=present, use_cache=False).last_hidden_state
    return _before_answers(hidden, sequences, rows)


def memory_hidden(
    model: MemoryDecoder,
    rows: Sequence[TrainingRow],
    layer_settings: dict[int, LayerSettings],
    score_bias: Tensor | float,
    *,
    on_weights: Callable[[AttendedMemory, Tensor], object] | None = None,
) -> Float[Tensor, "tokens hidden"]:
    """Compute the hidden states that predict the answers' tokens, row by row, with the entries in memory.

    States of prefix and entries are recomputed, so that gradients reach the model's delimiters.

    Args:
        layer_settings: parameters of the attended layers, which may require gradients.
        score_bias: β, which may require a gradient.
        on_weights: called with the memory and the attention weights of every layer.
    """
    prefix = model.read_prefix()
    memory = _attended(model, prefix, rows, list(layer_settings), score_bias)
    if on_weights is not None:
        memory = replace(memory, on_weights=lambda weights: on_weights(memory, weights))
    sequences = [[*row.question, *row.answer] for row in rows]
    ids, present = _padded(sequences, model.decoder.device)
    with model.temporary_settings(layer_settings):
        inputs = model.place(ids, present, memory)
        with use_memory(memory, model.layer_settings, model.windows):
            hidden = model.decoder.base_model(**inputs, past_key_values=repeated(prefix, len(ids))).last_hidden_state
    return _before_answers(hidden, sequences, rows)


@torch.no_grad()
def require_trainable(model: MemoryDecoder) -> None:
    """Raises ModelError where training would not reach the states of layers."""
    if model.is_recurrent:
        raise ModelError(
            f"{type(model.writer).__name__} has recurrent layers, whose states this training does not reach; train another model."
        )


def require_plain_head(model: MemoryDecoder) -> None:
    """Check that a decoder leaves the logits of its head as they are; Gemma 2, for one, caps them.

    Raises:
        ModelError: it changes them, so that losses of the head alone would be wrong.
    """
    ids = torch.tensor([model.prompt.question_ids("?")], device=model.writer.device)
    output = model.writer(ids, output_hidden_states=True)
    if not torch.allclose(model.writer.get_output_embeddings()(output.hidden_states[-1]), output.logits, atol=1e-2):
        raise ModelError(
            f"{type(model.writer).__name__} changes the logits of its head, and delimiters cannot be trained for it; train an "
            "adapter."
        )


def answer_tokens(rows: Sequence[TrainingRow], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the answers' token ids, row by row, and the row number of each."""
    tokens = torch.tensor([token for row in rows for token in row.answer], device=device)
    counts = torch.tensor([len(row.answer) for row in rows], device=device)
    return tokens, torch.repeat_interleave(torch.arange(len(rows), device=device), counts)


def _attended(
    model: MemoryDecoder,
    prefix: DynamicCache,
    rows: Sequence[TrainingRow],
    layers: list[int],
    score_bias: Tensor | float,
) -> AttendedMemory:
    """Build the memory of `attend_to` from entries that are read together, each padded to the longest."""
    require_trainable(model)
    device, before = model.decoder.device, model.prefix_tokens
    most = max(len(row.entries) for row in rows)
    entries = [entry for row in rows for entry in row.entries]
    entry_states = read_entries(model.writer, repeated(prefix, len(entries)), entries, model.delimiters)
    behind = 0 if model.delimiters is None else len(model.delimiters.entry)
    width = max(map(len, entries)) + behind
    place = torch.zeros(len(rows), most, dtype=torch.long)  # position of each entry among all; 0 for padding
    lengths, bias = torch.zeros(len(rows), most, dtype=torch.long), torch.zeros(len(rows), most)
    at = 0
    for number, row in enumerate(rows):
        count = len(row.entries)
        place[number, :count] = torch.arange(at, at + count)
        lengths[number, :count] = torch.tensor([len(entry) + behind for entry in row.entries])
        bias[number, :count] = torch.tensor([score - max(row.scores) for score in row.scores])
        at += count
    place, lengths, bias = (one.to(device) for one in (place, lengths, bias))
    inside = torch.arange(width, device=device)

    def side_by_side(states: Tensor) -> Tensor:
        own = states[:, :, before : before + width].index_select(0, place.flatten())
        by_row = own.view(*place.shape, *own.shape[1:])  # rows, entries, heads, width, dim
        return by_row.transpose(1, 2).flatten(2, 3)

    return AttendedMemory(
        keys={layer: side_by_side(entry_states[layer][0]) for layer in layers},
        values={layer: MemoryValues(side_by_side(entry_states[layer][1])) for layer in layers},
        position=(before + inside).expand(len(rows), most, -1).flatten(1),
        entry_of_token=torch.arange(most, device=device)[None, :, None].expand(len(rows), -1, width).flatten(1),
        present=(inside < lengths[..., None]).flatten(1),
        bias=(score_bias * bias)[..., None].expand(-1, -1, width).flatten(1),
        gap=lengths.amax(1),
        num_entries=tuple(len(row.entries) for row in rows),
        prefix_tokens=before,
    )


def _padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, sequences))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in sequences], device=device)
    present = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in sequences], device=device)
    return ids, present


def _before_answers(hidden: Tensor, sequences: Sequence[Sequence[int]], rows: Sequence[TrainingRow]) -> Tensor:
    pieces = [
        hidden[number, len(sequence) - len(row.answer) - 1 : len(sequence) - 1]
        for number, (sequence, row) in enumerate(zip(sequences, rows, strict=True))
    ]
    return torch.cat(pieces)
