"""What both commands share: an error is one sentence on stderr and exit status 1, never a traceback."""

from __future__ import annotations

import os
from typing import Any

import click

from memgpt_rag.errors import MemgptRagError


class SentenceGroup(click.Group):
    """A group of commands whose errors are sentences.

    Wrong usage exits with 2, an error with 1. MEMGPT_RAG_DEBUG=1 lets tracebacks through.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
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
