"""Runs a job's work on a Ray cluster, or on the cores of this machine: reading, splitting, embedding and states as Ray Data stages
over the functions that a job without Ray calls. Results are numbered, and their order is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from indexing.engines.base import SplitterRecipe
from indexing.engines.ray_cluster import (
    Row,
    as_sentence,
    context,
    dataset,
    in_order,
    in_windows,
    packed,
    unpacked,
)
from indexing.sources.document import Document
from indexing.sources.find_files import SourceFile
from indexing.sources.read_documents import read_file, settle
from indexing.sources.read_options import ReadOptions, ignore
from memgpt_rag.memory.ray_shards import cluster
from memgpt_rag.passage import Passage

if TYPE_CHECKING:
    from indexing.engines.states import StatesEncoder, TokenIds
    from memgpt_rag.encoders.base import Encoder, Vectors
    from memgpt_rag.fingerprint import EncoderFingerprint, StatesFingerprint
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.state_codes import Codes

T = TypeVar("T")

# Number of documents in a chunk, which is passed on as one item.
_CHUNK = 32


class RayEngine:
    """An `Engine` on a Ray cluster, for use in a `with` block.

    Files and model folders must be at the same path on every machine; remote addresses, such as "s3://bucket/docs" or a
    model's name on a hub, are fetched by each machine.

    Args:
        encoder: how to load the encoder; compared by value, as are workers' copies of it.
        splitter: how to make the splitter.
        address: address of a cluster, such as "head:6379"; None for the one that RAY_ADDRESS names, or else this machine.
        workers: maximum number of processes that embed; None for one a core, or one a GPU if there are any.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: no cluster answers at the address, a worker failed, or its encoder is another one.
    """

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        splitter: SplitterRecipe,
        *,
        address: str | None = None,
        workers: int | None = None,
    ):
        self._encoder_recipe, self._splitter_recipe, self._workers = encoder, splitter, workers
        self.max_tokens, self._address, self._held = splitter.max_tokens, address, ExitStack()

    def __enter__(self) -> RayEngine:
        with ExitStack() as held:
            held.enter_context(cluster(self._address))
            self.encoder = self._encoder_recipe()
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def passages(
        self, files: Sequence[SourceFile], options: ReadOptions, on_file: Callable[[SourceFile], object]
    ) -> Iterator[list[Passage]]:
        how = {
            "options": replace(options, on_reject=None, on_note=ignore, on_progress=ignore),
            "rejecting": options.on_reject is not None,
        }
        recipes = {"splitter": self._splitter_recipe, "encoder": self._encoder_recipe}
        with context():
            rows = (
                dataset(files)
                # Half a core: reading waits for disks, and Ray fuses stages with equal resources.
                .flat_map(_read, fn_kwargs=how, num_cpus=0.5)
                .map(_split, fn_kwargs=recipes, num_cpus=1)
            )
        items = (item for row in in_order(rows, len(files)) for item in row["items"])
        return settle(items, options, on_file)

    def keys(self, blocks: Iterable[list[str]]) -> Iterator[tuple[list[str], Vectors]]:
        constructor_args = (self._encoder_recipe, self.encoder.fingerprint)
        for texts, row in in_windows(blocks, _Embedder, constructor_args, self._workers):
            yield texts, unpacked(row["keys"])


@contextmanager
def ray_states(
    model: Callable[[], MemoryDecoder],
    expected: StatesFingerprint,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Iterator[StatesEncoder]:
    """Provide a function that computes states on a Ray cluster, in place of `compute_states.entry_states`.

    Args:
        model: how to load the language model.
        expected: fingerprint of the job's model, which the workers' models must equal.

    Raises:
        MissingPackageError, ClusterError: as for `RayEngine`.
    """

    def encoded_states(blocks: Iterable[list[TokenIds]]) -> Iterator[Codes]:
        for _, row in in_windows(blocks, _StatesReader, (model, expected), workers):
            yield unpacked(row["codes"]), unpacked(row["scales"]) if row["scales"]["dtype"] else None

    with cluster(address):
        yield encoded_states


class _Embedder:
    """A worker with an encoder, whose fingerprint must equal that of the job's encoder."""

    def __init__(self, recipe: Callable[[], Encoder], expected: EncoderFingerprint):
        self._recipe, self._expected = recipe, expected

    def __call__(self, row: Row) -> Iterator[Row]:
        with as_sentence():
            encoder = _made(self._recipe)
            self._expected.require_match(encoder.fingerprint)
            keys = np.asarray(encoder.encode_passages(list(row["of"])), dtype="<f4")
        yield {"number": row["number"], "part": 0, "last": True, "keys": packed(keys)}


class _StatesReader:
    """A worker with a language model, likewise."""

    def __init__(self, recipe: Callable[[], MemoryDecoder], expected: StatesFingerprint):
        self._recipe, self._expected = recipe, expected

    def __call__(self, row: Row) -> Iterator[Row]:
        from indexing.engines.states import encoded_states
        from memgpt_rag.memory.storage.states import StatesShape
        from memgpt_rag.model.stored import states_fingerprint

        dtype = StatesShape.of(self._expected).dtype
        with as_sentence():
            model = _made(self._recipe)
            model.prefix_ids = model.prompt.prefix_ids
            self._expected.require_match(states_fingerprint(model, dtype=dtype))
            entries = list(encoded_states(model, self._expected, [[tuple(ids) for ids in row["of"]]]))
        for part, (codes, scales) in enumerate(entries):
            last = part == len(entries) - 1
            yield {
                "number": row["number"],
                "part": part,
                "last": last,
                "codes": packed(codes),
                "scales": packed(scales),
            }


def _read(row: Row, options: ReadOptions, rejecting: bool) -> Iterator[Row]:
    """Yield the documents of a file in numbered chunks; the last item is the file itself."""
    items = _followed_by(read_file(row["of"], options, rejecting=rejecting), row["of"])
    part, here = 0, list(islice(items, _CHUNK))
    while here:
        following = list(islice(items, _CHUNK))
        yield {"number": row["number"], "part": part, "last": not following, "items": here}
        part, here = part + 1, following


def _split(row: Row, splitter: SplitterRecipe, encoder: Callable[[], Encoder]) -> Row:
    """Split the documents of a chunk into passages."""
    with as_sentence():
        made = _splitter(splitter, encoder)
        items = [list(made.split(item)) if isinstance(item, Document) else item for item in row["items"]]
    return {**row, "items": items}


@cache
def _splitter(splitter: SplitterRecipe, encoder: Callable[[], Encoder]) -> Any:
    """Return the splitter, made once in each worker process and used for many tasks."""
    return splitter(lambda: _made(encoder))


@cache
def _made(recipe: Callable[[], T]) -> T:
    """Return the result of a recipe, made once in each worker process."""
    return recipe()


def _followed_by(items: Iterable[T], last: T) -> Iterator[T]:
    yield from items
    yield last
