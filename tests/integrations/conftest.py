"""What the tests of integrations share: a memory of boats, read by a tiny decoder of random weights."""

from __future__ import annotations

import pytest
from hashing import HashEncoder
from tiny import TinyReader

from memgpt_rag import RAG, Memory

BOATS = [f"Boat {number} costs {number * 10} yuan." for number in range(1, 6)]


@pytest.fixture(scope="session")
def boats(tmp_path_factory):
    folder, encoder = tmp_path_factory.mktemp("rag") / "boats", HashEncoder()
    return RAG(Memory.create(folder, BOATS, encoder), encoder, TinyReader()())
