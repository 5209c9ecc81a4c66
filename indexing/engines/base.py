"""What an engine does for a job, and how models are loaded wherever its work is done.

An engine reads and splits files, and gives texts their keys; the one writer takes both in order, so that a memory does not
depend on the engine that built it.
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
    """What a job needs done.

    Attributes:
        encoder: gives keys.
        max_tokens: longest passage.
    """

    encoder: Encoder
    max_tokens: int

    def passages(
        self, files: Sequence[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
    ) -> Iterator[list[Passage]]:
        """Passages of one document after another.

        Raises:
            SourceError: at the end, naming every file that could not be read.
        """
        ...

    def keys(self, blocks: Iterable[list[str]]) -> Iterator[tuple[list[str], Vectors]]:
        """One block of texts after another, each with its keys."""
        ...


@dataclass(frozen=True)
class EncoderRecipe:
    """How to load an encoder, for a worker elsewhere."""

    config: EncoderConfig

    def __call__(self) -> Encoder:
        from memgpt_rag.encoders.load import load_encoder

        return load_encoder(self.config)


@dataclass(frozen=True)
class SplitterRecipe:
    """How to make a splitter.

    Attributes:
        tokenizer: a language model's name; None to count with the encoder's.
        cache: folder where it is kept how texts were split, for the next job; None to find that anew.
    """

    tokenizer: str | None
    max_tokens: int
    cache: Path | None = None

    def __call__(self, encoder: Callable[[], Encoder]) -> PassageSplitter:
        """`encoder` is called where its tokenizer is needed."""
        from indexing.passages.split_passages import PassageSplitter

        count = encoder().count_tokens if self.tokenizer is None else token_counter(self.tokenizer)
        if self.cache is None:
            return PassageSplitter(count, self.max_tokens)
        from indexing.passages.split_cache import SplitCache

        name = self.tokenizer or encoder().name
        return PassageSplitter(count, self.max_tokens, SplitCache(self.cache, name, count, self.max_tokens))


@dataclass(frozen=True)
class DecoderRecipe:
    """How to load a language model that reads memory."""

    name: str
    preset: str

    def __call__(self) -> MemoryDecoder:
        from memgpt_rag.model import MemoryDecoder

        return MemoryDecoder.from_pretrained(self.name, config=self.preset)


def token_counter(generator: str) -> Callable[[str], int]:
    """Counts tokens as a language model does."""
    from memgpt_rag.encoders.token_counts import counter
    from memgpt_rag.model.tokenizer import load_tokenizer

    return counter(load_tokenizer(generator))
