"""Answers that begin and end between two steps, each on its own route, against `answer_from`, which generates them alone."""

from __future__ import annotations

import pytest
import torch
from hashing import HashEncoder
from tiny import TinyReader

from memgpt_rag.answering.confidence import ConfidenceModel, FeatureWeight, LogisticModel
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.shared_batches import SharedBatches
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.rag import RAG

TEXTS = ["A boat costs 40 yuan an hour.", "The park opens at six.", "Children may borrow a kite.", "遛狗必须牵绳。"]


def together(rag, asked):
    """Begin an answer every other step, and return each with its draft, in the order of the questions."""
    batches, waiting, begun, done = SharedBatches(), list(asked), [], {}
    while waiting or len(batches):
        if waiting and batches.unread == 0:
            question, options = waiting.pop(0)
            (draft,) = rag.drafts([question], options)
            begun.append(rag.begin(draft, options))
            batches.add(begun[-1])
        for _ in range(2):
            done |= dict(batches.step())
    return [(one.draft, done[one]) for one in begun]


def all_at_once(rag, asked):
    """Begin all answers before the first step, and return each with its draft."""
    batches, begun, done = SharedBatches(), [], {}
    for question, options in asked:
        (draft,) = rag.drafts([question], options)
        begun.append(rag.begin(draft, options))
        batches.add(begun[-1])
    while len(batches):
        done |= dict(batches.step())
    return [(one.draft, done[one]) for one in begun]


def require_equal(rag, asked, generated):
    answers = []
    for (question, options), (draft, answer) in zip(asked, generated, strict=True):
        (alone,) = rag.drafts([question], options)
        (expected,) = rag.answer_from([alone], options)
        assert draft.tokens == alone.tokens
        assert draft.log_probs == pytest.approx(alone.log_probs, abs=1e-4)
        assert draft.mass == pytest.approx(alone.mass, abs=1e-5)
        assert (answer.text, answer.mode, answer.supported) == (expected.text, expected.mode, expected.supported)
        if expected.trace is not None:
            assert answer.trace.spans == expected.trace.spans
            for one, other in zip(answer.trace.entries, expected.trace.entries, strict=True):
                assert one.weights == pytest.approx(other.weights, abs=1e-5)
        answers.append(answer)
    return answers


def test_a_question_that_needs_no_memory_is_read_again_without_it(tmp_path):
    """It leaves the batch after its first pass, and comes back on another route, in front of those that wait."""
    memory = Memory.create(tmp_path / "memory", TEXTS, encoder := HashEncoder())
    rag = RAG(memory, encoder, TinyReader()())
    supported = rag.confidence.supported
    auto, plain = AskOptions(k=2, use_memory="auto", max_new_tokens=8), AskOptions(k=3, max_new_tokens=12)
    asked = [("Hello!", auto), ("What costs 40?", plain), ("When?", auto), ("And a kite?", plain)]
    for bar, mode in ((1.0, "closed_book"), (0.0, "memory")):
        needed = LogisticModel({"question_mass": FeatureWeight(1e4, bar, 1.0)}, 0.0, 0.5)
        rag.confidence = ConfidenceModel(needed, supported)
        for generate in (together, all_at_once):
            answers = require_equal(rag, asked, generate(rag, asked))
            assert [answer.mode for answer in answers] == [mode, "memory"] * 2


@pytest.mark.slow
@pytest.mark.offline_models
def test_gemma_and_its_reader_answer_together_as_alone(tmp_path, e5):
    """A reader reads memory; prompts and closed book go to the model as it was pretrained, in a batch of their own."""
    memory = Memory.create(tmp_path / "memory", TEXTS, e5)
    rag = RAG(memory, e5, MemoryDecoder.from_pretrained(dtype=torch.float32))
    assert rag.model.reader is not None
    asked = [
        ("What does a boat cost?", AskOptions(k=4, max_new_tokens=12)),
        ("What does a boat cost?", AskOptions(mode="prompt", k=2, max_new_tokens=12)),
        ("遛狗要注意什么？", AskOptions(k=2, max_new_tokens=10)),
        ("When does the park open?", AskOptions(k=1, max_new_tokens=10)),
        ("Hello, how are you?", AskOptions(use_memory="auto", max_new_tokens=6)),
        ("What is the capital of France?", AskOptions(mode="closed_book", max_new_tokens=8)),
        ("Who wrote Faust?", AskOptions(abstain=True, max_new_tokens=8)),
    ]
    for generate in (together, all_at_once):
        answers = require_equal(rag, asked, generate(rag, asked))
        assert [answer.mode for answer in answers[:2]] == ["memory", "prompt"]
