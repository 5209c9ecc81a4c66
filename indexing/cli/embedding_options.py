"""Options of memgpt-index that say how passages become keys."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import BACKENDS, PRECISIONS, Backend, Precision
from memgpt_rag.hub.bundled import E5_ENCODER, ENCODERS
from memgpt_rag.io.cache_folder import cache_folder
from memgpt_rag.io.console import no_cache_option
from memgpt_rag.io.option_groups import gathered

if TYPE_CHECKING:
    from indexing.engines.base import Engine, SplitterRecipe
    from memgpt_rag.encoders.config import EncoderConfig


@dataclass(frozen=True)
class EncoderOptions:
    """The encoder that a new memory is to have, as the options say."""

    encoder_name: str
    query_prompt: str | None
    passage_prompt: str | None
    backend: Backend
    precision: Precision
    dimension: int | None

    def config(self, *, normalize: bool = True) -> EncoderConfig:
        """Return the encoder's configuration."""
        from memgpt_rag.encoders.config import EncoderConfig

        return EncoderConfig(
            self.encoder_name,
            self.query_prompt,
            self.passage_prompt,
            normalize,
            self.backend,
            self.precision,
            self.dimension,
        )


@dataclass(frozen=True)
class Caching:
    """Which of the user's caches a job takes from and adds to, as the options say."""

    keep_keys: bool = False
    no_cache: bool = False

    def splitter(self, tokenizer: str | None, max_tokens: int) -> SplitterRecipe:
        """How to split, with what earlier jobs found out."""
        from indexing.engines.base import SplitterRecipe

        return SplitterRecipe(tokenizer, max_tokens, None if self.no_cache else cache_folder())

    def engine(self, engine: Engine) -> Engine:
        """The engine, with the cache of keys before it where that was asked for."""
        if not self.keep_keys:
            return engine
        from indexing.engines.cached import CachingEngine

        return CachingEngine(engine, cache_folder("keys"))


def caching_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which caches are used; the command gets them as `caching`."""

    @functools.wraps(command)
    def with_caching(keep_keys: bool, no_cache: bool, **settings: Any) -> None:
        if keep_keys and no_cache:
            raise click.UsageError("--keep-keys and --no-cache exclude each other; give one of them.")
        command(caching=Caching(keep_keys, no_cache), **settings)

    return _KEEP_KEYS(no_cache_option(with_caching))


_KEEP_KEYS = click.option(
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
        type=click.Choice(BACKENDS),
        help="Program that runs the embedding model; those but torch are packages of their own, for CPUs.",
    ),
    click.option(
        "--precision",
        default="fp32",
        show_default=True,
        type=click.Choice(PRECISIONS),
        help="Numbers that it computes in; what rounding loses is measured, and refused where it is much.",
    ),
    click.option(
        "--dimension",
        type=click.IntRange(min=1),
        metavar="NUMBERS",
        help="Keep the first so many numbers of a key, for models that were trained so (Matryoshka). Without it, all.",
    ),
]
# Which encoder, and how it embeds; the command gets the options as `embedding`.
embedding_options = gathered(EncoderOptions, "embedding", _OPTIONS)
