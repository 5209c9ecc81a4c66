"""The command memgpt-index. Heavy imports wait until a job runs, so that --help answers at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from indexing.cli import changes
from indexing.cli.embedding_options import (
    Caching,
    EncoderOptions,
    caching_options,
    embedding_options,
)
from indexing.cli.import_command import import_store
from indexing.cli.options import (
    SIZE,
    ExecutionOptions,
    ReadingOptions,
    execution_options,
    index,
    index_option,
    latency_option,
    log_options,
    memory_limit_option,
    reading_options,
    recall_option,
    report_notes,
    sources_argument,
    sparse_encoder_option,
)
from indexing.cli.pictures import pictures
from memgpt_rag.choices import (
    COLUMN_TYPES,
    DEFAULT_MAX_PASSAGE_TOKENS,
    METRICS,
    PRESETS,
    STATES_TYPES,
    IndexKind,
    Metric,
    StatesType,
)
from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.io.console import SentenceGroup, echo, no_cache_option, quiet_libraries, reader_option, version_option
from memgpt_rag.io.printable import counted
from memgpt_rag.limits import MOST_PASSAGE_TOKENS

if TYPE_CHECKING:
    from indexing.job_log import JobLog
    from indexing.jobs.build_memory import BuildReport, PassageStream
    from indexing.sources.document import Note


def _metadata(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for one in given:
        name, _, kind = one.partition(":")
        if kind not in COLUMN_TYPES:
            raise click.BadParameter(
                f"{one!r} names no type; expected NAME:TYPE with one of {', '.join(COLUMN_TYPES)}."
            )
        columns[name] = kind
    return columns


@click.group(
    cls=SentenceGroup,
    renamed_commands={"words": "lexical"},
    renamed_options={"build": {"--words": "--lexical"}, "verify": {"--neighbours": "--sample"}},
)
@version_option
def main() -> None:
    """Build memories: folders of documents become key-value memories that a language model attends to."""


@main.command()
@sources_argument
@click.option("--memory", required=True, type=click.Path(path_type=Path), help="Folder to build the memory in.")
@embedding_options
@caching_options
@click.option(
    "--generator",
    metavar="NAME",
    help="Language model that will read the memory; its tokenizer counts --max-tokens. Without it, the encoder's does.",
)
@click.option(
    "--max-tokens",
    default=DEFAULT_MAX_PASSAGE_TOKENS,
    show_default=True,
    type=click.IntRange(8, MOST_PASSAGE_TOKENS),
    help="Longest passage, in tokens.",
)
@click.option(
    "--states",
    "preset",
    type=click.Choice(PRESETS),
    help=f"Also compute states, as memgpt-index states does, for the --generator ({GEMMA} where none is named).",
)
@click.option(
    "--metric",
    default="cosine",
    show_default=True,
    type=click.Choice(METRICS),
    help="How near is measured.",
)
@click.option(
    "--metadata",
    multiple=True,
    callback=_metadata,
    metavar="NAME:TYPE",
    help=f"Field of a record to keep as a column ({', '.join(COLUMN_TYPES)}); may be given again.",
)
@click.option(
    "--lexical/--no-lexical",
    default=None,
    help="Whether the memory has a lexical index (BM25); a new one has unless you say no, an existing one keeps what it has.",
)
@sparse_encoder_option
@index_option
@recall_option
@latency_option
@memory_limit_option
@execution_options
@log_options
@reading_options
@click.option(
    "--replace",
    is_flag=True,
    help="Embed everything anew where the folder holds a memory; the old one stays until the new one is complete.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be read and how large the memory would get; write nothing."
)
def build(
    sources: tuple[Path | str, ...],
    memory: Path,
    embedding: EncoderOptions,
    caching: Caching,
    generator: str | None,
    max_tokens: int,
    preset: str | None,
    metric: Metric,
    metadata: dict[str, str],
    lexical: bool | None,
    sparse_encoder: str | None,
    kind: IndexKind,
    recall: float,
    latency: float,
    memory_limit: float | None,
    reading: ReadingOptions,
    execution: ExecutionOptions,
    log: JobLog,
    replace: bool,
    dry_run: bool,
) -> None:
    """Read files and folders, and build a memory from them.

    Text, Markdown, HTML, PDF, office documents, mail, source code, JSON, CSV, Parquet and archives of them are read; anything
    else is read as text. What is left out of a file is printed, and a file that cannot be read stops the job before anything
    is written. Run again, the job embeds only what is new, and a job that
    was stopped goes on where it was.
    """
    from indexing.jobs.build_memory import NewMemory, PassageStream, build_memory
    from indexing.planning.forecast import require_memory

    (files, left_out), options = reading.find(sources), reading.options(metadata)
    quiet_libraries()
    encoder = embedding.config(normalize=metric == "cosine")
    with execution.open(encoder, caching.splitter(generator, max_tokens)) as engine:
        require_memory(memory_limit)
        if dry_run:
            _print_plan(PassageStream(files, engine, options, progress=True), memory, left_out)
            return
        report = build_memory(
            files,
            memory,
            caching.engine(engine),
            tokenizer_name=generator or embedding.encoder_name,
            options=options,
            new=NewMemory(metric, lexical is not False, replace),
            log=log,
        )
    _print_report(report, memory, left_out)
    if report.commit is not None:
        chosen = kind != "auto"
        index(memory, kind, recall, latency, anew=chosen, memory_limit=memory_limit, report_exact=chosen)
    if lexical:  # where the folder held a memory without one
        changes.add_lexical_index_to(memory)
    if sparse_encoder is not None:
        changes.add_sparse_vectors_to(memory, sparse_encoder)
    if preset is not None:
        _store_states(memory, generator or GEMMA, preset, "int8", execution, "auto")


def _print_report(report: BuildReport, memory: Path, left_out: list[Note]) -> None:
    """Print what a build read, what was left out of folders and files, and what changed."""
    sentence = report.sentence()
    echo(f"{sentence[0].upper()}{sentence[1:]} in {memory} after {report.seconds:.0f} s.")
    report_notes([*left_out, *report.notes])
    if report.kept or report.deleted:
        echo(f"{report.changes()}.")


def _print_plan(stream: PassageStream, memory: Path, left_out: list[Note]) -> None:
    """Print what a build would read and how large the memory would get, by file."""
    from indexing.planning.plan import plan_memory, size, table

    dimension = stream.engine.encoder.fingerprint.dimension
    plan = plan_memory(stream, dimension=dimension)
    echo(table(plan, stream.files))
    echo(f"Would have {plan.report.sentence()} of {dimension} numbers each.")
    report_notes([*left_out, *plan.report.notes])
    echo(f"Would take {size(plan.keys_bytes)} for keys and {size(plan.values_bytes)} for values in {memory}.")


@main.command()
@sources_argument
@embedding_options
@click.option(
    "--generator",
    default=GEMMA,
    show_default=True,
    metavar="NAME",
    help="Language model that will read the memory; its tokenizer counts --max-tokens.",
)
@click.option(
    "--max-tokens",
    default=DEFAULT_MAX_PASSAGE_TOKENS,
    show_default=True,
    type=click.IntRange(8, MOST_PASSAGE_TOKENS),
    help="Longest passage, in tokens.",
)
@recall_option
@latency_option
@click.option("--disk", type=SIZE, metavar="SIZE", help="What the memory may take, such as 2GB.")
@memory_limit_option
@click.option("--sparse-encoder", metavar="NAME", help="Sparse encoder whose sparse vectors the memory is to have.")
@click.option("--no-states", is_flag=True, help="Do not measure what states take, which loads the language model.")
@no_cache_option
@reading_options
def plan(
    sources: tuple[Path | str, ...],
    embedding: EncoderOptions,
    generator: str,
    max_tokens: int,
    recall: float,
    latency: float,
    disk: float | None,
    memory_limit: float | None,
    sparse_encoder: str | None,
    no_states: bool,
    no_cache: bool,
    reading: ReadingOptions,
) -> None:
    """Say how large a memory of these sources would be and how long it would take to build, on this machine.

    All is read and split as the job does it; the rest is measured on a few passages. What is wished for decides which
    index and which states it is to have, and how large it may get.
    """
    from indexing.engines.base import DecoderRecipe
    from indexing.engines.local import LocalEngine
    from indexing.jobs.build_memory import PassageStream
    from indexing.planning.forecast import Constraints, forecast, forecast_table
    from indexing.planning.plan import plan_memory
    from memgpt_rag.encoders.load import load_encoder, load_sparse_encoder

    quiet_libraries()
    (files, left_out), encoder = reading.find(sources), load_encoder(embedding.config())
    sparse = None if sparse_encoder is None else load_sparse_encoder(sparse_encoder)
    engine = LocalEngine(encoder, Caching(no_cache=no_cache).splitter(generator, max_tokens)(lambda: encoder))
    stream = PassageStream(files, engine, reading.options({}), progress=True)
    found = plan_memory(stream, dimension=encoder.fingerprint.dimension)
    presets = () if no_states else PRESETS
    models: dict[str, DecoderRecipe] = {preset: DecoderRecipe(generator, preset) for preset in presets}
    echo(f"Would have {found.report.sentence()}.")
    report_notes([*left_out, *found.report.notes])
    constraints = Constraints(recall, latency, disk or math.inf, memory_limit or math.inf)
    expected = forecast(found, encoder, models, constraints, sparse_encoder=sparse)
    echo(forecast_table(found, expected, constraints))


@main.command()
@click.argument("memory", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "model_name",
    default=GEMMA,
    show_default=True,
    metavar="NAME",
    help="Language model that will read the memory: a Hugging Face name or folder, or one that comes as a package.",
)
@click.option(
    "--preset",
    default="quality",
    show_default=True,
    type=click.Choice(PRESETS),
    help="States of all layers, or of the global layers only.",
)
@click.option(
    "--dtype",
    default="int8",
    show_default=True,
    type=click.Choice(STATES_TYPES),
    help="How states are stored; int8 and int4 with a scale per token and head.",
)
@reader_option
@execution_options
def states(
    memory: Path, model_name: str, preset: str, dtype: StatesType, reader: str, execution: ExecutionOptions
) -> None:
    """Compute the states of the entries in folder MEMORY and store them, so that questions need not.

    Any other states that the memory holds are replaced. It can be asked as before while the job runs.
    """
    _store_states(memory, model_name, preset, dtype, execution, reader)


def _store_states(
    memory: Path, model_name: str, preset: str, dtype: StatesType, execution: ExecutionOptions, reader: str
) -> None:
    from indexing.engines.base import DecoderRecipe
    from indexing.jobs.compute_states import compute_states
    from indexing.planning.plan import size
    from memgpt_rag.memory import Memory

    entries = len(Memory.open(memory))  # a wrong folder is reported before a model is loaded
    quiet_libraries()
    recipe = DecoderRecipe(model_name, preset, reader)
    stored = compute_states(memory, recipe(), dtype=dtype, elsewhere=execution.states_elsewhere(recipe), progress=True)
    echo(f"Stored the states of {counted(entries, 'entry', 'entries')} for {model_name}, {size(stored)}, in {memory}.")


for _command in (import_store, pictures, *changes.COMMANDS):
    main.add_command(_command)
