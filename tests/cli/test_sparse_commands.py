"""Sparse vectors by the commands: added to a memory, shown by info, searched, and refused where they are missing."""

from __future__ import annotations

import pytest
from commands import KNOWLEDGE, refused, run
from conftest import ROOT
from hashing import HashEncoder
from tiny import tiny_splade

from memgpt_rag.memory import Memory

TEXTS = ["Bees feed on heather.", "The lamp burned the lighthouse.", "heather " * 600]


@pytest.fixture(scope="module")
def splade(tmp_path_factory):
    return tiny_splade(tmp_path_factory.mktemp("splade") / "splade")


def test_sparse_vectors_are_added_once_and_reported(splade, tmp_path):
    memory = Memory.create(tmp_path / "memory", TEXTS, HashEncoder()).path
    asked = ("memgpt-rag", "ask", "What do bees eat?", "--memory", memory, "--search", "sparse")
    assert f"no sparse vectors; add them with: memgpt-index sparse {memory} --sparse-encoder NAME" in refused(*asked)
    assert "\nsparse " not in run("memgpt-rag", "info", memory).stdout
    adding = ("memgpt-index", "sparse", memory, "--sparse-encoder", splade)
    shown = run(*adding).stdout.splitlines()
    assert shown[0].startswith("Computed the sparse vectors of 3 entries, ") and shown[0].endswith(
        f"version 2 of {memory}."
    )
    assert shown[1].startswith("1 entry of these is longer than the 512 tokens that ") and len(shown) == 2
    assert run(*adding).stdout == f"All entries of {memory} have sparse vectors of {splade}.\n"
    assert f"sparse    {splade}, 255 components\n" in run("memgpt-rag", "info", memory).stdout
    assert run("memgpt-index", "verify", memory).returncode == 0
    assert f"sparse vectors of '{splade}', and no sparse encoder was named for the question" in refused(*asked)
    assert "No sparse encoder 'nobody/none'" in refused(*asked, "--sparse-encoder", "nobody/none")
    measured = ("memgpt-rag", "eval", "retrieval", ROOT / "examples" / "beir", "--search", "sparse")
    assert "needs a sparse encoder; name one with --sparse-encoder" in refused(*measured, status=2)


@pytest.mark.slow
@pytest.mark.offline_models
def test_a_memory_is_built_with_sparse_vectors_and_measured(splade, tmp_path):
    memory, named = tmp_path / "memory", ("--sparse-encoder", splade)
    build = ("memgpt-index", "build", KNOWLEDGE, "--memory", memory, "--encoder", "all-MiniLM-L6-v2", *named)
    planned = run("memgpt-index", "plan", KNOWLEDGE, "--encoder", "all-MiniLM-L6-v2", "--no-states", *named).stdout
    assert any(line.startswith("sparse vectors") and line.endswith(" s to compute") for line in planned.splitlines())
    assert "Computed the sparse vectors of " in run(*build).stdout
    more = tmp_path / "more.txt"
    more.write_text("Swans live on the lake.")
    add = ("memgpt-index", "add", more, "--memory", memory)
    assert f"1 entry of {memory} came after its sparse vectors and cannot be found by them; add " in run(*add).stdout
    assert "Computed the sparse vectors of 1 entry, " in run(*add, *named).stdout
    opened = Memory.open(memory)
    assert opened.manifest.entries_without("sparse") == 0 and len(opened.segments) == 2
    searches = ("--search", "sparse", "--search", "hybrid", *named)
    done = run(
        "memgpt-rag", "eval", "retrieval", ROOT / "examples" / "beir", "--encoder", "all-MiniLM-L6-v2", *searches
    )
    assert done.returncode == 0, done.stderr
    assert "sparse all-MiniLM-L6-v2" in done.stdout and "hybrid all-MiniLM-L6-v2" in done.stdout
