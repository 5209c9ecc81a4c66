"""Attention of few queries gives what torch's own attention gives, and is taken where it is meant to be."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids, tiny_decoder
from torch import Tensor
from transformers import PreTrainedModel

from memgpt_rag.model import MemoryDecoder, few_queries

SHAPES = {"one row": (1, 4, 1, 1), "a draft": (1, 4, 1, 4), "groups": (3, 6, 2, 5), "no groups": (2, 4, 4, 3)}


def inputs(shape: tuple[int, int, int, int], keys: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    rows, heads, kv_heads, queries = shape
    generator = torch.Generator().manual_seed(3)
    sizes = [(rows, heads, queries, 16), (rows, kv_heads, keys, 16), (rows, kv_heads, keys, 24)]
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


def expected(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention by torch in fp64, without groups of heads."""
    groups = query.shape[1] // key.shape[1]
    key, value = (one.double().repeat_interleave(groups, 1) for one in (key, value))
    mask = mask if mask is None or mask.dtype == torch.bool else mask.double()
    read = torch.nn.functional.scaled_dot_product_attention(query.double(), key, value, attn_mask=mask, scale=scaling)
    return read.transpose(1, 2)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["none", "bool", "added", "per head"])
def test_it_gives_what_torch_gives(shape, kind):
    query, key, value = inputs(shape, 150)
    rows, heads, _, queries = shape
    seen = (
        torch.rand(rows, heads if kind == "per head" else 1, queries, 150, generator=torch.Generator().manual_seed(4))
        < 0.5
    )
    masks = {"none": None, "bool": seen, "added": torch.zeros(seen.shape).masked_fill(~seen, torch.finfo().min)}
    masks["per head"] = masks["added"] + seen * torch.arange(150)
    with torch.inference_mode():
        read = few_queries.attend(query, key, value, masks[kind], 0.3)
    assert read.is_contiguous()
    torch.testing.assert_close(read.double(), expected(query, key, value, masks[kind], 0.3), rtol=1e-5, atol=1e-5)


def test_in_bf16_it_is_about_as_near_to_fp64_as_torch_is():
    query, key, value = inputs((2, 4, 1, 1), 600, torch.bfloat16)
    exact = expected(query, key, value, None, 0.25)
    with torch.inference_mode():
        ours = few_queries.attend(query, key, value, None, 0.25)
        wide = [one.repeat_interleave(4, 1) for one in (key, value)]
        torchs = torch.nn.functional.scaled_dot_product_attention(query, *wide, scale=0.25).transpose(1, 2)
    assert (ours - exact).abs().mean() <= 2 * (torchs - exact).abs().mean()


def test_a_query_that_sees_nothing_gives_numbers():
    query, key, value = inputs(SHAPES["a draft"], 150)
    with torch.inference_mode():
        for mask in (torch.zeros(1, 1, 4, 150).bool(), torch.full((1, 1, 4, 150), -torch.inf)):
            mask[:, :, 1:] = True if mask.dtype == torch.bool else 0.0
            read = few_queries.attend(query, key, value, mask, 0.3)
            assert read.isfinite().all()
            torch.testing.assert_close(
                read[:, 1:].double(), expected(query, key, value, mask, 0.3)[:, 1:], rtol=1e-5, atol=1e-5
            )


def test_it_is_taken_for_few_queries_and_enough_keys_on_a_cpu():
    def few(shape: tuple[int, int, int, int], keys: int, dtype: torch.dtype, masked: bool = False) -> bool:
        mask = torch.zeros(shape[0], 1, shape[3], keys) if masked else None
        return few_queries.are_few(*inputs(shape, keys, dtype)[:2], mask)

    with torch.inference_mode():
        assert few((1, 4, 1, 1), 128, torch.bfloat16)
        assert few((4, 4, 4, 1), 32, torch.bfloat16), "the keys of all rows count"
        assert few((1, 4, 1, 8), 128, torch.float32, masked=True)
        assert few((1, 4, 4, 1), 128, torch.bfloat16, masked=True)
        assert not few((1, 4, 1, 1), 128, torch.bfloat16, masked=True), "heads are handed over as queries"
        assert not few((1, 4, 1, 8), 128, torch.float32), "a mask is still to be made"
        assert not few((1, 4, 1, 1), 127, torch.bfloat16)
        assert not few((1, 4, 1, 33), 128, torch.bfloat16, masked=True)
        assert not few((1, 4, 1, 9), 128, torch.float32, masked=True)
        assert not few((1, 4, 4, 8), 128, torch.float32, masked=True), "without groups torch is as fast"
        assert not few((1, 4, 1, 1), 128, torch.float16)
        assert not few((1, 64, 1, 32), 513, torch.bfloat16, masked=True), "scores would take longer"
        query, key, _ = inputs((1, 4, 1, 1), 128)
        assert not few_queries.are_few(query, torch.cat([key, key]), None), "one row of queries for two of keys"
        with torch.autocast("cpu"):
            assert not few((1, 4, 1, 1), 128, torch.bfloat16)
    assert not few((1, 4, 1, 1), 128, torch.bfloat16), "gradients are left to torch"


def whole_layers(decoder: PreTrainedModel) -> int:
    kinds = getattr(decoder.config, "layer_types", None) or ["full_attention"] * decoder.config.num_hidden_layers
    return kinds.count("full_attention")


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen3"])
def test_a_decoder_goes_on_after_a_long_prompt_as_before(architecture, monkeypatch):
    taken = []
    attend = few_queries.attend
    monkeypatch.setattr(few_queries, "attend", lambda *given: taken.append(given) or attend(*given))
    decoder = tiny_decoder(architecture)
    ids = torch.tensor([random_ids(200, 1), random_ids(200, 2)])
    padding = torch.ones_like(ids)
    padding[1, :50] = 0
    with torch.inference_mode():
        whole = decoder(ids, attention_mask=padding).logits[:, -1]
        MemoryDecoder(decoder, None, config="quality")
        read = decoder(ids[:, :-3], attention_mask=padding[:, :-3], use_cache=True)
        assert not taken, "197 queries are not few"
        last = decoder(ids[:, -3:], attention_mask=padding, past_key_values=read.past_key_values).logits[:, -1]
    # Sliding layers keep the last keys alone, too few of them.
    assert len(taken) == whole_layers(decoder)
    torch.testing.assert_close(last, whole, rtol=1e-4, atol=1e-4)
