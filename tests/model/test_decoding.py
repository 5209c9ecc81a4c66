"""Rows that join and leave a batch between two steps, against each of them generated alone by transformers."""

from __future__ import annotations

import random

import pytest
from decoding_rows import alone, begun, make_test_memory, require_equal, started
from tiny import random_ids, tiny_decoder

from benchmarks.small_decoders import small_decoder
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoding import READ_TOKENS, DecodingBatch, read_rows, reads_together
from memgpt_rag.model.tokenizer import byte_tokenizer


def make_model(architecture, layers="all"):
    config = MemoryAttentionConfig(layers=layers, score_bias=1.0, top_m=6, null_score=0.5)
    return MemoryDecoder(tiny_decoder(architecture), byte_tokenizer(), config=config, prefix_ids=[1, 5, 9])


def random_rows(count, rng):
    """Questions of different lengths, with memories of different widths, two of them without any."""
    rows = []
    for number in range(count):
        entries = [random_ids(rng.randint(1, 9), seed=100 * number + k) for k in range(number % 4)]
        rows.append((random_ids(rng.randint(1, 14), seed=number), entries, rng.randint(1, 17)))
    return rows


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("gemma3", "global"), ("gemma3", "all"), ("qwen3", "all"), ("gpt2", "all"), ("gpt_oss", "all")],
)
def test_rows_that_join_and_leave_are_generated_as_alone(architecture, layers):
    model, rng = make_model(architecture, layers), random.Random(1)
    batch, rows, begun_rows = DecodingBatch(model), random_rows(10, rng), []
    expected, most = [alone(model, *row) for row in rows], 0
    while len(batch) or len(begun_rows) < len(rows):
        if len(begun_rows) < len(rows) and rng.random() < 0.8:
            begun_rows.append(begun(model, *rows[len(begun_rows)]))
            batch.join(begun_rows[-1][0])
        most = max(most, len(batch))
        batch.step()
    assert most > 1
    require_equal(begun_rows, expected)


@pytest.mark.parametrize(
    ("architecture", "layers"), [("gemma3", "all"), ("qwen3", "all"), ("gpt2", "all"), ("gpt_oss", "all")]
)
def test_questions_read_together_are_answered_as_alone(architecture, layers):
    """Of different lengths, with memories of different widths and kinds or with none, beside answers under way."""
    model, rows = make_model(architecture, layers), random_rows(9, random.Random(2))
    rounded = [number % 2 == 1 for number in range(9)]
    expected = [alone(model, *row, one) for row, one in zip(rows, rounded, strict=True)]
    batch, all_started = DecodingBatch(model), []
    for part in (slice(0, 4), slice(4, 9)):
        together = [started(model, *row, one) for row, one in zip(rows[part], rounded[part], strict=True)]
        read_rows(model, [row for row, _ in together])
        for row, _ in together:
            batch.join(row)
        batch.step()
        all_started += together
    while len(batch):
        batch.step()
    require_equal(all_started, expected)


def test_questions_without_any_memory_are_read_together():
    model = make_model("gemma3")
    rows = [(random_ids(count, count), [], 5) for count in (3, 11, 7)]
    expected = [alone(model, *row) for row in rows]
    together, batch = [started(model, *row) for row in rows], DecodingBatch(model)
    read_rows(model, [row for row, _ in together])
    for row, _ in together:
        batch.join(row)
    while len(batch):
        batch.step()
    require_equal(together, expected)


def test_a_row_whose_first_token_cannot_be_chosen_ends_alone():
    model = make_model("qwen3")
    question = (random_ids(4, 0), [random_ids(7, 50)], 3)
    (good, scores), (bad, _) = started(model, *question), started(model, *question)

    def broken(input_ids, scores):
        raise RuntimeError("broken")

    bad._processors.append(broken)
    read_rows(model, [bad, good])
    assert bad.ended and str(bad.error) == "broken"
    batch = DecodingBatch(model)
    for row in (bad, good):
        batch.join(row)
    while len(batch):
        batch.step()
    require_equal([(good, scores)], [alone(model, *question)])


@pytest.mark.parametrize(
    ("lengths", "kind", "together"),
    [
        ([READ_TOKENS // 2] * 2, "llama", True),
        ([1, READ_TOKENS // 2 + 1], "llama", False),  # padding counts
        ([10 * READ_TOKENS], "llama", True),
        ([2, 2], "qwen3_next", False),  # padding would change its recurrent layers
        ([2], "qwen3_next", True),
    ],
)
def test_what_is_read_together_has_few_tokens_and_no_states(lengths, kind, together):
    model = MemoryDecoder(small_decoder(kind), byte_tokenizer())
    memories = [make_test_memory(model, []) for _ in lengths]
    assert reads_together(model, lengths, memories) is together


def test_long_memories_are_not_copied_side_by_side(monkeypatch):
    model = make_model("llama")
    memories = [make_test_memory(model, [random_ids(length, length)]) for length in (3, 20)]
    assert reads_together(model, [5, 5], memories)
    monkeypatch.setattr("memgpt_rag.model.decoding.READ_MEMORY_TOKENS", 39)
    assert not reads_together(model, [5, 5], memories)
    assert reads_together(model, [5], memories[1:])


def test_memories_of_numbers_and_of_codes_are_read_in_one_batch():
    """Some are stored in int8, and others computed: in either order, each is read as alone."""
    model = make_model("qwen3")
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
    model = make_model("qwen3")
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
    model = make_model("qwen3")
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
