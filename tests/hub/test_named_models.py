"""A memory names nothing that is loaded, unless it comes as a package; the user names all else, and nothing in a memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hashing import HashEncoder
from jobs import build, write_sources

from indexing.cli.main import main as memgpt_index
from memgpt_rag.cli.main import main as memgpt_rag
from memgpt_rag.encoders.load import load_memory_encoder
from memgpt_rag.errors import ModelError
from memgpt_rag.hub.bundled import E5_ENCODER, ENCODERS
from memgpt_rag.hub.named_models import require_named
from memgpt_rag.memory.storage import layout


def named(in_memory: str, by_user: str | None = None, memories=()) -> str:
    return require_named(in_memory, by_user, bundled=ENCODERS, what="encoder", option="--encoder", memories=memories)


def test_a_bundled_name_of_a_memory_is_taken_and_the_users_goes_before_it():
    assert named(E5_ENCODER) == E5_ENCODER
    assert named(E5_ENCODER, "mine/model") == named("theirs/model", "mine/model") == "mine/model"


@pytest.mark.parametrize("name", ["theirs/model", "./encoder", "/home/user/.cache/model", "memory/encoder", ""])
def test_any_other_name_of_a_memory_is_refused_and_the_user_learns_how_to_give_it(name):
    with pytest.raises(ModelError, match=r"says that its encoder is .* if you trust that model, name it: --encoder"):
        named(name)
    with pytest.raises(ModelError, match="a memory alone cannot choose what is loaded here"):
        load_memory_encoder(replace(HashEncoder().fingerprint, name=name))


def test_nothing_is_loaded_from_inside_a_memory(tmp_path):
    memory, inside = tmp_path / "memory", tmp_path / "memory" / "encoder"
    inside.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inside)
    for name in (inside, tmp_path / "link", inside / ".." / "encoder"):
        with pytest.raises(ModelError, match="lies in the memory .* no model is loaded from inside a memory"):
            named("theirs", str(name), [memory])
    beside = tmp_path / "encoder"
    beside.mkdir()
    assert named("theirs", str(beside), [memory]) == str(beside)


@pytest.fixture
def received(tmp_path) -> Path:
    """A memory whose manifest names models of its sender's choice."""
    memory = tmp_path / "memory"
    build(write_sources(tmp_path / "sources", range(4)), memory)
    (memory / "model").mkdir()
    (memory / "model" / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]')
    manifest = json.loads((memory / layout.MANIFEST).read_text())
    manifest["encoder"]["name"] = str(memory / "model")
    (memory / layout.MANIFEST).write_text(json.dumps(manifest))
    return memory


def test_no_command_loads_what_a_received_memory_names(received, tmp_path):
    (tmp_path / "more.txt").write_text("One more text.")
    asked = CliRunner().invoke(memgpt_rag, ["ask", "When?", "--memory", str(received)], input="y\n1\n")
    added = CliRunner().invoke(
        memgpt_index, ["add", str(tmp_path / "more.txt"), "--memory", str(received)], input="y\n"
    )
    for done in (asked, added):
        assert done.exit_code == 1
        assert "a memory alone cannot choose what is loaded here" in done.output
    manifest = json.loads((received / layout.MANIFEST).read_text())
    manifest["encoder"]["name"] = E5_ENCODER
    (received / layout.MANIFEST).write_text(json.dumps(manifest))
    added = CliRunner().invoke(memgpt_index, ["add", str(tmp_path / "more.txt"), "--memory", str(received)])
    assert "says that its tokenizer is 'hash', which does not come as a package" in added.output
    assert "name it: --generator 'hash'" in added.output
