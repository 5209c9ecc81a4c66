"""Commands of memgpt-index for a memory that is there: change it, check it, go back in its history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexing.cli.embedding_options import Caching, caching_options
from indexing.cli.options import (
    ExecutionOptions,
    ReadingOptions,
    execution_options,
    index,
    index_option,
    latency_option,
    log_options,
    reading_options,
    recall_option,
    report_notes,
    sources_argument,
    sparse_encoder_option,
    where_option,
)
from memgpt_rag.choices import DEFAULT_LATENCY, DEFAULT_RECALL, IndexKind
from memgpt_rag.io.console import echo, quiet_libraries
from memgpt_rag.io.option_groups import gathered
from memgpt_rag.io.printable import counted, printable

if TYPE_CHECKING:
    from indexing.job_log import JobLog

memory_argument = click.argument("memory", type=click.Path(path_type=Path))
memory_option = click.option(
    "--memory", required=True, type=click.Path(path_type=Path), help="Folder of the memory to change."
)
encoder_option = click.option(
    "--encoder", metavar="NAME", help="The memory's embedding model; needed where it does not come as a package."
)
generator_option = click.option(
    "--generator",
    metavar="NAME",
    help="The language model whose tokenizer counts the memory's passages; needed where it does not come as a package.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")


@dataclass(frozen=True)
class _Change:
    """Sources to read into an existing memory, and how to read them."""

    sources: tuple[Path | str, ...]
    encoder: str | None
    generator: str | None
    reading: ReadingOptions
    execution: ExecutionOptions
    log: JobLog
    caching: Caching
    sparse_encoder: str | None
    dry_run: bool


_changing = gathered(
    _Change,
    "change",
    [
        sources_argument,
        memory_option,
        encoder_option,
        generator_option,
        caching_options,
        execution_options,
        log_options,
        reading_options,
        sparse_encoder_option,
        dry_run_option,
    ],
)


@click.command()
@_changing
def add(memory: Path, change: _Change) -> None:
    """Add files and folders to a memory, beside what it holds. Files that it holds as they are change nothing."""
    _apply(memory, change, update=False)


@click.command()
@_changing
def update(memory: Path, change: _Change) -> None:
    """Bring the entries of files up to date: new text is embedded, text that is gone goes, the rest stays."""
    _apply(memory, change, update=True)


@click.command()
@memory_option
@click.option("--id", "ids", multiple=True, metavar="ID", help="Entry to delete; may be given again.")
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="File whose entries go, or archive; may be given again."
)
@where_option
@dry_run_option
def delete(memory: Path, ids: tuple[str, ...], sources: tuple[str, ...], where: str | None, dry_run: bool) -> None:
    """Delete entries: by id, by source, or by a filter. Earlier versions keep them until they expire."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from indexing.sources.file_of_source import in_files
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.changes import delete_entries

    if not ids and not sources and where is None:
        raise click.UsageError("Say which entries: with --id, --source or --where.")
    opened = Memory.open(memory)
    expressions = [pc.field("id").isin(pa.array(ids, pa.string())), in_files(sources)]
    rows = np.unique(np.concatenate([opened.rows(one) for one in (*expressions, *([where] if where else []))]))
    if dry_run:
        for passage in opened.passages(rows[:20]):
            echo(printable(f"{passage.id}  {passage.place}  {passage.text[:60]!r}"))
        echo(f"Would delete {len(rows):,} of {counted(len(opened), 'entry', 'entries')} of {memory}.")
        return
    if not len(rows):
        echo("No entry matches; nothing was deleted.")
        return
    manifest = delete_entries(memory, rows, opened.manifest)
    echo(
        f"Deleted {counted(len(rows), 'entry', 'entries')} of {memory}; version {manifest.commit} holds {manifest.entries:,}."
    )


@click.command()
@memory_option
@click.option(
    "--answers",
    required=True,
    type=click.Path(path_type=Path),
    help="Answers from the memory, as memgpt-rag ask --json prints them.",
)
@click.option("--keep", required=True, type=click.FloatRange(0, 1, min_open=True), help="Share of the entries to keep.")
@dry_run_option
def prune(memory: Path, answers: Path, keep: float, dry_run: bool) -> None:
    """Delete the entries that answers attend to least. Earlier versions keep them until they expire.

    What that loses is measured first: one half of the answers chooses, and the other half is counted.
    """
    from indexing.jobs.prune_memory import plan_pruning, read_uses
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.changes import delete_entries

    opened, uses = Memory.open(memory), read_uses(answers)
    plan = plan_pruning(opened, uses, keep)
    echo(
        f"{counted(len(uses), 'answer')} used {plan.used:,} of {counted(len(opened), 'entry', 'entries')}"
        + (f"; this version has no entry for {counted(plan.unknown, 'id')} of theirs." if plan.unknown else ".")
    )
    if plan.lost_share is not None:
        echo(
            f"Of answers that were not counted, {plan.lost_share:.1%} of the attention and {plan.lost_first:.1%} of the most attended "
            "entries would be lost."
        )
    if dry_run or not len(plan.rows):
        echo(f"{'Would delete' if dry_run else 'Deleted'} {counted(len(plan.rows), 'entry', 'entries')} of {memory}.")
        return
    manifest = delete_entries(memory, plan.rows, opened.manifest)
    echo(
        f"Deleted {counted(len(plan.rows), 'entry', 'entries')} of {memory}; version {manifest.commit} holds {manifest.entries:,}."
    )


@click.command()
@memory_argument
def compact(memory: Path) -> None:
    """Bring all entries into one segment without deleted rows. Nothing is computed anew."""
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.changes import compact

    indexed = [segment.index.get("recall", 1.0) for segment in Memory.open(memory).manifest.segments if segment.index]
    manifest = compact(memory, progress=True)
    echo(f"{counted(manifest.entries, 'entry', 'entries')} in one segment, version {manifest.commit} of {memory}.")
    if indexed:
        index(memory, "auto", min(indexed), DEFAULT_LATENCY, report_exact=False)


@click.command("rebuild-index")
@memory_argument
@index_option
@recall_option
@latency_option
def rebuild_index(memory: Path, kind: IndexKind, recall: float, latency: float) -> None:
    """Choose anew how keys are searched: exactly, or with the fastest index that finds enough of what is nearest."""
    index(memory, kind, recall, latency)


@click.command()
@memory_argument
def lexical(memory: Path) -> None:
    """Add a lexical index (BM25) to a memory, for searches by words or by words and vectors together.

    Entries that are added to the memory afterwards go into the index as well.
    """
    add_lexical_index_to(memory)


@click.command()
@memory_argument
@click.option(
    "--sparse-encoder",
    required=True,
    metavar="NAME",
    help="A SparseEncoder of sentence-transformers, such as SPLADE: a Hugging Face name or folder, or one that comes as a package.",
)
def sparse(memory: Path, sparse_encoder: str) -> None:
    """Compute the sparse vectors of the entries in folder MEMORY and store them, for sparse searches.

    Entries that are added to the memory afterwards have none until this is run again, which computes theirs only. Vectors of another
    sparse encoder are replaced.
    """
    add_sparse_vectors_to(memory, sparse_encoder)


@click.command()
@memory_argument
@click.option(
    "--sample",
    default=20_000,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many entries to look up by their own key.",
)
def verify(memory: Path, sample: int) -> None:
    """Read every byte of a memory and say whether it is as it was written; exits 1 where it is not."""
    from indexing.jobs.verify_memory import verify_memory

    faults = verify_memory(memory, sample=sample)
    if faults:
        raise click.ClickException("\n".join(map(printable, faults)))
    echo(f"{memory} is as it was written.")


@click.command()
@memory_argument
def versions(memory: Path) -> None:
    """List the versions of a memory that can be opened or restored."""
    from memgpt_rag.memory import list_versions

    for manifest in list_versions(memory):
        counts = ", ".join(f"{name} {value:,}" for name, value in manifest.job.items() if isinstance(value, int))
        job = printable(f"{manifest.job.get('name')}  {counts}")
        echo(f"{manifest.commit:>6}  {manifest.entries:>12,} entries  {job}")


@click.command()
@memory_argument
@click.argument("version", type=click.IntRange(min=1))
def rollback(memory: Path, version: int) -> None:
    """Make an earlier VERSION the present one again, as a version of its own."""
    from memgpt_rag.memory import roll_back

    manifest = roll_back(memory, version)
    echo(
        f"{memory} is as it was in version {version}: {counted(manifest.entries, 'entry', 'entries')}, version {manifest.commit}."
    )


@click.command()
@memory_argument
@click.option("--keep", default=1, show_default=True, type=click.IntRange(min=1), help="How many versions to keep.")
def expire(memory: Path, keep: int) -> None:
    """Forget earlier versions and free what only they need."""
    from memgpt_rag.memory import expire

    forgotten = expire(memory, keep)
    echo(f"Forgot {counted(len(forgotten), 'version')} of {memory}.")


@click.command()
@memory_argument
@click.argument("before", type=click.IntRange(min=1))
@click.argument("after", required=False, type=click.IntRange(min=1))
def diff(memory: Path, before: int, after: int | None) -> None:
    """Say which entries version AFTER (the present one, if none is named) has and version BEFORE has not, or differently."""
    from indexing.jobs.verify_memory import difference

    added, gone = difference(memory, before, after)
    for sign, ids in (("-", gone), ("+", added)):
        for id in ids:
            echo(f"{sign} {printable(id)}")
    echo(f"{len(added):,} added, {len(gone):,} gone.")


@click.command()
@memory_argument
@click.argument("file", type=click.Path(path_type=Path))
@where_option
@click.option("--keys", is_flag=True, help="Write the keys to JSON Lines or Parquet, too; the others hold them anyway.")
def export(memory: Path, file: Path, where: str | None, keys: bool) -> None:
    """Write the entries of a memory to FILE, which ends in .jsonl, .parquet, .lance, .dataset or .faiss.

    DATABASE/NAME.lance becomes a table of LanceDB. NAME.dataset becomes a folder that `datasets.load_from_disk` opens, and key.faiss
    in it an index for its load_faiss_index. NAME.faiss becomes a flat index, and NAME.arrow beside it holds the entries:
    the i-th row of one belongs to the i-th of the other.
    """
    from indexing.jobs.export_memory import export_memory
    from memgpt_rag.memory import Memory

    count = export_memory(Memory.open(memory), file, where=where, keys=keys)
    echo(f"Wrote {counted(count, 'entry', 'entries')} to {file}.")


def add_lexical_index_to(memory: Path) -> None:
    """Add a lexical index, unless the memory has one."""
    from memgpt_rag.memory import Memory, add_lexical_index
    from memgpt_rag.memory.lexical.analysis import ANALYSIS

    opened = Memory.open(memory)
    if opened.manifest.words != ANALYSIS:
        version = add_lexical_index(opened).commit
        echo(f"{counted(len(opened), 'entry', 'entries')} in the lexical index; version {version} of {memory}.")


def add_sparse_vectors_to(memory: Path, name: str) -> None:
    """Compute the sparse vectors of entries that have none of the sparse encoder of that name."""
    from memgpt_rag.memory import Memory

    Memory.open(memory)  # a wrong folder is reported before a model is loaded
    quiet_libraries()
    from indexing.jobs.compute_sparse_vectors import compute_sparse_vectors
    from memgpt_rag.encoders.load import load_sparse_encoder

    encoder = load_sparse_encoder(name)
    report = compute_sparse_vectors(memory, encoder, progress=True)
    if not report.computed:
        echo(f"All entries of {memory} have sparse vectors of {name}.")
        return
    echo(
        f"Computed the sparse vectors of {counted(report.computed, 'entry', 'entries')}, {report.components / report.computed:.0f} "
        f"components on average; version {report.manifest.commit} of {memory}."
    )
    if report.cut:
        echo(
            f"{counted(report.cut, 'entry of these is', 'entries of these are')} longer than the {encoder.max_tokens} tokens that {name} "
            "reads, and found by the beginning only."
        )


def _apply(memory: Path, change: _Change, *, update: bool) -> None:
    from indexing.jobs.change_memory import add_sources
    from memgpt_rag.encoders.config import EncoderConfig
    from memgpt_rag.encoders.load import memory_encoder_name
    from memgpt_rag.hub.bundled import GENERATORS
    from memgpt_rag.hub.named_models import require_named
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.sparse import missing_vectors_sentence

    manifest = Memory.open(memory).manifest
    files, left_out = change.reading.find(change.sources)
    stored, splitting = manifest.encoder, manifest.splitting
    quiet_libraries()
    recipe = EncoderConfig.matching(stored, memory_encoder_name(stored, change.encoder, [memory]))
    tokenizer = None
    if splitting["tokenizer"] != stored.name:
        tokenizer = require_named(
            splitting["tokenizer"],
            change.generator,
            bundled=GENERATORS,
            what="tokenizer",
            option="--generator",
            memories=[memory],
        )
    with change.execution.open(recipe, change.caching.splitter(tokenizer, int(splitting["max_tokens"]))) as engine:
        report = add_sources(
            files,
            memory,
            change.caching.engine(engine),
            options=change.reading.options(manifest.metadata),
            update=update,
            dry_run=change.dry_run,
            log=change.log,
        )
    sentence = report.sentence()
    echo(f"{sentence[0].upper()}{sentence[1:]}.")
    report_notes([*left_out, *report.notes])
    echo(f"{'Would be: ' if change.dry_run else ''}{report.changes()} in {memory}.")
    if report.commit is not None:
        recalls = [segment.index.get("recall", DEFAULT_RECALL) for segment in manifest.segments if segment.index]
        index(memory, "auto", min([DEFAULT_RECALL, *recalls]), DEFAULT_LATENCY, anew=False, report_exact=False)
    if change.sparse_encoder is not None and not change.dry_run:
        add_sparse_vectors_to(memory, change.sparse_encoder)
    elif missing := missing_vectors_sentence(memory, Memory.open(memory).manifest):
        echo(missing)


COMMANDS = [
    add,
    update,
    delete,
    prune,
    compact,
    rebuild_index,
    lexical,
    sparse,
    verify,
    versions,
    rollback,
    expire,
    diff,
    export,
]
