"""Embeds entries in the order in which their values are numbered."""

from __future__ import annotations

from collections.abc import Callable

from memgpt_rag.encoder import Encoder
from memgpt_rag.memory import MemoryWriter

BLOCK = 256


def encode_values(
    writer: MemoryWriter, encoder: Encoder, *, on_block: Callable[[int], object] = lambda entries: None
) -> None:
    """Give every value of the memory in the making its key; `on_block` hears how many were embedded."""
    for passages in writer.value_blocks(BLOCK):
        writer.add_keys(encoder.encode_passages([passage.titled_text for passage in passages]))
        on_block(len(passages))
