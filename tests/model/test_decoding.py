"""Rows that join and leave a batch between two steps, against each of them generated alone by transformers."""

from __future__ import annotations

import random

import pytest
import torch
from tiny import ARCHITECTURES, random_ids, tiny_decoder
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoding import DecodingBatch, read_question


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


def model_of(architecture, config=None):
    config = config or MemoryAttentionConfig(layers="all", score_bias=1.0, top_m=6, null_score=0.5)
    from memgpt_rag.model.tokenizer import byte_tokenizer

    return MemoryDecoder(tiny_decoder(architecture), byte_tokenizer(), config=config, prefix_ids=[1, 5, 9])


def rows_of(model, count, rng):
    """Questions of different lengths, with memories of different widths, two of them without any."""
    rows = []
    for number in range(count):
        entries = [random_ids(rng.randint(1, 9), seed=100 * number + k) for k in range(number % 4)]
        rows.append((random_ids(rng.randint(1, 14), seed=number), entries, rng.randint(1, 17)))
    return rows


def memory_of(model, entries):
    return model.make_memory([entries], [[0.3 * number for number in range(len(entries))]])


def alone(model, ids, entries, tokens):
    memory, scores = memory_of(model, entries), Scores()
    found = model.generate(
        torch.tensor([ids]),
        memory=memory,
        max_new_tokens=tokens,
        do_sample=False,
        logits_processor=[scores],
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist(), scores.steps, memory.token_mass(0)


def begun(model, ids, entries, tokens):
    memory, scores = memory_of(model, entries), Scores()
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_join_and_leave_are_generated_as_alone(architecture):
    """Tokens are the same, and scores and attention within what fp32 rounds."""
    model, rng = model_of(architecture), random.Random(1)
    batch, waiting, begun_rows = DecodingBatch(model), rows_of(model, 12, rng), []
    expected = [alone(model, *row) for row in waiting]
    questions = iter(waiting)
    for row in [next(questions), next(questions)]:
        begun_rows.append(begun(model, *row))
        batch.join(begun_rows[-1][0])
    while len(batch) or len(begun_rows) < len(waiting):
        if rng.random() < 0.6 and (row := next(questions, None)) is not None:
            begun_rows.append(begun(model, *row))
            batch.join(begun_rows[-1][0])
        batch.step()
    for (row, scores), (ids, _, _), (tokens, steps, mass) in zip(begun_rows, waiting, expected, strict=True):
        assert row.ids[0, len(ids) :].tolist() == tokens
        torch.testing.assert_close(torch.cat(scores.steps), torch.cat(steps), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(row.memory.token_mass(0), mass, rtol=1e-4, atol=1e-5)
