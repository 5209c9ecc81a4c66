"""What is refused before any endpoint sees it, and what the log holds of it."""

from __future__ import annotations

import http.client
import json
import logging
import socket

import openai
import pytest
from served import Served, wait_until

from memgpt_rag.serving.access import Access, Keys, load_keys
from memgpt_rag.serving.log import JsonLines

READER, WRITER = "reader-0123456789", "writer-0123456789"
CHAT = "/v1/chat/completions"
BODY = {"model": "park", "messages": [{"role": "user", "content": "When does it open?"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served"), max_body_bytes=20_000, body_seconds=0.5) as served:
        yield served


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locked")
    listed = [
        {"key": READER, "name": "reader", "read": ["park"]},
        {"key": WRITER, "name": "writer", "read": ["*"], "write": ["*"]},
    ]
    (folder / "keys.json").write_text(json.dumps(listed))
    with Served(folder, keys=load_keys(folder / "keys.json")) as served:
        yield served


def request(server, method, path, body=None, headers=None):
    """Send a request as it is; return status, headers and the parsed body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.settings.port, timeout=60)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **(headers or {})})
        response = connection.getresponse()
        content = response.read()
        return response.status, dict(response.getheaders()), json.loads(content) if content else None
    finally:
        connection.close()


MALFORMED = [
    (b"", 400, "missing"),
    (b"{", 400, "broken JSON"),
    (b"[]", 400, ""),
    (b"null", 400, ""),
    (b'"text"', 400, ""),
    (b"\xff\xfe", 400, "not UTF-8"),
    (b'{"model": NaN}', 400, "NaN"),
    (b'{"model": 1e999}', 400, "too large"),
    (b'{"model": ' + b"9" * 5000 + b"}", 400, "digits"),
    (b"[" * 5000 + b"]" * 5000, 400, "deep"),
    (b'{"model": "\\ud800", "messages": []}', 400, "half of a character"),
    (b'{"model": "park"}', 400, "'messages' is missing"),
    (b'{"model": 3, "messages": [{"role": "user", "content": "x"}]}', 400, "model"),
    (b'{"model": "park", "messages": {"role": "user"}}', 400, "messages"),
    (b'{"model": "park", "messages": [{"role": "pirate", "content": "x"}]}', 400, "messages.0.role"),
    (b'{"model": "park", "messages": [{"role": "user"}]}', 400, "content"),
    (b'{"model": "park", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400, "content"),
    (b" " * 20_001, 413, "at most 20,000"),
]


@pytest.mark.parametrize(("body", "status", "says"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_bodies_get_a_status_and_a_sentence(server, body, status, says):
    found, headers, answer = request(server, "POST", CHAT, body)
    assert found == status
    assert answer["error"].keys() == {"message", "type", "param", "code"}
    assert says in answer["error"]["message"]
    assert answer["error"]["message"].endswith(".")
    assert "Traceback" not in str(answer)
    assert headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/nothing", {}, 404),
        ("GET", CHAT, {}, 405),
        ("DELETE", "/health", {}, 405),
        ("POST", CHAT, {"content-type": "text/plain"}, 415),
        ("POST", CHAT, {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", CHAT, {"origin": "https://evil.example"}, 403),
        ("POST", CHAT, {"origin": "null"}, 403),
        ("GET", "/v1/models", {"host": "evil.example"}, 403),
        ("GET", "/v1/models", {"host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/v1/models/%00", {}, 404),
    ],
)
def test_what_comes_in_another_way_is_refused(server, method, path, headers, status):
    found, given, answer = request(server, method, path, json.dumps(BODY) if method == "POST" else None, headers)
    assert found == status
    assert answer["error"]["message"].endswith(".")
    assert not any(name.lower().startswith("access-control") for name in given)


def test_a_body_that_does_not_come_ends_with_a_status(server):
    with socket.create_connection(("127.0.0.1", server.settings.port), timeout=60) as sent:
        sent.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{" % CHAT.encode())
        assert b" 408 " in sent.recv(4096)


def test_a_client_that_goes_before_its_body_is_complete_leaves_nothing(server):
    with socket.create_connection(("127.0.0.1", server.settings.port)) as sent:
        sent.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{" % CHAT.encode())
    assert request(server, "GET", "/health")[0] == 200


def test_status_needs_no_key_and_all_else_does(locked):
    for path in ("/health", "/ready"):
        assert request(locked, "GET", path)[0] == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": READER}, {"authorization": "Bearer "}):
        status, given, answer = request(locked, "GET", "/v1/models", headers=headers)
        assert status == 401
        assert given["www-authenticate"] == "Bearer"
        assert READER not in str(answer)
    with pytest.raises(openai.AuthenticationError, match="not one of this server's"):
        locked.client("wrong").models.list()


def test_a_key_reads_the_memories_that_it_may_read(locked):
    reader, writer = locked.client(READER), locked.client(WRITER)
    assert [model.id for model in writer.models.list()][1:] == ["park", "books"]
    assert [model.id for model in reader.models.list()][1:] == ["park"]
    assert reader.chat.completions.create(**BODY).memory["name"] == "park"
    with pytest.raises(openai.NotFoundError, match="no model 'books'"):
        reader.chat.completions.create(**{**BODY, "model": "books"})
    with pytest.raises(openai.NotFoundError, match="no memory 'books'"):
        reader.chat.completions.create(**BODY, extra_body={"memory": {"name": "books"}})
    assert writer.chat.completions.create(**{**BODY, "model": "books"}).memory["name"] == "books"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no file of keys"),
        ("[]", "no list of keys"),
        ('[{"key": "short"}]', "at least 16 characters"),
        ('[{"key": "0123456789abcdef", "reads": []}]', "'reads'"),
        ('[{"key": "0123456789abcdef", "read": "park"}]', "no list of memories"),
        ('[{"key": "0123456789abcdef"}, {"key": "0123456789abcdef"}]', "occurs twice"),
    ],
)
def test_a_file_of_keys_is_checked_and_never_quoted(tmp_path, content, says):
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ValueError, match=says) as refused:
        load_keys(tmp_path / "keys.json")
    assert "0123456789abcdef" not in str(refused.value)


def test_the_environment_holds_a_key(monkeypatch):
    monkeypatch.setenv("MEMGPT_RAG_API_KEY", READER)
    assert load_keys(None).access(f"Bearer {READER}").writes("anything")
    assert not Keys({})
    assert not Access("reader", frozenset({"park"}), frozenset()).reads("books")


def test_the_log_has_a_line_for_each_request_without_texts_or_keys(locked, caplog):
    caplog.set_level(logging.INFO, "memgpt_rag.serving")
    secret = "What does the secret garden cost?"
    _, headers, _ = request(
        locked,
        "POST",
        CHAT,
        json.dumps({**BODY, "messages": [{"role": "user", "content": secret}]}),
        {"authorization": f"Bearer {READER}", "x-request-id": "mine-1"},
    )
    assert headers["x-request-id"] == "mine-1"
    wait_until(lambda: any(record.getMessage() == "request" for record in caplog.records))
    lines = [JsonLines().format(record) for record in caplog.records]
    shown = next(line for line in map(json.loads, lines) if line.get("request") == "mine-1")
    assert (shown["status"], shown["path"], shown["client"]) == (200, CHAT, "reader")
    assert all(secret not in line and READER not in line for line in lines)


def test_the_openapi_document_says_what_is_answered(server):
    status, _, document = request(server, "GET", "/openapi.json")
    assert status == 200
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert {("post", CHAT), ("post", "/v1/responses"), ("get", "/view/{memory}")} <= operations.keys()
    for operation in operations.values():
        assert "422" not in operation["responses"]
        assert {"4XX", "5XX"} <= operation["responses"].keys()
        assert operation["description"].endswith(".")
    schema = document["components"]["schemas"]["ChatRequest"]
    assert {"model", "messages"} == set(schema["required"])
