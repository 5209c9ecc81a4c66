"""Training from plain text: what a chunk may see, and that a model learns to read what it sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from memgpt_rag.model import MemGPT
from memgpt_rag.training.pretrain import TextTrainer, TextWindows, earlier_neighbours

CHUNK, WINDOW = 4, 3


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
    """Each chunk of noise comes again later: only what was found can say how it goes on."""
    generator = torch.Generator().manual_seed(0)
    chunk, pieces = 8, []
    for _ in range(160):
        noise = torch.randint(64, (3 * chunk,), generator=generator)
        pieces += [noise, noise]
    tokens = torch.cat([*pieces, torch.zeros(1, dtype=torch.long)])
    # A window is 3 chunks; the chunk after the one that a chunk resembles is what comes next.
    chunks = torch.stack(tokens[:-1].split(chunk)).float().numpy()
    codes = np.sign(np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32))
    of_chunks = codes[chunks.astype(int)].sum(1)
    of_chunks /= np.linalg.norm(of_chunks, axis=1, keepdims=True)
    losses = {}
    for name, neighbours in (("with", earlier_neighbours(of_chunks, 1, 3)), ("without", None)):
        torch.manual_seed(0)
        model = MemGPT(256, 64, 2, 2, 128, dropout=0.0, chunk_tokens=chunk, max_tokens=64)
        arguments = TrainingArguments(
            str(tmp_path), max_steps=250, per_device_train_batch_size=16, learning_rate=5e-3, report_to=[],
            save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True, label_names=["labels"],
            prediction_loss_only=True,
        )  # fmt: skip
        parts = [
            TextWindows(tokens, chunk, 3, neighbours, first=first, last=last) for first, last in ((0, 280), (280, None))
        ]
        trainer = TextTrainer(model, arguments, train_dataset=parts[0], eval_dataset=parts[1])
        trainer.train()
        losses[name] = trainer.evaluate()["eval_loss"]
    print(losses)
    assert losses["with"] < 0.9 * losses["without"]
