"""memgpt-rag info: what a memory holds and how it was built."""

from __future__ import annotations

from pathlib import Path

import click

from memgpt_rag.io.console import echo
from memgpt_rag.io.printable import printable


@click.command()
@click.argument("memory", type=click.Path(path_type=Path))
def info(memory: Path) -> None:
    """Say what the memory in folder MEMORY holds and how it was built."""
    from memgpt_rag.memory import Memory
    from memgpt_rag.memory.summary import summary

    for name, value in summary(Memory.open(memory).manifest):
        echo(f"{name:<10}{printable(value)}")
