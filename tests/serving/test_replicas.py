"""Replicas on a Ray cluster of this machine: one that is killed under load is replaced, and all take a new version over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from commands import command_line, environment, refused, run
from served import free_port, make_client, saved_models, wait_until, wait_until_ready

MARK = "MEMGPT_RAG_TEST"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Options that name tiny models."""
    folder = tmp_path_factory.mktemp("models")
    return saved_models(folder)


class Replicated:
    """`memgpt-rag serve --engine ray` in a process of its own, with its replicas."""

    def __init__(self, memory: Path, models: list[str], log: Path, count: int = 2):
        pytest.importorskip("aiohttp", reason="needs the extra serve-ray")
        self.port, self.mark, self.log = free_port(), uuid.uuid4().hex, log
        options = ["--engine", "ray", "--replicas", str(count), "--port", str(self.port), "--no-cache"]
        command = command_line("memgpt-rag", "serve", "--memory", f"park={memory}", *options, *models)
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, env={**environment(), MARK: self.mark}, stderr=file, start_new_session=True
            )
        self.client = make_client(self.port)

    def wait_until_ready(self) -> None:
        wait_until_ready(self.process, self.port, self.log)

    def ask(self, question: str = "How much is a boat?") -> str:
        """Return the version that answered, such as "park-1"."""
        asked = [{"role": "user", "content": question}]
        got = self.client.chat.completions.create(model="park", messages=asked, max_tokens=8)
        assert got.choices[0].finish_reason in ("stop", "length")
        return str(got.system_fingerprint)

    def replicas(self) -> list[int]:
        """Return the process ids of the replicas."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica") and self._is_ours(folder):
                    found.append(int(folder.name))
        return sorted(found)

    def _is_ours(self, folder: Path) -> bool:
        return f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes()

    def end(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for folder in Path("/proc").glob("[0-9]*"):  # what Ray has started outlives a process that is killed
            with contextlib.suppress(OSError):
                if self._is_ours(folder):
                    os.kill(int(folder.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def memory(models, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    (folder / "park.txt").write_text("A rowing boat costs 40 yuan an hour.\n\nThe park opens at six in the morning.\n")
    run("memgpt-index", "build", folder / "park.txt", "--memory", folder / "park", *models[2:])
    return folder


@pytest.fixture
def served(memory, models, tmp_path) -> Iterator[Replicated]:
    server = Replicated(memory / "park", models, tmp_path / "log")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.end()


@pytest.mark.slow
def test_a_replica_that_is_killed_under_load_is_replaced(served):
    before, stop, failed, answered = served.replicas(), threading.Event(), [], []

    def client() -> None:
        while not stop.is_set():
            try:
                answered.append(served.ask())
            except (openai.APIStatusError, openai.APIConnectionError) as error:
                failed.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    try:
        wait_until(lambda: len(answered) >= 8)
        assert len(before) == 2 and not failed
        os.kill(before[0], signal.SIGKILL)
        at_kill = len(answered)
        wait_until(lambda: len(answered) >= at_kill + 8)  # the other one goes on
        wait_until(lambda: len(served.replicas()) == 2 and served.replicas() != before, 120)
        at_replacement = len(answered)
        wait_until(lambda: len(answered) >= at_replacement + 8)
    finally:
        stop.set()
        for one in clients:
            one.join(120)
    assert before[1] in served.replicas()
    assert len(failed) <= len(clients)  # those that it was answering
    assert set(answered) == {"park-1"}


@pytest.mark.slow
def test_all_replicas_take_a_new_version_over(served, memory, models):
    more = memory / "more.txt"
    more.write_text("Kites are lent to children under twelve.\n")
    version = int(served.ask().rpartition("-")[2])
    run("memgpt-index", "add", more, "--memory", memory / "park", *models[2:])
    wait_until(lambda: served.ask() == f"park-{version + 1}")
    time.sleep(3)  # each looks once a second
    assert {served.ask() for _ in range(20)} == {f"park-{version + 1}"}


@pytest.mark.slow
def test_it_ends_in_order_and_leaves_no_process(served):
    served.ask()
    served.process.terminate()
    assert served.process.wait(60) == 0
    wait_until(lambda: not served.replicas())
    assert "Traceback" not in (said := served.log.read_text()) and "raylet" not in said


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_named(memory, models, tmp_path):
    (tmp_path / "empty").mkdir()
    server = Replicated(memory / "park", ["--model", str(tmp_path / "empty"), *models[2:]], tmp_path / "log")
    try:
        assert server.process.wait(300) == 1
    finally:
        server.end()
    said = server.log.read_text()
    assert str(tmp_path / "empty") in said
    assert "Traceback" not in said


def test_what_replicas_cannot_do_is_refused(tmp_path):
    where = ("memgpt-rag", "serve", "--memory", f"park={tmp_path}")
    assert "--engine ray" in refused(*where, "--replicas", "2", status=2)
    for option in ("--files", "--remember"):
        said = refused(*where, "--engine", "ray", option, tmp_path / "kept", status=2)
        assert option in said and "--engine local" in said
