"""Answers with decoders whose layers keep a state, differ in size or share keys: in batches, from stored states, token by token."""

from __future__ import annotations

import pytest
import torch
from hashing import HashEncoder

from benchmarks.small_decoders import small_decoder
from indexing.jobs.compute_states import compute_states
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.shared_batches import SharedBatches
from memgpt_rag.errors import ModelError
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG

TEXTS = ["A boat costs 40 yuan.", "The park opens at six.", "Dogs must be kept on a lead.", "Kites are lent for free."]
QUESTIONS = ["How much is a boat?", "When does it open?", "Are dogs allowed in the park at night?"]
OPTIONS = AskOptions(k=2, max_new_tokens=6)
slowly = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("jamba", "falcon_h1", "llama4_text", "doge")]
kinds = pytest.mark.parametrize("kind", ["qwen3_next", "deepseek_v3", "gemma4_text", *slowly])


def make_model(kind: str) -> MemoryDecoder:
    tokenizer = byte_tokenizer()
    config = MemoryAttentionConfig(score_bias=2.0, null_score=0.5)
    return MemoryDecoder(
        small_decoder(kind, vocab_size=len(tokenizer), max_position_embeddings=2048), tokenizer, config=config
    )


@pytest.fixture
def memory(tmp_path) -> Memory:
    return Memory.create(tmp_path / "park", TEXTS, HashEncoder())


def said(rag: RAG, questions: list[str], options: AskOptions = OPTIONS) -> list[tuple[str, list[float]]]:
    answers = rag.answer_all(questions, options)
    return [(one.text, [round(cited.share or 0.0, 3) for cited in one.citations]) for one in answers]


@kinds
def test_questions_of_different_lengths_are_answered_as_alone(kind, memory):
    rag = RAG(memory, HashEncoder(), make_model(kind))
    for options in (OPTIONS, AskOptions(k=2, max_new_tokens=6, mode="prompt")):
        assert said(rag, QUESTIONS, options) == [said(rag, [question], options)[0] for question in QUESTIONS]


@kinds
def test_states_in_the_users_cache_give_the_same_answers(kind, memory, tmp_path):
    computed = said(RAG(memory, HashEncoder(), make_model(kind)), QUESTIONS)
    for _ in range(2):  # written, and read
        cached = said(RAG(memory, HashEncoder(), make_model(kind), states_folder=tmp_path / "states"), QUESTIONS)
        assert [text for text, _ in cached] == [text for text, _ in computed]


@kinds
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_stored_states_are_read_back(kind, dtype, memory, tmp_path):
    model = make_model(kind)
    expected = said(RAG(memory, HashEncoder(), model), QUESTIONS)
    compute_states(tmp_path / "park", model, dtype=dtype)
    stored = said(RAG(Memory.open(tmp_path / "park"), HashEncoder(), make_model(kind)), QUESTIONS)
    if dtype == "fp32":
        assert stored == expected
    assert all(shares and sum(shares) == pytest.approx(1.0, abs=0.01) for _, shares in stored)


@kinds
def test_answers_that_are_decoded_together_are_those_of_each_alone(kind, memory, monkeypatch):
    """And read together, where no layer keeps a state that padding would change."""
    monkeypatch.setattr("memgpt_rag.model.decoding.READ_TOKENS", 4096)
    rag, batches, done = RAG(memory, HashEncoder(), make_model(kind)), SharedBatches(), {}
    begun = {}
    for question in QUESTIONS:
        answer = rag.begin(rag.drafts([question], OPTIONS)[0], OPTIONS)
        begun[answer] = question
        batches.add(answer)
    while len(done) < len(QUESTIONS):
        for answer, result in batches.step():
            assert not isinstance(result, Exception), result
            done[begun[answer]] = result.text
    assert [done[question] for question in QUESTIONS] == [text for text, _ in said(rag, QUESTIONS)]


@pytest.mark.parametrize("kind", ["minimax", "deepseek_v32"])
def test_a_cache_that_rows_cannot_share_fails_its_answer_and_no_other(kind, memory):
    rag, batches = RAG(memory, HashEncoder(), make_model(kind)), SharedBatches()
    others = RAG(memory, HashEncoder(), make_model("qwen3_next"))
    refused, answered = (one.begin(one.drafts([QUESTIONS[0]], OPTIONS)[0], OPTIONS) for one in (rag, others))
    results = {}
    for answer in (refused, answered):
        batches.add(answer)
    while len(results) < 2:
        results |= dict(batches.step())
    assert isinstance(results[refused], ModelError)
    assert str(results[refused]).startswith("Rows of a batch that changes cannot share")
    assert results[answered].text == said(others, QUESTIONS[:1])[0][0]
    assert said(rag, QUESTIONS) == [said(rag, [question])[0] for question in QUESTIONS], "`answer` needs no such batch"


def test_the_weights_of_states_are_a_setting_of_their_own(memory):
    model = make_model("qwen3_next")
    rows, scores = [[[10, 11, 12], [13, 14, 15, 16]]], [[0.0, 1.0]]
    combined = {}
    for recurrent_bias in (0.0, None, 50.0):
        model.config = MemoryAttentionConfig(score_bias=2.0, recurrent_bias=recurrent_bias)
        combined[recurrent_bias] = model.make_memory(rows, scores).recurrent
    first, best = model.entry_states(rows[0])
    for key, state in combined[0.0].items():
        if key[1] == "recurrent":
            torch.testing.assert_close(state[0], (first.recurrent[key] + best.recurrent[key]) / 2)
            torch.testing.assert_close(combined[50.0][key][0], best.recurrent[key])
    model.config = MemoryAttentionConfig(recurrent="prefix")
    assert model.make_memory(rows, scores).recurrent == {}
    with pytest.raises(ValueError, match='recurrent is \'none\'; expected "combined" or "prefix"'):
        MemoryAttentionConfig(recurrent="none")
