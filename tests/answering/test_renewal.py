"""Entries that are renewed while an answer is written, against answers whose entries stay and against every period asked anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from decoding_rows import alone, make_test_memory, require_equal
from decoding_rows import begun as begin
from hashing import HashEncoder
from tiny import TinyReader, random_ids, tiny_decoder
from transformers import TextStreamer

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoding import exchange_memory
from memgpt_rag.model.drafts import LookupDrafts, decode
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG

QUESTION, TOKENS = random_ids(5, 1), 20
ENTRIES = [random_ids(7, 10), random_ids(4, 11)]
OTHERS = [random_ids(12, 12), random_ids(3, 13), random_ids(5, 14)]
TEXTS = [
    f"Boat {number} is kept at pier {number * number} of the lake, behind shed {7 - number}." for number in range(8)
]


@pytest.fixture(scope="module", params=["gemma3", "gpt2"])
def model(request):
    config = MemoryAttentionConfig(layers="all", score_bias=1.0, top_m=6, null_score=0.5)
    return MemoryDecoder(tiny_decoder(request.param), byte_tokenizer(), config=config, prefix_ids=[1, 5, 9])


@pytest.fixture(scope="module")
def rag(tmp_path_factory):
    encoder = HashEncoder()
    memory = Memory.create(tmp_path_factory.mktemp("renewal") / "boats", TEXTS, encoder)
    return RAG(memory, encoder, TinyReader()())


def test_an_answer_goes_on_as_before_where_its_memory_is_exchanged_for_the_same(model):
    expected = alone(model, QUESTION, ENTRIES, TOKENS)
    row, scores = begin(model, QUESTION, ENTRIES, TOKENS)
    passes = []
    for most in (3, 4, 11):
        decode(model, row, LookupDrafts([]), most=most)
        assert row.ids.shape[1] - row.asked == most and not row.ended
        passes += row.memory.take_passes()
        exchange_memory(model, row, make_test_memory(model, ENTRIES))
    decode(model, row, LookupDrafts([]))
    row.memory._averaged[:0] = passes  # those of one memory, as if it had stayed
    require_equal([(row, scores)], [expected])


def test_from_an_exchange_on_it_is_written_as_if_it_had_been_begun_with_the_new_memory(model):
    row, _ = begin(model, QUESTION, ENTRIES, TOKENS)
    decode(model, row, LookupDrafts([]), most=6)
    so_far = row.ids[0].tolist()
    exchange_memory(model, row, make_test_memory(model, OTHERS))
    decode(model, row, LookupDrafts([]))
    expected, _, mass = alone(model, so_far, OTHERS, TOKENS - 6)
    assert row.ids[0].tolist() == [*so_far, *expected]
    torch.testing.assert_close(row.memory.token_mass(0), mass, rtol=1e-4, atol=1e-5)


def test_drafts_stop_where_the_memory_is_to_be_exchanged(model):
    written = alone(model, QUESTION, ENTRIES, TOKENS)[0]
    row, _ = begin(model, QUESTION, ENTRIES, TOKENS)
    decode(model, row, LookupDrafts([written]), most=5)
    assert row.ids[0].tolist() == [*QUESTION, *written[:5]]


def test_an_answer_shorter_than_the_stride_is_the_plain_answer(rag):
    plain = rag.answer(TEXTS[3], AskOptions(k=2, max_new_tokens=12))
    renewed = rag.answer(TEXTS[3], AskOptions(k=2, max_new_tokens=12, retrieve_every=12))
    assert renewed.text == plain.text != ""
    assert [one.passage.id for one in renewed.citations] == [one.passage.id for one in plain.citations]
    assert [one.share for one in renewed.citations] == pytest.approx([one.share for one in plain.citations])
    for mine, other in zip(renewed.trace.entries, plain.trace.entries, strict=True):
        np.testing.assert_allclose(mine.weights, other.weights, rtol=1e-5)


def drafted(rag, options, renew=None):
    (draft,) = rag.drafts([TEXTS[3]], options)
    draft.renew = renew
    return draft, rag.answer_from([draft], options)[0]


@pytest.mark.parametrize("every", [1, 5, 7])
def test_an_answer_stays_the_same_where_the_same_entries_are_found(rag, every):
    options = AskOptions(k=3, max_new_tokens=16)
    _, plain = drafted(rag, options)
    found = rag.retriever.retrieve([TEXTS[3]], 3)[0]
    asked = []
    _, renewed = drafted(
        rag, AskOptions(k=3, max_new_tokens=16, retrieve_every=every), lambda text: asked.append(text) or found
    )
    assert renewed.text == plain.text
    assert len(asked) == (16 - 1) // every
    assert {one.passage.id: one.share for one in renewed.citations} == pytest.approx(
        {one.passage.id: one.share for one in plain.citations}, rel=1e-4
    )
    np.testing.assert_allclose(renewed.trace.shares, plain.trace.shares, rtol=1e-3, atol=1e-6)


def test_an_entry_has_attention_only_while_it_is_attended_to(rag):
    every, tokens = 6, 16
    groups = [rag.retriever.retrieve([text], 2)[0] for text in (TEXTS[0], TEXTS[6], TEXTS[1])]
    (draft,) = rag.drafts([TEXTS[3]], AskOptions(k=2))
    draft.retrieved, following = groups[0], iter(groups[1:])
    draft.renew = lambda latest: next(following)
    answer = rag.answer_from([draft], AskOptions(k=2, max_new_tokens=tokens, retrieve_every=every))[0]
    present = [{entry.passage.id for entry in groups[token // every]} for token in range(len(draft.tokens))]
    assert len(set.union(*present)) == len(answer.citations) > 2
    for citation, entry in zip(answer.citations, answer.trace.entries, strict=True):
        assert not any(mass for mass, ids in zip(entry.mass, present, strict=True) if citation.passage.id not in ids)
        assert citation.share == pytest.approx(entry.mass.mean() / answer.memory_mass, rel=1e-4)
    assert sum(citation.share for citation in answer.citations) == pytest.approx(1)
    assert (answer.trace.shares.sum(1) > 0).all()


def test_what_was_written_last_is_searched_for_with_the_question(rag, monkeypatch):
    searched, retrieve = [], rag.retriever.retrieve
    monkeypatch.setattr(
        rag.retriever, "retrieve", lambda asked, k, **where: searched.append((*asked, k)) or retrieve(asked, k, **where)
    )
    options = AskOptions(k=2, max_new_tokens=9, retrieve_every=4)
    (draft,) = rag.drafts(["boat"], options)
    rag.answer_from([draft], options)
    latest = [rag.model.tokenizer.decode(draft.tokens[first : first + 4]) for first in (0, 4)]
    assert searched[1:] == [(f"boat\n{text}", 2) for text in latest]


def test_a_renewed_answer_streams_as_it_is_written(rag):
    class Pieces(TextStreamer):
        text = ""

        def on_finalized_text(self, text, stream_end=False):
            self.text += text

    pieces = Pieces(rag.model.tokenizer, skip_prompt=True)
    answer = rag.answer(TEXTS[3], AskOptions(k=2, max_new_tokens=12, retrieve_every=4), streamer=pieces)
    assert pieces.text.strip() == answer.text != ""


def test_a_question_for_which_nothing_was_found_gets_no_entries_later(rag):
    answer = rag.answer("?!", AskOptions(k=2, max_new_tokens=9, retrieve_every=3))
    assert answer.nothing_found and not answer.citations
    assert answer.text == rag.answer("?!", AskOptions(k=2, max_new_tokens=9)).text


def test_renewal_is_refused_where_it_cannot_be(rag):
    with pytest.raises(ValueError, match="retrieve_every is 0; expected 1 to 4,096"):
        AskOptions(retrieve_every=0)
    with pytest.raises(ValueError, match="mode is 'prompt', not \"memory\""):
        AskOptions(mode="prompt", retrieve_every=8)
    with pytest.raises(ValueError, match='use_memory="never" leaves them out; give one of them'):
        AskOptions(use_memory="never", retrieve_every=8)
    options = AskOptions(retrieve_every=8)
    with pytest.raises(ValueError, match="Entries are renewed while one answer is written token by token; leave out"):
        rag.answer("boat", options, num_beams=2)
    with pytest.raises(ValueError, match="keep their entries; leave retrieve_every out"):
        rag.begin(rag.drafts(["boat"], options)[0], options)


def test_several_questions_are_answered_each_with_entries_of_its_own(rag):
    options = AskOptions(k=2, max_new_tokens=10, retrieve_every=3)
    together = rag.answer_all(TEXTS[:2], options)
    assert [one.text for one in together] == [rag.answer(text, options).text for text in TEXTS[:2]]
