"""The memory that forward passes attend to, and what they record: context variables, so that threads do not see each other's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from memgpt_rag.model.attention import UNSEEN
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.model.layer_kinds import Chunk
from memgpt_rag.model.states import AttendedMemory


@dataclass
class Attended:
    """The memory that is attended, and the masks of the forward pass under way, which many layers share."""

    memory: AttendedMemory
    layer_settings: dict[int, LayerSettings]
    has_chunks: bool  # windows of this decoder are chunks; no decoder has both
    key_position: Tensor | None = None  # [rows, local tokens]
    query_position: Tensor | None = None  # [batch, queries]
    calls: Counter[int] = field(default_factory=Counter)
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def begin(self, position: Tensor, seen: int) -> None:
        """A forward pass begins; its mask function calls this before any attention runs.

        Args:
            position: [rows, local tokens]; the beams of a question are neighbors.
            seen: local tokens of earlier passes.
        """
        self.key_position = position
        self.query_position = position[:: len(position) // len(self.memory.num_entries), seen:]
        self.calls.clear()
        self._masks.clear()

    def begun_positions(self) -> Tensor:
        """[rows, local tokens]: positions in the pass under way.

        Raises:
            ValueError: it has begun without a causal mask.
        """
        if self.key_position is None:
            raise ValueError("its tokens see later ones; set is_decoder in its configuration")
        return self.key_position

    def memory_mask(self, window: int | None) -> Tensor:
        """[batch, 1, queries, tokens]: the bias of each token, and what is unseen: padding, what a sliding window has
        left behind, and all memory for the prefix, which stands before it.
        """
        if window not in self._masks:
            self.begun_positions()
            assert self.query_position is not None
            memory, position = self.memory, self.query_position[:, :, None]
            visible = memory.present[:, None, :] & (position >= memory.prefix_tokens)
            if window is not None:
                visible = visible & within(window, position, memory.position[:, None, :])
            self._masks[window] = torch.where(visible, memory.bias[:, None, :], UNSEEN)[:, None]
        return self._masks[window]


def within(window: int, query: Tensor, key: Tensor) -> Tensor:
    """Whether a query sees a key by its position: in a sliding window, or in a chunk."""
    return query // window == key // window if isinstance(window, Chunk) else query - key < window


attended: ContextVar[Attended | None] = ContextVar("attended", default=None)
recorded: ContextVar[dict[int, tuple[Tensor, Tensor]] | None] = ContextVar("recorded", default=None)


@contextmanager
def use_memory(
    memory: AttendedMemory, layer_settings: dict[int, LayerSettings], windows: Mapping[int, int | None]
) -> Iterator[None]:
    """Every forward pass of a retrofitted decoder inside the block attends to `memory` too.

    Args:
        layer_settings: of the layers that attend to it; none for a memory without entries, with which windows go by position still.
        windows: of all layers, as `retrofit` returns them.
    """
    chunked = any(isinstance(window, Chunk) for window in windows.values())
    token = attended.set(Attended(memory, layer_settings, chunked))
    try:
        yield
    finally:
        attended.reset(token)


@contextmanager
def recording() -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Collect call → (keys, values) of one forward pass as they reach the attention of a retrofitted decoder."""
    states: dict[int, tuple[Tensor, Tensor]] = {}
    token = recorded.set(states)
    try:
        yield states
    finally:
        recorded.reset(token)
