"""Memory in attention that a layer computes itself, against the same weights read through the interface of transformers."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids
from transformers.models.llama.modeling_llama import eager_attention_forward

from benchmarks.small_decoders import small_decoder
from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder, inline_attention

PREFIX, QUESTION = random_ids(5, 1), random_ids(6, 4)
ENTRIES, SCORES = [[random_ids(9, 2), random_ids(4, 3)], [random_ids(7, 5)]], [[0.9, 0.4], [0.7]]

every_setting = pytest.mark.parametrize(
    "config",
    [
        MemoryAttentionConfig(),
        MemoryAttentionConfig(layers=(1, 3), score_bias=3.0),
        MemoryAttentionConfig(top_m=3, score_bias=2.0),
        MemoryAttentionConfig(
            inverse_temperature=((0.5, 1.0, 2.0, 3.0),) * 4,
            offset=(1.0, -1.0, 0.0, 2.0),
            null_score=(0.0, 1.0, 2.0, 3.0),
        ),
    ],
    ids=["plain", "some-layers", "top-m", "per-head"],
)


def decoder(config: MemoryAttentionConfig, **sizes: int) -> MemoryDecoder:
    return MemoryDecoder(small_decoder("llama", **sizes), None, config=config, prefix_ids=PREFIX)


@pytest.fixture
def inline(monkeypatch):
    """Makes a Llama whose layers compute attention without the interface's knowing of memory."""
    monkeypatch.setattr(inline_attention, "_TYPES", {"llama"})
    monkeypatch.setattr(inline_attention, "_no_interface", eager_attention_forward)
    return lambda config: decoder(config, max_position_embeddings=499)  # by which it is compared anew


@every_setting
def test_scores_weights_and_beams_are_those_of_joint_attention(inline, config):
    found, expected = inline(config), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inline_attention, "_TYPES", set())
        expected = decoder(config)
    ids, results = torch.tensor([QUESTION, QUESTION]), []
    for model in (found, expected):
        memory = model.make_memory(ENTRIES, SCORES)
        with torch.no_grad():
            logits = model(ids, memory=memory).logits
        written = model.generate(
            ids,
            memory=model.make_memory(ENTRIES, SCORES),
            num_beams=3,
            max_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        results.append((logits, written, [torch.tensor(row) for row in memory.entry_mass()]))
    (logits, written, mass), (expected_logits, expected_written, expected_mass) = results
    torch.testing.assert_close(logits, expected_logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(written, expected_written)
    for row, expected_row in zip(mass, expected_mass, strict=True):
        torch.testing.assert_close(row, expected_row, atol=1e-5, rtol=1e-5)
    assert mass[0].min() > 0


def test_without_memory_nothing_changes(inline):
    ids = torch.tensor([PREFIX + QUESTION])
    model = inline(MemoryAttentionConfig())
    plain = small_decoder("llama", max_position_embeddings=499)
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        assert torch.equal(model.decoder(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("kind", ["bloom", "mpt"])
def test_alibi_goes_by_positions_that_jump_over_memory(kind):
    """Two rows whose memories have different lengths: the same question stands at different positions."""
    model = MemoryDecoder(small_decoder(kind), None, config=MemoryAttentionConfig(), prefix_ids=PREFIX)
    entries = [random_ids(20, 2), random_ids(3, 3)]
    with torch.no_grad():
        found = model(torch.tensor([QUESTION] * 2), memory=model.make_memory([[one] for one in entries])).logits
        for row, entry in zip(found, entries, strict=True):
            expected = model.decoder(torch.tensor([PREFIX + entry + QUESTION])).logits[0, -len(QUESTION) :]
            assert (row.softmax(-1) - expected.softmax(-1)).abs().max() <= 1e-5


def test_falcon_that_goes_by_alibi_is_refused():
    with pytest.raises(ModelError, match="FalconForCausalLM does not call attention through the attention interface"):
        MemoryDecoder(small_decoder("falcon", alibi=True), None)


def test_bloom_read_outside_memory_keeps_its_own_positions():
    """What a decoder adds for positions is left out only where a memory is attended, also for other decoders of its kind."""
    reads, other = MemoryDecoder(small_decoder("bloom"), None, prefix_ids=PREFIX), small_decoder("bloom")
    mask = torch.ones(1, len(QUESTION), dtype=torch.long)
    with torch.no_grad():
        expected = other(torch.tensor([QUESTION])).logits
        assert torch.equal(other(torch.tensor([QUESTION]), attention_mask=mask).logits, expected)
        assert torch.equal(reads.decoder(torch.tensor([QUESTION]), attention_mask=mask).logits, expected)
