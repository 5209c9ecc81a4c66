"""Word vectors from files of word2vec and GloVe, and the embeddings that they become."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memgpt_rag.errors import SourceError
from memgpt_rag.model import MemGPT
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.from_scratch.word_vectors import read_word_vectors
from memgpt_rag.model.tokenizer import bpe_tokenizer, character_tokenizer

VECTORS = {"park": [1.0, -2.0, 0.5, 3.0], "天": [0.25, 0.0, -1.0, 2.0], "new york": [4.0, 1.0, 1.0, -3.0]}
LINES = [" ".join([word, *map(str, vector)]) for word, vector in VECTORS.items()]


@pytest.fixture
def file(tmp_path):
    def write(*lines: str, end: str = "\n"):
        path = tmp_path / "vectors.txt"
        path.write_bytes("".join(line + end for line in lines).encode())
        return path

    return write


def make_model(tokenizer, **settings) -> MemGPT:
    torch.manual_seed(0)
    return MemGPT(MemGPTConfig(300, 4, 2, 1, 8, **settings), tokenizer=tokenizer)


@pytest.mark.parametrize("header", [[], ["3 4"]], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize("end", ["\n", " \r\n"], ids=["plain", "as word2vec ends a line"])
def test_both_kinds_of_files_say_the_same(file, header, end):
    read = {word: vector.tolist() for word, vector in read_word_vectors(file(*header, *LINES, end=end))}
    assert read == VECTORS


def test_tokens_that_are_words_get_their_vector_and_no_other_token_changes(file):
    tokenizer = bpe_tokenizer(["park park park park park"], 300)
    model = make_model(tokenizer)
    before = model.embedding.weight.detach().clone()
    set_now = [token for token in range(len(tokenizer)) if tokenizer.decode([token]).strip() == "park"]
    assert len(set_now) == 2, "with a space before it and without"
    assert model.embed_words(file(*LINES)) == 2, "天 is three tokens, one a byte; new york is several"
    after = model.embedding.weight.detach()
    others = [token for token in range(300) if token not in set_now]
    assert torch.equal(after[others], before[others])
    for token in set_now:
        torch.testing.assert_close(
            torch.cosine_similarity(after[token], torch.tensor(VECTORS["park"]), dim=0).item(), 1.0
        )


def test_vectors_are_scaled_together(file):
    model = make_model(character_tokenizer(["天气"]))
    size = model.embedding.weight.square().mean().item()
    assert model.embed_words(file("2 4", "天 1 2 3 4", "气 10 -20 30 -40")) == 2
    ids = model.tokenizer("天气")["input_ids"]
    weight = model.embedding.weight.detach()[ids]
    expected = torch.tensor([[1.0, 2, 3, 4], [10, -20, 30, -40]])
    torch.testing.assert_close(weight / weight[0, 0], expected)
    assert weight.square().mean().item() == pytest.approx(size, rel=1e-5)


def test_vectors_without_spread_stay_numbers(file):
    model = make_model(character_tokenizer(["天气"]))
    assert model.embed_words(file("天 1 1 1 1", "气 1 1 1 1")) == 2
    assert model.embed_words(file("天 0 0 0 0")) == 1
    assert model.embedding.weight.isfinite().all()


def test_an_unknown_character_is_no_word(file):
    model = make_model(character_tokenizer(["天气"]))
    before = model.embedding.weight.detach().clone()
    assert model.embed_words(file("\ufffd 1 2 3 4", "雨 1 2 3 4")) == 0
    assert torch.equal(model.embedding.weight, before)


def test_what_vectors_say_survives_training_of_others_and_saving(file, tmp_path):
    model = make_model(character_tokenizer(["天气"]))
    model.embed_words(file(*LINES))
    model.save_pretrained(tmp_path / "model")
    loaded = MemGPT.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.embedding.weight, model.embedding.weight)


@pytest.mark.parametrize(
    "lines, match",
    [
        (["park 1 2 3 4", "lake 1 2 3"], r"vectors\.txt, line 2: expected a word and 4 numbers"),
        (["2 4", "park 1 2 3 4", "lake 1 2 x 4"], r"vectors\.txt, line 3: expected a word and 4 numbers"),
        (["park 1 2 nan 4"], r"vectors\.txt, line 1: expected a word and 4 numbers"),
        (["park 1 2 3 4", ""], r"vectors\.txt, line 2: expected a word and 4 numbers"),
        (["park"], r"vectors\.txt, line 1: expected a word and its numbers"),
        (["3 4", "park 1 2 3 4"], r"holds 1 word vectors, and its first line says 3; it is not whole"),
    ],
)
def test_a_malformed_line_is_named(file, lines, match):
    with pytest.raises(SourceError, match=match):
        list(read_word_vectors(file(*lines)))


def test_what_is_no_file_of_word_vectors_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.txt cannot be read \(No such file or directory\)"):
        list(read_word_vectors(tmp_path / "gone.txt"))
    binary = tmp_path / "vectors.bin"
    binary.write_bytes(b"1 4\npark " + np.array([-1.5] * 4, dtype=np.float32).tobytes())
    with pytest.raises(SourceError, match=r"vectors\.bin, line 2: not UTF-8 text"):
        list(read_word_vectors(binary))


def test_vectors_of_another_size_are_refused(file):
    with pytest.raises(ValueError, match="has word vectors of 3 numbers, and d_model is 4; take vectors of that size"):
        make_model(character_tokenizer(["天气"])).embed_words(file("天 1 2 3"))
