"""What an answer's tokens gave to the tokens of each entry, against a plain softmax over the same tokens in one sequence."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids, tiny_decoder

import memgpt_rag.model.states
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

PREFIX, ENTRY, OTHER, QUESTION = random_ids(5, 1), random_ids(11, 2), random_ids(7, 3), random_ids(6, 4)
TOKENS = 6
GENERATION = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "pad_token_id": 0, "do_sample": False}


def make_model(architecture: str = "llama") -> MemoryDecoder:
    return MemoryDecoder(
        tiny_decoder(architecture), None, config=MemoryAttentionConfig(layers="all"), prefix_ids=PREFIX
    )


@torch.no_grad()
def in_one_sequence(
    architecture: str, entries: list[list[int]], question: list[int], answer: list[int]
) -> list[torch.Tensor]:
    """The same weights from a plain decoder that sees all tokens: entries at the same positions that do not see each other."""
    ids = sum([PREFIX, *entries, question, answer], [])
    longest, begin = max(map(len, entries)), len(PREFIX) + sum(map(len, entries))
    places = [place for entry in entries for place in range(len(PREFIX), len(PREFIX) + len(entry))]
    after = range(len(PREFIX) + longest, len(PREFIX) + longest + len(question) + len(answer))
    visible = torch.ones(len(ids), len(ids)).tril().bool()
    starts = [len(PREFIX) + sum(map(len, entries[:place])) for place in range(len(entries))]
    for start, entry in zip(starts, entries, strict=True):
        visible[start : start + len(entry), len(PREFIX) : start] = False
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None]
    plain = tiny_decoder(architecture, attn_implementation="eager")
    given = plain(
        torch.tensor([ids]),
        attention_mask=mask,
        position_ids=torch.tensor([[*range(len(PREFIX)), *places, *after]]),
        output_attentions=True,
    ).attentions
    mean = torch.stack(given).mean((0, 2))[0]  # layers and heads
    # The query before a token is the one that chose it.
    first = begin + len(question) - 1
    chose = mean[first : first + len(answer)]
    return [chose[:, start : start + len(entry)] for start, entry in zip(starts, entries, strict=True)]


@pytest.mark.parametrize("settings", [{}, {"use_cache": False}], ids=["with a cache", "without"])
def test_recorded_attention_is_that_of_a_plain_softmax(settings):
    model = make_model()
    entries = [ENTRY, OTHER]
    memory = model.make_memory([entries])
    written = model.generate(torch.tensor([QUESTION]), memory=memory, **GENERATION, **settings)[0, len(QUESTION) :]
    given = memory.answer_attention(0, TOKENS)
    for per_entry, expected in zip(given, in_one_sequence("llama", entries, QUESTION, written.tolist()), strict=True):
        torch.testing.assert_close(per_entry, expected, atol=1e-5, rtol=0)
    masses = [float(per_entry.sum(1).mean()) for per_entry in given]
    assert memory.entry_mass([TOKENS])[0] == pytest.approx(masses, abs=1e-6)


def test_rows_of_a_batch_have_the_attention_that_they_have_alone():
    model, rows = make_model(), [[ENTRY, OTHER], [], [OTHER]]
    questions = [QUESTION, QUESTION[:3], QUESTION[:4]]
    together = model.make_memory(rows)
    ids, mask = model_ids(questions)
    written = model.generate(ids, mask, memory=together, **GENERATION)[:, len(QUESTION) :].tolist()
    for row, (entries, question) in enumerate(zip(rows, questions, strict=True)):
        given = together.answer_attention(row, TOKENS - row)
        assert [tuple(per_entry.shape) for per_entry in given] == [(TOKENS - row, len(entry)) for entry in entries]
        if entries:
            expected = in_one_sequence("llama", entries, question, written[row][: TOKENS - row])
            for per_entry, sequence_values in zip(given, expected, strict=True):
                torch.testing.assert_close(per_entry, sequence_values, atol=1e-5, rtol=0)


def model_ids(questions: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, questions))
    ids = [[0] * (width - len(question)) + question for question in questions]
    return torch.tensor(ids), torch.tensor([[int(token > 0) for token in row] for row in ids])


def test_beams_and_answers_without_passes_have_no_such_attention(monkeypatch):
    model = make_model()
    memory = model.make_memory([[ENTRY, OTHER]])
    model.generate(torch.tensor([QUESTION]), memory=memory, num_beams=3, **GENERATION)
    assert memory.answer_attention(0, TOKENS) is None
    assert len(memory.entry_mass()[0]) == 2, "the mass of beams is their mean"
    memory = model.make_memory([[ENTRY, OTHER]])
    model.generate(torch.tensor([QUESTION]), memory=memory, **GENERATION)
    assert memory.answer_attention(0, TOKENS + 1) is None, "assisted generation writes several tokens in a pass"
    monkeypatch.setattr(memgpt_rag.model.states, "MOST_TRACED_WEIGHTS", TOKENS * (len(ENTRY) + len(OTHER)) - 1)
    assert memory.answer_attention(0, TOKENS) is None
    assert memory.answer_attention(0, TOKENS - 1) is not None


@torch.no_grad()
def test_layers_that_keep_their_best_tokens_only_give_the_others_nothing():
    model = make_model()
    model.config = MemoryAttentionConfig(layers="all", top_m=1)
    memory = model.make_memory([[ENTRY, OTHER]])
    model(torch.tensor([QUESTION]), memory=memory)
    first, second = memory.answer_attention(0, 1)
    assert 0 < int((first > 0).sum() + (second > 0).sum()) <= 4 * 4, "one token for each of 4 heads in 4 layers"
