"""memgpt-rag graph: memories of triples built, asked, extracted, checked and exported. Heavy imports wait until one is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.choices import DEFAULT_HOPS, DEFAULT_PATHS
from memgpt_rag.cli.options import (
    encoder_option,
    max_new_tokens_option,
    memory_option,
    model_option,
    new_memory_option,
    preset_option,
    replace_option,
)
from memgpt_rag.hub.bundled import E5_ENCODER
from memgpt_rag.io.console import SentenceGroup, echo, no_cache_option, progress_bar, quiet_libraries, reader_option
from memgpt_rag.io.printable import counted, printable, printable_json, shortened
from memgpt_rag.limits import MOST_ENTRIES, MOST_HOPS

if TYPE_CHECKING:
    from memgpt_rag.tasks.graph.ask import PathAnswer

_files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group(cls=SentenceGroup)
def graph() -> None:
    """Knowledge graphs: triples as entries of a memory, and questions answered by following entities."""


@graph.command()
@_files_argument
@new_memory_option
@click.option("--encoder", default=E5_ENCODER, show_default=True, metavar="NAME", help="Embedding model.")
@click.option(
    "--merge-by-name/--same-only",
    default=True,
    show_default=True,
    help="Merge entities whose names are alike, or only those that owl:sameAs declares to be one.",
)
@replace_option
def build(files: tuple[Path, ...], memory: Path, encoder: str, merge_by_name: bool, replace: bool) -> None:
    """Build a memory of the triples in FILES: CSV, TSV, JSON Lines, N-Triples or Turtle."""
    from memgpt_rag.memory.memory import require_new
    from memgpt_rag.tasks.graph.build import build_graph_memory
    from memgpt_rag.tasks.graph.read import read_triples

    require_new(memory, replace=replace)
    knowledge = read_triples(files)  # what is wrong with a file is reported before a model is loaded
    quiet_libraries()
    from memgpt_rag.encoders.load import load_encoder

    report = build_graph_memory(knowledge, memory, load_encoder(encoder), merge_by_name=merge_by_name, replace=replace)
    for line in report.lines():
        echo(line)


@graph.command()
@click.argument("question")
@memory_option
@model_option
@reader_option
@preset_option
@encoder_option
@click.option(
    "-k",
    default=DEFAULT_PATHS,
    show_default=True,
    type=click.IntRange(1, MOST_ENTRIES),
    help="Paths that are read; of texts, twice as many passages.",
)
@click.option(
    "--hops",
    default=DEFAULT_HOPS,
    show_default=True,
    type=click.IntRange(1, MOST_HOPS),
    help="Entries of the longest path.",
)
@max_new_tokens_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@no_cache_option
def ask(
    question: str,
    memory: Path,
    model: str,
    reader: str,
    preset: str,
    encoder: str | None,
    k: int,
    hops: int,
    max_new_tokens: int,
    as_json: bool,
    no_cache: bool,
) -> None:
    """Answer QUESTION by following entities through a memory, and show the path.

    A memory that holds no triples is followed by the names in its passages.
    """
    from memgpt_rag.memory import Memory

    if not question.strip():
        raise click.UsageError("QUESTION is empty; ask something.")
    # A wrong folder is reported before a model is loaded, and so is one without a lexical index.
    Memory.open(memory).term_statistics([])
    quiet_libraries()
    from memgpt_rag.answering.options import AskOptions
    from memgpt_rag.rag import RAG
    from memgpt_rag.tasks.graph.ask import answer_by_paths
    from memgpt_rag.tasks.graph.links import read_links
    from memgpt_rag.tasks.graph.paths import PathFinder

    rag = RAG.open(memory, model=model, reader=reader, config=preset, encoder=encoder, keep_states=not no_cache)
    finder = PathFinder(rag.retriever, read_links(rag.retriever.memory), hops=hops)
    (answered,) = answer_by_paths(rag, finder, [question], AskOptions(k=k, max_new_tokens=max_new_tokens))
    if as_json:
        echo(printable_json(answered.to_dict()))
        return
    for line in _lines(answered):
        echo(line)


def _lines(answered: PathAnswer) -> list[str]:
    """The answer, and each step of its path with its share of the attention."""
    words = answered.answer.text
    lines = [words] if answered.end is None else [printable(answered.end), f"  The model wrote: {words}"]
    for number, step in enumerate(answered.steps, 1):
        share = "" if step.share is None else f"{step.share:>5.0%}  "
        text = printable(shortened(" ".join(step.passage.titled_text.split())))
        lines.append(f"  [{number}] {share}{text} — {printable(step.passage.place)}")
    return lines if answered.steps else [*lines, "  nothing was found in the memory for this question"]


@graph.command()
@memory_option
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File of JSON Lines, which graph build and check read.",
)
@model_option
@click.option("--limit", type=click.IntRange(1), help="Read so many passages only, the first ones.")
def extract(memory: Path, output: Path, model: str, limit: int | None) -> None:
    """Extract triples from the passages of a memory of texts, with the language model, into a file to be looked through.

    Subjects and objects are words of the text, as a grammar demands; whether a triple is true is for you to check.
    """
    from memgpt_rag.memory import Memory

    opened = Memory.open(memory)
    rows = opened.rows()[:limit].tolist()
    quiet_libraries()
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.tasks.graph.extract import TripleExtractor, require_llguidance

    require_llguidance()  # before the model is loaded

    extractor = TripleExtractor(MemoryDecoder.from_pretrained(model, reader=None))
    written = 0
    with output.open("w", encoding="utf-8") as file, progress_bar(desc="passages", total=len(rows)) as bar:
        for row in rows:
            for record in extractor.extract(*opened.passages([row])):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                written += 1
            bar.update()
    echo(
        f"{counted(written, 'triple')} of {counted(len(rows), 'passage')} in {output}; look through them before you build."
    )


@graph.command()
@_files_argument
@click.option(
    "--functional",
    multiple=True,
    metavar="NAME",
    help="Property with one object at most, such as capital; may be given again.",
)
@click.option(
    "--hierarchical",
    multiple=True,
    metavar="NAME",
    help="Property along which nothing leads back to itself, such as part of; may be given again.",
)
@click.pass_context
def check(
    ctx: click.Context, files: tuple[Path, ...], functional: tuple[str, ...], hierarchical: tuple[str, ...]
) -> None:
    """Find contradictions in FILES of triples, and name their lines. The exit status is 1 where there are any."""
    from memgpt_rag.tasks.graph.check import find_contradictions
    from memgpt_rag.tasks.graph.read import read_triples

    knowledge = read_triples(files)
    found = find_contradictions(knowledge, functional=functional, hierarchical=hierarchical)
    for contradiction in found:
        echo(f"{'' if contradiction.certain else 'probably: '}{contradiction}")
    echo(f"{counted(len(found), 'contradiction')} in {counted(len(knowledge.triples), 'triple')}.")
    ctx.exit(1 if found else 0)


@graph.command()
@memory_option
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="File to write: .graphml, or .svg for a picture."
)
@click.option("--about", metavar="NAME", help="Entity to write what lies around it; without it, the whole graph.")
@click.option("--hops", type=click.IntRange(0, 10), help="How far from --about; 1 unless given.")
@click.option(
    "--language",
    default="",
    metavar="CODE",
    help="Language of the names, such as en or zh, where a triple has several.",
)
def export(memory: Path, output: Path, about: str | None, hops: int | None, language: str) -> None:
    """Write a memory of triples as GraphML or as a picture."""
    if about is None and hops is not None:
        raise click.UsageError("--hops counts from an entity; name it with --about.")
    from memgpt_rag.memory import Memory
    from memgpt_rag.tasks.graph.export import around, to_networkx, write_graph

    whole = to_networkx(Memory.open(memory), language=language)
    part = whole if about is None else around(whole, about, 1 if hops is None else hops)
    write_graph(part, output)
    echo(f"{counted(part.number_of_edges(), 'triple')} and {counted(len(part), 'node')} in {output}.")
