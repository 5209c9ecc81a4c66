"""Attention by token: which parts of an answer came from which entry, and which words of a passage lit up for them."""

from __future__ import annotations

import numpy as np
import pytest

from memgpt_rag.answering.attention_trace import AttentionTrace, EntryTrace, joined
from memgpt_rag.answering.options import AskOptions

QUESTION = "How much does it cost to rent a rowing boat?"

# An answer "ab cd" of four tokens, one of which wrote nothing, and two entries.
TRACE = AttentionTrace(
    "ab cd",
    ((0, 1), (1, 2), (2, 2), (2, 5)),
    (
        EntryTrace(np.array([[0.2, 0.1], [0.1, 0.1], [0.5, 0.0], [0.0, 0.1]]), ((0, 2), (2, 4))),
        EntryTrace(np.array([[0.1], [0.1], [0.0], [0.3]]), ((0, 3),)),
    ),
)


def test_an_answer_is_shared_out_among_entries():
    np.testing.assert_allclose(TRACE.shares, [[0.75, 0.25], [2 / 3, 1 / 3], [1, 0], [0.25, 0.75]])
    assert TRACE.first_entry.tolist() == [0, 0, 0, 1]
    assert (TRACE.entry_spans(0), TRACE.entry_spans(1)) == ([(0, 2)], [(2, 5)])


def test_a_part_of_an_answer_lights_up_words_of_an_entry():
    np.testing.assert_allclose(TRACE.entry_weights(0, 0, 1), [0.2, 0.1])
    np.testing.assert_allclose(TRACE.entry_weights(0, 0, 2), [0.15, 0.1])
    np.testing.assert_allclose(
        TRACE.entry_weights(0), [0.1, 0.1], err_msg="the token that wrote nothing does not count"
    )
    np.testing.assert_allclose(TRACE.entry_weights(1, 5, 5), [0])


def test_what_gave_nothing_to_memory_belongs_to_no_entry():
    nothing = AttentionTrace("a", ((0, 1),), (EntryTrace(np.zeros((1, 2)), ((0, 1), (1, 2))),))
    assert nothing.first_entry.tolist() == [-1]
    assert nothing.entry_spans(0) == []
    assert AttentionTrace("a", ((0, 1),), ()).first_entry.tolist() == [-1]


@pytest.mark.parametrize(
    ("text", "tokens", "first", "spans"),
    [
        ("31,800", ["31", ",", "8", "00"], [0, 0, 1, 1], {0: [], 1: [(0, 6)]}),
        ("in 31,800.", ["in", " 31,", "800", "."], [0, 1, 1, 0], {0: [(0, 2)], 1: [(2, 10)]}),
        ("一八九一年", ["一八", "九一", "年"], [0, 1, 0], {0: [(4, 5)], 1: [(0, 4)]}),
        ("四十元。划船", ["四", "十", "元。", "划船"], [1, 1, 0, 0], {0: [(2, 6)], 1: [(0, 2)]}),
        ("boat划船", ["bo", "at", "划船"], [0, 1, 0], {0: [(4, 6)], 1: [(0, 4)]}),
    ],
)  # fmt: skip
def test_a_word_or_number_cites_one_entry(text, tokens, first, spans):
    """The entry of the most attention over all tokens of the word; here the second one gets a little more where it is first."""
    ends = np.cumsum([len(token) for token in tokens]).tolist()
    second = np.array([[0.45 if one else 0.2] for one in first])
    entries = (EntryTrace(0.6 - second, ((0, 1),)), EntryTrace(second + 0.1, ((0, 1),)))
    trace = AttentionTrace(text, tuple(zip([0, *ends], ends, strict=False)), entries)
    assert {entry: trace.entry_spans(entry) for entry in (0, 1)} == spans


def test_spans_that_touch_are_one():
    assert joined([(0, 1), (1, 1), (1, 3), (4, 5), (4, 6)]) == [(0, 3), (4, 6)]


@pytest.mark.offline_models
def test_an_answer_brings_its_trace(rag):
    answers = rag.answer_all([QUESTION, "今天天气怎么样？"], AskOptions(max_new_tokens=12))
    for answer, said in zip(answers, ("40", "晴"), strict=True):
        trace, best = answer.trace, answer.citations[0]
        assert "".join(answer.text[start:end] for start, end in trace.spans) == answer.text
        parts = sorted(span for citation in answer.citations for span in citation.spans)
        assert "".join(answer.text[start:end] for start, end in parts) == answer.text, "each part has one entry"
        # The mass of an entry is the mean over the answer's tokens, and its share that of all entries.
        masses = np.array([entry.mass.mean() for entry in trace.entries])
        assert masses.sum() == pytest.approx(answer.memory_mass, rel=1e-4)
        np.testing.assert_allclose(masses / masses.sum(), [one.share for one in answer.citations], rtol=1e-3, atol=1e-6)
        # Every character of a passage is in a token; what stands there when the answer is written lights up.
        text, spans = best.passage.text, trace.entries[0].spans
        assert len(spans) == trace.entries[0].weights.shape[1]
        assert joined(sorted(spans)) == [(0, len(text))]
        at = answer.text.index(said)
        lit = trace.entry_weights(0, at, at + len(said))
        wanted = text.index(said)
        near = [weight for (a, b), weight in zip(spans, lit, strict=True) if a < wanted + len(said) and wanted < b]
        assert max(near) > 3 * lit.mean()


@pytest.mark.offline_models
def test_answers_that_attention_did_not_write_have_no_trace(rag):
    options = AskOptions(max_new_tokens=4)
    for answer in (
        rag.answer(QUESTION, options, num_beams=2),
        rag.answer(QUESTION, AskOptions(mode="prompt", max_new_tokens=4)),
        rag.answer(QUESTION, AskOptions(mode="closed_book", max_new_tokens=4)),
        rag.answer("Who won the 1998 World Cup?", AskOptions(abstain=True, max_new_tokens=4)),
    ):
        assert answer.trace is None
        assert all(citation.spans == () for citation in answer.citations)
