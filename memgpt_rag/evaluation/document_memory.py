"""The documents of a retrieval dataset as a memory: embedded whole for an evaluation, or looked up in an existing memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.memory import Memory, MemoryWriter, add_lexical_index, add_sparse_vectors
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder

_BLOCK = 256


@dataclass(frozen=True)
class Costs:
    """The cost of building a memory.

    Attributes:
        build_seconds: seconds from the documents to the committed memory.
        encoding_seconds: the part of `build_seconds` spent in the encoder; the rest is overhead of the memory.
        disk_bytes: size of its files.
    """

    build_seconds: float
    encoding_seconds: float
    disk_bytes: int


def embed_documents(
    judged: RetrievalDataset,
    encoder: Encoder,
    folder: Path,
    *,
    words: bool = False,
    sparse_encoder: SparseTextEncoder | None = None,
    on_block: Callable[[int], object] = lambda documents: None,
) -> tuple[Memory, Costs]:
    """Embed every document of a dataset whole into a new memory, as `embed_all` does."""
    documents = judged.documents.items()
    return embed_all(
        documents, judged.name, encoder, folder, words=words, sparse_encoder=sparse_encoder, on_block=on_block
    )


def embed_all(
    documents: Iterable[tuple[str, Document]],
    source: str,
    encoder: Encoder,
    folder: Path,
    *,
    words: bool = False,
    sparse_encoder: SparseTextEncoder | None = None,
    on_block: Callable[[int], object] = lambda documents: None,
) -> tuple[Memory, Costs]:
    """Embed documents whole, title and text, into a new memory that is searched exactly.

    A text longer than the encoder reads is cut off by the encoder, as by any system that embeds whole documents.

    Args:
        documents: id and document, each id once.
        source: what they come from, which the entries name.
        folder: folder of the memory to write; must be new or empty.
        words: add a lexical index.
        sparse_encoder: add sparse vectors of this encoder.
        on_block: called with the number of documents embedded in each block.

    Raises:
        MemoryFormatError: the folder holds something else.
    """
    began, encoding = time.perf_counter(), 0.0
    fingerprint = encoder.fingerprint
    with MemoryWriter(folder, metric="cosine" if encoder.normalized else "euclidean") as writer:
        passages = _passages(documents, source)
        while block := list(islice(passages, _BLOCK)):
            writer.add_values(block)
        for block in writer.value_blocks(_BLOCK):
            started = time.perf_counter()
            keys = encoder.encode_passages([passage.titled_text for passage in block])
            encoding += time.perf_counter() - started
            writer.add_keys(keys)
            on_block(len(block))
        # Documents are not split, so no tokenizer is named: every passage is a document.
        manifest = writer.commit(
            fingerprint, splitting={"tokenizer": fingerprint.name, "max_tokens": 0}, job={"name": "evaluation"}
        )
    if words:
        manifest = add_lexical_index(Memory.open(folder))
    if sparse_encoder is not None:
        started, encode = time.perf_counter(), sparse_encoder.encode_passages
        manifest = add_sparse_vectors(
            Memory.open(folder), sparse_encoder.fingerprint, lambda block: encode([one.titled_text for one in block])
        )
        encoding += time.perf_counter() - started
    memory = Memory.open(folder)
    disk_bytes = sum(file.bytes for segment in manifest.segments for file in segment.files.values())
    return memory, Costs(time.perf_counter() - began, encoding, disk_bytes)


def _passages(documents: Iterable[tuple[str, Document]], source: str) -> Iterator[Passage]:
    for line, (name, (title, text)) in enumerate(documents, 1):
        yield Passage(name, text, title, source, name, "line", line, line, 0, len(text))


def restrict_documents(judged: RetrievalDataset, memory: Memory) -> tuple[RetrievalDataset, int]:
    """Return the dataset with all documents of an existing memory, which may hold more than the dataset's.

    An entry belongs to the document that its `record` names, or else its `source`.

    Returns:
        The dataset, whose documents are the union of the memory's and its own, and the number of relevant documents
        without an entry, which no search can find.

    Raises:
        MismatchError: no entry belongs to a relevant document.
    """
    there: dict[str, Document] = {}
    rows = memory.rows()
    for start in range(0, len(rows), _BLOCK):
        for passage in memory.passages(rows[start : start + _BLOCK]):
            there.setdefault(passage.document_id, Document(passage.title, passage.text))
    relevant = {document for query in judged.judged for document in judged.relevant(query)}
    missing = relevant - set(there)
    if missing == relevant:
        raise MismatchError(
            f"No entry of {memory.path} belongs to a judged document: entries have records or sources such as "
            f"{next(iter(there), '')!r}, and {judged.name} judges such as {next(iter(relevant))!r}; build the memory from records "
            "with these ids."
        )
    documents: Mapping[str, Document] = {**there, **judged.documents}
    return replace(judged, documents=documents), len(missing)
