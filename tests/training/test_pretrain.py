"""Training from plain text: what a chunk may see, and that a model learns to read what it sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainingArguments, default_data_collator

from memgpt_rag.model import MemGPT
from memgpt_rag.tokenizer import character_tokenizer
from memgpt_rag.training.pretrain import TextTrainer, TextWindows, earlier_neighbours

CHUNK, WINDOW = 4, 3


def letters(count: int):
    return character_tokenizer(["".join(map(chr, range(0x4E00, 0x4E00 + count - 1)))])


def vectors(chunks: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(chunks, 8)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_neighbours_equal_a_search_by_hand(block):
    of_chunks = vectors(20)
    found = earlier_neighbours(of_chunks, 2, WINDOW, block=block)
    for chunk in range(20):
        begins = chunk - chunk % WINDOW
        candidates = [other for other in range(20) if other + 1 < begins] if chunk else []
        best = sorted(candidates, key=lambda other: -float(of_chunks[chunk - 1] @ of_chunks[other]))[:2]
        assert found[chunk].tolist() == [*best, *[-1] * (2 - len(best))]


def test_no_chunk_sees_itself_or_anything_after_it():
    """Every token is its own place in the text, so what is seen can be compared with what is predicted."""
    tokens = torch.arange(20 * CHUNK + 1)
    windows = TextWindows(tokens, CHUNK, WINDOW, earlier_neighbours(vectors(20), 2, WINDOW))
    assert len(windows) == 6
    for place in range(6):
        item = windows[place]
        assert torch.equal(item["labels"], item["inputs"] + 1)
        assert item["neighbours"].shape == (WINDOW, 2, 2 * CHUNK)
        assert (item["neighbours"] < item["inputs"][0]).all()


def test_a_later_part_of_a_text_looks_back_at_the_earlier_one():
    tokens = torch.arange(20 * CHUNK + 1)
    neighbours = earlier_neighbours(vectors(20), 2, WINDOW)
    every = TextWindows(tokens, CHUNK, WINDOW, neighbours)
    late = TextWindows(tokens, CHUNK, WINDOW, neighbours, first=4)
    assert len(late) == 2
    for name, expected in every[4].items():
        assert torch.equal(late[0][name], expected)


def test_a_model_learns_to_read_what_it_cannot_know(tmp_path):
    """Each window of noise comes twice: what was found says how the second one goes on, from its second chunk on."""
    generator, chunk, symbols = torch.Generator().manual_seed(0), 8, 64
    noise = torch.randint(symbols, (160, 1, 3 * chunk), generator=generator)
    tokens = torch.cat([noise.expand(-1, 2, -1).flatten(), torch.zeros(1, dtype=torch.long)])
    codes = np.sign(np.random.default_rng(1).normal(size=(symbols, 64)).astype(np.float32))
    of_chunks = codes[tokens[:-1].view(-1, chunk).numpy()].sum(1)
    of_chunks /= np.linalg.norm(of_chunks, axis=1, keepdims=True)
    neighbours = earlier_neighbours(of_chunks, 1, 3)
    repeated = np.arange(len(of_chunks)).reshape(-1, 2, 3)[:, 1, 1:]
    assert (neighbours[repeated, 0] == repeated - 4).all(), "what was found holds the answer"
    losses = {}
    for name, of_text in (("with", neighbours), ("without", None)):
        torch.manual_seed(0)
        model = MemGPT(
            symbols, 64, 2, 2, 128, dropout=0.0, chunk_tokens=chunk, max_tokens=64, tokenizer=letters(symbols)
        )
        arguments = TrainingArguments(
            str(tmp_path), max_steps=100, per_device_train_batch_size=16, learning_rate=5e-3, report_to=[],
            save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True, label_names=["labels"],
        )  # fmt: skip
        seen, unseen = (
            TextWindows(tokens, chunk, 3, of_text, first=first, last=last) for first, last in ((0, 280), (280, None))
        )
        TextTrainer(model, arguments, train_dataset=seen).train()
        batch = default_data_collator([unseen[place] for place in range(len(unseen))])
        with torch.no_grad():
            logits = model.eval()(batch["inputs"], batch.get("neighbours"), all_positions=True)
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
        loss = loss.view(-1, 2, 3, chunk)
        losses[name] = {"told": float(loss[:, 1, 1:].mean()), "untold": float(loss[:, 0].mean())}
    chance = math.log(symbols)
    assert losses["with"]["told"] < 0.6 * chance
    for name, kind in (("without", "told"), ("without", "untold"), ("with", "untold")):
        assert losses[name][kind] > 0.98 * chance, "noise that nothing tells cannot be known"
