"""memgpt-rag summarise: a document or a memory is summarised, part by part. Heavy imports wait until it runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.choices import (
    DEFAULT_K,
    DEFAULT_PART_TOKENS,
    DEFAULT_PARTS,
    DEFAULT_RETRIEVE_EVERY,
    OUTLINES,
    Outline,
)
from memgpt_rag.cli.options import encoder_option, model_option
from memgpt_rag.errors import SourceError
from memgpt_rag.io.console import echo, quiet_libraries
from memgpt_rag.io.printable import printable, printable_json
from memgpt_rag.limits import MOST_ENTRIES, MOST_NEW_TOKENS, MOST_PARTS

if TYPE_CHECKING:
    from memgpt_rag.tasks.summaries.outline import Section
    from memgpt_rag.tasks.summaries.summarize import SummaryOptions
    from memgpt_rag.tasks.summaries.summary import Part

_REJECTS_STATUS = 3  # the job went on without what it could not read


@click.command()
@click.argument("document", required=False, type=click.Path(path_type=Path))
@click.option(
    "--memory", type=click.Path(path_type=Path), help="Memory to summarise; or a new one, to make of DOCUMENT."
)
@click.option("--about", metavar="TEXT", help="What to write about, in place of a summary of everything.")
@click.option("--where", metavar="CONDITION", help="Entries to write from, such as 'source == \"manual.txt\"'.")
@click.option(
    "--outline",
    "kind",
    default="auto",
    show_default=True,
    type=click.Choice(OUTLINES),
    help="Parts by headings, or by topics; auto: headings where there are several.",
)
@click.option("--outline-only", is_flag=True, help="Print the outline, and write nothing.")
@click.option(
    "--parts", default=DEFAULT_PARTS, show_default=True, type=click.IntRange(1, MOST_PARTS), help="Most parts."
)
@click.option(
    "--part-tokens",
    default=DEFAULT_PART_TOKENS,
    show_default=True,
    type=click.IntRange(8, MOST_NEW_TOKENS),
    help="Longest part, in tokens.",
)
@click.option(
    "-k",
    default=DEFAULT_K,
    show_default=True,
    type=click.IntRange(1, MOST_ENTRIES),
    help="Entries attended to at once.",
)
@click.option(
    "--retrieve-every",
    default=DEFAULT_RETRIEVE_EVERY,
    show_default=True,
    type=click.IntRange(0, MOST_NEW_TOKENS),
    help="Tokens after which a part goes on with other entries; 0 for entries that stay.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object per part, or section of the outline, instead of text.",
)
@model_option
@encoder_option
def summarise(
    document: Path | None,
    memory: Path | None,
    about: str | None,
    where: str | None,
    kind: Outline,
    outline_only: bool,
    parts: int,
    part_tokens: int,
    k: int,
    retrieve_every: int,
    as_json: bool,
    model: str,
    encoder: str | None,
) -> None:
    """Summarise DOCUMENT, a file or a folder of any length, or a memory; or write about what it says on a subject.

    An outline comes first, from headings or from topics. Each part is written from the entries of its section, which are exchanged
    while it is written, and each sentence cites those that it rests on.
    """
    if document is None and memory is None:
        raise click.UsageError("Neither DOCUMENT nor --memory was given; give a document, a memory, or both.")
    if about is not None and not about.strip():
        raise click.UsageError("--about is empty; give words for it, or leave it out.")
    from memgpt_rag.tasks.summaries.summarize import SummaryOptions, outline, write

    options = SummaryOptions(about or "", where, kind, parts, k, part_tokens, retrieve_every or None)
    with _memory_folder(document, memory, encoder) as folder:
        from memgpt_rag.memory import Memory

        Memory.open(folder).rows(where)  # a wrong folder or condition is reported before a model is loaded
        quiet_libraries()
        if outline_only:
            for number, section in enumerate(_outline(folder, options, model, encoder), 1):
                if as_json:
                    echo(printable_json(section.to_dict()))
                else:
                    echo(f"{number}. {printable(section.heading or 'Everything')} ({len(section.rows):,})")
            return
        from memgpt_rag.tasks.summaries.writer import open_writer

        writer = open_writer(folder, model=model, encoder=encoder)
        for number, part in enumerate(write(writer, outline(writer, options), options), 1):
            if as_json:
                echo(printable_json(part.to_dict()))
            else:
                _print(part, number)


def _outline(folder: Path, options: SummaryOptions, model: str, encoder: str | None) -> list[Section]:
    """The outline alone: an encoder is loaded to find what to write about, and the language model to name topics."""
    from memgpt_rag.memory import Memory
    from memgpt_rag.retrieval.retriever import Retriever, open_memories
    from memgpt_rag.tasks.summaries.summarize import named, plan

    retriever = Retriever(*open_memories(folder, encoder)) if options.about.strip() else None
    planned = plan(Memory.open(folder), options, retriever)
    if not any(section.central for section in planned):
        return planned
    from memgpt_rag.tasks.summaries.writer import open_writer

    return named(open_writer(folder, model=model, encoder=encoder), planned)


def _print(part: Part, number: int) -> None:
    """Print a part: its sentences with numbers of their sources, and these below."""
    if number > 1:
        echo()
    if part.heading:
        echo(f"{number}. {part.heading}")
    numbers: dict[str, int] = {}
    places = []
    for sentence in part.sentences:
        for source in sentence.sources:
            if source.passage.id not in numbers:
                numbers[source.passage.id] = len(numbers) + 1
                places.append(source.passage.place)
        cited = "".join(f" [{numbers[one.passage.id]}, {one.share:.0%}]" for one in sentence.sources)
        echo(f"{sentence.text}{cited}")
    for source_number, place in enumerate(places, 1):
        echo(f"  [{source_number}] {printable(place)}")
    echo(f"  {part.read:,} of {part.passages:,} passages read")


@contextmanager
def _memory_folder(document: Path | None, memory: Path | None, encoder: str | None) -> Iterator[Path]:
    """Give the folder of a memory; one that is made of a document without a name for it is gone afterwards."""
    if document is None:
        assert memory is not None
        yield memory
        return
    if memory is not None and memory.exists() and any(memory.iterdir()):
        raise click.UsageError(
            f"{memory} is not empty, and DOCUMENT was given; leave DOCUMENT out to summarise the memory there, or name a new folder."
        )
    with tempfile.TemporaryDirectory(prefix="memgpt-rag-") as scratch:
        folder = memory or Path(scratch) / "memory"
        _build(document, folder, encoder)
        yield folder


def _build(document: Path, folder: Path, encoder: str | None) -> None:
    """Run memgpt-index, which the library never imports; its progress and its report go to standard error.

    Raises:
        SourceError: the job could not read the document.
    """
    further = [] if encoder is None else ["--encoder", encoder]
    job = [sys.executable, "-m", "indexing", "build", "--memory", str(folder), *further, "--", str(document)]
    done = subprocess.run(job, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603  (no shell)
    echo(done.stdout, err=True, nl=False)
    if done.returncode not in (0, _REJECTS_STATUS):
        raise SourceError(f"{document} did not become a memory; the reason stands above.")
