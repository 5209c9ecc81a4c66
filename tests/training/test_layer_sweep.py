"""The sweep over the layers of a tiny decoder in which all are alike."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT
from hashing import HashEncoder
from tiny import tiny_decoder

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import Example, answer_losses
from memgpt_rag.training.calibrate import END_WEIGHT
from memgpt_rag.training.layer_sweep import sweep_layers

KNOWN = [("Who can borrow a kite?", "children"), ("遛狗必须怎么做？", "牵绳"), ("What does it cost?", "40 yuan")]


@pytest.fixture
def reader(tmp_path):
    encoder, tokenizer = HashEncoder(), byte_tokenizer()
    splitter = PassageSplitter(lambda text: len(text.encode()), max_tokens=64)
    files = find_files([ROOT / "examples" / "knowledge"])
    build_memory(files, tmp_path / "memory", engine=LocalEngine(encoder, splitter), tokenizer_name="bytes")
    decoder = tiny_decoder("llama")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    config = MemoryAttentionConfig(offset=(0.0, 1.0, 2.0, 3.0), score_bias=1.0)
    return RAG(Memory.open(tmp_path / "memory"), encoder, MemoryDecoder(decoder, tokenizer, config=config))


@pytest.fixture
def examples(reader):
    found = reader.retriever.retrieve([question for question, _ in KNOWN], 2)
    return [Example(*pair, item) for pair, item in zip(KNOWN, found, strict=True)]


@torch.no_grad()
def loss_in(reader, examples, config):
    reader.model.config = config
    words, end = answer_losses(reader, examples)
    return float((words + END_WEIGHT * end).mean())


def test_a_sweep_measures_sets_of_layers_as_models_that_read_in_those_layers_only(reader, examples):
    full, shown = reader.model.config, []
    swept = sweep_layers(reader, examples, tolerance=9.0, on_loss=lambda layers, loss: shown.append((layers, loss)))
    assert len(swept.layers) == 1
    assert list(swept.losses) == [4, 3, 2, 1]
    assert all((layers, loss) in shown for layers, loss in swept.losses.items())
    assert reader.model.config == full  # left as it is
    assert loss_in(reader, examples, full) == pytest.approx(swept.losses[4], abs=1e-5)
    assert loss_in(reader, examples, full.only(swept.layers, range(4))) == pytest.approx(swept.losses[1], abs=1e-5)


def test_a_sweep_takes_the_cheapest_layer_first_and_stops_at_its_tolerance(reader, examples):
    full = reader.model.config
    without = {
        layer: loss_in(reader, examples, full.only([one for one in range(4) if one != layer], range(4)))
        for layer in range(4)
    }
    reader.model.config = full
    first = sweep_layers(reader, examples, tolerance=9.0).losses
    assert first[3] == pytest.approx(min(without.values()), abs=1e-5)
    rises = {layers: loss / first[4] - 1 for layers, loss in first.items()}
    tolerance = max(0.0, (rises[3] + rises[2]) / 2)
    swept = sweep_layers(reader, examples, tolerance=tolerance)
    assert all(loss <= (1 + tolerance) * swept.losses[4] for loss in swept.losses.values())


def test_a_sweep_needs_examples(reader):
    with pytest.raises(ValueError, match="There are no examples; give at least one"):
        sweep_layers(reader, [])
