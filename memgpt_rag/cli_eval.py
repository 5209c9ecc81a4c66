"""The commands of memgpt-rag that measure: retrieval on a set with judgements, answers on questions with known answers.

Heavy imports wait until one runs.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.bundled import E5_ENCODER
from memgpt_rag.command_line import (
    SentenceGroup,
    encoder_option,
    k_option,
    memory_option,
    model_option,
    preset_option,
    quiet_libraries,
)

if TYPE_CHECKING:
    from memgpt_rag.answer import Mode
    from memgpt_rag.evaluation.judged_set import JudgedSet
    from memgpt_rag.evaluation.systems import System
    from memgpt_rag.memory import Memory


@click.group(name="eval", cls=SentenceGroup)
def evaluation() -> None:
    """Measure how well documents are found, or how right answers are."""


@evaluation.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Of a BEIR folder, the file in qrels/ that judges.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME",
    help=f"Embedding model to measure, {E5_ENCODER} without one; may be given again.",
)
@click.option(
    "--memory",
    type=click.Path(path_type=Path),
    help="Search this memory instead of the documents of DATA; an entry belongs to the document in its record, else its source.",
)
@click.option(
    "--search",
    "searches",
    multiple=True,
    default=("dense",),
    show_default=True,
    metavar="NAME",
    help="Ways of searching.",
)
@click.option("-k", default=100, show_default=True, type=click.IntRange(min=1), help="Documents to find per query.")
@click.option(
    "--measures",
    default="nDCG@10,R@10,R@100,RR@10,AP",
    show_default=True,
    help="Names of nDCG, R, RR, AP, P, Success, with cutoffs, and commas between them. The first one orders the queries.",
)
@click.option(
    "--latency-queries", default=200, show_default=True, type=click.IntRange(min=1), help="Single queries to time."
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Ranking of another program in the form of TREC, to measure as well; may be given again.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder for report.json, report.md, report.html and the rankings."
)
@click.option(
    "--against", type=click.Path(path_type=Path), help="An earlier report.json to compare with, query by query."
)
def retrieval(
    data: Path,
    split: str,
    encoders: tuple[str, ...],
    memory: Path | None,
    searches: tuple[str, ...],
    k: int,
    measures: str,
    latency_queries: int,
    runs: tuple[Path, ...],
    output: Path | None,
    against: Path | None,
) -> None:
    """Measure how well the documents of DATA are found.

    DATA is a folder in the layout of BEIR (corpus.jsonl, queries.jsonl, qrels/test.tsv), a folder with corpus.jsonl and
    TREC's topics.* and qrels.*, or a .json file in the layout of SQuAD, whose questions are to find their paragraphs. Without
    --memory its documents are embedded whole, and searched exactly. Needs the extra `measure`.
    """
    from memgpt_rag.evaluation.layouts import read_judged_set
    from memgpt_rag.evaluation.measures import parse_measures
    from memgpt_rag.evaluation.report import read_report
    from memgpt_rag.evaluation.systems import require_search
    from memgpt_rag.evaluation.trec import read_run

    # What is wrong with what was asked for is told before a model is loaded.
    names = [name.strip() for name in measures.split(",") if name.strip()]
    parse_measures(names)
    for search in searches:
        require_search(search)
    if memory is not None and len(encoders) > 1:
        raise click.UsageError("A memory has one encoder; give --encoder once, where it has moved.")
    if output is not None and output.is_file():
        raise click.UsageError(f"{output} is a file; name a folder for --output.")
    judged = read_judged_set(data, split)
    tagged = [read_run(path) for path in runs]
    if len({tag for tag, _ in tagged}) < len(tagged):
        raise click.UsageError("Two of the rankings have the same tag; change the last column of one.")
    earlier = None if against is None else read_report(against)

    from memgpt_rag.evaluation import report as reports
    from memgpt_rag.evaluation.document_memory import with_documents_of
    from memgpt_rag.evaluation.report_folder import write_folder
    from memgpt_rag.evaluation.retrieval import evaluate_retrieval
    from memgpt_rag.evaluation.tables import report_tables, to_plain
    from memgpt_rag.memory import Memory

    opened, missing = None, 0
    if memory is not None:
        opened = Memory.open(memory)
        judged, missing = with_documents_of(judged, opened)
    if earlier is not None:
        reports.require_same_documents(
            judged.name, len(judged.documents), judged.documents_digest, earlier, str(against)
        )
    with tempfile.TemporaryDirectory(prefix="memgpt_rag-eval-") as folder:
        systems: Iterator[System] = iter(())
        if opened is not None:
            quiet_libraries()
            systems = _systems_of(opened, encoders[0] if encoders else None, searches)
        elif encoders or not runs:
            quiet_libraries()
            systems = _embedded(judged, tuple(dict.fromkeys(encoders or (E5_ENCODER,))), searches, Path(folder))
        measured = evaluate_retrieval(
            judged,
            systems,
            runs=dict(tagged),
            measures=names,
            k=k,
            latency_queries=latency_queries,
            missing_documents=missing,
        )
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report = reports.make_report(measured, command=command, source=str(data))
    if earlier is not None:
        report["against"] = reports.against(report, earlier, str(against))
    told = f"{judged.name}: {len(judged.documents):,} documents; {len(judged.judged):,} of {len(judged.queries):,} queries have"
    click.echo(f"{told} a relevant one and are measured.", err=True)
    if missing:
        click.echo(f"Relevant documents without an entry in {memory}, which no search can find: {missing:,}.", err=True)
    for table in report_tables(report):
        click.echo(f"{to_plain(table)}\n")
    if output is not None:
        written = write_folder(output, measured, report)
        click.echo(f"Written: {', '.join(map(str, written))}.")


def _systems_of(memory: Memory, encoder: str | None, searches: tuple[str, ...]) -> Iterator[System]:
    from memgpt_rag.encoder import load_encoder_of
    from memgpt_rag.evaluation.systems import make_system

    loaded = load_encoder_of(memory.manifest.encoder, encoder)
    for search in searches:
        yield make_system(search, memory, loaded)


def _embedded(
    judged: JudgedSet, encoders: tuple[str, ...], searches: tuple[str, ...], folder: Path
) -> Iterator[System]:
    """Systems of one encoder after the other, so that no two have to be loaded at once."""
    from tqdm import tqdm

    from memgpt_rag.encoder import load_encoder
    from memgpt_rag.evaluation.document_memory import embed_documents
    from memgpt_rag.evaluation.systems import make_system

    for number, name in enumerate(encoders):
        encoder = load_encoder(name)
        with tqdm(desc=name, total=len(judged.documents), unit="document", disable=None) as bar:
            memory, costs = embed_documents(judged, encoder, folder / str(number), on_block=bar.update)
        for search in searches:
            yield make_system(search, memory, encoder, costs=costs)


@evaluation.command()
@click.argument("questions", type=click.Path(path_type=Path))
@memory_option
@model_option
@preset_option
@click.option(
    "--mode",
    "modes",
    multiple=True,
    default=("memory",),
    show_default=True,
    type=click.Choice(["memory", "prompt", "closed"]),
    help="Entries in attention, in the prompt, or none; given again, modes are compared.",
)
@encoder_option
@k_option
@click.option(
    "--max-new-tokens", default=48, show_default=True, type=click.IntRange(min=1), help="Longest answer, in tokens."
)
@click.option("--output", type=click.Path(path_type=Path), help="File for all figures and answers, in JSON.")
def answers(
    questions: Path,
    memory: Path,
    model: str,
    preset: str,
    modes: tuple[Mode, ...],
    encoder: str | None,
    k: int,
    max_new_tokens: int,
    output: Path | None,
) -> None:
    """Measure how right the answers to QUESTIONS are.

    QUESTIONS is JSON Lines, each {"id": "…", "question": "…", "golden_answers": ["…"]}, or a .json file in the layout of
    SQuAD. English answers are compared word by word, Chinese ones character by character.
    """
    from memgpt_rag.evaluation.answered_questions import read_answered
    from memgpt_rag.memory import Memory

    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise click.UsageError(f"{output} cannot be written; name a file in a folder that is there for --output.")
    asked, modes = read_answered(questions), tuple(dict.fromkeys(modes))
    Memory.open(memory)
    from tqdm import tqdm

    from memgpt_rag.evaluation.answers import answers_report, answers_table, evaluate_answers
    from memgpt_rag.evaluation.tables import compared, to_plain
    from memgpt_rag.rag import RAG

    quiet_libraries()
    rag = RAG.open(memory, model=model, config=preset, encoder=encoder, int8_weights=True)
    with tqdm(total=len(asked) * len(modes), unit="answer", disable=None) as bar:
        judged = evaluate_answers(rag, asked, modes=modes, k=k, max_new_tokens=max_new_tokens, on_answers=bar.update)
    about = {"memory": str(memory), "model": model, "preset": preset, "k": k, "max_new_tokens": max_new_tokens}
    about["encoder"] = rag.retriever.memory.manifest.encoder.name
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report = answers_report(judged, command=command, about=about)
    click.echo(to_plain(answers_table(report)))
    if report["comparisons"]:
        renamed = [{**of, "system": of["mode"], "measure": of["figure"]} for of in report["comparisons"]]
        click.echo(f"\n{to_plain(compared(renamed, f'Compared with {modes[0]}', ''))}")
    if output is not None:
        output.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
        click.echo(f"\nWritten: {output}.")
