"""Options of memgpt-index that say how passages become keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.bundled import E5_ENCODER, ENCODERS

if TYPE_CHECKING:
    from indexing.engine import EncoderRecipe, Engine, SplitterRecipe


@dataclass(frozen=True)
class Embedding:
    """The encoder that a new memory is to have, as the options say."""

    encoder_name: str
    query_prompt: str | None
    passage_prompt: str | None
    backend: str
    precision: str
    dimension: int | None

    def recipe(self, *, normalise: bool = True) -> EncoderRecipe:
        from indexing.engine import EncoderRecipe

        return EncoderRecipe(
            self.encoder_name,
            self.query_prompt,
            self.passage_prompt,
            normalise,
            self.backend,
            self.precision,
            self.dimension,
        )


def embedding_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which encoder and how; the command gets them as `embedding`."""

    @functools.wraps(command)
    def with_embedding(**settings: Any) -> None:
        fields = {name: settings.pop(name) for name in Embedding.__dataclass_fields__}
        command(embedding=Embedding(**fields), **settings)

    for option in reversed(_OPTIONS):
        with_embedding = option(with_embedding)
    return with_embedding


def splitter_of(tokenizer: str | None, max_tokens: int) -> SplitterRecipe:
    """How to cut, with what earlier jobs of this user found out."""
    from platformdirs import user_cache_path

    from indexing.engine import SplitterRecipe

    return SplitterRecipe(tokenizer, max_tokens, user_cache_path("memgpt_rag"))


def keeping(engine: Engine, keep_keys: bool) -> Engine:
    """The engine, with the user's cache of keys before it where that was asked for."""
    if not keep_keys:
        return engine
    from platformdirs import user_cache_path

    from indexing.keep_keys import KeepingEngine

    return KeepingEngine(engine, user_cache_path("memgpt_rag") / "keys")


keep_keys_option = click.option(
    "--keep-keys",
    is_flag=True,
    help="Keep keys in your cache folder, at most a gigabyte an encoder, and take from there what another job computed.",
)
_OPTIONS = [
    click.option(
        "--encoder",
        "encoder_name",
        default=E5_ENCODER,
        show_default=True,
        metavar="NAME",
        help=f"Embedding model: a sentence-transformers name or folder, or one that comes as a package ({', '.join(ENCODERS)}).",
    ),
    click.option(
        "--query-prompt", metavar="TEXT", help="Text before a query, where the model's own configuration does not say."
    ),
    click.option("--passage-prompt", metavar="TEXT", help="Text before a passage, likewise."),
    click.option(
        "--backend",
        default="torch",
        show_default=True,
        type=click.Choice(["torch", "openvino", "onnx"]),
        help="Program that runs the embedding model; those but torch are packages of their own, for CPUs.",
    ),
    click.option(
        "--precision",
        default="fp32",
        show_default=True,
        type=click.Choice(["fp32", "bf16", "int8"]),
        help="Numbers that it computes in; what rounding loses is measured, and refused where it is much.",
    ),
    click.option(
        "--dimension",
        type=click.IntRange(min=1),
        metavar="NUMBERS",
        help="Keep the first so many numbers of a key, for models that were trained so (Matryoshka). Without it, all.",
    ),
]
