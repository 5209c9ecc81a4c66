"""A small task for training: a memory of who wears which hat, with a tiny decoder that reads it."""

from __future__ import annotations

import json
from pathlib import Path

from hashing import HashEncoder
from tiny import tiny_decoder

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import Example

NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal")
COLOURS = ("red", "blue", "green", "black", "white", "brown", "pink", "grey")


def build_hats(scratch: Path) -> Path:
    """Build the memory, and return its folder."""
    source = scratch / "hats.jsonl"
    records = [{"id": name, "text": f"The hat of {name} is {colour}."} for name, colour in zip(NAMES, COLOURS)]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    engine = LocalEngine(HashEncoder(), PassageSplitter(lambda text: len(text.split())))
    build_memory(find_files([source]), scratch / "memory", engine=engine, tokenizer_name="words")
    return scratch / "memory"


def open_rag(folder: Path) -> RAG:
    model = MemoryDecoder(tiny_decoder("gemma3", vocabulary=256), byte_tokenizer(), config="quality")
    return RAG(Memory.open(folder), HashEncoder(), model)


def asked(rag: RAG) -> list[Example]:
    questions = [f"What is the hat of {name} like?" for name in NAMES]
    found = rag.retriever.retrieve(questions, 6)
    return [Example(*one) for one in zip(questions, COLOURS, found, strict=True)]
