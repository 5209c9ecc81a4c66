"""The field `memory.trace`: what the answer's tokens attended to, against the whole trace of the library."""

from __future__ import annotations

import numpy as np
import pytest
from served import TEXTS, Served

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.serving.trace import LEAST_SHARE

QUESTION = "Where may dogs run?"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served


def asked(server, memory, **settings):
    return server.client().chat.completions.create(
        model="park",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=12,
        extra_body={"memory": {"k": 3, **memory}},
        **settings,
    )


@pytest.fixture(scope="module")
def exact(server):
    """The answer of the library, with its whole trace."""
    rag = server.service.memories.opened("park").rag
    return server.service.engine.call(lambda: rag.answer(QUESTION, AskOptions(k=3, max_new_tokens=12))).result(60)


def test_a_trace_has_the_shares_of_the_library_in_code_points(server, exact):
    completion = asked(server, {"trace": True})
    memory, text = completion.memory, completion.choices[0].message.content
    trace = memory["trace"]
    assert text == exact.text
    kept = [place for place, (start, end) in enumerate(exact.trace.spans) if start < end]
    assert [tuple(span) for span in trace["tokens"]] == [exact.trace.spans[place] for place in kept]
    assert "".join(text[start:end] for start, end in trace["tokens"]) == text
    np.testing.assert_allclose(trace["shares"], exact.trace.shares[kept], atol=1e-3)
    total = sum(entry.mass for entry in exact.trace.entries)
    for entry, places, expected in zip(memory["entries"], trace["entries"], exact.trace.entries, strict=True):
        assert entry["text"] in TEXTS
        assert len(places) == len(kept)
        for own, token in zip(places, kept, strict=True):
            shares = expected.weights[token] / total[token]
            whole = {
                (*span, round(float(share), 3))
                for span, share in zip(expected.spans, shares, strict=True)
                if share >= LEAST_SHARE and span[0] < span[1]
            }
            assert {tuple(one) for one in own} == whole
            assert all(end <= len(entry["text"]) for _, end, _ in own)


def test_a_trace_comes_where_it_is_asked_for_and_known(server):
    assert "trace" not in asked(server, {}).memory
    assert asked(server, {"trace": True, "mode": "closed_book"}).memory["trace"] is None
    assert asked(server, {"trace": True, "mode": "prompt"}).memory["trace"] is None


def test_a_stream_and_a_response_have_the_trace_of_the_whole_answer(server):
    whole = asked(server, {"trace": True}).memory["trace"]
    chunks = list(asked(server, {"trace": True}, stream=True))
    assert [chunk.memory["trace"] for chunk in chunks if getattr(chunk, "memory", None)] == [whole]
    response = server.client().responses.create(
        model="park", input=QUESTION, max_output_tokens=16, extra_body={"memory": {"k": 3, "trace": True}}
    )
    assert response.memory["trace"]["tokens"][: len(whole["tokens"])] == whole["tokens"]


def test_a_trace_ends_where_a_stop_cuts_the_answer(server, exact):
    stop = exact.text[4:6]
    completion = asked(server, {"trace": True}, stop=[stop])
    text = completion.choices[0].message.content
    assert exact.text.startswith(text) and len(text) < len(exact.text)
    assert completion.memory["trace"]["tokens"][-1][1] <= len(text)
