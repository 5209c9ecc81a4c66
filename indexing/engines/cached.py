"""An engine that reads keys from the user's cache folder, and stores new ones there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexing.engines.base import Engine
from indexing.sources.find_files import SourceFile
from indexing.sources.read_options import ReadOptions
from memgpt_rag.memory.caches.keys import KeyCache
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from memgpt_rag.encoders.base import Vectors


class CachingEngine:
    """Looks keys up in the cache before the engine computes them.

    Cached keys were computed in batches with other texts, so their last bits may differ from those that the engine would
    compute; a job that needs reproducible bits must not use the cache.

    Args:
        engine: engine that computes missing keys.
        folder: folder of the cache.
    """

    def __init__(self, engine: Engine, folder: Path):
        self._engine, self.encoder, self.max_tokens = engine, engine.encoder, engine.max_tokens
        self._cache = KeyCache(folder, engine.encoder.fingerprint)

    def passages(
        self, files: Sequence[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
    ) -> Iterator[list[Passage]]:
        return self._engine.passages(files, options, on_file)

    def keys(self, blocks: Iterable[list[str]]) -> Iterator[tuple[list[str], Vectors]]:
        asked: deque[tuple[list[str], list[np.ndarray | None]]] = deque()

        def missing() -> Iterator[list[str]]:
            for texts in blocks:
                found = self._cache.get(texts)
                asked.append((texts, found))
                if left := _left(texts, found):
                    yield left

        for left, computed in self._engine.keys(missing()):
            self._cache.put(left, computed)
            while not _left(*asked[0]):
                yield _whole(*asked.popleft(), {})
            yield _whole(*asked.popleft(), dict(zip(left, computed, strict=True)))
        while asked:
            yield _whole(*asked.popleft(), {})


def _left(texts: list[str], found: list[np.ndarray | None]) -> list[str]:
    return list(dict.fromkeys(text for text, key in zip(texts, found, strict=True) if key is None))


def _whole(
    texts: list[str], found: list[np.ndarray | None], computed: dict[str, np.ndarray]
) -> tuple[list[str], Vectors]:
    return texts, np.stack([computed[text] if key is None else key for text, key in zip(texts, found, strict=True)])
