"""Options that several commands of memgpt-index take."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import DEFAULT_LATENCY, DEFAULT_RECALL, ENGINE_KINDS, INDEX_KINDS, EngineKind, IndexKind
from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.io.console import echo
from memgpt_rag.io.option_groups import gathered, with_options
from memgpt_rag.io.printable import counted, printable

if TYPE_CHECKING:
    from indexing.engines.base import DecoderRecipe, Engine, SplitterRecipe
    from indexing.engines.states import StatesEncoder
    from indexing.sources.document import Note
    from indexing.sources.find_files import SourceFile
    from indexing.sources.read_options import ReadOptions
    from memgpt_rag.encoders.config import EncoderConfig
    from memgpt_rag.fingerprint import StatesFingerprint


@dataclass(frozen=True)
class ReadingOptions:
    """How the sources are to be read, as the options say."""

    text_field: str | None
    title_field: str | None
    id_field: str | None
    encoding: tuple[str, ...]
    delimiter: str | None
    main_content: bool
    exclude: tuple[str, ...]
    file_timeout: float
    file_memory: float
    follow_links: bool

    def find(self, sources: Sequence[Path | str]) -> tuple[list[SourceFile], list[Note]]:
        """Return the files of the sources, and notes about what is left out of folders, for the end of the job.

        Raises:
            SourceError: as `find_files` does; the notes are printed then.
        """
        from indexing.sources.find_files import find_files

        notes: list[Note] = []
        try:
            files = find_files(sources, self.exclude, follow_links=self.follow_links, on_note=notes.append)
        except SourceError:
            report_notes(notes)
            raise
        return files, notes

    def options(self, metadata: dict[str, str]) -> ReadOptions:
        """Return how to read, with the columns of metadata."""
        from importlib.util import find_spec

        from indexing.sources.read_options import ReadLimits, ReadOptions, RecordFields

        # Said before the job begins, not once for each page.
        if self.main_content and find_spec("trafilatura") is None:
            raise MissingPackageError("trafilatura", "--main-content", "pip install 'memgpt_rag[web]'")
        named = [one.rpartition("=") for one in self.encoding]
        return ReadOptions(
            encoding=next((encoding for pattern, _, encoding in named if not pattern), None),
            encodings=tuple((pattern, encoding) for pattern, _, encoding in named if pattern),
            fields=RecordFields(self.text_field, self.title_field, self.id_field),
            metadata=metadata,
            delimiter=self.delimiter,
            main_content=self.main_content,
            limits=ReadLimits(self.file_timeout, int(self.file_memory)),
            exclude=self.exclude,
        )


@dataclass(frozen=True)
class ExecutionOptions:
    """Where a job's work is to be done, as the options say."""

    engine: EngineKind
    address: str | None
    workers: int | None

    @contextmanager
    def open(self, encoder: EncoderConfig, splitter: SplitterRecipe) -> Iterator[Engine]:
        """Open the engine: in this process, or on a Ray cluster."""
        if self.engine == "local":
            from indexing.engines.local import LocalEngine
            from memgpt_rag.encoders.load import load_encoder

            loaded = load_encoder(encoder)
            yield LocalEngine(loaded, splitter(lambda: loaded))
            return
        from indexing.engines.base import EncoderRecipe
        from indexing.engines.ray_engine import RayEngine

        with RayEngine(EncoderRecipe(encoder), splitter, address=self.address, workers=self.workers) as engine:
            yield engine

    def states_elsewhere(
        self, model: DecoderRecipe
    ) -> Callable[[StatesFingerprint], AbstractContextManager[StatesEncoder]] | None:
        """What computes states with that model; None for this process."""
        if self.engine == "local":
            return None
        from indexing.engines.ray_engine import ray_states

        return functools.partial(ray_states, model, address=self.address, workers=self.workers)


def report_notes(notes: Sequence[Note]) -> None:
    """Print what was left out of files: the first of many notes, and equal ones once."""
    sources: dict[str, list[str]] = {}
    for note in notes:
        sources.setdefault(note.text, []).append(printable(note.source))
    for text, names in list(sources.items())[:MOST_NOTES]:
        others = f" and {counted(len(names) - MOST_NAMES, 'more file')}" if len(names) > MOST_NAMES else ""
        echo(f"{', '.join(names[:MOST_NAMES])}{others}: {printable(text)}.", err=True)
    if len(sources) > MOST_NOTES:
        echo(f"And {counted(len(sources) - MOST_NOTES, 'note')} more; --log keeps all.", err=True)


def log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a job's reports; the command gets a `JobLog` as `log`."""

    @functools.wraps(command)
    def with_log(**settings: Any) -> None:
        from indexing.job_log import JobLog

        paths = {name: settings.pop(name) for name in ("log", "metrics", "rejects")}
        with JobLog(command.__name__, progress=True, **paths) as log:
            command(log=log, **settings)
        if rejected := log.counts.get("rejects", 0):
            records = "record" if rejected == 1 else "records"
            echo(f"{rejected:,} {records} could not be read, and went to {paths['rejects']}.", err=True)
            click.get_current_context().exit(REJECTS_STATUS)

    return with_options(with_log, _LOGS)


def index(
    memory: Path,
    kind: IndexKind,
    recall: float,
    latency: float,
    *,
    anew: bool = True,
    memory_limit: float | None = None,
    report_exact: bool = True,
) -> None:
    """Choose how a memory is searched, and report the choice; see `index_memory`.

    Args:
        report_exact: report an exact search, too.
    """
    from indexing.jobs.choose_index import index_memory
    from indexing.planning.forecast import anonymous_bytes

    chosen = index_memory(
        memory,
        kind=kind,
        recall=recall,
        fast_enough=latency,
        anew=anew,
        most_bytes=math.inf if memory_limit is None else memory_limit - anonymous_bytes(),
        on_step=lambda step: echo(f"{step} …", err=True),
    )
    for name, choice in chosen.items():
        if choice.index is not None:
            settings = choice.index.settings
            echo(
                f"Segment {name}: {settings.factory}, {settings.parameters}, finds {choice.recall:.1%} of the 10 nearest "
                f"in {choice.milliseconds:.2f} ms; looking at all keys takes {choice.exact_milliseconds:.2f} ms."
            )
    if report_exact and all(choice.index is None for choice in chosen.values()):
        echo("Searches are exact: they scan all keys.")


def _known_encodings(context: click.Context, parameter: click.Parameter, named: tuple[str, ...]) -> tuple[str, ...]:
    """Return NAME or PATTERN=NAME with Python's names of the encodings."""
    if not named:
        return ()
    from indexing.sources.encodings import text_codec

    known = []
    for one in named:
        pattern, equals, name = one.rpartition("=")
        if (codec := text_codec(name)) is None:
            raise click.BadParameter(f"{name!r} is no character encoding; name one such as utf-8 or gb18030.")
        if equals and not pattern:
            raise click.BadParameter(f"{one!r} has no pattern; write '*.txt={codec}', or {codec} for all files.")
        known.append(f"{pattern}{equals}{codec}")
    for_all = [one for one in known if "=" not in one]
    if len(for_all) > 1:
        raise click.BadParameter(f"{' and '.join(for_all)} are both for all files; name one as '*.txt={for_all[0]}'.")
    return tuple(known)


def _delimiter(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise click.BadParameter(f"{text!r} is no delimiter; name one character such as ';', or tab.")
    return delimiter


class _Source(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """A path, or an address such as s3://bucket/docs."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        return value if isinstance(value, Path) or "://" in value else Path(value)


class _Size(click.ParamType):  # type: ignore[type-arg]
    """Bytes, as people write them: 500 MB, 2GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B?", value.strip())
        try:
            return float(found[1]) * 1000.0 ** " kMGT".index(found[2] or " ") if found else float("x")
        except ValueError:
            self.fail(f"{value!r} is no size; expected one such as 500MB or 2GB.", param, ctx)


SIZE = _Size()
memory_limit_option = click.option(
    "--memory-limit",
    type=SIZE,
    metavar="SIZE",
    help="Memory that the job may take, but for files that are mapped; indexes that need more are not built.",
)
sources_argument = click.argument("sources", nargs=-1, required=True, type=_Source(), metavar="SOURCE…")
_EXECUTION = [
    click.option(
        "--engine",
        default="local",
        show_default=True,
        type=click.Choice(ENGINE_KINDS),
        help="Where the work is done: in this process, or by the workers of a Ray cluster.",
    ),
    click.option(
        "--ray-address",
        "address",
        metavar="ADDRESS",
        help="Of the cluster; without it, the one that RAY_ADDRESS names, or else the cores of this machine.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="How many of Ray's workers embed at most; without it, one a core, or one a GPU where there are any.",
    ),
]
_OPTIONS = [
    click.option(
        "--text-field", metavar="FIELD", help="Field of a record (JSON Lines, CSV, Parquet) that holds its text."
    ),
    click.option("--title-field", metavar="FIELD", help="Field that holds its title."),
    click.option("--id-field", metavar="FIELD", help="Field that holds its id."),
    click.option(
        "--encoding",
        multiple=True,
        callback=_known_encodings,
        metavar="[PATTERN=]NAME",
        help="Character encoding of text, HTML, JSON Lines and CSV, or of files such as '*.txt=gb18030'; may be given "
        "again. Without it: as the file's byte-order mark or the page says, else UTF-8.",
    ),
    click.option(
        "--main-content",
        is_flag=True,
        help="Read the main content of HTML pages only, without what surrounds it (needs memgpt_rag[web]).",
    ),
    click.option(
        "--delimiter",
        callback=_delimiter,
        metavar="CHARACTER",
        help="Character between the columns of CSV, or tab; without it, it is detected.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="PATTERN", help="Files to leave out, such as '*.png'; may be given again."
    ),
    click.option(
        "--file-timeout",
        default=60.0,
        show_default=True,
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="Longest time that a file is read without any text.",
    ),
    click.option(
        "--file-memory",
        default="1GB",
        show_default=True,
        type=SIZE,
        metavar="SIZE",
        help="Memory to read one file with.",
    ),
    click.option("--follow-links", is_flag=True, help="Also follow links that lead out of a folder."),
]
index_option = click.option(
    "--index",
    "kind",
    default="auto",
    show_default=True,
    type=click.Choice(INDEX_KINDS),
    help="How keys are searched; auto looks at all of them while that is fast enough, and else measures.",
)
recall_option = click.option(
    "--recall",
    default=DEFAULT_RECALL,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="How many of the 10 nearest an index has to find.",
)
latency_option = click.option(
    "--latency",
    default=DEFAULT_LATENCY,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="MILLISECONDS",
    help="Wished for one search, on one thread; auto looks at all keys while that takes no longer.",
)
REJECTS_STATUS = 3
MOST_NOTES, MOST_NAMES = 20, 3
_LOGS = [
    click.option(
        "--log", type=click.Path(path_type=Path), help="File to add a JSON line to for each thing that happens."
    ),
    click.option("--metrics", type=click.Path(path_type=Path), help="File of numbers in Prometheus's text format."),
    click.option(
        "--rejects",
        type=click.Path(path_type=Path),
        help=f"File for records that cannot be read; the job goes on without them and exits with {REJECTS_STATUS}.",
    ),
]
where_option = click.option(
    "--where", metavar="CONDITION", help="Entries to take, such as 'year >= 2020 and source == \"manual.txt\"'."
)
sparse_encoder_option = click.option(
    "--sparse-encoder",
    metavar="NAME",
    help="Also compute sparse vectors with this SparseEncoder of sentence-transformers, by name or folder, as memgpt-index sparse does.",
)
# How to read sources; the command gets the options as `reading`.
reading_options = gathered(ReadingOptions, "reading", _OPTIONS)
# Where the work is done; the command gets the options as `execution`.
execution_options = gathered(ExecutionOptions, "execution", _EXECUTION)
