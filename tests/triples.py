"""Files of triples for tests."""

from __future__ import annotations

import pytest
from conftest import ROOT

from memgpt_rag.tasks.graph.knowledge import Knowledge
from memgpt_rag.tasks.graph.read import read_triples

HEAD = """@prefix : <http://example.org/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
"""
PARK = ROOT / "examples" / "graph" / "park.ttl"


def read(tmp_path, text: str, name: str = "a.ttl") -> Knowledge:
    """The triples of a text in a file; of Turtle with the usual prefixes, in three lines."""
    if name.endswith(".ttl"):
        pytest.importorskip("rdflib", reason="the extra `graph` is missing")
        text = HEAD + text
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # so that places are short
        return read_triples([name])
