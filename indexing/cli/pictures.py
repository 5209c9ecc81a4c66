"""memgpt-index pictures: the pictures of documents become entries of a memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexing.cli.options import ReadingOptions, log_options, reading_options, report_notes, sources_argument
from memgpt_rag.io.console import echo, quiet_libraries
from memgpt_rag.io.printable import counted

if TYPE_CHECKING:
    from indexing.job_log import JobLog
    from memgpt_rag.encoders.base import Encoder


@click.command()
@sources_argument
@click.option(
    "--memory",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the memory; a new or empty one for pictures alone.",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="For a new memory, a model that embeds pictures; else the memory's, where it does not come as a package.",
)
@log_options
@reading_options
def pictures(
    sources: tuple[Path | str, ...], memory: Path, encoder: str | None, log: JobLog, reading: ReadingOptions
) -> None:
    """Add the pictures of PDF, Word and Markdown files, and picture files, with their captions and places.

    In a memory of texts, a picture is found by its caption; in one of pictures, by what it shows. Pictures of these files that are
    no longer in them go.
    """
    from memgpt_rag.memory.storage.layout import MANIFEST

    is_new = not (memory / MANIFEST).exists()
    if is_new and encoder is None:
        raise click.UsageError(
            f"{memory} holds no memory. To add pictures to texts, build it first with memgpt-index build; for pictures alone, name a "
            "model that embeds pictures with --encoder."
        )
    files, left_out = reading.find(sources)
    quiet_libraries()
    from indexing.jobs.picture_entries import add_document_pictures

    opened, report = add_document_pictures(
        files, memory, _encoder(memory, encoder, is_new), options=reading.options({}), log=log
    )
    parts = [counted(report.pictures, "picture")]
    parts += [f"{report.repeated:,} shown again"] if report.repeated else []
    echo(f"{', '.join(parts)} in {counted(len(files), 'file')}.")
    report_notes([*left_out, *report.notes])
    echo(f"{memory} holds {counted(len(opened), 'entry', 'entries')}, version {opened.manifest.commit}.")


def _encoder(memory: Path, name: str | None, is_new: bool) -> Encoder:
    from memgpt_rag.encoders.load import load_memory_encoder, load_picture_encoder
    from memgpt_rag.memory import Memory

    if is_new:
        assert name is not None
        return load_picture_encoder(name)
    return load_memory_encoder(Memory.open(memory).manifest.encoder, name, memories=[memory])
