"""Builds a memory in one call from Python, as `memgpt-index build` does from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from indexing.engines.base import SplitterRecipe
from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import BuildReport, NewMemory, build_memory
from indexing.jobs.choose_index import index_memory
from indexing.sources.find_files import SourceFile, find_files
from indexing.sources.read_options import ReadOptions
from memgpt_rag.choices import (
    DEFAULT_LATENCY,
    DEFAULT_MAX_PASSAGE_TOKENS,
    DEFAULT_RECALL,
    IndexKind,
    Metric,
    Preset,
)
from memgpt_rag.encoders.config import DEFAULT_ENCODER, EncoderConfig
from memgpt_rag.encoders.load import load_encoder, load_sparse_encoder
from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.memory import Memory, add_lexical_index


@dataclass(frozen=True)
class BuildOptions:
    """How to build a memory.

    Attributes:
        encoder: encoder of the passages; its name, or an `EncoderConfig`.
        generator: language model that will read the memory; its tokenizer counts `max_tokens`. None for the encoder's.
        max_tokens: maximum length of a passage.
        read: how to read the files: encoding, fields of records, metadata columns.
        exclude: patterns of files to leave out, such as "*.png", also in archives.
        follow_links: also follow links that lead out of a folder.
        metric: metric of the search.
        lexical: whether the memory has a lexical index (BM25); None for one in a new memory, and what an existing one has.
        sparse_encoder: name of a sparse encoder whose vectors are stored as well; None for none.
        index: kind of index over the keys; "auto" scans all of them while that takes no longer than `latency`.
        recall: recall@10 that an approximate index must reach.
        latency: target latency of one search in milliseconds.
        states: precompute states for the generator, in the layers of a preset; None to compute them when questions are asked.
        replace: replace the memory in the folder, and embed everything again.
    """

    encoder: EncoderConfig | str = DEFAULT_ENCODER
    generator: str | None = None
    max_tokens: int = DEFAULT_MAX_PASSAGE_TOKENS
    read: ReadOptions = field(default_factory=ReadOptions)
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    metric: Metric = "cosine"
    lexical: bool | None = None
    sparse_encoder: str | None = None
    index: IndexKind = "auto"
    recall: float = DEFAULT_RECALL
    latency: float = DEFAULT_LATENCY
    states: Preset | None = None
    replace: bool = False


def build(
    sources: str | Path | Sequence[str | Path],
    folder: str | Path,
    options: BuildOptions = BuildOptions(),
    *,
    progress: bool = False,
) -> BuildReport:
    """Read files and folders, and build a memory from them.

    On an existing memory, only new texts are embedded, and a stopped build is resumed.

    Args:
        sources: a file, a folder or an address such as "s3://bucket/docs", or several.
        folder: folder of the memory.
        progress: show progress bars on a terminal.

    Returns:
        The numbers of documents, passages and entries that were read, dropped and stored.

    Raises:
        SourceError: a file cannot be read, or no file contains text.
        MismatchError: the existing memory was built with other settings.
        MemoryFormatError: the folder contains other files, which would be overwritten.
        BusyError: another job is writing there.
        ModelError: the encoder or generator does not exist.

    Example:
        >>> build("docs/", "my-memory").entries
        11
    """
    folder, given = Path(folder), options.encoder
    config = EncoderConfig(given) if isinstance(given, str) else given
    config = replace(config, normalize=options.metric == "cosine")
    files = _files([sources] if isinstance(sources, str | Path) else sources, options)
    encoder = load_encoder(config)
    splitter = SplitterRecipe(options.generator, options.max_tokens, cache_folder())(lambda: encoder)
    report = build_memory(
        files,
        folder,
        LocalEngine(encoder, splitter),
        tokenizer_name=options.generator or config.name,
        options=replace(options.read, exclude=(*options.read.exclude, *options.exclude)),
        new=NewMemory(options.metric, options.lexical is not False, options.replace),
        log=JobLog("build", progress=progress),
    )
    if report.commit is not None:
        index_memory(
            folder, kind=options.index, recall=options.recall, fast_enough=options.latency, anew=options.index != "auto"
        )
    _add_indexes_and_states(folder, options, progress)
    return report


def _add_indexes_and_states(folder: Path, options: BuildOptions, progress: bool) -> None:
    """Add what the options ask for beside keys and values."""
    if options.lexical and (memory := Memory.open(folder)).manifest.words is None:
        add_lexical_index(memory)
    if options.sparse_encoder is not None:
        from indexing.jobs.compute_sparse_vectors import compute_sparse_vectors

        compute_sparse_vectors(folder, load_sparse_encoder(options.sparse_encoder), progress=progress)
    if options.states is not None:
        from indexing.jobs.compute_states import compute_states
        from memgpt_rag.model import MemoryDecoder

        model = MemoryDecoder.from_pretrained(options.generator or GEMMA, config=options.states)
        compute_states(folder, model, progress=progress)


def _files(sources: Sequence[str | Path], options: BuildOptions) -> list[SourceFile]:
    return find_files(sources, options.exclude, follow_links=options.follow_links, on_note=options.read.on_note)
