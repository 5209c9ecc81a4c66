"""Rows of a batch that changes, and the same rows generated alone by transformers."""

from __future__ import annotations

import torch
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.model.attention import MemoryValues
from memgpt_rag.model.decoding import read_rows, start_row
from memgpt_rag.model.states import EntryStates


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


def make_test_memory(model, entries, rounded=False):
    states = [in_codes(one) if rounded else one for one in model.entry_states(entries)]
    return model.memory_from_states([states], [[0.3 * number for number in range(len(entries))]])


def in_codes(states):
    """Round the values of an entry to int8, as a memory stores them."""
    values = {}
    for layer, value in states.values.items():
        scales = value.codes.abs().amax(-1) / 127
        values[layer] = MemoryValues((value.codes / scales[..., None]).round().to(torch.int8), scales)
    return EntryStates(states.keys, values)


def alone(model, ids, entries, tokens, rounded=False):
    memory, scores = make_test_memory(model, entries, rounded), Scores()
    found = model.generate(
        torch.tensor([ids]),
        memory=memory,
        max_new_tokens=tokens,
        do_sample=False,
        logits_processor=[scores],
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist(), scores.steps, memory.token_mass(0)


def started(model, ids, entries, tokens, rounded=False):
    """Return a row whose question is still to be read, and its scores."""
    memory, scores = make_test_memory(model, entries, rounded), Scores()
    row = start_row(
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


def begun(model, *question):
    """Return a row whose question was read alone, and its scores."""
    row, scores = started(model, *question)
    read_rows(model, [row])
    return row, scores


def require_equal(begun_rows, expected):
    """Tokens are the same, and scores and attention within what fp32 rounds."""
    for (row, scores), (tokens, steps, mass) in zip(begun_rows, expected, strict=True):
        assert row.ids[0, -len(tokens) :].tolist() == tokens
        torch.testing.assert_close(torch.cat(scores.steps), torch.cat(steps), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(row.memory.token_mass(0), mass, rtol=1e-4, atol=1e-5)
