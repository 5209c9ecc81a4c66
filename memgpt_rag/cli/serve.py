"""memgpt-rag serve: memories over HTTP, in the form of the OpenAI API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.choices import Preset
from memgpt_rag.cli.options import encoder_option, host_option, keys_option, model_option, open_option, preset_option
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.errors import MissingPackageError
from memgpt_rag.io.console import echo, no_cache_option, quiet_libraries, reader_option
from memgpt_rag.io.option_groups import gathered
from memgpt_rag.limits import MOST_NEW_TOKENS, MOST_UPLOAD_BYTES

if TYPE_CHECKING:
    from memgpt_rag.encoders.base import Encoder
    from memgpt_rag.memory import Memory
    from memgpt_rag.serving.access import Keys
    from memgpt_rag.serving.memories import Models
    from memgpt_rag.serving.settings import ServerSettings
    from memgpt_rag.serving.telemetry import Telemetry


@dataclass(frozen=True)
class _Limits:
    """How much is done at once, as the options say."""

    max_rows: int
    max_waiting: int
    deadline: float
    max_new_tokens: int
    max_upload: int


_limit_options = gathered(
    _Limits,
    "limits",
    [
        click.option(
            "--max-rows",
            default=8,
            show_default=True,
            type=click.IntRange(1, 256),
            help="Answers that are generated at once.",
        ),
        click.option(
            "--max-waiting",
            default=64,
            show_default=True,
            type=click.IntRange(1, 100_000),
            help="Requests that may wait for their turn; more are answered with status 429.",
        ),
        click.option(
            "--deadline",
            default=120.0,
            show_default=True,
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help="Longest time that a request may take, with the time that it waits.",
        ),
        click.option(
            "--max-new-tokens",
            default=MOST_NEW_TOKENS,
            show_default=True,
            type=click.IntRange(1, MOST_NEW_TOKENS),
            help="Longest answer that a request may ask for.",
        ),
        click.option(
            "--max-upload",
            default=MOST_UPLOAD_BYTES,
            show_default=True,
            type=click.IntRange(1),
            metavar="BYTES",
            help="Largest file that may be uploaded.",
        ),
    ],
)


@dataclass(frozen=True)
class _Place:
    """Where the server listens and who may use it, as the options say."""

    host: str
    port: int
    keys_file: Path | None
    is_open: bool
    public_url: str
    files: Path | None
    no_page: bool
    remember: Path | None
    telemetry: str | None


_place_options = gathered(
    _Place,
    "place",
    [
        host_option,
        click.option(
            "--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen at."
        ),
        keys_option,
        open_option,
        click.option(
            "--public-url", default="", metavar="URL", help="Address of this server in citations, behind a proxy."
        ),
        click.option(
            "--files",
            type=click.Path(path_type=Path),
            help="Folder for uploaded files and the memories made from them; without it, the server takes none.",
        ),
        click.option("--no-page", is_flag=True, help="Serve the API alone, without the page for people at /."),
        click.option(
            "--remember",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder for conversations: turns of those that a request names are kept there, and older ones are found again "
            "when they are relevant; without it, the server remembers none.",
        ),
        click.option(
            "--telemetry",
            type=click.Choice(["spans", "texts"]),
            help="Send a span of each answer over OTLP, as OpenTelemetry's variables say; `texts` puts questions and answers into it. "
            "Needs the extra `telemetry`.",
        ),
    ],
)


@click.command()
@click.option(
    "--memory",
    "memories",
    multiple=True,
    metavar="[NAME=]DIR",
    help="Folder that memgpt-index build wrote, and the name that requests use; may be given again. The first one is the default.",
)
@_place_options
@model_option
@preset_option
@encoder_option
@reader_option
@search_options
@_limit_options
@no_cache_option
def serve(
    memories: tuple[str, ...],
    place: _Place,
    model: str,
    preset: Preset,
    encoder: str | None,
    reader: str,
    search: SearchOptions,
    limits: _Limits,
    no_cache: bool,
) -> None:
    """Serve memories over HTTP, in the form of the OpenAI API.

    Answers, searches, embeddings and uploads for any client of that API, and a page for people at /. A new version of a memory is
    taken over as soon as a job has committed it.
    """
    require_packages("memgpt-rag serve", "serve", ("fastapi", "uvicorn", "python_multipart"))
    if place.telemetry is not None:
        packages = ("opentelemetry.sdk", "opentelemetry.exporter")
        require_packages("memgpt-rag serve --telemetry", "telemetry", packages)
    from memgpt_rag.memory import Memory
    from memgpt_rag.serving.access import load_keys

    settings = _settings(memories, place, limits, encoder)
    keys = load_keys(place.keys_file)
    require_keys(settings, keys, place.is_open)
    for folder in settings.memories.values():  # a wrong folder is reported before a model is loaded
        Memory.open(folder)
    quiet_libraries()
    from memgpt_rag.serving.app import create_app
    from memgpt_rag.serving.log import start_log
    from memgpt_rag.serving.server import http_server, run_until_stopped

    telemetry = None if place.telemetry is None else _telemetry(with_texts=place.telemetry == "texts")
    app = create_app(settings, load_models(settings, model, preset, encoder, reader, search, no_cache), keys, telemetry)
    start_log()
    page = "" if place.no_page else f", with a page at http://{place.host}:{place.port}/"
    echo(f"Serving at http://{place.host}:{place.port}/v1{page}; Ctrl-C ends.", err=True)
    server = http_server(app, settings)
    run_until_stopped(server)
    if not server.started:
        raise click.ClickException(f"{place.host}:{place.port} cannot be listened at; name another --port.")


def _telemetry(*, with_texts: bool) -> Telemetry:
    from memgpt_rag.serving.telemetry import from_environment

    return from_environment(with_texts=with_texts)


def _settings(memories: tuple[str, ...], place: _Place, limits: _Limits, encoder: str | None) -> ServerSettings:
    from memgpt_rag.serving.settings import ServerSettings, named_memories

    if not memories and place.files is None:
        raise click.UsageError("Name the memories to serve, --memory DIR, or a folder for uploads, --files DIR.")
    return ServerSettings(
        named_memories(memories),
        host=place.host,
        port=place.port,
        public_url=place.public_url,
        files=place.files,
        page=not place.no_page,
        conversations=place.remember,
        max_rows=limits.max_rows,
        max_waiting=limits.max_waiting,
        deadline_seconds=limits.deadline,
        max_new_tokens=limits.max_new_tokens,
        max_upload_bytes=limits.max_upload,
        index_arguments=() if encoder is None else ("--encoder", encoder),
    )


def require_packages(command: str, extra: str, packages: Sequence[str]) -> None:
    """See that the packages of an extra are installed.

    Raises:
        MissingPackageError: one is not.
    """
    from importlib.util import find_spec

    for package in packages:
        try:
            found = find_spec(package)
        except ModuleNotFoundError:  # the package that it is part of
            found = None
        if found is None:
            raise MissingPackageError(package, command, f"pip install 'memgpt_rag[{extra}]'")


def require_keys(settings: ServerSettings, keys: Keys, is_open: bool) -> None:
    """See that a server which other machines reach has keys.

    Raises:
        UsageError: it has none, and is not to be open.
    """
    if not (settings.is_local or keys or is_open):
        raise click.UsageError(
            f"At {settings.host}, every machine that reaches this one could read the memories; give --keys FILE, or --open to "
            "allow it."
        )


def load_models(
    settings: ServerSettings,
    model: str,
    preset: str,
    encoder: str | None,
    reader: str,
    search: SearchOptions,
    no_cache: bool,
) -> Models:
    """Load the models of a server; an encoder when a memory first needs it."""
    from functools import cache

    from memgpt_rag.encoders.load import load_memory_encoder
    from memgpt_rag.fingerprint import EncoderFingerprint
    from memgpt_rag.io.cache_folder import cache_folder
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.serving.memories import Models

    @cache
    def loaded(fingerprint: EncoderFingerprint) -> Encoder:
        return load_memory_encoder(fingerprint, encoder, memories=list(settings.memories.values()))

    def encoder_of(memory: Memory) -> Encoder:
        return loaded(memory.manifest.encoder)

    decoder = MemoryDecoder.from_pretrained(model, config=preset, reader=reader, int8_weights=True)
    folder = None if no_cache else cache_folder("states")
    return Models(decoder, encoder_of, search.load_with(decoder), folder)
