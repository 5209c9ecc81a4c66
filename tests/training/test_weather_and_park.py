"""The weather and the park: a model that knows no fact continues a sentence with one that stands only in its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT
from hashing import HashEncoder

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemGPT
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.tokenizer import character_tokenizer
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.training.pretrain import PretrainOptions, pretrain

FILES = [ROOT / "examples" / "knowledge" / name for name in ("park.md", "weather.txt")]
SAID = "今天天气很好，我们去公园玩吧。"
FACTS = [("划船每小时", "四十元"), ("空气质量指数为", "38"), ("公园里可以", "划船")]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory) -> Retriever:
    folder, encoder = tmp_path_factory.mktemp("park") / "memory", HashEncoder(256)
    build_memory(
        find_files(FILES), folder, engine=LocalEngine(encoder, PassageSplitter(len, 160)), tokenizer_name="characters"
    )
    return Retriever(Memory.open(folder), encoder)


@pytest.fixture(scope="module")
def model() -> MemGPT:
    """It learned from noise that comes twice, so it can read what comes next, and knows nothing."""
    characters = sorted({*SAID, *"".join(file.read_text(encoding="utf-8") for file in FILES)})
    tokenizer = character_tokenizer(characters)
    noise = np.random.default_rng(0).choice(characters, (200, 1, 128)).repeat(2, axis=1)
    torch.manual_seed(0)
    model = MemGPT(
        MemGPTConfig(len(tokenizer), 64, 2, 2, 128, dropout=0.0, max_tokens=128, chunk_tokens=64), tokenizer=tokenizer
    )
    text = "".join(noise.flatten())
    assert not any(asked + fact in text for asked, fact in FACTS)
    pretrain(model, text, PretrainOptions(k=0, recent=1, steps=60, batch_size=8, learning_rate=5e-3), use_cpu=True)
    return model


@pytest.mark.parametrize("asked, fact", FACTS)
def test_a_fact_comes_from_the_attached_memory(model, retriever, asked, fact):
    model.attach(retriever, k=2)
    assert model.generate(SAID + asked, max_new_tokens=len(fact)) == fact
    model.attach(retriever, k=2, use_memory="never")
    assert model.generate(SAID + asked, max_new_tokens=len(fact)) != fact
    model.detach()
    assert model.generate(SAID + asked, max_new_tokens=len(fact)) != fact


def test_another_memory_gives_another_fact(model, retriever):
    (found,) = retriever.retrieve([SAID + "划船每小时"], 1)
    assert "划船每小时四十元" in found[0].passage.text
    model.attach([found[0].passage.text.replace("四十元", "六二元")])
    assert model.generate(SAID + "划船每小时", max_new_tokens=3) == "六二元"
