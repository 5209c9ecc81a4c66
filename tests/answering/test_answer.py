"""From a question to a grounded answer, with the models that come as packages: real in every part."""

from __future__ import annotations

import pytest
import torch
from transformers.generation.streamers import BaseStreamer

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Memory
from memgpt_rag.rag import RAG

pytestmark = pytest.mark.offline_models

# Question, what the answer must hold, the file that it must cite first.
QUESTIONS = [
    ("How much does it cost to rent a rowing boat?", "40 yuan", "park.md"),
    ("今天天气怎么样？", "晴", "weather.txt"),
    ("今天天气很好，我们去公园玩吧。公园里可以做什么？", "划船", "park.md"),
    ("Who can borrow a kite?", "under twelve", "notices.jsonl"),
    ("遛狗必须怎么做？", "牵绳", "notices.jsonl"),
]


@pytest.mark.parametrize("question, holds, source", QUESTIONS)
def test_the_demo_answers_from_memory_and_cites_the_right_entry(rag, question, holds, source):
    answer = rag.answer(question)
    assert holds in answer.text
    assert answer.citations[0].passage.source == source
    assert holds in answer.citations[0].passage.text or holds == "40 yuan"
    shares = [citation.share for citation in answer.citations]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert 0.05 < answer.memory_mass < 1
    assert (
        0
        < answer.timings.retrieved
        < answer.timings.states_ready
        < answer.timings.first_token
        < answer.timings.complete
    )


def test_closed_book_knows_none_of_it(rag):
    for question, holds, _ in (QUESTIONS[0], QUESTIONS[3]):
        answer = rag.answer(question, AskOptions(mode="closed_book"))
        assert holds not in answer.text
        assert answer.citations == []
        assert answer.memory_mass == 0


def test_prompt_mode_pastes_the_same_entries(rag):
    for question, holds, source in QUESTIONS[:2]:
        in_prompt, in_memory = rag.answer(question, AskOptions(mode="prompt")), rag.answer(question)
        assert holds in in_prompt.text
        assert in_prompt.citations[0].passage.source == source
        assert {one.passage.id for one in in_prompt.citations} == {one.passage.id for one in in_memory.citations}
        assert all(citation.share is None for citation in in_prompt.citations)


def test_a_batch_answers_as_its_questions_do_alone(rag):
    together = rag.answer_all([question for question, _, _ in QUESTIONS], AskOptions(max_new_tokens=16))
    for (question, _, _), answer in zip(QUESTIONS, together, strict=True):
        alone = rag.answer(question, AskOptions(max_new_tokens=16))
        assert (answer.question, answer.text) == (question, alone.text)
        assert [citation.passage.id for citation in answer.citations] == [
            citation.passage.id for citation in alone.citations
        ]
        assert [citation.share for citation in answer.citations] == pytest.approx(
            [citation.share for citation in alone.citations], abs=1e-3
        )


def test_beams_and_sampling_answer_too(rag):
    question, holds, _ = QUESTIONS[0]
    assert holds in rag.answer(question, AskOptions(max_new_tokens=12), num_beams=3).text
    torch.manual_seed(0)
    assert holds in rag.answer(question, AskOptions(max_new_tokens=12), do_sample=True, temperature=0.2).text


class Collect(BaseStreamer):
    def __init__(self):
        self.puts = []

    def put(self, value):
        self.puts.append(value.flatten().tolist())

    def end(self):
        self.puts.append("end")


def test_tokens_stream_as_they_come(rag):
    streamer = Collect()
    answer = rag.answer(QUESTIONS[0][0], AskOptions(max_new_tokens=12), streamer=streamer)
    assert streamer.puts[-1] == "end"
    tokens = [token for put in streamer.puts[1:-1] for token in put]
    assert rag.prompt.answer_text(tokens) == answer.text


def test_compact_answers_from_the_global_layers(rag, memory, e5):
    from memgpt_rag.model import MemoryDecoder

    compact = RAG(Memory.open(memory), e5, MemoryDecoder(rag.model.decoder, rag.model.tokenizer, config="compact"))
    question, holds, source = QUESTIONS[3]
    answer = compact.answer(question)
    assert holds in answer.text
    assert answer.citations[0].passage.source == source
    states = compact.model.entry_states([compact.prompt.entry_ids(answer.citations[0].passage)])[0]
    assert list(states.keys) == [5, 11, 17]


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda rag: AskOptions(mode="magic"), "There is no mode 'magic'; expected one of memory, prompt, closed_book"),
        (lambda rag: rag.answer_all([]), "A question is empty; ask something"),
        (lambda rag: rag.answer_all(["Why?", " "]), "A question is empty; ask something"),
    ],
)
def test_questions_that_cannot_be_meant_are_refused(rag, call, match):
    with pytest.raises(ValueError, match=match):
        call(rag)


def test_another_encoder_is_refused(memory, gemma):
    with pytest.raises(
        MismatchError, match="embedded with 'multilingual-e5-small-4bit' and is asked with 'all-MiniLM-L6-v2'"
    ):
        RAG(Memory.open(memory), load_encoder("all-MiniLM-L6-v2"), gemma)
