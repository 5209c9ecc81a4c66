"""What training computes is what reading computes: rows by themselves, in batches, with delimiters and without."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import tiny_decoder

from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.delimiters import new_delimiters
from memgpt_rag.training.rows import (
    TrainingRow,
    alike_row_batches,
    dropped,
    memory_hidden,
    prompted_hidden,
)

PREFIX = (1, 5, 9)
ROWS = [
    TrainingRow(((7, 8, 9, 10), (11, 12)), (1.5, 0.5), (0,), (20, 21, 22), (8, 9)),
    TrainingRow(((30, 31, 32, 33, 34, 35, 36),), (0.7,), (0,), (23, 24), (31, 32, 33)),
    TrainingRow(((40, 41), (42, 43, 44), (45,)), (2.0, 1.9, 0.1), (), (25, 26, 27, 28), (50,)),
]


@pytest.fixture(params=["gemma2", "gemma3", "gpt2", "llama"])
def model(request):
    config = MemoryAttentionConfig(layers="all", inverse_temperature=1.2, score_bias=2.0, null_score=-1.0, top_m=5)
    return MemoryDecoder(tiny_decoder(request.param), None, config=config, prefix_ids=PREFIX)


def hidden_by_reading(model: MemoryDecoder, row: TrainingRow) -> torch.Tensor:
    """As a question is read: states first, from the model's cache, then question and answer."""
    memory = model.make_memory([row.entries], [row.scores])
    ids = torch.tensor([[*row.question, *row.answer]])
    hidden = model(ids, memory=memory, output_hidden_states=True).hidden_states[-1][0]
    return hidden[len(row.question) - 1 : -1]


@pytest.mark.parametrize("delimited", [False, True])
@torch.no_grad()
def test_rows_in_a_batch_are_read_as_each_question_is(model, delimited):
    if delimited:
        model.delimiters = new_delimiters(model.embedded(torch.tensor([3]))[0], prefix=2, entry=3)
    hidden = memory_hidden(model, ROWS, model.layer_settings, model.config.score_bias)
    expected = torch.cat([hidden_by_reading(model, row) for row in ROWS])
    torch.testing.assert_close(hidden, expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_delimiters_are_tokens_at_the_end_of_prefix_and_entries(model):
    """Vectors that are embeddings of tokens read as these tokens do."""
    row, behind = ROWS[0], (60, 61)
    embedded = model.embedded(torch.tensor([behind]))[0]
    delimiters = replace(new_delimiters(embedded[0], prefix=2, entry=2), prefix=embedded, entry=embedded)
    longer = replace(row, entries=tuple((*entry, *behind) for entry in row.entries))
    model.prefix_ids = (*PREFIX, *behind)
    expected = hidden_by_reading(model, longer)
    model.prefix_ids, model.delimiters = PREFIX, delimiters
    torch.testing.assert_close(hidden_by_reading(model, row), expected, atol=2e-5, rtol=1e-4)
    written = model.generate(
        torch.tensor([row.question]), memory=model.make_memory([row.entries], [row.scores]), max_new_tokens=3
    )
    assert int(written[0, len(row.question)]) == int(model.decoder.get_output_embeddings()(expected[0]).argmax())
    with pytest.raises(ValueError, match="read after a prefix; leave use_cache on"):
        model.generate(
            torch.tensor([row.question]), memory=model.make_memory([row.entries], [row.scores]), use_cache=False
        )


@torch.no_grad()
def test_entries_in_the_prompt_stand_best_last_and_gold_last_of_all(model):
    row = replace(ROWS[2], gold=(2,))
    for gold_last, order in ((False, (2, 1, 0)), (True, (1, 0, 2))):
        pasted = [token for place in order for token in row.entries[place]]
        ids = torch.tensor([[*PREFIX, *pasted, *row.question, *row.answer]])
        expected = model.writer.base_model(ids).last_hidden_state[0, -1 - len(row.answer) : -1]
        found = prompted_hidden(model.writer, PREFIX, [ROWS[0], row], gold_last=gold_last)[len(ROWS[0].answer) :]
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_gradients_reach_delimiters_through_prefix_and_entries(model):
    model.requires_grad_(False)
    model.delimiters = new_delimiters(model.embedded(torch.tensor([3]))[0], prefix=2, entry=3)
    memory_hidden(model, ROWS, model.layer_settings, model.config.score_bias).square().sum().backward()
    for vectors in model.delimiters.tensors().values():
        assert bool((vectors.grad.abs().sum(1) > 0).all())


def test_a_dropped_entry_is_never_the_one_that_holds_the_answer():
    generator = torch.Generator().manual_seed(0)
    row = replace(ROWS[2], gold=(1,))
    for _ in range(50):
        fewer = dropped(row, generator, 0.8)
        assert fewer.entries[fewer.gold[0]] == row.entries[1]
        assert [row.scores[row.entries.index(entry)] for entry in fewer.entries] == list(fewer.scores)
    assert len(dropped(ROWS[2], generator, 1.0).entries) == 1, "one is left where none holds it"


def test_batches_hold_every_row_once_in_parts_of_alike_ones():
    generator = torch.Generator().manual_seed(0)
    batches = alike_row_batches(ROWS * 4, 6, 40, generator)
    parts = [part for _ in range(2) for part in next(batches)]
    assert sorted(map(hash, (row for part in parts for row in part))) == sorted(map(hash, ROWS * 4))
    assert max(map(len, parts)) > 1


def test_fewer_rows_than_a_batch_are_a_batch_and_none_are_refused():
    generator = torch.Generator().manual_seed(0)
    batches = alike_row_batches(ROWS, len(ROWS) + 1, 10**6, generator)
    for _ in range(2):
        (part,) = next(batches)
        assert sorted(map(hash, part)) == sorted(map(hash, ROWS))
    with pytest.raises(ValueError, match="There are no rows to train on"):
        next(alike_row_batches([], 8, 40, generator))
