"""Options that several commands of memgpt-rag share."""

from __future__ import annotations

from pathlib import Path

import click

from memgpt_rag.choices import DEFAULT_K, DEFAULT_MAX_NEW_TOKENS, PRESETS
from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.limits import MOST_ENTRIES, MOST_NEW_TOKENS

memory_option = click.option(
    "--memory", required=True, type=click.Path(path_type=Path), help="Folder that memgpt-index build wrote."
)
new_memory_option = click.option(
    "--memory", required=True, type=click.Path(path_type=Path), help="New or empty folder for the memory."
)
replace_option = click.option("--replace", is_flag=True, help="Start from nothing where the folder holds a memory.")
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
    help="Language model: a Hugging Face name, a folder or GGUF file, or one that comes as a package.",
)
preset_option = click.option(
    "--preset",
    default="quality",
    show_default=True,
    type=click.Choice(PRESETS),
    help="Memory in all layers, or in the global layers only.",
)
encoder_option = click.option(
    "--encoder", metavar="NAME", help="The memory's embedding model; needed where it does not come as a package."
)
k_option = click.option(
    "-k", default=DEFAULT_K, show_default=True, type=click.IntRange(1, MOST_ENTRIES), help="Entries per question."
)
max_new_tokens_option = click.option(
    "--max-new-tokens",
    default=DEFAULT_MAX_NEW_TOKENS,
    show_default=True,
    type=click.IntRange(1, MOST_NEW_TOKENS),
    help="Longest answer, in tokens.",
)
host_option = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
keys_option = click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path),
    help='JSON list of bearer keys: [{"key": "…", "name": "reader", "read": ["manuals"], "write": []}]; "*" is every '
    "memory. The environment variable MEMGPT_RAG_API_KEY holds one more, which may do everything.",
)
open_option = click.option("--open", "is_open", is_flag=True, help="Serve other machines without any key.")

think_option = click.option(
    "--think",
    is_flag=True,
    help="Let a model with a thinking mode think before it answers; give it more --max-new-tokens.",
)
