"""memgpt-rag serve: memories over HTTP, in the form of the OpenAI API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import Preset
from memgpt_rag.cli.options import encoder_option, model_option, preset_option, think_option
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.cli.serve_options import Limits, Place, limit_options, place_options
from memgpt_rag.errors import MissingPackageError
from memgpt_rag.io.console import echo, no_cache_option, quiet_libraries, reader_option

if TYPE_CHECKING:
    from fastapi import FastAPI

    from memgpt_rag.encoders.base import Encoder
    from memgpt_rag.memory import Memory
    from memgpt_rag.serving.access import Keys
    from memgpt_rag.serving.memories import Models
    from memgpt_rag.serving.settings import ServerSettings
    from memgpt_rag.serving.telemetry import Telemetry


@click.command()
@click.option(
    "--memory",
    "memories",
    multiple=True,
    metavar="[NAME=]DIR",
    help="Folder that memgpt-index build wrote, and the name that requests use; may be given again. The first one is the default.",
)
@place_options
@model_option
@preset_option
@encoder_option
@reader_option
@search_options
@limit_options
@think_option
@no_cache_option
def serve(
    memories: tuple[str, ...],
    place: Place,
    model: str,
    preset: Preset,
    encoder: str | None,
    reader: str,
    search: SearchOptions,
    limits: Limits,
    think: bool,
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
    _require_engine(place)
    from memgpt_rag.memory import Memory
    from memgpt_rag.serving.access import load_keys

    settings = _settings(memories, place, limits, encoder)
    keys = load_keys(place.keys_file)
    require_keys(settings, keys, place.is_open)
    for folder in settings.memories.values():  # a wrong folder is reported before a model is loaded
        Memory.open(folder)
    make_app = partial(
        _application, settings, keys, model, preset, encoder, reader, search, no_cache, think, telemetry=place.telemetry
    )
    page = "" if place.no_page else f", with a page at http://{place.host}:{place.port}/"
    serving = f"Serving at http://{place.host}:{place.port}/v1{page}; Ctrl-C ends."
    if place.engine == "ray":
        from memgpt_rag.serving.replicas import run_replicas

        run_replicas(make_app, settings, place.replicas or 1, lambda: echo(serving, err=True))
        return
    from memgpt_rag.serving.server import http_server, run_until_stopped

    app = make_app()
    echo(serving, err=True)
    server = http_server(app, settings)
    run_until_stopped(server)
    if not server.started:
        raise click.ClickException(f"{place.host}:{place.port} cannot be listened at; name another --port.")


def _require_engine(place: Place) -> None:
    """See that an engine can do what is asked of it.

    Raises:
        UsageError: it cannot.
        MissingPackageError: its packages are not installed.
    """
    if place.engine == "local":
        if place.replicas is not None:
            raise click.UsageError("--replicas is for --engine ray; leave it out, or choose that engine.")
        return
    for option, given in (("--files", place.files), ("--remember", place.remember)):
        if given is not None:
            raise click.UsageError(
                f"{option} keeps what one process alone may write; leave it out, or choose --engine local."
            )
    require_packages("memgpt-rag serve --engine ray", "serve-ray", ("ray.serve", "aiohttp", "grpc"))


def _application(settings: ServerSettings, keys: Keys, *models: Any, telemetry: str | None) -> FastAPI:
    """Load the models and make the application; in the process that serves it.

    Args:
        models: what `load_models` takes behind the settings.
    """
    quiet_libraries()
    from memgpt_rag.serving.app import create_app
    from memgpt_rag.serving.log import start_log

    spans = None if telemetry is None else _telemetry(with_texts=telemetry == "texts")
    app = create_app(settings, load_models(settings, *models), keys, spans)
    start_log()
    return app


def _telemetry(*, with_texts: bool) -> Telemetry:
    from memgpt_rag.serving.telemetry import from_environment

    return from_environment(with_texts=with_texts)


def _settings(memories: tuple[str, ...], place: Place, limits: Limits, encoder: str | None) -> ServerSettings:
    from memgpt_rag.serving.settings import ServerSettings, named_memories

    if not memories and place.files is None:
        raise click.UsageError("Name the memories to serve, --memory DIR, or a folder for uploads, --files DIR.")
    named = named_memories(memories)
    if place.engine == "ray":  # a replica works in another folder
        named = {name: folder.resolve() for name, folder in named.items()}
    return ServerSettings(
        named,
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
    think: bool = False,
) -> Models:
    """Load the models of a server; an encoder when a memory first needs it."""
    from functools import cache

    from memgpt_rag.encoders.load import load_memory_encoder
    from memgpt_rag.fingerprint import EncoderFingerprint
    from memgpt_rag.hub.bundled import ENCODERS
    from memgpt_rag.io.cache_folder import cache_folder
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.serving.memories import Models

    @cache
    def loaded(fingerprint: EncoderFingerprint) -> Encoder:
        # Beside memories of the encoder that was named, those of one that comes as a package can be served.
        name = None if fingerprint.name in ENCODERS else encoder
        return load_memory_encoder(fingerprint, name, memories=list(settings.memories.values()))

    def open_encoder(memory: Memory) -> Encoder:
        return loaded(memory.manifest.encoder)

    decoder = MemoryDecoder.from_pretrained(model, config=preset, reader=reader, int8_weights=True, think=think)
    folder = None if no_cache else cache_folder("states")
    return Models(decoder, open_encoder, search.load_with(decoder), folder)
