"""The engine that runs in this process; `indexing.engines.ray_engine` runs on several machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from indexing.sources.find_files import SourceFile
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from indexing.passages.split_passages import PassageSplitter
    from memgpt_rag.encoders.base import Encoder, Vectors


class LocalEngine:
    """Runs in this process, on as many cores as the encoder uses."""

    def __init__(self, encoder: Encoder, splitter: PassageSplitter):
        self.encoder, self._splitter, self.max_tokens = encoder, splitter, splitter.max_tokens

    def passages(
        self, files: Sequence[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
    ) -> Iterator[list[Passage]]:
        for document in read_documents(files, options, on_file=on_file):
            yield list(self._splitter.split(document))

    def keys(self, blocks: Iterable[list[str]]) -> Iterator[tuple[list[str], Vectors]]:
        return ((texts, self.encoder.encode_passages(texts)) for texts in blocks)
