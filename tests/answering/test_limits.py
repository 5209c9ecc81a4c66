"""What may be asked for at once: too much is a sentence with both numbers, reported before it costs anything."""

from __future__ import annotations

import dataclasses
import time

import pytest
from click.testing import CliRunner
from hashing import HashEncoder, passage
from tiny import TinyReader, tiny_decoder

from memgpt_rag import limits
from memgpt_rag.answering import entry_states
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.cli.main import main
from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Retriever, Search

LONG = "A boat costs forty. " * 100_000


def written(folder, *passages):
    encoder = HashEncoder()
    with MemoryWriter(folder) as writer:
        writer.add_values(passages)
        writer.add_keys(encoder.encode_passages([one.titled_text for one in passages]))
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "t", "max_tokens": 160}, job={"name": "build"})
    return Memory.open(folder)


@pytest.fixture(scope="module")
def rag(tmp_path_factory) -> RAG:
    """One byte is one token here."""
    return RAG(
        written(tmp_path_factory.mktemp("bounds") / "m", *map(passage, range(40))), HashEncoder(), TinyReader()()
    )


def refused(call, error: type[Exception], match: str) -> None:
    began = time.process_time()
    with pytest.raises(error, match=match):
        call()
    assert time.process_time() - began < 20


@pytest.mark.parametrize("mode", ["memory", "prompt", "closed_book"])
def test_a_question_that_is_too_long_is_refused_with_both_numbers(rag, mode):
    match = r"^The question has 20,017 tokens; expected at most 2,048 tokens\.$"
    refused(lambda: rag.answer("why? " * 4000, AskOptions(mode=mode)), ValueError, match)
    refused(
        lambda: rag.answer(LONG, AskOptions(mode=mode)),
        ValueError,
        r"The question has 2,0\d\d,\d{3} characters; expected at most 2,048 tokens",
    )
    assert rag.answer("why? " * 400, AskOptions(mode=mode, max_new_tokens=1, k=1)).question.startswith("why?")


def test_half_a_character_is_no_question(rag):
    refused(lambda: rag.answer("why \ud800?"), ValueError, r"'.*why \\ud800\?.*' holds half a character")


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"k": 0}, r"^k is 0; expected 1 to 1,000\.$"),
        ({"k": 1_000_000}, r"^k is 1,000,000; expected 1 to 1,000\.$"),
        ({"max_new_tokens": 0}, r"^max_new_tokens is 0; expected 1 to 4,096\.$"),
        ({"max_new_tokens": 10**9}, r"^max_new_tokens is 1,000,000,000; expected 1 to 4,096\.$"),
    ],
    ids=str,
)
def test_options_have_bounds(settings, match):
    refused(lambda: AskOptions(**settings), ValueError, match)


@pytest.mark.parametrize("name", ["num_beams", "num_return_sequences"])
def test_beams_and_samples_have_bounds(rag, name):
    refused(lambda: rag.answer("why?", **{name: 1000}), ValueError, rf"^{name} is 1,000; expected 1 to 64\.$")


def test_a_search_has_bounds_of_its_own(rag):
    refused(lambda: rag.retriever.retrieve(["why?"], 10_001), ValueError, r"^k is 10,001; expected 1 to 10,000\.$")
    refused(lambda: Search(depth=1_000_000), ValueError, r"^depth is 1,000,000; expected 1 to 1,000\.$")
    refused(lambda: Search(adjacent=101), ValueError, r"^adjacent is 101; expected 0 to 100\.$")
    assert len(rag.retriever.retrieve(["why?"], 10_000)[0]) == 40


@pytest.mark.parametrize(
    "options",
    [["-k", "1000000"], ["-k", "0"], ["--depth", "1001"], ["--adjacent", "101"], ["--max-new-tokens", "4097"]],
    ids=str,
)
def test_options_of_the_command_have_the_same_bounds(options):
    done = CliRunner().invoke(main, ["ask", "why?", "--memory", "m", *options])
    assert done.exit_code == 2
    assert f"{options[1]} is not in the range" in done.output


@pytest.mark.parametrize("mode", ["memory", "prompt"])
def test_an_entry_that_is_too_long_for_attention_is_refused_by_its_id(tmp_path, rag, mode):
    for number, text in enumerate([LONG, "x" * 9_000]):
        memory = written(tmp_path / str(number), passage(7, text))
        found = r"2,0\d\d,\d{3} characters" if text == LONG else r"9,010 tokens"
        asked = RAG(memory, HashEncoder(), rag.model)
        refused(
            lambda asked=asked: asked.answer("why?", AskOptions(mode=mode)),
            MismatchError,
            rf"^The entry 'doc#7' has {found}; a language model is given at most 8,192 tokens of one\. Delete it, or build",
        )


def test_a_reranker_reads_the_beginning_of_what_is_too_long(tmp_path, rag):
    memory = written(tmp_path / "m", passage(7, LONG), passage(8, "A kite is free."))
    reranker = LikelihoodReranker(rag.model, rag.prompt, max_tokens=32)
    found = Retriever(memory, HashEncoder(), Search(reranker=reranker)).retrieve(["What does a boat cost?"], 2)
    assert len(found[0]) == 2
    assert rag.prompt.first_entry_ids(passage(3), 8) == rag.prompt.entry_ids(passage(3))[:8]


def test_entries_have_a_bound_together(rag, monkeypatch):
    rag.answer("why?", AskOptions(k=8, max_new_tokens=1))
    monkeypatch.setattr(entry_states, "MOST_MEMORY_TOKENS", 180)
    refused(
        lambda: rag.answer("why?", AskOptions(k=8)),
        ValueError,
        r"^The entries of a question have 200 tokens; expected at most 180: ask for fewer",
    )
    rag.answer("why?", AskOptions(k=4, max_new_tokens=1))
    monkeypatch.setattr(entry_states, "MOST_PROMPT_TOKENS", 200)
    refused(
        lambda: rag.answer("why?", AskOptions(k=8, mode="prompt")),
        ValueError,
        r"^The question and the entries before it have 2\d\d tokens",
    )


def test_pairs_of_tokens_have_a_bound_over_all_questions(rag, monkeypatch):
    monkeypatch.setattr(entry_states, "MOST_PAIRS", 60_000)
    rag.answer("why?", AskOptions(k=1, max_new_tokens=1))
    refused(
        lambda: rag.answer_all(["why?"] * 8, AskOptions(k=1)),
        ValueError,
        r"^8 questions of \d+ tokens and \d+ tokens of entries make",
    )


def test_no_model_is_asked_for_more_than_it_reads(tmp_path):
    """GPT-2 has a weight for each position: beyond the last there is none."""
    tokenizer = byte_tokenizer()
    decoder = tiny_decoder("gpt2", len(tokenizer), {"max_position_embeddings": 2048})
    rag = RAG(written(tmp_path / "m", passage(1)), HashEncoder(), MemoryDecoder(decoder, tokenizer))
    before = len(rag.prompt.prefix_ids)
    rag.answer("why?", AskOptions(max_new_tokens=4))
    refused(
        lambda: rag.answer("why? " * 260),
        ValueError,
        rf"^The language model reads 2,048 tokens; asked for are \d,\d+: {before:,} before the question, \d+ of the longest "
        r"entry, 1,317 of the question, 48 of the answer\.$",
    )
    assert rag.model.context == 2048


def test_what_the_job_makes_is_within_bounds():
    assert limits.MOST_PASSAGE_TOKENS < limits.MOST_ENTRY_TOKENS < limits.MOST_MEMORY_TOKENS
    assert Search(depth=limits.MOST_ENTRIES, adjacent=limits.MOST_ADJACENT)
    assert dataclasses.asdict(Search())["depth"] <= limits.MOST_ENTRIES
    assert Prompt(byte_tokenizer()).entry_ids(passage(1, "x" * 8_000))
