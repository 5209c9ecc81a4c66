"""Rows that join and leave a batch between two steps, against each of them generated alone by transformers."""

from __future__ import annotations

import random

import pytest
import torch
from tiny import random_ids, tiny_decoder
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoding import DecodingBatch, read_question
from memgpt_rag.model.states import EntryStates
from memgpt_rag.model.tokenizer import byte_tokenizer


class Silent(BaseStreamer):
    def put(self, value):
        pass

    def end(self):
        pass


class Scores:
    """Notes the scores of each step."""

    def __init__(self):
        self.steps = []

    def __call__(self, input_ids, scores):
        self.steps.append(scores.clone())
        return scores


def model_of(architecture, layers="all"):
    config = MemoryAttentionConfig(layers=layers, score_bias=1.0, top_m=6, null_score=0.5)
    return MemoryDecoder(tiny_decoder(architecture), byte_tokenizer(), config=config, prefix_ids=[1, 5, 9])


def rows_of(count, rng):
    """Questions of different lengths, with memories of different widths, two of them without any."""
    rows = []
    for number in range(count):
        entries = [random_ids(rng.randint(1, 9), seed=100 * number + k) for k in range(number % 4)]
        rows.append((random_ids(rng.randint(1, 14), seed=number), entries, rng.randint(1, 17)))
    return rows


def memory_of(model, entries, rounded=False):
    states = [in_codes(one) if rounded else one for one in model.states_of(entries)]
    return model.memory_from_states([states], [[0.3 * number for number in range(len(entries))]])


def in_codes(states):
    """Round the values of an entry to int8, as a memory stores them."""
    values = {}
    for layer, value in states.values.items():
        scales = value.codes.abs().amax(-1) / 127
        values[layer] = MemoryValues((value.codes / scales[..., None]).round().to(torch.int8), scales)
    return EntryStates(states.keys, values)


def alone(model, ids, entries, tokens, rounded=False):
    memory, scores = memory_of(model, entries, rounded), Scores()
    found = model.generate(
        torch.tensor([ids]),
        memory=memory,
        max_new_tokens=tokens,
        do_sample=False,
        logits_processor=[scores],
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist(), scores.steps, memory.token_mass(0)


def begun(model, ids, entries, tokens, rounded=False):
    memory, scores = memory_of(model, entries, rounded), Scores()
    row = read_question(
        model,
        torch.tensor([ids]),
        memory,
        streamer=Silent(),
        max_new_tokens=tokens,
        do_sample=False,
        logits_processor=[scores],
        pad_token_id=0,
    )
    return row, scores


def require_equal(begun_rows, expected):
    """Tokens are the same, and scores and attention within what fp32 rounds."""
    for (row, scores), (tokens, steps, mass) in zip(begun_rows, expected, strict=True):
        assert row.ids[0, -len(tokens) :].tolist() == tokens
        torch.testing.assert_close(torch.cat(scores.steps), torch.cat(steps), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(row.memory.token_mass(0), mass, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("gemma3", "global"), ("gemma3", "all"), ("qwen3", "all"), ("gpt2", "all"), ("gpt_oss", "all")],
)
def test_rows_that_join_and_leave_are_generated_as_alone(architecture, layers):
    model, rng = model_of(architecture, layers), random.Random(1)
    batch, rows, begun_rows = DecodingBatch(model), rows_of(10, rng), []
    expected, most = [alone(model, *row) for row in rows], 0
    while len(batch) or len(begun_rows) < len(rows):
        if len(begun_rows) < len(rows) and rng.random() < 0.8:
            begun_rows.append(begun(model, *rows[len(begun_rows)]))
            batch.join(begun_rows[-1][0])
        most = max(most, len(batch))
        batch.step()
    assert most > 1
    require_equal(begun_rows, expected)


def test_memories_of_numbers_and_of_codes_are_read_in_one_batch():
    """Some are stored in int8, and others computed: in either order, each is read as alone."""
    model = model_of("qwen3")
    rows = [(random_ids(4, number), [random_ids(7, 50 + number)], 6) for number in range(4)]
    for first in (True, False):
        rounded = [first, not first, first, not first]
        expected = [alone(model, *row, one) for row, one in zip(rows, rounded, strict=True)]
        begun_rows, batch = (
            [begun(model, *row, one) for row, one in zip(rows, rounded, strict=True)],
            DecodingBatch(model),
        )
        for row, _ in begun_rows:
            batch.join(row)
            batch.step()
        while len(batch):
            batch.step()
        require_equal(begun_rows, expected)


def test_a_batch_gives_back_the_room_of_long_rows():
    model = model_of("qwen3")
    batch = DecodingBatch(model)
    short, _ = begun(model, random_ids(3, 1), [random_ids(4, 2)], 12)
    long, _ = begun(model, random_ids(900, 3), [random_ids(700, 4)], 2)
    batch.join(short)
    before = batch.num_bytes
    batch.join(long)
    assert batch.num_bytes > 5 * before
    while not long.ended:
        batch.step()
    batch.step()
    assert batch.num_bytes < 3 * before
    while not short.ended:
        batch.step()
    assert len(batch) == batch.num_bytes == 0


def test_a_row_joins_where_the_last_step_has_made_the_room():
    """One row leaves, the other one outgrows the batch in a step, and the next one takes the slot that is free."""
    model = model_of("qwen3")
    rows = [
        (random_ids(60, 1), [random_ids(5, 2)], 12),
        (random_ids(6, 3), [random_ids(5, 4)], 2),
        (random_ids(4, 5), [], 6),
    ]
    expected, batch, begun_rows = [alone(model, *row) for row in rows], DecodingBatch(model), []
    for row in rows[:2]:
        begun_rows.append(begun(model, *row))
        batch.join(begun_rows[-1][0])
    room = batch._sizes
    while batch._sizes == room:
        batch.step()
    assert len(batch) == 1 and batch._sizes[0] == room[0] == 2
    begun_rows.append(begun(model, *rows[2]))
    room = batch._sizes
    batch.join(begun_rows[-1][0])
    assert batch._sizes == room
    while len(batch):
        batch.step()
    require_equal(begun_rows, expected)
