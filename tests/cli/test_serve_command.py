"""memgpt-rag serve: what it refuses before anything is loaded, and a server that is started, asked and stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import openai
import pytest
from commands import command_line, environment, refused
from hashing import HashEncoder
from served import free_port, saved_models, wait_until

from memgpt_rag.cli.search_options import SearchOptions
from memgpt_rag.cli.serve import load_models
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.serving.settings import ServerSettings


def test_what_cannot_be_served_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.delenv("MEMGPT_RAG_API_KEY", raising=False)
    assert "--memory DIR" in refused("memgpt-rag", "serve", status=2)
    where = f"park={tmp_path / 'park'}"
    assert "--keys FILE" in refused("memgpt-rag", "serve", "--memory", where, "--host", "0.0.0.0", status=2)
    assert "does not exist" in refused("memgpt-rag", "serve", "--memory", where)
    assert "Two memories are called 'park'" in refused("memgpt-rag", "serve", "--memory", where, "--memory", where)
    assert "cannot be the name" in refused("memgpt-rag", "serve", "--memory", f"my park={tmp_path}")
    (tmp_path / "keys.json").write_text('[{"key": "short"}]')
    found = refused("memgpt-rag", "serve", "--memory", where, "--keys", tmp_path / "keys.json")
    assert "at least 16 characters" in found


@pytest.mark.offline_models
def test_memories_of_an_encoder_that_comes_as_a_package_are_served_beside_those_of_a_named_one(tmp_path, memory):
    _, decoder, _, encoder = saved_models(tmp_path)
    folders = {"own": tmp_path / "own", "park": memory}
    Memory.create(folders["own"], ["A kite is free."], load_encoder(encoder))
    search = SearchOptions(0.25, None, 0.25, "scores", None, None, 20, 0.0, 0)
    models = load_models(ServerSettings(folders), decoder, "quality", encoder, "none", search, no_cache=True)
    for folder in folders.values():
        opened = Memory.open(folder)
        opened.manifest.encoder.require_match(models.open_encoder(opened).fingerprint)


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_telemetry_without_its_packages_says_what_to_install(tmp_path, monkeypatch, missing):
    Memory.create(tmp_path / "park", ["A rowing boat costs 40 yuan an hour."], HashEncoder())
    for loaded in [name for name in sys.modules if name.startswith("opentelemetry")]:  # by the tests before this one
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, missing, None)
    said = refused("memgpt-rag", "serve", "--memory", tmp_path / "park", "--telemetry", "spans")
    assert "opentelemetry.sdk" in said and "pip install 'memgpt_rag[telemetry]'" in said


@pytest.mark.slow
@pytest.mark.offline_models
def test_a_server_is_started_asked_and_stopped(memory):
    """The bundled models: the right answer, its citation, and an end without a trace."""
    port = free_port()
    command = command_line("memgpt-rag", "serve", "--memory", f"park={memory}", "--port", str(port), "--no-cache")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as server:

        def ready():
            assert server.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as response:
                    return response.status == 200
            except urllib.error.URLError:
                return False

        try:
            wait_until(ready, 300)
            question = [{"role": "user", "content": "How much does it cost to rent a rowing boat?"}]
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300) as client:
                answer = client.chat.completions.create(model="park", messages=question)
            assert "40 yuan" in answer.choices[0].message.content
            assert answer.memory["entries"][0]["source"] == "park.md"
            assert answer.choices[0].message.annotations[0].url_citation.title
        finally:
            server.send_signal(signal.SIGTERM)
            _, log = server.communicate(timeout=60)
        assert server.returncode == 0
        events = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
        assert events.count("request") >= 2
        assert "stopped" in events
        assert "Traceback" not in log
