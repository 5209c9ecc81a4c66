"""Training from plain text: what a chunk may see, and that a model learns to read what it sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from torch import nn
from transformers import TrainingArguments, default_data_collator

from memgpt_rag.errors import SourceError
from memgpt_rag.model import MemGPT
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.tokenizer import character_tokenizer
from memgpt_rag.training.chunk_neighbors import earlier_neighbors
from memgpt_rag.training.pretrain import (
    PretrainOptions,
    TextTrainer,
    TextWindows,
    pretrain,
    read_text,
    text_vectors,
)

CHUNK, WINDOW = 4, 3


def letters(count: int):
    return character_tokenizer(["".join(map(chr, range(0x4E00, 0x4E00 + count - 1)))])


def vectors(chunks: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(chunks, 8)).astype(np.float32)


def test_no_chunk_sees_itself_or_anything_after_it():
    """Every token is its own place in the text, so what is seen can be compared with what is predicted."""
    tokens = torch.arange(20 * CHUNK + 1)
    windows = TextWindows(tokens, CHUNK, WINDOW, earlier_neighbors(vectors(20), 2, WINDOW, recent=1))
    assert len(windows) == 6
    for place in range(6):
        item = windows[place]
        assert torch.equal(item["labels"], item["inputs"] + 1)
        assert item["neighbors"].shape == (WINDOW, 3, 2 * CHUNK)
        assert (item["neighbors"] < item["inputs"][0]).all()


def test_a_later_part_of_a_text_looks_back_at_the_earlier_one():
    tokens = torch.arange(20 * CHUNK + 1)
    neighbors = earlier_neighbors(vectors(20), 2, WINDOW)
    every = TextWindows(tokens, CHUNK, WINDOW, neighbors)
    late = TextWindows(tokens, CHUNK, WINDOW, neighbors, first=4)
    assert len(late) == 2
    for name, expected in every[4].items():
        assert torch.equal(late[0][name], expected)


@torch.no_grad()
@pytest.mark.parametrize("changed", [70, 100, 119])
def test_a_token_of_the_text_changes_no_logit_before_it(changed):
    """From tokens through vectors and neighbors to logits: positions before the token are as they were, it is not."""
    torch.manual_seed(0)
    model = MemGPT(
        MemGPTConfig(64, 32, 2, 2, 64, chunk_tokens=CHUNK, max_tokens=CHUNK * WINDOW), tokenizer=letters(64)
    ).eval()
    text = torch.randint(64, (20 * CHUNK * WINDOW + 1,), generator=torch.Generator().manual_seed(0))
    other = text.clone()
    other[changed] = (other[changed] + 1) % 64
    logits = []
    for tokens in (text, other):
        neighbors = earlier_neighbors(text_vectors(model, tokens, None), 2, WINDOW, recent=1)
        windows = TextWindows(tokens, CHUNK, WINDOW, neighbors)
        batch = default_data_collator([windows[place] for place in range(len(windows))])
        logits.append(model(batch["inputs"], batch["neighbors"], all_positions=True).flatten(0, 1))
    torch.testing.assert_close(logits[0][:changed], logits[1][:changed], rtol=0, atol=1e-5)
    assert not torch.allclose(logits[0][changed], logits[1][changed], atol=1e-3)
    later = changed // (CHUNK * WINDOW) * CHUNK * WINDOW + CHUNK * WINDOW
    assert not torch.allclose(logits[0][later:], logits[1][later:], atol=1e-3), "later windows read it"


def test_an_encoder_can_tell_which_chunks_are_alike():
    model, encoder = MemGPT(MemGPTConfig(256, 32, 2, 2, 64, chunk_tokens=16, max_tokens=32)), HashEncoder()
    text = "The lamp is lit at dusk. The boat leaves at dawn. " * 4
    tokens = torch.tensor(model.tokenizer(text)["input_ids"])
    expected = encoder.encode_passages([text[at : at + 16] for at in range(0, 192, 16)])
    np.testing.assert_array_equal(text_vectors(model, tokens, encoder), expected)
    done = pretrain(model, text, PretrainOptions(steps=2), encoder=encoder, use_cpu=True)
    assert done.eval_loss > 0


def test_a_model_learns_to_read_what_it_cannot_know(tmp_path):
    """Each window of noise comes twice: what was found says how the second one goes on, from its second chunk on."""
    generator, chunk, symbols = torch.Generator().manual_seed(0), 8, 64
    noise = torch.randint(symbols, (160, 1, 3 * chunk), generator=generator)
    tokens = torch.cat([noise.expand(-1, 2, -1).flatten(), torch.zeros(1, dtype=torch.long)])
    codes = np.sign(np.random.default_rng(1).normal(size=(symbols, 64)).astype(np.float32))
    chunk_counts = codes[tokens[:-1].view(-1, chunk).numpy()].sum(1)
    chunk_counts /= np.linalg.norm(chunk_counts, axis=1, keepdims=True)
    neighbors = earlier_neighbors(chunk_counts, 1, 3)
    repeated = np.arange(len(chunk_counts)).reshape(-1, 2, 3)[:, 1, 1:]
    assert (neighbors[repeated, 0] == repeated - 4).all(), "what was found holds the answer"
    losses = {}
    for name, per_text in (("with", neighbors), ("without", None)):
        torch.manual_seed(0)
        model = MemGPT(
            MemGPTConfig(symbols, 64, 2, 2, 128, dropout=0.0, chunk_tokens=chunk, max_tokens=64),
            tokenizer=letters(symbols),
        )
        arguments = TrainingArguments(
            str(tmp_path), max_steps=100, per_device_train_batch_size=16, learning_rate=5e-3, report_to=[],
            save_strategy="no", logging_strategy="no", use_cpu=True, disable_tqdm=True, label_names=["labels"],
        )  # fmt: skip
        seen, unseen = (
            TextWindows(tokens, chunk, 3, per_text, first=first, last=last) for first, last in ((0, 280), (280, None))
        )
        TextTrainer(model, arguments, train_dataset=seen).train()
        batch = default_data_collator([unseen[place] for place in range(len(unseen))])
        with torch.no_grad():
            logits = model.eval()(batch["inputs"], batch.get("neighbors"), all_positions=True)
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
        loss = loss.view(-1, 2, 3, chunk)
        losses[name] = {"known": float(loss[:, 1, 1:].mean()), "unknown": float(loss[:, 0].mean())}
    chance = math.log(symbols)
    assert losses["with"]["known"] < 0.6 * chance
    for name, kind in (("without", "known"), ("without", "unknown"), ("with", "unknown")):
        assert losses[name][kind] > 0.98 * chance, "noise that nothing tells cannot be known"


def test_pretraining_learns_a_text_and_measures_its_end():
    text = "abcdefghijklmnopqrstuvwxyz " * 120
    torch.manual_seed(0)
    model = MemGPT(MemGPTConfig(256, 32, 2, 2, 64, dropout=0.0, chunk_tokens=16, max_tokens=32))
    shown: list[tuple[int, float]] = []
    done = pretrain(model, text, PretrainOptions(k=1,recent=1,steps=40,batch_size=8,learning_rate=1e-2), on_step=lambda *step: shown.append(step), use_cpu=True)  # fmt: skip
    assert [step for step, _ in shown] == [10, 20, 30, 40]
    assert shown[-1][1] < shown[0][1]
    assert done.perplexity == math.exp(done.eval_loss) < 3
    assert not model.training
    model.attach([text[:32]])
    assert model.generate("jklm", max_new_tokens=5) == "nopqr"


def test_a_text_that_is_too_short_is_refused():
    model = MemGPT(MemGPTConfig(256, 32, 2, 2, 64, chunk_tokens=16, max_tokens=32))
    with pytest.raises(ValueError, match="The text has 64 tokens; expected at least 65: a window of 32 to learn from"):
        pretrain(model, "x" * 64)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(SourceError, match=r"latin\.txt is not UTF-8 \(byte 3\); save it as UTF-8"):
        read_text(tmp_path / "latin.txt")
    with pytest.raises(SourceError, match=r"gone\.txt cannot be read: No such file or directory; name a text file"):
        read_text(tmp_path / "gone.txt")
