"""`indexing.build`: one call from files to a memory, equal to what the command builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import KNOWLEDGE, run

import indexing
from indexing import BuildOptions
from memgpt_rag import AskOptions, EncoderConfig, Memory, Search
from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.memory.storage import layout
from memgpt_rag.rag import RAG

pytestmark = pytest.mark.offline_models
MINILM = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "memory"
    report = indexing.build(KNOWLEDGE, folder, BuildOptions(encoder=MINILM, lexical=True))
    assert (report.files, report.commit, report.entries) == (3, 1, report.added)
    return folder


def files(memory: Path) -> dict[str, bytes]:
    """Keys and values of a memory, by their names."""
    return {
        path.name: path.read_bytes() for path in sorted(memory.rglob("*")) if path.name in (layout.KEYS, layout.VALUES)
    }


def test_the_call_builds_what_the_command_builds(built, tmp_path):
    done = run("memgpt-index", "build", KNOWLEDGE, "--memory", tmp_path / "m", "--encoder", MINILM, "--lexical")
    assert done.returncode == 0, done.stderr
    assert files(built) == files(tmp_path / "m")
    assert Memory.open(built).manifest.words == Memory.open(tmp_path / "m").manifest.words is not None


def test_built_again_it_has_nothing_to_do(built):
    before = Memory.open(built).manifest
    report = indexing.build([KNOWLEDGE], built, BuildOptions(encoder=EncoderConfig(MINILM), lexical=True))
    assert (report.added, report.kept, report.commit) == (0, before.entries, None)
    assert Memory.open(built).manifest == before


def test_what_was_built_answers(built, gemma):
    from memgpt_rag.encoders.load import load_encoder

    rag = RAG(Memory.open(built), load_encoder(MINILM), gemma, search=Search("hybrid"))
    answer = rag.answer("How much does it cost to rent a rowing boat?", AskOptions(k=2, max_new_tokens=16))
    assert "40 yuan" in answer.text


def test_errors_are_those_of_the_job(built, tmp_path):
    with pytest.raises(SourceError, match="none does not exist; name a file or a folder"):
        indexing.build(tmp_path / "none", tmp_path / "m", BuildOptions(encoder=MINILM))
    with pytest.raises(MismatchError, match="was built in another way: max_tokens 160 against 80"):
        indexing.build(KNOWLEDGE, built, BuildOptions(encoder=MINILM, max_tokens=80))


def test_states_are_computed_where_that_is_asked(tmp_path):
    text = tmp_path / "one.txt"
    text.write_text("The boat house opens at nine.")
    indexing.build(text, tmp_path / "m", BuildOptions(encoder=MINILM, states="compact", index="exact"))
    memory = Memory.open(tmp_path / "m")
    assert memory.manifest.states is not None and memory.states(0) is not None


def test_rejects_reach_the_callback_and_the_report(tmp_path):
    (tmp_path / "boats.jsonl").write_text('{"text": "A rowing boat costs 40 yuan."}\n{broken\n')
    rejects = []
    read = indexing.ReadOptions(on_reject=rejects.append)
    report = indexing.build(tmp_path / "boats.jsonl", tmp_path / "m", BuildOptions(encoder=MINILM, read=read))
    assert (report.entries, report.rejected) == (1, 1)
    assert [(one.source, one.position) for one in rejects] == [("boats.jsonl", "line 2")]
