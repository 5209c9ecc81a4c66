"""Weights in int8: what a layer gives with them, which rows use them, and that a decoder says the same."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids, tiny_decoder
from torch import nn

from memgpt_rag.model import int8_weights
from memgpt_rag.model.int8_weights import MAX_ROWS, RANKED, Int8Linear, RankingHead, add_int8_weights


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_are_multiplied_with_what_the_codes_stand_for(dtype, bias):
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(64, 97, bias=bias).to(dtype))
    widened = layer.codes.float() * layer.scales.float()[:, None]
    assert (widened - layer.weight.float()).abs().max() <= layer.weight.abs().max() / 127
    for rows in (1, MAX_ROWS):
        x = torch.randn(1, rows, 64, dtype=dtype)
        exact = nn.functional.linear(x.bfloat16().float(), widened, layer.bias.float() if bias else None)
        torch.testing.assert_close(layer(x), exact.to(dtype), atol=0.02, rtol=0)  # the product is rounded to bf16


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_words_of_a_vocabulary_have_the_logits_of_the_weights(dtype):
    """And all others those of weights in 4 bits, of 16 levels between the least and the greatest of each 32."""
    torch.manual_seed(0)
    linear = nn.Linear(64, 1600, bias=False).to(dtype)
    head, x = RankingHead(linear), torch.randn(MAX_ROWS, 64, dtype=dtype)
    exact, ranked = linear(x).float(), head(x).float()
    groups = linear.weight.float().view(1600, 2, 32)
    least, most = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    rounded = least + ((groups - least) / (most - least) * 15).round() * (most - least) / 15
    in_4_bits = nn.functional.linear(x.float(), rounded.view(1600, 64))
    tolerance = {"atol": 1e-5 if dtype == torch.float32 else 0.02, "rtol": 0}
    assert torch.equal(ranked.argmax(-1), exact.argmax(-1))
    for row in range(MAX_ROWS):
        first = in_4_bits[row].topk(RANKED // 2).indices  # a rounding apart, these are among the ranked
        torch.testing.assert_close(ranked[row, first], exact[row, first], **tolerance)
        rest = in_4_bits[row].argsort(descending=True)[2 * RANKED :]
        as_in_4_bits, as_weights = ((ranked[row, rest] - other[row, rest]).abs().mean() for other in (in_4_bits, exact))
        assert as_in_4_bits < 0.5 * as_weights
    assert torch.equal(head(torch.cat([x, x])), linear(torch.cat([x, x])))  # many rows use the weights themselves


@torch.no_grad()
def test_codes_made_in_parts_are_those_made_at_once(monkeypatch):
    """How many outputs lie interleaved differs between processors: parts that fit one do not fit another."""
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 1600, bias=False), torch.randn(2, 64)
    at_once = RankingHead(linear)
    for outputs in (64, 208, 1584):
        monkeypatch.setattr(int8_weights, "_BLOCK", 64 * outputs)
        in_parts = RankingHead(linear)
        assert torch.equal(in_parts.codes, at_once.codes) and torch.equal(in_parts.scales, at_once.scales)
        assert torch.corrcoef(torch.stack([in_parts(x)[0], linear(x)[0]]))[0, 1] > 0.99


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [Int8Linear, RankingHead])
def test_last_tokens_of_several_rows_lie_apart(dtype, kind):
    layer, tokens = kind(nn.Linear(64, 160, bias=False).to(dtype)), torch.randn(3, 5, 64).to(dtype)
    assert torch.equal(layer(tokens[:, -1:]), layer(tokens[:, -1:].clone()))


@pytest.mark.parametrize("words", [RANKED + 1, 16 * 256, 262_144, 262_145])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_words_are_found_in_blocks(words, dtype):
    torch.manual_seed(words)
    logits = torch.randn(3, words).to(dtype)  # many are equal in bf16
    logits[1] = logits[1].sort().values  # the first ones side by side
    found = int8_weights._first(logits, 8)
    assert all(len(set(row.tolist())) == 8 for row in found)
    assert torch.equal(logits.gather(1, found).sort().values, logits.topk(8).values.flip(1))


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (nn.Linear(64, 160, bias=False), True),
        (nn.Linear(64, 160), False),
        (nn.Linear(64, 168, bias=False), False),
        (nn.Linear(48, 160, bias=False), False),
        (nn.Linear(64, RANKED, bias=False), False),
        (None, False),
    ],
)
def test_output_layers_that_cannot_be_ranked_are_known(layer, fits):
    assert RankingHead.fits(layer) is fits


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
@pytest.mark.parametrize("vocabulary", [97, 128])  # of 97 words, no output layer can be ranked
def test_a_decoder_decodes_nearly_the_same(vocabulary):
    decoder, ids = tiny_decoder("llama", vocabulary), torch.tensor([random_ids(3, 0)])
    before = decoder(ids).logits
    weights = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    assert add_int8_weights(decoder) == 4 * 7 + 1
    assert add_int8_weights(decoder) == 0  # once is enough
    assert type(decoder.lm_head) is (RankingHead if vocabulary == 128 else Int8Linear)
    after = decoder(ids).logits
    first = before.topk(10).indices  # those that an answer may be made of
    difference = (after - before).gather(-1, first).abs().max()
    assert 0 < difference < 0.05 * before.abs().max()
    kept = {name.replace(".linear", "").replace(".whole", ""): weight for name, weight in decoder.state_dict().items()}
    assert kept.keys() == weights.keys() and all(torch.equal(kept[name], weights[name]) for name in kept)


def test_layers_whose_inputs_do_not_fit_are_left_alone():
    model = nn.Sequential(nn.Linear(33, 64), nn.Linear(64, 3))
    assert add_int8_weights(model) == 1
    assert type(model[0]) is nn.Linear
