"""More requests than can be answered, clients that go, and a server that stops."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from served import Served, wait_until

from memgpt_rag.memory.storage.layout import MANIFEST

CHAT = "/v1/chat/completions"
BODY = {"model": "park", "messages": [{"role": "user", "content": "When does the park open?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served"), max_waiting=3, deadline_seconds=300) as served:
        yield served


def send(server, **settings):
    """Send a request and wait for nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", server.settings.port, timeout=120)
    connection.request("POST", CHAT, json.dumps({**BODY, **settings}), {"content-type": "application/json"})
    return connection


def response_status(connection):
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def numbers(server):
    """The server's numbers, by name and labels."""
    connection = http.client.HTTPConnection("127.0.0.1", server.settings.port, timeout=120)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_what_cannot_wait_hears_when_to_come_again(server):
    with server.held():
        waiting = [send(server) for _ in range(3)]
        server.wait_for_waiting(3)
        with pytest.raises(openai.RateLimitError, match="3 requests wait already") as refused:
            server.client().chat.completions.create(**BODY)
        assert int(refused.value.response.headers["retry-after"]) >= 1
    for connection in waiting:
        assert response_status(connection) == 200
    assert server.service.engine.waiting == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_while_it_waits_is_forgotten(server, stream):
    with server.held():
        gone, stays = send(server, stream=stream), send(server)
        server.wait_for_waiting(2)
        (task, _) = server.service.engine._waiting
        gone.close()
        wait_until(lambda: task.cancelled)
    assert response_status(stays) == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_ends_its_generation(server, stream):
    engine = server.service.engine
    connection = send(server, stream=stream, max_tokens=4000)
    wait_until(lambda: engine.running == 1)
    response = connection.getresponse() if stream else None
    if response is not None:
        assert response.read1(100)
        response.close()
    connection.close()
    wait_until(lambda: engine.running == 0)
    assert numbers(server).get('memgpt_rag_tokens_total{kind="completion"}', 0) < 4000


def test_a_request_that_waits_too_long_is_refused(tmp_path):
    with Served(tmp_path, deadline_seconds=0.3) as server:
        with server.held():
            connection = send(server)
            server.wait_for_waiting(1)
            time.sleep(0.4)
        response = connection.getresponse()
        assert response.status == 504
        assert "time was up" in json.loads(response.read())["error"]["message"]
        connection.close()
        # One that has begun ends where it is.
        answer = server.client().chat.completions.create(**{**BODY, "max_tokens": 4000})
        assert answer.choices[0].finish_reason == "length"
        assert 0 < answer.usage.completion_tokens < 4000


def test_one_bad_request_does_not_spoil_the_others(server):
    """It hears what is wrong with it, and the others are answered."""
    long = [{"role": "user", "content": "word " * 3000}]
    with ThreadPoolExecutor(3) as pool, server.held():
        client = server.client()
        good = [pool.submit(client.chat.completions.create, **BODY) for _ in range(2)]
        bad = pool.submit(client.chat.completions.create, **{**BODY, "messages": long})
        server.wait_for_waiting(3)
    assert len({one.result().choices[0].message.content for one in good}) == 1
    with pytest.raises(openai.BadRequestError, match="tokens"):
        bad.result()


def test_a_server_that_stops_refuses_what_waits_and_ends_what_runs(tmp_path):
    with Served(tmp_path, max_rows=1) as server, ThreadPoolExecutor(2) as pool:
        client = server.client()
        running = pool.submit(client.chat.completions.create, **{**BODY, "max_tokens": 4000})
        wait_until(lambda: server.service.engine.running == 1)
        waiting = pool.submit(client.chat.completions.create, **{**BODY, "model": "books"})
        server.wait_for_waiting(1)
        server.service.engine.close()
        assert running.result().choices[0].finish_reason == "length"
        with pytest.raises(openai.InternalServerError, match="stopping"):
            waiting.result()


def test_an_answer_is_given_while_a_longer_one_is_written(server):
    """A request with another memory and mode joins: its last token comes before the other's."""
    client = server.client()
    with client.chat.completions.create(**{**BODY, "max_tokens": 4000}, stream=True) as long:
        begun = next(iter(long))
        assert begun.object == "chat.completion.chunk"
        short = client.chat.completions.create(**{**BODY, "model": "books"}, extra_body={"memory": {"mode": "prompt"}})
        assert short.choices[0].finish_reason in ("stop", "length")
        assert server.service.engine.running == 1
    wait_until(lambda: server.service.engine.running == 0)


def test_a_memory_that_is_damaged_while_it_is_served_is_unavailable_until_it_is_whole(server):
    """Requests that have begun go on; later ones get a sentence, and other memories their answers."""
    manifest, client = server.folder / "books" / MANIFEST, server.client()
    whole = manifest.read_bytes()
    with client.chat.completions.create(**{**BODY, "model": "books", "max_tokens": 200}, stream=True) as stream:
        chunks = iter(stream)
        next(chunks)
        manifest.write_bytes(whole[: len(whole) // 2])
        try:
            wait_until(lambda: "books" in server.service.memories.faults)
            with pytest.raises(openai.InternalServerError, match="memory books") as refused:
                client.chat.completions.create(**{**BODY, "model": "books"})
            assert refused.value.status_code == 503
            assert client.chat.completions.create(**BODY).choices
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
        finally:
            manifest.write_bytes(whole)
    wait_until(lambda: "books" not in server.service.memories.faults)
    assert client.chat.completions.create(**{**BODY, "model": "books"}).choices


def test_numbers_are_counted(server):
    before = numbers(server)
    answer = server.client().chat.completions.create(**BODY)
    after = numbers(server)
    for kind, count in (
        ("completion", answer.usage.completion_tokens),
        ("memory", answer.usage.prompt_tokens_details.cached_tokens),
    ):
        name = f'memgpt_rag_tokens_total{{kind="{kind}"}}'
        assert after[name] - before.get(name, 0) == count
    name = f'memgpt_rag_requests_total{{method="POST",path="{CHAT}",status="200"}}'
    assert after[name] - before.get(name, 0) == 1
    assert after['memgpt_rag_memory_entries{memory="books"}'] == 2
    assert after["memgpt_rag_queue_waiting"] == 0
