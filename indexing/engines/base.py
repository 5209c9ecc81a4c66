"""The interface of engines, and recipes to load models in any process.

An engine reads and splits files, and computes the keys of texts; a single writer consumes both in order, so that a memory does
not depend on the engine that built it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from indexing.sources.find_files import SourceFile
from indexing.sources.read_options import ReadOptions
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from indexing.passages.split_passages import PassageSplitter
    from memgpt_rag.encoders.base import Encoder, Vectors
    from memgpt_rag.encoders.config import EncoderConfig
    from memgpt_rag.model import MemoryDecoder


class Engine(Protocol):
    """Interface of an engine.

    Attributes:
        encoder: computes keys.
        max_tokens: maximum length of a passage.
    """

    encoder: Encoder
    max_tokens: int

    def passages(
        self, files: Sequence[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
    ) -> Iterator[list[Passage]]:
        """Yield the passages of each document, in order.

        Raises:
            SourceError: at the end, naming every file that could not be read.
        """
        ...

    def keys(self, blocks: Iterable[list[str]]) -> Iterator[tuple[list[str], Vectors]]:
        """Yield each block of texts with its keys, in order."""
        ...


@dataclass(frozen=True)
class EncoderRecipe:
    """How to load an encoder in a worker."""

    config: EncoderConfig

    def __call__(self) -> Encoder:
        from memgpt_rag.encoders.load import load_encoder

        return load_encoder(self.config)


@dataclass(frozen=True)
class SplitterRecipe:
    """How to make a splitter.

    Attributes:
        tokenizer: a language model's name; None to count with the encoder's.
        cache: folder of the cache of split points; None for no cache.
    """

    tokenizer: str | None
    max_tokens: int
    cache: Path | None = None

    def __call__(self, encoder: Callable[[], Encoder]) -> PassageSplitter:
        """Make the splitter; `encoder` is called if its tokenizer is needed."""
        from indexing.passages.split_passages import PassageSplitter

        count = encoder().count_tokens if self.tokenizer is None else token_counter(self.tokenizer)
        if self.cache is None:
            return PassageSplitter(count, self.max_tokens)
        from indexing.passages.split_cache import SplitCache

        name = self.tokenizer or encoder().name
        return PassageSplitter(count, self.max_tokens, SplitCache(self.cache, name, count, self.max_tokens))


@dataclass(frozen=True)
class DecoderRecipe:
    """How to load a language model that reads memory, with which reader."""

    name: str
    preset: str
    reader: str = "auto"

    def __call__(self) -> MemoryDecoder:
        from memgpt_rag.model import MemoryDecoder

        return MemoryDecoder.from_pretrained(self.name, config=self.preset, reader=self.reader)


def token_counter(generator: str) -> Callable[[str], int]:
    """Return a function that counts tokens with a language model's tokenizer."""
    from memgpt_rag.encoders.token_counts import counter
    from memgpt_rag.model.tokenizer import load_tokenizer

    return counter(load_tokenizer(generator))
