"""The commands of memgpt-rag that measure: retrieval on a set with judgements, answers on questions with known answers.

Heavy imports wait until one runs.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.cli import eval_answers, eval_mteb
from memgpt_rag.cli.options import encoder_option, memory_option, model_option
from memgpt_rag.cli.search_options import SearchOptions, refining_options
from memgpt_rag.hub.bundled import E5_ENCODER
from memgpt_rag.io.console import SentenceGroup, echo, progress_bar, quiet_libraries
from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_RETRIEVED

if TYPE_CHECKING:
    from memgpt_rag.encoders.base import Encoder
    from memgpt_rag.evaluation.data.dataset import RetrievalDataset
    from memgpt_rag.evaluation.document_memory import Costs
    from memgpt_rag.evaluation.retrieval import Evaluation
    from memgpt_rag.evaluation.systems import System
    from memgpt_rag.memory import Memory
    from memgpt_rag.retrieval.retriever import Search


@click.group(
    name="eval",
    cls=SentenceGroup,
    renamed_commands={"weight": "lexical-weight"},
    renamed_options={
        "retrieval": {"--word-weight": "--lexical-weight", "--neighbours": "--adjacent"},
        "answers": {
            "--word-weight": "--lexical-weight",
            "--neighbours": "--adjacent",
            "--mode closed": "--mode closed_book",
        },
    },
)
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
    help="Way of searching: dense, bm25, hybrid or sparse, or one of them and +rerank; given again, ways are compared.",
)
@refining_options
@model_option
@click.option(
    "-k", default=100, show_default=True, type=click.IntRange(1, MOST_RETRIEVED), help="Documents to find per query."
)
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
    "--indexes",
    is_flag=True,
    help="Measure as well how fast approximate indexes of the keys are searched, and how much of the nearest they find.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Ranking of another program to measure as well, in the form of TREC, or as .json of scores; may be given again.",
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
    search: SearchOptions,
    model: str,
    k: int,
    measures: str,
    latency_queries: int,
    indexes: bool,
    runs: tuple[Path, ...],
    output: Path | None,
    against: Path | None,
) -> None:
    """Measure how well the documents of DATA are found.

    DATA is a folder in the layout of BEIR (corpus.jsonl, queries.jsonl, qrels/test.tsv), a folder with corpus.jsonl and
    TREC's topics.* and qrels.*, or a .json file in the layout of SQuAD, whose questions are to find their paragraphs. Without
    --memory its documents are embedded whole, and searched exactly. Needs the extra `measure`.
    """
    from memgpt_rag.evaluation.data.layouts import read_dataset
    from memgpt_rag.evaluation.data.scores import read_ranking
    from memgpt_rag.evaluation.metrics.retrieval_measures import parse_measures
    from memgpt_rag.evaluation.reports.report import read_report

    # What is wrong with what was asked for is reported before a model is loaded.
    names = [name.strip() for name in measures.split(",") if name.strip()]
    parse_measures(names)
    _require_sense(searches, search, encoders, memory, indexes=indexes, runs=runs, output=output)
    judged = read_dataset(data, split)
    tagged = [read_ranking(path) for path in runs]
    if len({tag for tag, _ in tagged}) < len(tagged):
        raise click.UsageError(
            "Two of the rankings have the same tag; change the last column, or the name of the .json file, of one."
        )
    earlier = None if against is None else read_report(against)
    asked = _Asked(encoders, searches, search, model, indexes)
    measured, curves = _measured(
        judged, memory, asked, earlier, against, runs=dict(tagged), measures=names, k=k, latency_queries=latency_queries
    )
    from memgpt_rag.evaluation.reports import report as reports

    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report = reports.make_report(measured, command=command, source=str(data), indexes=curves)
    if earlier is not None:
        report["against"] = reports.against(report, earlier, str(against))
    _print_report(report, measured, memory, output)


@dataclass(frozen=True)
class _Asked:
    """What is to be measured."""

    encoders: tuple[str, ...]
    searches: tuple[str, ...]
    search: SearchOptions
    model: str
    indexes: bool


def _require_sense(
    searches: tuple[str, ...],
    search: SearchOptions,
    encoders: tuple[str, ...],
    memory: Path | None,
    *,
    indexes: bool,
    runs: tuple[Path, ...],
    output: Path | None,
) -> None:
    """Raises UsageError or ValueError: options that exclude each other, or a search that there is not."""
    from memgpt_rag.evaluation.systems import require_search

    for name in searches:
        require_search(name)
        search.require_models(name)
    if memory is not None and len(encoders) > 1:
        raise click.UsageError("A memory has one encoder; give --encoder once, where it has moved.")
    if indexes and runs and memory is None and not encoders:
        raise click.UsageError("--indexes needs keys to measure; give --memory or --encoder beside --run.")
    if output is not None and output.is_file():
        raise click.UsageError(f"{output} is a file; name a folder for --output.")


def _measured(
    judged: RetrievalDataset,
    memory: Path | None,
    asked: _Asked,
    earlier: dict[str, Any] | None,
    against: Path | None,
    **settings: Any,
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Figures of all systems and rankings, and curves of indexes where they are asked for."""
    from memgpt_rag.evaluation.document_memory import restrict_documents
    from memgpt_rag.evaluation.index_curves import measured_indexes, require_enough
    from memgpt_rag.evaluation.reports.report import require_same_documents
    from memgpt_rag.evaluation.retrieval import evaluate_retrieval
    from memgpt_rag.memory import Memory

    curves: list[dict[str, Any]] = []

    def on_memory(memory: Memory, encoder: Encoder) -> None:
        """When the systems of a memory were measured."""
        if asked.indexes:
            with progress_bar(desc=f"indexes of {encoder.name}", unit="index") as bar:
                curves.append(measured_indexes(judged, memory, encoder, on_step=lambda step: bar.update()))

    opened, missing = None, 0
    if memory is not None:
        opened = Memory.open(memory)
        judged, missing = restrict_documents(judged, opened)
    if asked.indexes:
        require_enough(len(judged.documents) if opened is None else len(opened))
    if earlier is not None:
        require_same_documents(judged.name, len(judged.documents), judged.documents_digest, earlier, str(against))
    with tempfile.TemporaryDirectory(prefix="memgpt_rag-eval-") as folder:
        systems = _systems(judged, opened, asked, bool(settings["runs"]), Path(folder), on_memory)
        return evaluate_retrieval(judged, systems, missing_documents=missing, **settings), curves


def _systems(
    judged: RetrievalDataset,
    opened: Memory | None,
    asked: _Asked,
    has_runs: bool,
    folder: Path,
    on_memory: Callable[[Memory, Encoder], object],
) -> Iterator[System]:
    """The systems of the memory, or of the documents embedded by each encoder; none where only rankings were given."""
    if opened is None and has_runs and not asked.encoders:
        return iter(())
    quiet_libraries()
    search = asked.search.load_named(asked.model)
    if opened is None:
        names = tuple(dict.fromkeys(asked.encoders or (E5_ENCODER,)))
        return _embedded(judged, names, asked.searches, search, folder, on_memory)
    from memgpt_rag.encoders.load import load_memory_encoder

    name = asked.encoders[0] if asked.encoders else None
    encoder = load_memory_encoder(opened.manifest.encoder, name, memories=[opened.path])
    return _make_systems(opened, encoder, asked.searches, search, on_memory)


def _print_report(report: dict[str, Any], measured: Evaluation, memory: Path | None, output: Path | None) -> None:
    from memgpt_rag.evaluation.reports.folder import write_folder
    from memgpt_rag.evaluation.reports.tables import report_tables, to_plain

    judged, missing = measured.judged, measured.missing_documents
    found = f"{judged.name}: {counted(len(judged.documents), 'document')}; {len(judged.judged):,} of {len(judged.queries):,} queries have"
    echo(f"{found} a relevant one and are measured.", err=True)
    if missing:
        echo(f"Relevant documents without an entry in {memory}, which no search can find: {missing:,}.", err=True)
    for table in report_tables(report):
        echo(f"{to_plain(table)}\n")
    if output is not None:
        written = write_folder(output, measured, report)
        echo(f"Written: {', '.join(map(str, written))}.")


def _make_systems(
    memory: Memory,
    encoder: Encoder,
    searches: tuple[str, ...],
    settings: Search,
    on_memory: Callable[[Memory, Encoder], object],
    costs: Costs | None = None,
) -> Iterator[System]:
    from memgpt_rag.evaluation.systems import make_system

    for search in searches:
        yield make_system(search, memory, encoder, settings, costs=costs)
    on_memory(memory, encoder)


def _embedded(
    judged: RetrievalDataset,
    encoders: tuple[str, ...],
    searches: tuple[str, ...],
    settings: Search,
    folder: Path,
    on_memory: Callable[[Memory, Encoder], object],
) -> Iterator[System]:
    """Systems of one encoder after the other, so that no two have to be loaded at once."""
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.evaluation.document_memory import embed_documents
    from memgpt_rag.evaluation.systems import needs_lexical_index, required_sparse_encoder

    for number, name in enumerate(encoders):
        encoder = load_encoder(name)
        with progress_bar(desc=name, total=len(judged.documents), unit="document") as bar:
            words = any(map(needs_lexical_index, searches))
            memory, costs = embed_documents(
                judged,
                encoder,
                folder / str(number),
                words=words,
                sparse_encoder=required_sparse_encoder(searches, settings),
                on_block=bar.update,
            )
        yield from _make_systems(memory, encoder, searches, settings, on_memory, costs)


@evaluation.command("lexical-weight")
@click.argument("data", type=click.Path(path_type=Path))
@memory_option
@click.option("--split", default="test", show_default=True, help="Of a BEIR folder, the file in qrels/ that judges.")
@encoder_option
@click.option("--measure", default="nDCG@10", show_default=True, help="Measure to maximize: nDCG, R, RR, AP or P.")
def lexical_weight(data: Path, memory: Path, split: str, encoder: str | None, measure: str) -> None:
    """Fit the weight of BM25 beside cosines in a hybrid search to the judged queries of DATA.

    The memory holds the documents of DATA, a record each, and a lexical index. The weight goes into --lexical-weight.
    """
    from memgpt_rag.evaluation.data.layouts import read_dataset
    from memgpt_rag.evaluation.metrics.retrieval_measures import parse_measures

    parse_measures([measure])
    judged = read_dataset(data, split)
    from memgpt_rag.encoders.load import load_memory_encoder
    from memgpt_rag.evaluation.document_memory import restrict_documents
    from memgpt_rag.evaluation.lexical_weight import fit_lexical_weight
    from memgpt_rag.memory import Memory

    opened = Memory.open(memory)
    opened.term_statistics([])
    judged, _ = restrict_documents(judged, opened)
    quiet_libraries()
    asking = load_memory_encoder(opened.manifest.encoder, encoder, memories=[memory])
    fitted = fit_lexical_weight(judged, opened, asking, measure=measure)
    for tried, mean in fitted.means.items():
        echo(f"{tried:.2f}  {mean:.4f}" + ("  <" if tried == fitted.best else ""))
    gain = fitted.against
    echo(
        f"--lexical-weight {fitted.best:g} is best on {len(judged.judged):,} queries. On the half that a weight was not fitted to, "
        f"{measure} is {gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] against the better one of dense and lexical search alone."
    )


evaluation.add_command(eval_answers.answers)
evaluation.add_command(eval_mteb.mteb)
