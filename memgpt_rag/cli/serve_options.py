"""Options of memgpt-rag serve: where it listens, for whom, with which engine, and how much at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from memgpt_rag.choices import ENGINE_KINDS, EngineKind
from memgpt_rag.cli.options import host_option, keys_option, open_option
from memgpt_rag.io.option_groups import gathered
from memgpt_rag.limits import MOST_NEW_TOKENS, MOST_UPLOAD_BYTES


@dataclass(frozen=True)
class Limits:
    """How much is done at once, as the options say."""

    max_rows: int
    max_waiting: int
    deadline: float
    max_new_tokens: int
    max_upload: int


limit_options = gathered(
    Limits,
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
class Place:
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
    engine: EngineKind
    replicas: int | None


place_options = gathered(
    Place,
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
        click.option(
            "--engine",
            type=click.Choice(ENGINE_KINDS),
            default="local",
            show_default=True,
            help="Serve from this process, or from replicas of a Ray cluster: the one that RAY_ADDRESS names, or this machine. `ray` "
            "needs the extra `serve-ray`, and takes neither --files nor --remember.",
        ),
        click.option(
            "--replicas",
            type=click.IntRange(1, 1000),
            help="Replicas with --engine ray, each with models of its own. [default: 1]",
        ),
    ],
)
