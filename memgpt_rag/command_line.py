"""What commands share: options, and errors as one sentence on stderr with exit status 1, never a traceback."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from memgpt_rag.bundled import GEMMA
from memgpt_rag.cache_folder import CacheWarning
from memgpt_rag.errors import MemgptRagError

memory_option = click.option(
    "--memory", required=True, type=click.Path(path_type=Path), help="Folder that memgpt-index build wrote."
)
questions_option = click.option(
    "--questions",
    required=True,
    type=click.Path(path_type=Path),
    help='JSON Lines, each with a "question" and its "answer", in words of the memory.',
)
model_option = click.option(
    "--model",
    default=GEMMA,
    show_default=True,
    metavar="NAME",
    help="Language model: a Hugging Face name or folder, or one that comes as a package.",
)
preset_option = click.option(
    "--preset",
    default="quality",
    show_default=True,
    type=click.Choice(["quality", "compact"]),
    help="Memory in all layers, or in the global layers only.",
)
encoder_option = click.option(
    "--encoder", metavar="NAME", help="The memory's embedding model; needed where it does not come as a package."
)
k_option = click.option("-k", default=4, show_default=True, type=click.IntRange(min=1), help="Entries per question.")


no_cache_option = click.option(
    "--no-cache",
    is_flag=True,
    help="Take no keys, states or splits that earlier runs kept in your cache folder, and keep none there.",
)


@contextlib.contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """Print warnings about the cache folder as sentences on stderr, each once."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_sentence(message: Warning | str, category: type[Warning], *place: Any, **settings: Any) -> None:
            if issubclass(category, CacheWarning):
                click.echo(f"Warning: {message}", err=True)
            else:
                show(message, category, *place, **settings)

        warnings.showwarning = show_sentence
        warnings.simplefilter("default", CacheWarning)
        yield


class SentenceGroup(click.Group):
    """A group of commands whose errors are sentences.

    Wrong usage exits with 2, an error with 1. MEMGPT_RAG_DEBUG=1 lets tracebacks through.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings_as_sentences():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("MEMGPT_RAG_DEBUG"):
                raise
            if isinstance(error, MemgptRagError | ValueError):
                raise click.ClickException(str(error)) from error
            raise click.ClickException(
                f"{type(error).__name__}: {error}. This is a fault of memgpt_rag, not of your input; run again with "
                "MEMGPT_RAG_DEBUG=1 and report what it prints."
            ) from error


def quiet_libraries() -> None:
    """Keep progress bars and advice of model libraries off the terminal."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
