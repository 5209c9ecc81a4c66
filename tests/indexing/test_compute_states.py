"""States that were stored give the answers of states computed on demand, and those of another model are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hashing import HashEncoder
from tiny import tiny_decoder

from indexing.jobs.compute_states import compute_states
from memgpt_rag.answering.entry_states import ComputedStates, MemoryStates, StatesSource, make_memory
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.errors import MismatchError
from memgpt_rag.fingerprint import encode_probe
from memgpt_rag.memory import Memory, expire
from memgpt_rag.memory.storage import layout
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.stored import to_array
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.state_codes import decode

TEXTS = [
    "A boat costs 40 yuan.",
    "The park opens at six.",
    "遛狗必须牵绳。",
    "Kites are lent to children for free.",
    "Benches are green.",
]
QUESTIONS = ["How much is a boat?", "公园里可以做什么？", "Who can borrow a kite?"]
LAYERS = {"quality": "all", "compact": (1, 3)}


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states") / "memory"
    Memory.create(folder, TEXTS, HashEncoder())
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory, without):
    """The same memory with states of each type."""

    def copy(dtype: str):
        folder = tmp_path_factory.mktemp(dtype) / "memory"
        shutil.copytree(without, folder)
        compute_states(folder, make_model(), dtype=dtype)
        return folder

    return {dtype: copy(dtype) for dtype in ("fp32", "int8", "int4")}


def make_model(preset: str = "quality") -> MemoryDecoder:
    """A decoder of four layers, every second of them global, with the layers of a preset."""
    tokenizer = byte_tokenizer()
    config = MemoryAttentionConfig(LAYERS[preset], score_bias=2.0, top_m=8)
    return MemoryDecoder(tiny_decoder("gemma3", len(tokenizer)), tokenizer, config=config)


@torch.no_grad()
def log_probs(rag: RAG, question: str, memory: Memory | None) -> torch.Tensor:
    source = ComputedStates(rag.model, rag.prompt) if memory is None else MemoryStates(rag.model, rag.prompt, memory)
    return log_probs_from(rag, question, source)


@torch.no_grad()
def log_probs_from(rag: RAG, question: str, source: StatesSource) -> torch.Tensor:
    (found,) = rag.retriever.retrieve([question], 4)
    attended = make_memory(rag.model, source, [found])
    return rag.model(torch.tensor([rag.prompt.question_row(question, [])]), memory=attended).logits[0].log_softmax(-1)


@pytest.mark.parametrize("config", ["quality", "compact"])
def test_stored_states_read_as_those_computed_on_demand(without, stored, config):
    for question in QUESTIONS[:2]:
        on_demand = log_probs(RAG(Memory.open(without), HashEncoder(), make_model(config)), question, None)
        for dtype, tolerance in (("fp32", 1e-6), ("int8", 1e-4), ("int4", 3e-3 if config == "quality" else 3e-4)):
            memory = Memory.open(stored[dtype])
            read = log_probs(RAG(memory, HashEncoder(), make_model(config)), question, memory)
            # Not the largest difference: rounding may change which token is the m-th, and with it one word's weight.
            divergence = (on_demand.exp() * (on_demand - read)).sum(-1)
            assert divergence.mean().abs() < tolerance, dtype


def test_entries_that_were_joined_from_one_row_have_states_of_their_own(stored):
    """As of two paths through a graph that end in one passage."""
    memory, model = Memory.open(stored["fp32"]), make_model()
    rag = RAG(memory, HashEncoder(), model)
    (plain,) = rag.retriever.retrieve(QUESTIONS[:1], 1)[0]
    texts = ("A path through the park.", "Another path, through the town and the park.")
    joined = [replace(plain, passage=replace(plain.passage, text=text), joined=(plain.row, 1)) for text in texts]
    entries = [joined[0], plain, joined[1]]
    found = MemoryStates(model, rag.prompt, memory).states(entries)
    alone = ComputedStates(model, rag.prompt).states(entries)
    assert [one.num_tokens for one in found] == [one.num_tokens for one in alone]
    assert len({one.num_tokens for one in found}) == 3
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_allclose(to_array(one, model), to_array(other, model), atol=1e-5)


def test_answers_and_citations_stay_the_same(without, stored):
    before = RAG(Memory.open(without), HashEncoder(), make_model()).answer_all(
        QUESTIONS, AskOptions(k=2, max_new_tokens=6)
    )
    after = RAG(Memory.open(stored["int8"]), HashEncoder(), make_model()).answer_all(
        QUESTIONS, AskOptions(k=2, max_new_tokens=6)
    )
    assert [answer.text for answer in after] == [answer.text for answer in before]
    assert [answer.citations[0].passage for answer in after] == [answer.citations[0].passage for answer in before]


def test_states_that_are_kept_read_as_stored_ones_and_are_computed_once(tmp_path, without, stored, monkeypatch):
    memory = Memory.open(stored["int8"])
    expected = log_probs(RAG(memory, HashEncoder(), make_model()), QUESTIONS[0], memory)
    for process in range(2):
        rag = RAG(Memory.open(without), HashEncoder(), make_model(), states_folder=tmp_path)
        if process:
            monkeypatch.setattr(rag.model, "entry_states", lambda entries: [1 / 0 for _ in entries])
        read = log_probs_from(rag, QUESTIONS[0], rag.generator.states)
        assert (read.exp() - expected.exp()).abs().max() < 0.01
        assert rag.answer(QUESTIONS[0]).citations[0].share is not None


def test_a_row_holds_the_states_of_its_own_entry(stored):
    memory, model = Memory.open(stored["fp32"]), make_model()
    prompt = Prompt(model.tokenizer)
    model.prefix_ids = prompt.prefix_ids
    for row in (len(memory) - 1, 0, 3):
        (states,) = model.entry_states([prompt.entry_ids(memory.passages([row])[0])])
        array = decode(*memory.states(row))
        for place, layer in enumerate(model.layers):
            np.testing.assert_allclose(array[:, place, 0].swapaxes(0, 1), states.keys[layer].numpy(), atol=1e-3)
            np.testing.assert_allclose(array[:, place, 1].swapaxes(0, 1), states.values[layer].codes.numpy(), atol=1e-3)


def test_states_of_another_prefix_or_model_or_fewer_layers_are_refused(tmp_path, without, stored):
    memory = Memory.open(stored["int8"])
    states = memory.manifest.states
    with pytest.raises(MismatchError, match=r"another prefix \(\d+ tokens against 2\)"):
        states.require_match(replace(states, prefix_ids=(2, 3)))
    other = encode_probe(np.random.default_rng(0).normal(size=32))
    with pytest.raises(MismatchError, match=r"read by 'other': the same text gives other states \(cosine -?0\.\d+\)"):
        states.require_match(replace(states, probe=other, model="other"))
    with pytest.raises(MismatchError, match=r"the same text gives other states \(cosine 0\.0000\)"):
        states.require_match(replace(states, probe=encode_probe(np.ones(5))))
    with pytest.raises(MismatchError, match="head_dim 16 against 64"):
        states.require_match(replace(states, head_dim=64))
    with pytest.raises(MismatchError, match="the same text gives other tokens"):
        states.require_match(replace(states, probe_ids=(1, 2)))
    shutil.copytree(without, tmp_path / "compact")
    compute_states(tmp_path / "compact", make_model("compact"))
    with pytest.raises(
        MismatchError,
        match="computed for layers 1, 3, and .* is to attend to 0, 1, 2, 3; read with the preset",
    ):
        RAG(Memory.open(tmp_path / "compact"), HashEncoder(), make_model())
    RAG(Memory.open(tmp_path / "compact"), HashEncoder(), make_model("compact"))


def test_new_states_replace_the_old_ones_and_a_failed_job_changes_nothing(tmp_path, stored, monkeypatch):
    folder = tmp_path / "memory"
    shutil.copytree(stored["int8"], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != layout.LOCK}
    model = make_model("compact")
    monkeypatch.setattr(model, "entry_states", lambda entries: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compute_states(folder, model)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != layout.LOCK}
    assert after == before
    held = Memory.open(folder)
    compute_states(folder, make_model("compact"))
    assert len(list(folder.rglob("states-*"))) == 2, "the version before can be opened still"
    expire(folder, 1)
    assert len(list(folder.rglob("states-*"))) == 1
    assert Memory.open(folder).manifest.states.layers == (1, 3)
    assert held.states(0)[0].shape[1] == 4, "a reader keeps what it opened"
