"""Drafts of several rows that share forward passes, against each row generated alone by transformers."""

from __future__ import annotations

import pytest
import torch
from decoding_rows import alone, begun, require_equal
from tiny import random_ids, tiny_decoder

from benchmarks.small_decoders import small_decoder
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoding import DecodingBatch
from memgpt_rag.model.drafts import LookupDrafts, worthwhile_length
from memgpt_rag.model.int8_weights import add_int8_weights
from memgpt_rag.model.tokenizer import byte_tokenizer

# Questions of different lengths with memories of different widths, one with none, and how many tokens they may have.
ROWS = [
    (random_ids(5, 1), [random_ids(7, 10), random_ids(9, 11)], 24),
    (random_ids(14, 2), [], 20),
    (random_ids(3, 3), [random_ids(12, 12)], 9),
    (random_ids(9, 4), [random_ids(4, 13), random_ids(3, 14), random_ids(8, 15)], 17),
]
CONFIG = MemoryAttentionConfig(layers="all", score_bias=1.0, top_m=6, null_score=0.5)


def written_together(model, rows, passages):
    """Return the rows, decoded in one batch with drafts from a passage each, and the number of steps."""
    begun_rows, batch, steps = [begun(model, *row) for row in rows], DecodingBatch(model), 0
    for (row, _), passage in zip(begun_rows, passages, strict=True):
        row.drafts = None if passage is None else LookupDrafts([passage])
        batch.join(row)
    while len(batch):
        batch.step()
        steps += 1
    return begun_rows, steps


def passages_like(expected):
    """Return passages whose drafts hold for one row, partly for the next, for none, and nothing to draft from."""
    tokens = [written for written, _, _ in expected]
    mixed = [token for pair in zip(tokens[1], random_ids(40, 99), strict=False) for token in pair]
    return [tokens[0], [*tokens[1][:9], *mixed], random_ids(40, 98), None]


@pytest.mark.parametrize("architecture", ["gemma3", "mistral", "qwen3", "gpt2", "gpt_oss", "phi3"])
def test_drafts_of_several_rows_change_no_token_no_score_and_no_attention(architecture):
    model = MemoryDecoder(tiny_decoder(architecture), byte_tokenizer(), config=CONFIG, prefix_ids=[1, 5, 9])
    expected = [alone(model, *row) for row in ROWS]
    passages = passages_like(expected)
    for order in (passages, passages[::-1], [tokens for tokens, _, _ in expected]):
        begun_rows, _ = written_together(model, ROWS, order)
        require_equal(begun_rows, expected)


@pytest.mark.parametrize(
    "kind", ["bloom", "gpt_neo", "mpt", "xglm", "opt", "bart", "roformer", "gemma3n_text", "roberta"]
)
def test_decoders_with_positions_of_their_own_take_drafts_of_several_rows(kind):
    model = MemoryDecoder(small_decoder(kind), byte_tokenizer(), prefix_ids=[1, 5, 9])
    expected = [alone(model, *row) for row in ROWS]
    begun_rows, _ = written_together(model, ROWS, passages_like(expected))
    require_equal(begun_rows, expected)


def test_rows_whose_drafts_hold_take_fewer_steps():
    model = MemoryDecoder(tiny_decoder("qwen3"), byte_tokenizer(), config=CONFIG, prefix_ids=[1, 5, 9])
    expected = [alone(model, *row) for row in ROWS]
    _, without = written_together(model, ROWS, [None] * 4)
    _, steps = written_together(model, ROWS, [tokens for tokens, _, _ in expected])
    assert without == max(len(tokens) for tokens, _, _ in expected) - 1
    assert steps < without / 2


def test_no_draft_of_a_row_reaches_beyond_the_positions_of_a_decoder():
    """The shorter row is drafted further than the longer one may: a decoder with absolute positions has none left there."""
    rows = [(random_ids(5, 1), [random_ids(7, 10)], 26), (random_ids(20, 2), [random_ids(7, 11)], 11)]
    model = MemoryDecoder(
        tiny_decoder("gpt2", sizes={"max_position_embeddings": 3 + 7 + 31}), byte_tokenizer(), prefix_ids=[1, 5, 9]
    )
    model.decoder.generation_config.eos_token_id = None
    expected = [alone(model, *row) for row in rows]
    assert [len(tokens) for tokens, _, _ in expected] == [26, 11]
    begun_rows, _ = written_together(model, rows, [tokens for tokens, _, _ in expected])
    require_equal(begun_rows, expected)


def test_a_row_that_fails_within_its_draft_leaves_the_others_alone():
    model = MemoryDecoder(tiny_decoder("qwen3"), byte_tokenizer(), config=CONFIG, prefix_ids=[1, 5, 9])
    expected = [alone(model, *row) for row in ROWS]
    begun_rows, batch = [begun(model, *row) for row in ROWS], DecodingBatch(model)

    def broken(input_ids, scores):
        if input_ids.shape[1] == len(ROWS[0][0]) + 3:
            raise RuntimeError("broken")
        return scores

    for (row, _), (tokens, _, _) in zip(begun_rows, expected, strict=True):
        row.drafts = LookupDrafts([tokens])
        batch.join(row)
    begun_rows[0][0]._processors.append(broken)
    while len(batch):
        batch.step()
    assert str(begun_rows[0][0].error) == "broken"
    assert begun_rows[0][0].ids[0, 5:].tolist() == expected[0][0][:3]
    require_equal(begun_rows[1:], expected[1:])


@pytest.mark.parametrize("kind", ["bart", "roformer", "xglm"])
def test_drafts_end_where_a_decoder_that_counts_from_its_cache_has_no_more_positions(kind):
    """The longest row, without drafts, is at its last positions while another one's draft would hold."""
    rows = [(random_ids(30, 1), [], 20), (random_ids(3, 3), [random_ids(5, 12)], 24)]
    model = MemoryDecoder(small_decoder(kind, max_position_embeddings=52), byte_tokenizer(), prefix_ids=[1, 5, 9])
    model.decoder.generation_config.eos_token_id = model.decoder.generation_config.forced_eos_token_id = None
    expected = [alone(model, *row) for row in rows]
    begun_rows, batch = [begun(model, *row) for row in rows], DecodingBatch(model)
    batch.join(begun_rows[0][0])
    for _ in range(16):
        batch.step()
    begun_rows[1][0].drafts = LookupDrafts([expected[1][0]])
    batch.join(begun_rows[1][0])
    while len(batch):
        batch.step()
    assert [row.error for row, _ in begun_rows] == [None, None]
    require_equal(begun_rows, expected)


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gemma3"])
def test_with_int8_weights_an_answer_does_not_depend_on_how_many_are_drafted_with_it(architecture):
    """More than eight tokens in a pass are read with codes, too, as each alone."""
    model = MemoryDecoder(tiny_decoder(architecture, 96), byte_tokenizer(), config=CONFIG, prefix_ids=[1, 5, 9])
    add_int8_weights(model.decoder)
    rows = [(random_ids(5 + number, number + 1), [random_ids(7, 10 + number)], 20) for number in range(3)]
    expected = [alone(model, *row) for row in rows]
    begun_rows, steps = written_together(model, rows, [tokens for tokens, _, _ in expected])
    for (row, scores), (tokens, alone_scores, _) in zip(begun_rows, expected, strict=True):
        assert row.ids[0, row.asked :].tolist() == tokens
        # Products take inputs in bf16, whose steps are .016 here; the whole weights would give .5 more.
        torch.testing.assert_close(torch.cat(scores.steps), torch.cat(alone_scores), rtol=0, atol=0.05)
    assert steps < max(len(tokens) for tokens, _, _ in expected) - 1


def test_nothing_is_drafted_for_several_rows_where_places_in_the_cache_scale_attention():
    decoder = small_decoder("llama4_text")
    decoder.config.attn_temperature_tuning = True
    model = MemoryDecoder(decoder, byte_tokenizer(), prefix_ids=[1, 5, 9])
    assert steps_of_twenty_tokens(model) == 19


def steps_of_twenty_tokens(model):
    """Return the steps that two answers take whose drafts hold, once they are seen to be as alone."""
    model.decoder.generation_config.eos_token_id = None
    rows = [(*row[:2], 20) for row in ROWS[:2]]
    expected = [alone(model, *row) for row in rows]
    begun_rows, steps = written_together(model, rows, [tokens for tokens, _, _ in expected])
    require_equal(begun_rows, expected)
    return steps


def test_nothing_is_drafted_for_several_long_rows_whose_caches_would_be_copied(monkeypatch):
    model = MemoryDecoder(tiny_decoder("qwen3"), byte_tokenizer(), config=CONFIG, prefix_ids=[1, 5, 9])
    assert steps_of_twenty_tokens(model) < 10
    monkeypatch.setattr("memgpt_rag.model.decoding.COPIED_TOKENS", 16)
    assert steps_of_twenty_tokens(model) == 19


def test_a_draft_is_expected_to_hold_as_far_as_those_before_it_did():
    passage = list(range(3, 40))
    drafts = LookupDrafts([passage])
    drafts.draft(passage[:3])
    assert drafts.held_share == 0.5
    drafts.note(12, 0)
    assert drafts.held_share == 0.25
    drafts.note(12, 12)
    assert drafts.held_share == 0.5
    drafts.draft(passage[:9])
    assert drafts.held_share == 0.9


@pytest.mark.parametrize(
    ("drafts", "token_cost", "most"),
    [
        ([(7, 0.9)], 0.0, 7),
        ([(3, 0.5), (3, 0.5)], 0.18, 3),  # two rows of int8 weights: 5 tokens in less than twice the time
        ([(3, 0.3), (3, 0.3)], 0.18, 0),
        ([(3, 0.5)] * 4, 0.18, 0),  # a gain of 4 %
        ([(3, 0.5)] * 4, 0.04, 3),
        ([(3, 0.5), (0, 0.0), (0, 0.0), (0, 0.0)], 0.18, 0),  # three rows would wait for the draft of one
        ([(3, 0.5), (0, 0.0), (0, 0.0), (0, 0.0)], 0.01, 3),
        ([(3, 0.5), (3, 0.5)], 0.43, 0),  # beside fp32 weights, in three times
        ([(7, 0.9), (7, 0.9)], 0.43, 7),
        ([(7, 0.9)] * 4, 0.18, 7),  # copies
        ([(7, 0.9)] * 5 + [(3, 0.9)], 0.04, 3),  # more tokens than a step may have
        ([(7, 0.9), (3, 0.5)], 0.6, 0),
    ],
)
def test_drafts_are_as_long_as_gives_the_most_tokens_a_second(drafts, token_cost, most):
    assert worthwhile_length(drafts, token_cost) == most
