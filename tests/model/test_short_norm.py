"""Short RMS norms give what the layers of transformers give, of every form, and leave alone what is none."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import random_ids, tiny_decoder
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from memgpt_rag.model.short_norm import ShortNorm, shorten_norms


def norm(kind: type[nn.Module], **settings: float) -> nn.Module:
    made = kind(64, **settings)
    made.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize("kind", [Gemma3RMSNorm, LlamaRMSNorm])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3, 0.0])
def test_a_short_norm_equals_its_layer_at_any_scale(kind, scale):
    parent = nn.ModuleDict({"norm": norm(kind)})
    parent_norm = parent["norm"]
    assert shorten_norms(parent) == 1
    x = scale * torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        torch.testing.assert_close(parent["norm"](x), parent_norm(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(parent["norm"](x), parent_norm(x)), "with gradients the layer itself is used"
    assert parent["norm"].whole is parent_norm


@pytest.mark.parametrize("kind", [Gemma3RMSNorm, LlamaRMSNorm])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3, 0.0])
def test_a_short_norm_in_bf16_is_as_near_to_fp32_as_its_layer(kind, scale):
    parent = nn.ModuleDict({"norm": norm(kind).bfloat16()})
    layer = parent["norm"]
    assert shorten_norms(parent) == 1
    x = scale * torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    with torch.inference_mode():
        given = layer(x)
        exact = copy.deepcopy(layer).float()(x.float())
        short = parent["norm"](x)
    assert short.dtype == torch.bfloat16
    assert (short - exact).abs().max() <= (given - exact).abs().max()
    torch.testing.assert_close(short.float(), exact, rtol=2**-8, atol=1e-6)


class ShiftedRMSNorm(LlamaRMSNorm):
    """An RMS norm by its name that does more."""

    def forward(self, x):
        return super().forward(x) + 0.01


class GatedRMSNorm(LlamaRMSNorm):
    """An RMS norm whose second input may be left out."""

    def forward(self, x, gate=None):
        normalized = super().forward(x)
        return normalized if gate is None else normalized * gate


def test_what_is_no_rms_norm_in_fp32_or_bf16_is_left_alone():
    layers = nn.ModuleDict(
        {
            "other": nn.LayerNorm(64),
            "gated": norm(GatedRMSNorm),
            "more": norm(ShiftedRMSNorm),
            "fp16": norm(LlamaRMSNorm).half(),
            "more, bf16": norm(ShiftedRMSNorm).bfloat16(),
            "own": nn.RMSNorm(64),
        }
    )
    kinds = [type(layer) for layer in layers.values()]
    assert shorten_norms(layers) == 0
    assert [type(layer) for layer in layers.values()] == kinds


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen3"])
def test_a_decoder_with_short_norms_has_the_same_logits(architecture):
    decoder, ids = tiny_decoder(architecture), torch.tensor([random_ids(20, 1)])
    with torch.inference_mode():
        expected = decoder(ids).logits
        count = shorten_norms(decoder)
        assert count == sum(isinstance(layer, ShortNorm) for layer in decoder.modules()) >= 9
        torch.testing.assert_close(decoder(ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert shorten_norms(decoder) == 0, "a second time there is none left"
