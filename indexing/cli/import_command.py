"""The command memgpt-index import: a store of another program becomes a memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexing.cli.embedding_options import Caching, EncoderOptions, caching_options, embedding_options
from indexing.cli.options import (
    ExecutionOptions,
    execution_options,
    index,
    index_option,
    latency_option,
    log_options,
    recall_option,
)
from memgpt_rag.choices import (
    DEFAULT_MAX_PASSAGE_TOKENS,
    METRICS,
    STORE_KINDS,
    IndexKind,
    Metric,
    StoreKind,
)
from memgpt_rag.io.console import echo, quiet_libraries
from memgpt_rag.io.printable import printable

if TYPE_CHECKING:
    from indexing.job_log import JobLog


@click.command("import")
@click.argument("store_kind", metavar="KIND", type=click.Choice(STORE_KINDS))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--memory", required=True, type=click.Path(path_type=Path), help="Folder to make the memory in.")
@click.option("--collection", metavar="NAME", help="Collection, table or index, where the store has several.")
@click.option("--text-field", metavar="FIELD", help="Field with the text, in Parquet, LanceDB and Qdrant.")
@click.option("--id-field", metavar="FIELD", help="Field with the id, likewise.")
@click.option("--vector-field", metavar="FIELD", help="Field with the vector, likewise.")
@click.option("--title-field", metavar="FIELD", help="Field that is put before each text, and embedded with it.")
@embedding_options
@caching_options
@click.option("--metric", default="cosine", show_default=True, type=click.Choice(METRICS), help="How near is measured.")
@click.option("--lexical/--no-lexical", default=True, show_default=True, help="Whether it has a lexical index (BM25).")
@index_option
@recall_option
@latency_option
@execution_options
@log_options
@click.option("--embed-anew", is_flag=True, help="Embed all texts, whatever vectors the store holds.")
@click.option("--replace", is_flag=True, help="Replace the memory that the folder holds.")
def import_store(
    store_kind: StoreKind,
    path: Path,
    memory: Path,
    collection: str | None,
    text_field: str | None,
    id_field: str | None,
    vector_field: str | None,
    title_field: str | None,
    embedding: EncoderOptions,
    caching: Caching,
    metric: Metric,
    lexical: bool,
    kind: IndexKind,
    recall: float,
    latency: float,
    execution: ExecutionOptions,
    log: JobLog,
    embed_anew: bool,
    replace: bool,
) -> None:
    """Make a memory of a store of another program: each entry with its id, text and metadata.

    KIND says what PATH is: chroma, lancedb, txtai or qdrant (local) for the folder of such a store, langchain-faiss or
    llama-index-faiss for a folder that these saved, parquet for a file of texts and vectors.

    Texts from all over the store are embedded with the encoder; where the store's vectors are the same, they become keys, else
    all texts are embedded anew. Nothing in the store runs or is changed.
    """
    from indexing.imports.open_store import open_store
    from indexing.imports.stored_entry import StoreOptions
    from indexing.jobs.build_memory import NewMemory
    from indexing.jobs.import_entries import import_store
    from indexing.sources.read_options import RecordFields

    quiet_libraries()
    store = open_store(
        store_kind, path, StoreOptions(collection, RecordFields(text_field, None, id_field), vector_field)
    )
    encoder = embedding.config(normalize=metric == "cosine")
    with execution.open(encoder, caching.splitter(None, DEFAULT_MAX_PASSAGE_TOKENS)) as engine:
        report = import_store(
            store,
            memory,
            caching.engine(engine),
            title=title_field,
            new=NewMemory(metric, lexical, replace),
            embed_anew=embed_anew,
            log=log,
        )
    echo(f"{printable(report.sentence())}; in {memory} after {report.seconds:.0f} s.")
    if report.columns:
        echo(f"Metadata columns: {', '.join(f'{name} ({type})' for name, type in report.columns.items())}.")
    for field in report.left_out:
        echo(f"Left out: {printable(field)}.", err=True)
    index(memory, kind, recall, latency, report_exact=False)
