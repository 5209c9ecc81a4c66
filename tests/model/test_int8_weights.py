"""Weights in int8: what a layer gives with them, which rows use them, and that a decoder says the same."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids, tiny_decoder
from torch import nn

from memgpt_rag.model.int8_weights import MAX_ROWS, Int8Linear, add_int8_weights


@torch.no_grad()
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_are_multiplied_with_what_the_codes_stand_for(dtype, tolerance, bias):
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(64, 97, bias=bias).to(dtype))
    widened = layer.codes.float() * layer.scales.float()[:, None]
    assert (widened - layer.weight.float()).abs().max() <= layer.weight.abs().max() / 127
    for rows in (1, MAX_ROWS):
        x = torch.randn(1, rows, 64, dtype=dtype)
        exact = nn.functional.linear(x.float(), widened, layer.bias.float() if bias else None)
        torch.testing.assert_close(layer(x).float(), exact, atol=tolerance, rtol=0)


def test_many_rows_and_training_use_the_weights_themselves():
    layer = Int8Linear(nn.Linear(64, 8))
    many, one = torch.randn(MAX_ROWS + 1, 64), torch.randn(1, 64)
    with torch.no_grad():
        assert torch.equal(layer(many), layer.linear(many))
        assert not torch.equal(layer(one), layer.linear(one))
    assert torch.equal(layer(one), layer.linear(one))
    layer(one).sum().backward()
    assert layer.weight.grad is not None


@torch.no_grad()
def test_a_decoder_decodes_nearly_the_same():
    decoder, ids = tiny_decoder("llama"), torch.tensor([random_ids(3, 0)])
    before = decoder(ids).logits
    weights = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    assert add_int8_weights(decoder) == 4 * 7 + 1
    assert add_int8_weights(decoder) == 0  # once is enough
    after = decoder(ids).logits
    assert 0 < (after - before).abs().max() < 0.05 * before.abs().max()
    kept = {name.replace(".linear", ""): weight for name, weight in decoder.state_dict().items()}
    assert kept.keys() == weights.keys() and all(torch.equal(kept[name], weights[name]) for name in kept)


def test_layers_whose_inputs_do_not_fit_are_left_alone():
    model = nn.Sequential(nn.Linear(33, 64), nn.Linear(64, 3))
    assert add_int8_weights(model) == 1
    assert type(model[0]) is nn.Linear
