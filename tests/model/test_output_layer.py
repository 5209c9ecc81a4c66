"""The output layer multiplies the last tokens of rows as one matrix, and copies no weights."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import random_ids, tiny_decoder
from torch.profiler import ProfilerActivity, profile

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.int8_weights import MAX_ROWS, add_int8_weights
from memgpt_rag.model.output_layer import _fold, fold_inputs
from memgpt_rag.model.tokenizer import byte_tokenizer


def make_model(architecture):
    """torch takes the slow way only with weights that are not trained, as those of a reader."""
    decoder = tiny_decoder(architecture).bfloat16().requires_grad_(False)
    return MemoryDecoder(decoder, byte_tokenizer(), prefix_ids=[1, 5, 9])


@pytest.fixture(params=["gemma3", "qwen3", "gpt2"])
def model(request):
    return make_model(request.param)


def products_of_weights(model, rows: int) -> list[str]:
    """Return the products and copies in which the whole vocabulary takes part, when the last tokens of some rows are read."""
    ids = torch.tensor([random_ids(7, number) for number in range(rows)])
    memory = model.make_memory([[random_ids(5, 50)]] * rows)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        logits = model(ids, memory=memory, logits_to_keep=1).logits
    assert logits.shape[:2] == (rows, 1)
    vocabulary = model.decoder.get_output_embeddings().weight.shape[0]
    ops = [event for event in found.events() if event.name in ("aten::mm", "aten::bmm", "aten::copy_")]
    return [op.name for op in ops if any(vocabulary in shape for shape in op.input_shapes)]


@pytest.mark.parametrize("rows", [1, 3])
def test_the_last_tokens_are_one_matrix(model, rows):
    assert products_of_weights(model, rows) == ["aten::mm"]


def test_many_rows_are_one_matrix_also_where_few_go_to_codes():
    model = make_model("qwen3")
    add_int8_weights(model.decoder)
    assert "aten::bmm" not in products_of_weights(model, MAX_ROWS + 1)


def test_logits_are_those_of_the_slice(model):
    layer = model.decoder.get_output_embeddings()
    hidden = torch.randn(3, 7, layer.in_features, dtype=torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(layer(hidden[:, -1:]), layer(hidden)[:, -1:], rtol=0.02, atol=0.02)
        torch.testing.assert_close(layer(hidden[:1, -1:]), layer(hidden[:1])[:, -1:], rtol=0.02, atol=0.02)


def test_inputs_may_be_given_by_their_name(model):
    layer = model.decoder.get_output_embeddings()
    hidden = torch.randn(2, layer.in_features, dtype=torch.bfloat16)
    torch.testing.assert_close(layer(input=hidden), layer(hidden))


def test_a_decoder_that_is_prepared_again_or_copied_folds_once(model):
    fold_inputs(model.decoder)
    copied = copy.deepcopy(model.decoder)
    fold_inputs(copied)
    for decoder in (model.decoder, copied):
        assert list(decoder.get_output_embeddings()._forward_pre_hooks.values()) == [_fold]
