"""The Responses API with file search: the official client, streamed and not."""

from __future__ import annotations

import openai
import pytest
from served import TEXTS, Served

from memgpt_rag.answering.dialogue import Turn
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.previous_responses import PreviousResponses

TOOL = {"type": "file_search", "vector_store_ids": ["park"], "max_num_results": 2}
ASKED = {"model": "park", "input": TEXTS[2], "tools": [TOOL], "max_output_tokens": 8}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served.client()


def test_a_response_has_its_search_and_its_text(client):
    response = client.responses.create(**ASKED, include=["file_search_call.results"])
    search, message = response.output
    assert search.type == "file_search_call"
    assert search.queries == [TEXTS[2]]
    assert search.results[0].text == TEXTS[2]
    assert len(search.results) == 2
    assert message.content[0].text == response.output_text != ""
    assert response.status == ("incomplete" if response.incomplete_details else "completed")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    kinds = {annotation.type for annotation in message.content[0].annotations}
    assert kinds == {"file_citation", "url_citation"}
    assert client.responses.create(**ASKED).output[0].results is None


def test_a_stream_adds_up_to_the_response(client):
    whole = client.responses.create(**ASKED)
    text, kinds, numbers, last = "", [], [], None
    for event in client.responses.create(**ASKED, stream=True):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    assert text == whole.output_text
    assert numbers == list(range(len(numbers)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.index("response.file_search_call.completed") < kinds.index("response.output_text.delta")
    assert kinds[-1] == f"response.{whole.status}"
    assert last.response.output[1].content == whole.output[1].content
    assert kinds.count("response.output_text.annotation.added") == len(whole.output[1].content[0].annotations)


def test_the_clients_own_stream_helper_reads_it(client):
    with client.responses.stream(**ASKED) as stream:
        assert "".join(event.delta for event in stream if event.type == "response.output_text.delta")


def test_turns_and_instructions_are_read(client):
    alone = client.responses.create(**ASKED)
    turns = [
        {"role": "user", "content": "When does the park open?"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "At six."}]},
        {"role": "user", "content": [{"type": "input_text", "text": TEXTS[2]}]},
    ]
    after = client.responses.create(**{**ASKED, "input": turns, "instructions": "Be brief."})
    assert after.usage.input_tokens > alone.usage.input_tokens + 30


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"background": True}, openai.BadRequestError, "background is not supported"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools"),
        ({"tools": [{**TOOL, "vector_store_ids": ["none"]}]}, openai.NotFoundError, "no vector store 'none'"),
        ({"input": ""}, openai.BadRequestError, "empty"),
        ({"max_output_tokens": 10**6}, openai.BadRequestError, "at most"),
        (
            {"tools": [{**TOOL, "filters": {"type": "eq", "key": "colour", "value": "x"}}]},
            openai.BadRequestError,
            "colour",
        ),
    ],
)
def test_bad_requests_are_refused(client, settings, error, says):
    for stream in (False, True):
        with pytest.raises(error, match=says):
            client.responses.create(**{**ASKED, **settings}, stream=stream)


def test_a_response_goes_on_from_the_one_before_it(client):
    """As if the turns had been sent: the same tokens are read, and the same text is written."""
    first = client.responses.create(**ASKED)
    for stream in (False, True):
        after = client.responses.create(
            **{**ASKED, "input": "And in winter?"}, previous_response_id=first.id, stream=stream
        )
        if stream:
            after = list(after)[-1].response
        sent = [
            {"role": "user", "content": TEXTS[2]},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And in winter?"},
        ]
        expected = client.responses.create(**{**ASKED, "input": sent})
        assert after.previous_response_id == first.id
        assert after.output_text == expected.output_text
        assert after.usage.input_tokens == expected.usage.input_tokens
        assert after.output[0].queries == expected.output[0].queries != ["And in winter?"]
        further = client.responses.create(**{**ASKED, "input": "Why?"}, previous_response_id=after.id)
        assert further.usage.input_tokens > after.usage.input_tokens, "both turns before it are read"


def test_turns_that_were_sent_are_gone_on_from_too(client):
    sent = [
        {"role": "user", "content": TEXTS[2]},
        {"role": "assistant", "content": "At nine."},
        {"role": "user", "content": "And in winter?"},
    ]
    first = client.responses.create(**{**ASKED, "input": sent})
    after = client.responses.create(**{**ASKED, "input": "Why?"}, previous_response_id=first.id)
    written = [*sent, {"role": "assistant", "content": first.output_text}, {"role": "user", "content": "Why?"}]
    expected = client.responses.create(**{**ASKED, "input": written})
    assert (after.output_text, after.usage.input_tokens) == (expected.output_text, expected.usage.input_tokens)


def test_hybrid_search_without_a_lexical_index_is_refused_whatever_search_is_named(client):
    hybrid = {"embedding_weight": 0.5, "text_weight": 0.5}
    with pytest.raises(openai.BadRequestError, match="'park' has no lexical index, which the search 'hybrid' needs"):
        client.responses.create(
            **{
                **ASKED,
                "tools": [
                    {
                        "type": "file_search",
                        "vector_store_ids": ["park"],
                        "ranking_options": {"hybrid_search": hybrid},
                    }
                ],
                "extra_body": {"memory": {"search": "dense"}},
            }
        )
    assert client.responses.create(**ASKED).output_text


def test_only_what_was_kept_can_be_gone_on_from(client):
    with pytest.raises(
        openai.NotFoundError, match=r"no response 'resp_none' of yours; the latest 1,000 are kept"
    ) as shown:
        client.responses.create(**ASKED, previous_response_id="resp_none")
    assert shown.value.code == "response_not_found"
    unkept = client.responses.create(**ASKED, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**ASKED, previous_response_id=unkept.id)
    mine = client.responses.create(**ASKED, user="mine")
    with pytest.raises(openai.NotFoundError):
        client.responses.create(**ASKED, previous_response_id=mine.id, user="another's")
    with pytest.raises(openai.BadRequestError, match="both name earlier turns; give one of them"):
        client.responses.create(**ASKED, previous_response_id=mine.id, conversation="park-talk")


def test_the_oldest_responses_go():
    kept = PreviousResponses()
    for number in range(1200):
        kept.add(f"resp_{number}", "key", "", [Turn(f"question {turn}", "answer") for turn in range(number % 12)])
    assert [turn.question for turn in kept.turns("resp_1199", "key", "")] == [
        f"question {turn}" for turn in range(3, 11)
    ]
    with pytest.raises(ApiError):
        kept.turns("resp_199", "key", "")
    assert kept.turns("resp_200", "key", "") and kept.turns(None, "key", "") == []
