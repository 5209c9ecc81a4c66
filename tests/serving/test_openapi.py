"""The whole OpenAPI document, tried with thousands of requests: no server error, and every answer is of its schema."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from served import Served
from tiny import tiny_bert

from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.load import load_encoder

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    bert = tiny_bert(folder / "bert")
    encoder, arguments = load_encoder(EncoderConfig(str(bert))), ("--encoder", str(bert), "--no-cache")
    # Below Schemathesis' own limit: a summary may take as long as the server lets it.
    settings = {
        "deadline_seconds": 20,
        "files": folder / "files",
        "conversations": folder / "conversations",
        "index_arguments": arguments,
    }
    with Served(folder, encoder=encoder, **settings) as served:
        yield served


def tried(server: Served, folder: Path, *options: str, **parameters: list[str]) -> int:
    """Number of requests that Schemathesis made, none of which failed.

    Args:
        parameters: names of path and query parameters, with values that exist.
    """
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is missing; install the dependency group `api`")
    lines = [f"{json.dumps(f'path.{name}')} = {json.dumps(values)}" for name, values in parameters.items()]
    (folder / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]), encoding="utf-8")
    command = [program, "--no-color", "run", f"{server.url}/openapi.json", "--checks", CHECKS]
    command += ["--max-examples", "100", "--request-timeout", "60", "--seed", "1", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated, passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout).groups()
    assert generated == passed
    return int(generated)


@pytest.mark.timeout(3600)
def test_no_request_of_the_document_is_a_server_error(server, tmp_path):
    client = server.client()
    file = client.files.create(file=("a.txt", b"Kites fly in May. Boats cost 40 yuan."), purpose="assistants")
    store = client.vector_stores.create(name="mine")
    client.vector_stores.files.create_and_poll(file_id=file.id, vector_store_id=store.id)
    known = {"model": ["park", "books"], "memory": ["park"], "store_id": [store.id], "file_id": [file.id]}
    requests = tried(server, tmp_path, "--exclude-method", "DELETE", **known) + tried(server, tmp_path)
    assert requests > 5000
    found = client.vector_stores.search(store.id, query="kites")
    assert found.data[0].content[0].text.startswith("Kites fly"), "the server still works"
