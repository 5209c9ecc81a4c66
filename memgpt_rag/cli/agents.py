"""memgpt-rag mcp: memories as tools of agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click
from click.core import ParameterSource

from memgpt_rag.choices import Preset
from memgpt_rag.cli.options import encoder_option, host_option, keys_option, model_option, open_option, preset_option
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.cli.serve import load_models, require_keys, require_packages
from memgpt_rag.io.console import echo, no_cache_option, quiet_libraries, reader_option
from memgpt_rag.io.option_groups import gathered

if TYPE_CHECKING:
    from memgpt_rag.serving.access import Keys
    from memgpt_rag.serving.memories import Models
    from memgpt_rag.serving.settings import ServerSettings

Transport = Literal["stdio", "http"]


@dataclass(frozen=True)
class _Connection:
    """How agents reach the server, as the options say."""

    transport: Transport
    host: str
    port: int
    keys_file: Path | None
    is_open: bool


_connection_options = gathered(
    _Connection,
    "connection",
    [
        click.option(
            "--transport",
            default="stdio",
            show_default=True,
            type=click.Choice(get_args(Transport)),
            help="Standard input and output of this process, which the client starts; or streamable HTTP at /mcp.",
        ),
        host_option,
        click.option(
            "--port", default=8001, show_default=True, type=click.IntRange(1, 65535), help="Port to listen at."
        ),
        keys_option,
        open_option,
    ],
)


@click.command()
@click.option(
    "--memory",
    "memories",
    multiple=True,
    required=True,
    metavar="[NAME=]DIR",
    help="Folder that memgpt-index build wrote, and the name that agents use; may be given again. The first one is the default.",
)
@click.option("--write", is_flag=True, help="Let agents remember texts and forget entries; without it, they only read.")
@_connection_options
@model_option
@preset_option
@encoder_option
@reader_option
@search_options
@no_cache_option
def mcp(
    memories: tuple[str, ...],
    write: bool,
    connection: _Connection,
    model: str,
    preset: Preset,
    encoder: str | None,
    reader: str,
    search: SearchOptions,
    no_cache: bool,
) -> None:
    """Offer memories to agents as tools, over the Model Context Protocol.

    Tools: list, search and ask; with --write also remember and forget. A new version of a memory is taken over as soon as a job
    has committed it.
    """
    require_packages("memgpt-rag mcp", "mcp", ("mcp", "fastapi", "uvicorn", "prometheus_client"))
    from memgpt_rag.memory import Memory
    from memgpt_rag.serving.access import load_keys
    from memgpt_rag.serving.settings import ServerSettings, named_memories

    if connection.transport == "stdio" and (given := _given("--host", "--port", "--keys", "--open")):
        raise click.UsageError(f"{given} is for --transport http; standard input and output are not open to others.")
    settings = ServerSettings(named_memories(memories), host=connection.host, port=connection.port)
    keys = load_keys(connection.keys_file)
    if connection.transport == "http":
        require_keys(settings, keys, connection.is_open)
    for folder in settings.memories.values():  # a wrong folder is reported before a model is loaded
        Memory.open(folder)
    quiet_libraries()
    load = partial(load_models, settings, model, preset, encoder, reader, search, no_cache)
    _serve(settings, load, keys, connection.transport, write)


def _given(*options: str) -> str | None:
    """Return the first of some options that the command line has."""
    context = click.get_current_context()
    named = {parameter.opts[0]: parameter.name or "" for parameter in context.command.params}
    return next(
        (one for one in options if context.get_parameter_source(named[one]) is ParameterSource.COMMANDLINE), None
    )


def _serve(settings: ServerSettings, load: Callable[[], Models], keys: Keys, transport: Transport, write: bool) -> None:
    import asyncio
    import logging

    from memgpt_rag.agents.protocol import http_application, protocol_server, serve_stdio
    from memgpt_rag.agents.tools import open_tools
    from memgpt_rag.serving.log import start_log
    from memgpt_rag.serving.server import http_server, run_until_stopped

    with open_tools(settings, load, write=write) as tools:
        server = protocol_server(tools, settings)
        if transport == "stdio":
            start_log(logging.WARNING)
            asyncio.run(serve_stdio(server))
            return
        tools.wait()
        start_log()
        echo(f"Serving at http://{settings.host}:{settings.port}/mcp; Ctrl-C ends.", err=True)
        web = http_server(http_application(server, settings, keys), settings)
        run_until_stopped(web)
        if not web.started:
            raise click.ClickException(f"{settings.host}:{settings.port} cannot be listened at; name another --port.")
