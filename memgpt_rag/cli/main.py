"""The command memgpt-rag. Heavy imports wait until a question is asked, so that --help answers at once."""

from __future__ import annotations

import click

from memgpt_rag.cli import eval_retrieval, training
from memgpt_rag.cli.agents import mcp
from memgpt_rag.cli.ask import ask
from memgpt_rag.cli.classify import classify
from memgpt_rag.cli.graph import graph
from memgpt_rag.cli.images import images
from memgpt_rag.cli.info import info
from memgpt_rag.cli.serve import serve
from memgpt_rag.cli.summarise import summarise
from memgpt_rag.cli.translate import translate
from memgpt_rag.io.console import SentenceGroup, version_option

SEARCH_NAMES = {"--word-weight": "--lexical-weight", "--neighbours": "--adjacent"}
ASK_NAMES = {**SEARCH_NAMES, "--query": "--use-memory", "--adapter": "--reader", "--mode closed": "--mode closed_book"}


@click.group(
    cls=SentenceGroup,
    renamed_options={
        "ask": ASK_NAMES,
        "calibrate": SEARCH_NAMES,
        "confidence": SEARCH_NAMES,
        "train": {"--adapter": "--output"},
    },
)
@version_option
def main() -> None:
    """Ask a memory: a language model answers from entries that it attends to, and cites them."""


for _command in (
    ask,
    summarise,
    classify,
    translate,
    graph,
    images,
    info,
    serve,
    mcp,
    *training.COMMANDS,
    eval_retrieval.evaluation,
):
    main.add_command(_command)
