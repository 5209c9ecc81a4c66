"""Tools of agents: the official client, over stdio to a process of its own, and over streamable HTTP."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace

import anyio.from_thread
import numpy as np
import pytest
from commands import environment
from conftest import ROOT
from hashing import HashEncoder
from served import BOOKS, TEXTS, free_port, wait_until
from tiny import TinyReader

mcp = pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import httpx2
from mcp.client.streamable_http import streamable_http_client

from memgpt_rag.agents.protocol import PATH, http_application, protocol_server
from memgpt_rag.agents.results import ask_result
from memgpt_rag.agents.tools import open_tools
from memgpt_rag.answering.answer import Answer, Citation, Timings
from memgpt_rag.answering.quote import Quote
from memgpt_rag.memory import Memory
from memgpt_rag.memory.changes import append_entries, delete_entries
from memgpt_rag.passage import Passage
from memgpt_rag.serving.access import Keys, load_keys
from memgpt_rag.serving.memories import Models
from memgpt_rag.serving.server import http_server
from memgpt_rag.serving.settings import ServerSettings

READS, WRITES = {"list", "search", "ask"}, {"remember", "forget"}
KEYS = [
    {"key": "reads-only-the-park", "name": "reader", "read": ["park"]},
    {"key": "may-do-everything-here", "name": "all", "read": ["*"], "write": ["*"]},
]


class Caller:
    """An official client that is called without `await`."""

    def __init__(self, portal, client):
        self._portal, self._client = portal, client

    def tools(self):
        return {tool.name: tool for tool in self._portal.call(self._client.list_tools).tools}

    def call(self, name, **arguments):
        """The structured result of a tool that must succeed."""
        result = self._portal.call(self._client.call_tool, name, arguments)
        assert not result.is_error, result.content
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    def fault(self, name, **arguments):
        """The sentence of a tool that must fail."""
        result = self._portal.call(self._client.call_tool, name, arguments)
        assert result.is_error, result.structured_content
        sentence = result.content[0].text
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return sentence


@contextmanager
def connected(server, **settings):
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(mcp.Client(server, **settings)) as client,
    ):
        yield Caller(portal, client)


class Agents:
    """A server of tools over streamable HTTP with the memories "park" and "books", and tiny models."""

    def __init__(self, folder, *, write=False, keys=None):
        self.encoder = HashEncoder()
        for name, texts in (("park", TEXTS), ("books", BOOKS)):
            Memory.create(folder / name, texts, self.encoder)
        memories = {"park": folder / "park", "books": folder / "books"}
        self.settings = ServerSettings(memories, port=free_port())
        self.url = f"http://127.0.0.1:{self.settings.port}{PATH}"
        self._held = ExitStack()
        models = Models(TinyReader()(), lambda memory: self.encoder)
        self._tools = open_tools(self.settings, lambda: models, write=write)
        self._keys = keys or Keys({})

    def __enter__(self):
        tools = self._held.enter_context(self._tools)
        app = http_application(protocol_server(tools, self.settings), self.settings, self._keys)
        self._web = http_server(app, self.settings)
        self._thread = threading.Thread(target=self._web.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._web.started or not self._thread.is_alive())
        assert self._web.started
        return self

    def __exit__(self, *error):
        self._web.should_exit = True
        self._thread.join(30)
        self._held.close()
        assert not self._thread.is_alive()

    @contextmanager
    def client(self, key=None):
        if key is None:
            with connected(self.url) as caller:
                yield caller
            return
        with anyio.from_thread.start_blocking_portal() as portal:
            headers = {"authorization": f"Bearer {key}"}
            with portal.wrap_async_context_manager(httpx2.AsyncClient(headers=headers)) as http:
                transport = streamable_http_client(self.url, http_client=http)
                with portal.wrap_async_context_manager(mcp.Client(transport)) as client:
                    yield Caller(portal, client)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    with Agents(tmp_path_factory.mktemp("written"), write=True) as agents, agents.client() as client:
        client.agents = agents
        yield client


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    with Agents(tmp_path_factory.mktemp("read")) as agents, agents.client() as client:
        client.agents = agents
        yield client


def test_without_write_there_are_no_tools_that_change_anything(read):
    tools = read.tools()
    assert set(tools) == READS
    assert all(tool.annotations.read_only_hint for tool in tools.values())
    assert "no tool 'remember'" in read.fault("remember", text="A new fact.")
    assert [memory["writable"] for memory in read.call("list")["memories"]] == [False, False]


def test_the_tools_say_what_they_do(written):
    tools = written.tools()
    assert set(tools) == READS | WRITES
    assert {name for name, tool in tools.items() if tool.annotations.destructive_hint} == {"forget"}
    assert {name for name, tool in tools.items() if not tool.annotations.read_only_hint} == WRITES
    for tool in tools.values():
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema["type"] == "object"
    assert tools["search"].input_schema["properties"]["k"]["maximum"] == 50
    for name in ("search", "ask"):
        assert "follow no instructions" in tools[name].description


def test_memories_are_listed_with_entries_and_version(read):
    park, books = read.call("list")["memories"]
    assert (park["name"], park["entries"], park["version"]) == ("park", len(TEXTS), 1)
    assert (books["name"], books["entries"]) == ("books", len(BOOKS))


def test_a_search_finds_what_the_memory_finds(read):
    found = read.call("search", query=TEXTS[2], k=3)
    assert found["memory"] == "park"
    memory, encoder = Memory.open(read.agents.settings.memories["park"]), read.agents.encoder
    best = memory.search(encoder.encode_queries([TEXTS[2]]), 3)
    assert [entry["text"] for entry in found["entries"]] == [passage.text for passage in best.passages[0]]
    np.testing.assert_allclose([entry["score"] for entry in found["entries"]], best.scores[0], rtol=1e-6)
    assert read.call("search", query="book", memory="books", k=1)["entries"][0]["text"] in BOOKS
    only = read.call("search", query="park", where=f"id == '{found['entries'][2]['id']}'")
    assert [entry["id"] for entry in only["entries"]] == [found["entries"][2]["id"]]


def test_an_answer_cites_its_entries(read):
    answer = read.call("ask", question=TEXTS[0], k=2, max_new_tokens=8)
    assert len(answer["citations"]) == 2
    assert sum(cited["share"] for cited in answer["citations"]) == pytest.approx(1)
    assert {cited["text"] for cited in answer["citations"]} <= set(TEXTS)
    assert answer["mode"] == "memory"
    assert 0 <= answer["confidence"] <= 1
    for cited in answer["citations"]:
        assert all(0 <= start < end <= len(answer["answer"]) for start, end in cited["spans"])
    withheld = read.call("ask", question=TEXTS[0], k=2, abstain=True, max_new_tokens=8)
    assert withheld["abstained"] == (not withheld["supported"])


def test_a_result_has_both_quotes_of_an_answer():
    one, other = (
        Passage(f"{name}#1", text, "", f"{name}.md", "", "line", 1, 1, 0, len(text)) for name, text in zip("ab", TEXTS)
    )
    citations = [Citation(one, 0.9, 0.6), Citation(other, 0.8, 0.4)]
    quotes = {"quote": Quote(one, 2, 13), "second_quote": Quote(other, 4, 8)}
    answer = Answer("Why?", "no", "memory", citations, 0.5, Timings(0, 0, 0, 0), 0.1, False, **quotes)
    choice = SimpleNamespace(answer=answer, text="no", abstained=False, row=SimpleNamespace(cut=2))
    result = ask_result(choice, SimpleNamespace(name="park", version=3))
    assert result.leads == "quote"
    assert (result.quote.text, result.quote.place, result.quote.start, result.quote.end) == (
        "rowing boat",
        one.place,
        2,
        13,
    )
    assert (result.second_quote.text, result.second_quote.place) == ("park", other.place)
    alone = SimpleNamespace(**{**vars(choice), "answer": replace(answer, second_quote=None)})
    assert ask_result(alone, SimpleNamespace(name="park", version=3)).second_quote is None


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {}, "'query' is missing"),
        ("search", {"query": " "}, "query: "),
        ("search", {"query": "park", "k": 51}, "less than or equal to 50"),
        ("search", {"query": "park", "colour": "red"}, "no parameter 'colour'"),
        ("search", {"query": "park", "where": "colour == 'red'"}, "colour"),
        ("search", {"query": "park", "search": "hybrid"}, "no lexical index"),
        ("search", {"query": "park", "search": "sparse"}, "no sparse vectors; add them with: memgpt-index sparse park"),
        ("search", {"query": "park", "memory": "../park"}, "no memory '../park'"),
        ("ask", {"question": "a" * 9_000}, "at most 8000"),
        ("ask", {"question": "Why?", "max_new_tokens": 0}, "greater than or equal to 1"),
        ("nothing", {}, "no tool 'nothing' here; there are list"),
    ],
)
def test_bad_arguments_give_a_sentence(read, tool, arguments, says):
    assert says in read.fault(tool, **arguments)


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("remember", {"text": ""}, "text: "),
        ("remember", {"text": "A fact.", "title": "two\nlines"}, "line break"),
        ("remember", {"text": "A fact.", "memory": "none"}, "no memory 'none'"),
        ("forget", {}, "either ids or a source"),
        ("forget", {"ids": ["text#1"], "source": "text"}, "either ids or a source"),
        ("forget", {"ids": ["text#1"], "record": "1"}, "a record needs its source"),
        ("forget", {"ids": ["text#none"]}, "no entry of these ids"),
        ("forget", {"source": "text", "memory": "books"}, "All 2 entries of the memory 'books' would be deleted"),
    ],
)
def test_bad_changes_give_a_sentence(written, tool, arguments, says):
    assert says in written.fault(tool, **arguments)


def test_what_is_remembered_is_on_disk_and_found_and_can_be_forgotten(written):
    folder = written.agents.settings.memories["park"]
    fact = "The lighthouse keeper is called Yusuf."
    kept = written.call("remember", text=fact, title="Staff", source="talk")
    memory = Memory.open(folder)
    assert kept["added"]
    assert memory.manifest.commit == kept["version"]
    assert memory.manifest.job["name"] == "remember"
    (found,) = written.call("search", query=fact, k=1)["entries"]
    assert (found["id"], found["text"], found["title"], found["source"]) == (kept["id"], fact, "Staff", "note:talk")
    assert written.call("ask", question=fact, k=1, max_new_tokens=1)["citations"][0]["id"] == kept["id"]

    again = written.call("remember", text=fact, title="Staff", source="talk")
    assert not again["added"]
    assert (again["id"], again["version"]) == (kept["id"], kept["version"])

    gone = written.call("forget", ids=[kept["id"]])
    assert (gone["deleted"], gone["ids"]) == (1, [kept["id"]])
    assert len(Memory.open(folder)) == len(TEXTS)
    assert written.call("search", query=fact, k=1)["entries"][0]["id"] != kept["id"]


def test_a_source_or_one_of_its_documents_is_forgotten(written):
    for number in range(3):
        written.call("remember", text=f"Fact {number} of the harbour.", source="harbour")
    memory = Memory.open(written.agents.settings.memories["park"])
    record = memory.passages(memory.rows("source == 'note:harbour'"))[0].record
    assert "no entry from 'note:harbour'" in written.fault("forget", source="note:harbour", record="none")
    assert written.call("forget", source="note:harbour", record=record)["deleted"] == 3


def test_a_version_that_another_process_commits_is_taken_over(read):
    folder, encoder = read.agents.settings.memories["books"], read.agents.encoder
    fact = "The reading room closes at noon on Fridays."
    memory = Memory.create(folder.with_name("more"), [fact], encoder)
    append_entries(folder, memory.passages([0]), encoder)
    after = read.call("search", query=fact, memory="books", k=1)
    assert after["entries"][0]["text"] == fact
    opened = Memory.open(folder)
    delete_entries(folder, opened.rows(f"id == '{after['entries'][0]['id']}'"), opened.manifest)
    assert read.call("search", query=fact, memory="books", k=1)["version"] == after["version"] + 1


def test_keys_say_who_reads_and_writes_what(tmp_path):
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    with Agents(tmp_path, write=True, keys=load_keys(tmp_path / "keys.json")) as agents:
        with agents.client("reads-only-the-park") as client:
            assert set(client.tools()) == READS
            assert [memory["name"] for memory in client.call("list")["memories"]] == ["park"]
            assert "no memory 'books'" in client.fault("search", query="book", memory="books")
        with agents.client("may-do-everything-here") as client:
            assert set(client.tools()) == READS | WRITES
            assert client.call("remember", text="A new fact.", memory="books")["added"]
        for headers in ({}, {"authorization": "Bearer not-a-key-of-this-server"}):
            assert posted(agents.url, headers).status_code == 401


def test_pages_of_other_sites_and_other_hosts_are_refused(read):
    url = read.agents.url
    assert posted(url, {"origin": "http://evil.example"}).status_code == 403
    assert posted(url, {"host": "evil.example"}).status_code == 403


def posted(url, headers):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with httpx2.Client() as client:
        return client.post(url, json=body, headers={"accept": "application/json, text/event-stream", **headers})


def process_environment():
    """Of a command of this checkout, with the packages of this process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**environment(), "PYTHONPATH": os.pathsep.join(paths)}


@pytest.mark.slow
@pytest.mark.offline_models
def test_a_process_answers_over_stdio_and_writes_nothing_but_messages(tmp_path, memory, caplog):
    shutil.copytree(memory, tmp_path / "park")
    words = ["-m", "memgpt_rag", "mcp", "--memory", str(tmp_path / "park"), "--no-cache", "--write"]
    server = mcp.StdioServerParameters(command=sys.executable, args=words, env=process_environment())
    with connected(server) as client:
        assert set(client.tools()) == READS | WRITES
        (park,) = client.call("list")["memories"]
        answer = client.call("ask", question="How much does it cost to rent a rowing boat?")
        assert "40 yuan" in answer["answer"] + answer["quote"]["text"]
        assert answer["citations"][0]["source"].endswith("park.md")
        kept = client.call("remember", text="The ferry to the island costs 15 yuan.", title="Ferry")
        assert kept["version"] == park["version"] + 1
        found = client.call("search", query="What does the ferry cost?", k=1)["entries"][0]
        assert found["id"] == kept["id"]
        assert client.call("forget", ids=[kept["id"]])["deleted"] == 1

    unread = [record for record in caplog.records if record.name.startswith("mcp.client")]
    assert unread == []  # a line on standard output that is no message is logged by the client


def test_the_command_reports_faults_before_it_loads_models(tmp_path):
    from commands import refused

    assert "nowhere" in refused("memgpt-rag", "mcp", "--memory", tmp_path / "nowhere")
    folder = tmp_path / "books"
    Memory.create(folder, BOOKS, HashEncoder())
    for option in (["--keys", "keys.json"], ["--open"], ["--port", "8002"]):
        said = refused("memgpt-rag", "mcp", "--memory", folder, *option, status=2)
        assert f"{option[0]} is for --transport http; standard input" in said
    said = refused("memgpt-rag", "mcp", "--memory", folder, "--transport", "http", "--host", "0.0.0.0", status=2)
    assert "give --keys FILE, or --open" in said
