"""Chat completions over HTTP: the official client against a real server, with a tiny language model."""

from __future__ import annotations

import json

import openai
import pytest
from served import TEXTS, Served

QUESTION = [{"role": "user", "content": "What does a rowing boat cost?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def ask(client, **settings):
    return client.chat.completions.create(
        **{"model": "park", "messages": QUESTION, "max_tokens": 12, "seed": 1, **settings}
    )


def test_an_answer_has_the_form_of_the_official_api(client):
    completion = ask(client)
    (choice,) = completion.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = completion.usage
    assert usage.completion_tokens <= 12
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
    memory = completion.memory
    assert memory["version"] == 1
    assert {entry["text"] for entry in memory["entries"]} <= set(TEXTS)
    assert sum(entry["share"] for entry in memory["entries"]) == pytest.approx(1)
    assert 0 < memory["mass"] < 1


def test_a_stream_says_what_the_whole_answer_says(client):
    for settings in ({}, {"temperature": 0.9, "top_p": 0.9}, {"n": 3, "temperature": 1.0}):
        whole = ask(client, **settings)
        pieces = dict.fromkeys(range(settings.get("n", 1)), "")
        reasons, annotations, usage = {}, {}, None
        for chunk in ask(client, stream=True, stream_options={"include_usage": True}, **settings):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                assert not reasons.get(choice.index)  # nothing comes behind the end
                pieces[choice.index] += choice.delta.content or ""
                if choice.finish_reason:
                    reasons[choice.index] = choice.finish_reason
                if found := getattr(choice.delta, "annotations", None):
                    annotations[choice.index] = found
        for choice in whole.choices:
            assert pieces[choice.index] == choice.message.content
            assert reasons[choice.index] == choice.finish_reason
            expected = [json.loads(one.model_dump_json()) for one in choice.message.annotations]
            assert annotations.get(choice.index, []) == expected
        assert usage == whole.usage


def test_an_answer_is_the_same_alone_and_in_a_batch(server, client):
    """Rows of a batch choose by rules of their own, so that who else asks changes nothing."""
    from concurrent.futures import ThreadPoolExecutor

    settings = [{"seed": seed, "temperature": 1.0, "max_tokens": 4 + seed} for seed in range(6)]
    alone = [ask(client, **one).choices[0].message.content for one in settings]
    with ThreadPoolExecutor(6) as pool, server.held():
        asked = [pool.submit(ask, client, **one) for one in settings]
        server.wait_for_waiting(6)
    assert [one.result().choices[0].message.content for one in asked] == alone
    assert len(set(alone)) > 1


def test_a_seed_repeats_and_another_one_does_not(client):
    def text(seed):
        return ask(client, temperature=1.0, seed=seed, max_tokens=16).choices[0].message.content

    assert text(3) == text(3)
    assert len({text(seed) for seed in range(4)}) > 1


def test_a_stop_ends_the_answer_before_it(client):
    whole = ask(client, max_tokens=24).choices[0]
    stop = whole.message.content[3:5]
    before = whole.message.content[: whole.message.content.find(stop)].rstrip()
    for stream in (False, True):
        answer = ask(client, max_tokens=24, stop=["nowhere", stop], stream=stream)
        if stream:
            chunks = [chunk.choices[0] for chunk in answer]
            text, reason = "".join(one.delta.content or "" for one in chunks), chunks[-1].finish_reason
        else:
            text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert (text, reason) == (before, "stop")


def test_log_probabilities_are_those_of_the_tokens(client):
    choice = ask(client, logprobs=True, top_logprobs=3, max_tokens=8).choices[0]
    assert len(choice.logprobs.content) == 8
    for token in choice.logprobs.content:
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # the likeliest one was chosen
        values = [one.logprob for one in token.top_logprobs]
        assert values == sorted(values, reverse=True)
    streamed = [
        token
        for chunk in ask(client, logprobs=True, top_logprobs=3, max_tokens=8, stream=True)
        for token in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert [one.token for one in streamed] == [one.token for one in choice.logprobs.content]


def test_earlier_turns_and_instructions_change_the_answer(client, server):
    alone = ask(client)
    turns = [
        {"role": "system", "content": "Speak like a ferryman."},
        {"role": "user", "content": "When does the park open?"},
        {"role": "assistant", "content": "At six."},
        *QUESTION,
    ]
    after = ask(client, messages=turns)
    assert after.usage.prompt_tokens > alone.usage.prompt_tokens + 40
    assert after.choices[0].message.content != alone.choices[0].message.content
    # It is searched for with the turn before it, unless the request says what to search for.
    query = QUESTION[0]["content"]
    same = ask(client, messages=turns, extra_body={"memory": {"query": query}})
    joined = ask(client, extra_body={"memory": {"query": f"When does the park open? At six. {query}"}})
    found = [{entry["id"] for entry in answer.memory["entries"]} for answer in (alone, same, joined, after)]
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_the_memory_is_chosen_and_searched_as_asked(client):
    def fields(**memory):
        return ask(client, extra_body={"memory": memory}).memory

    assert len(fields(k=2)["entries"]) == 2
    assert fields(name="books")["name"] == "books"
    assert fields(mode="closed_book")["entries"] == []
    assert fields(mode="closed_book")["mass"] == 0
    assert all(entry["share"] is None for entry in fields(mode="prompt")["entries"])
    kite = fields(k=1, query="Who may borrow a kite?")["entries"][0]["text"]
    assert "kite" in kite
    for where in ('id == "text#none"', {"type": "eq", "key": "id", "value": "text#none"}):
        nothing = fields(filter=where)
        assert nothing["nothing_found"]
        assert nothing["confidence"] == 0
    abstained = ask(client, extra_body={"memory": {"abstain": True, "filter": 'id == "none"'}})
    assert abstained.choices[0].message.content == "not in memory"
    assert abstained.memory["abstained"]
    assert abstained.choices[0].message.annotations == []


@pytest.mark.parametrize(
    ("settings", "status", "says"),
    [
        ({"model": "nothing"}, 404, "no model 'nothing'"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "empty"),
        ({"messages": [*QUESTION, {"role": "assistant", "content": "So"}]}, 400, "not the user's"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 400, "tokens"),
        ({"max_tokens": 10**6}, 400, "at most"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 17}, 400, "n"),
        ({"stop": [""]}, 400, "empty"),
        ({"top_logprobs": 3}, 400, "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools is not supported"),
        ({"frequency_penalty": 1}, 400, "frequency_penalty is not supported"),
        ({"extra_body": {"best_of": 3}}, 400, "best_of"),
        ({"extra_body": {"memory": {"name": "none"}}}, 404, "no memory 'none'"),
        ({"extra_body": {"memory": {"k": 0}}}, 400, "memory.k"),
        ({"extra_body": {"memory": {"search": "hybrid"}}}, 400, "no lexical index"),
        (
            {"extra_body": {"memory": {"search": "sparse"}}},
            400,
            "no sparse vectors; add them with: memgpt-index sparse",
        ),
        ({"extra_body": {"memory": {"filter": "colour == 3"}}}, 400, "colour"),
        ({"extra_body": {"memory": {"filter": {"type": "near"}}}}, 400, "near"),
        ({"extra_body": {"memory": {"mode": "prompt", "abstain": True}}}, 400, "attention"),
    ],
)
def test_bad_requests_are_refused_with_a_sentence(client, settings, status, says):
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError, match=says) as refused:
            ask(client, stream=stream, **settings)
        assert refused.value.status_code == status
        assert refused.value.body["message"].endswith(".")
