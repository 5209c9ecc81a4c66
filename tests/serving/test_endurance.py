"""Thousands of requests, good and bad, in fast motion: right statuses, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import http.client
import json
import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import Served, wait_until

from memgpt_rag.model.decoding import DecodingRow
from memgpt_rag.serving.task import Task

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "When does the park open?"}]
GOOD = {
    CHAT: {
        "model": "park",
        "messages": USER,
        "max_tokens": 3,
        "temperature": 0.5,
        "memory": {"k": 2, "mode": "memory"},
    },
    "/v1/responses": {"model": "park", "input": "When?", "max_output_tokens": 3, "stream": False},
    "/v1/embeddings": {"model": "park", "input": ["one", "two"]},
    "/v1/rerank": {"model": "park", "query": "boat", "documents": ["a boat", "a kite"]},
    "/v1/memory/info": {"memory": "park"},
    "/v1/vector_stores": {"name": "mine", "metadata": {"a": "b"}},
    "/v1/vector_stores/park/search": {"query": "boat", "max_num_results": 3},
}
JUNK = [None, True, -1, 0, 1e308, 2**70, "", "x" * 3000, "\u0000", [], {}, [[]], {"a": {"b": []}}, [None], "park", "🦆"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {"max_body_bytes": 20_000, "body_seconds": 0.5, "max_new_tokens": 8, "max_waiting": 16}
    with Served(tmp_path_factory.mktemp("served"), **settings) as served:
        yield served


class Client:
    """Sends requests over one connection, and connects again where it was closed."""

    def __init__(self, server):
        self.port, self.connection = server.settings.port, None

    def send(self, method, path, body, headers=None):
        """Return the status of a request, and its body."""
        for fresh in (False, True):
            if fresh or self.connection is None:
                self.__exit__()
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                self.connection.request(method, path, body, {"content-type": "application/json", **(headers or {})})
                response = self.connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                if fresh:
                    raise
        raise AssertionError

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.connection is not None:
            self.connection.close()

    def leave(self, body):
        """Go away in the middle of a stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", CHAT, body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read1(10)
        response.close()
        connection.close()


def left_behind():
    """What requests leave in the process while they are under way."""
    gc.collect()
    # By type, since `isinstance` asks some objects of libraries for attributes that they warn about.
    found = Counter(type(one) for one in gc.get_objects() if type(one) in (Task, DecodingRow))
    found[asyncio.Task] = sum(type(one) is asyncio.Task and not one.done() for one in gc.get_objects())
    # The loop's own pool has at most a few threads, which come when several requests need one at once, and stay.
    found[threading.Thread] = sum(not one.name.startswith(("asyncio_", "uvloop_")) for one in threading.enumerate())
    return found


def resident_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def require_nothing_left(server, before):
    engine = server.service.engine
    wait_until(lambda: engine.running == engine.waiting == 0)
    assert not engine._batches._batches and not len(engine._batches)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left_behind() - before)
    assert not left_behind() - before, sorted(thread.name for thread in threading.enumerate())
    with Client(server) as client:
        assert client.send("POST", CHAT, json.dumps(GOOD[CHAT]))[0] == 200


def test_thousands_of_requests_leave_nothing_behind(server):
    """Streams, several choices, clients that go, both memories, every mode: the process does not grow."""

    def ask(seed):
        with Client(server) as own:
            return asked(own, random.Random(seed))

    def asked(own, rng):
        statuses = Counter()
        for _ in range(125):
            body = {
                **GOOD[CHAT],
                "model": rng.choice(["park", "books"]),
                "messages": [{"role": "user", "content": f"{rng.random()} " * rng.randint(1, 20)}],
                "n": rng.choice([1, 1, 2]),
                "max_tokens": rng.randint(1, 8),
                "stream": rng.random() < 0.5,
                "logprobs": rng.random() < 0.3,
                "memory": {"k": rng.randint(1, 6), "mode": rng.choice(["memory", "prompt", "closed_book"])},
            }
            if rng.random() < 0.1:
                own.leave(json.dumps({**body, "stream": True}))
            else:
                statuses[own.send("POST", CHAT, json.dumps(body))[0]] += 1
        return statuses

    def ask_all(seeds):
        with ThreadPoolExecutor(4) as pool:
            return sum(pool.map(ask, seeds), Counter())

    ask_all(range(4))
    before, resident = left_behind(), resident_mb()
    statuses = ask_all(range(4, 12))
    assert set(statuses) <= {200, 429} and statuses[200] > 500
    require_nothing_left(server, before)
    assert resident_mb() - resident < 50


def mutated(body, rng):
    """Return a body with one fault or several: wrong types, unknown names, cut off, too long."""
    body = json.loads(json.dumps(body))
    for _ in range(rng.randint(1, 3)):
        place = body
        while isinstance(place, dict | list) and place and rng.random() < 0.7:
            key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.4:
                place[key] = copy.deepcopy(rng.choice(JUNK))
                break
            place = place[key]
        if isinstance(place, dict) and rng.random() < 0.3:
            place[rng.choice(["stream", "n", "top_p", "stop", "memory", "filters", "unknown", "seed"])] = copy.deepcopy(
                rng.choice(JUNK)
            )
    text = json.dumps(body).encode()
    how = rng.random()
    if how < 0.15:
        return text[: rng.randrange(len(text))]
    if how < 0.25:
        at = rng.randrange(len(text))
        return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    return text + b" " * 25_000 if how < 0.27 else text


def test_thousands_of_bad_requests_get_right_statuses(server, pytestconfig):
    before, count = left_behind(), 1250 if pytestconfig.getoption("--thorough") else 300

    def send(seed):
        with Client(server) as own:
            return sent(own, random.Random(seed))

    def sent(own, rng):
        found = Counter()
        for _ in range(count):
            path = rng.choice(list(GOOD))
            method = rng.choice(["POST"] * 12 + ["GET", "PUT", "DELETE", "PATCH"])
            headers = {"content-type": rng.choice(["application/json"] * 9 + ["text/plain", "multipart/form-data"])}
            status, answer = own.send(method, path, mutated(GOOD[path], rng), headers)
            found[status] += 1
            if status >= 400 and method != "HEAD":
                assert json.loads(answer)["error"]["message"], (path, status, answer)
            assert status < 500, (method, path, status, answer)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = sum(pool.map(send, range(8)), Counter())
    assert {400, 404, 405, 413} <= set(found), found
    require_nothing_left(server, before)


def test_slow_and_broken_connections_are_closed(server):
    """Half a body, half a header, more or less than was announced, and no HTTP at all."""
    before, address = left_behind(), ("127.0.0.1", server.settings.port)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = [
        f"{head}Content-Length: 100\r\n\r\n{{",
        f"{head}Content-Length: x\r\n\r\n{{}}",
        f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET\r\n\r\n",
        head,
    ]
    for text in sent * 20:
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(text.encode("latin-1"))
            if text != head and "Content-Length: 100" not in text:
                with contextlib.suppress(OSError):
                    assert not connection.recv(100).startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
    require_nothing_left(server, before)
