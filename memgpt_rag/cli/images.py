"""memgpt-rag images: memories of pictures built and searched, and encoders trained for them. Heavy imports wait until one is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.choices import DEFAULT_PICTURES
from memgpt_rag.cli.options import encoder_option, memory_option, new_memory_option, replace_option
from memgpt_rag.hub.bundled import E5_ENCODER
from memgpt_rag.io.console import SentenceGroup, echo, no_cache_option, progress_bar, quiet_libraries
from memgpt_rag.io.printable import counted, printable, printable_json
from memgpt_rag.io.system_errors import at_path
from memgpt_rag.limits import MOST_ENTRIES

if TYPE_CHECKING:
    from memgpt_rag.tasks.images.search import FoundPicture

_pairs_argument = click.argument("pairs", type=click.Path(path_type=Path))


@click.group(cls=SentenceGroup)
def images() -> None:
    """Pictures as entries of a memory, found by words and by pictures."""


@images.command()
@_pairs_argument
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the encoder.")
@click.option(
    "--epochs", default=60, show_default=True, type=click.IntRange(1, 10_000), help="How often each picture is seen."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of weights, order and augmentation."
)
@click.option(
    "--text-encoder",
    default=E5_ENCODER,
    show_default=True,
    metavar="NAME",
    help="Embedding model of the texts, which stays as it is.",
)
@click.option("--replace", is_flag=True, help="Replace an encoder that the folder holds.")
@no_cache_option
def train(pairs: Path, output: Path, epochs: int, seed: int, text_encoder: str, replace: bool, no_cache: bool) -> None:
    """Train a small encoder of pictures and texts on PAIRS, where no CLIP can be reached.

    PAIRS is JSON Lines: {"image": "apple.png", "text": ["a red apple", "红苹果"]}, with paths beside the file.
    """
    from memgpt_rag.errors import SourceError
    from memgpt_rag.limits import LEAST_PICTURES
    from memgpt_rag.tasks.images.pairs import read_pairs

    _require_room(output, replace)
    read = read_pairs(pairs)
    if len(read) < LEAST_PICTURES:
        raise SourceError(
            f"{pairs} has {counted(len(read), 'picture')}; expected at least {LEAST_PICTURES} to train on."
        )
    pictures = [pair.read() for pair in read]  # what is no picture is reported before a model is loaded
    quiet_libraries()
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.io.cache_folder import cache_folder
    from memgpt_rag.training.dual_encoder import DualTraining, train_dual_encoder

    with progress_bar(desc="epochs", total=epochs) as bar:

        def on_epoch(loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()

        trained = train_dual_encoder(
            pictures,
            [pair.texts for pair in read],
            load_encoder(text_encoder),
            DualTraining(epochs=epochs, seed=seed),
            cache=None if no_cache else cache_folder("text-vectors"),
            on_epoch=on_epoch,
        )
    with at_path(output):
        trained.encoder.save(output)
    which = "that were held back" if trained.held_back else "that it was trained on"
    echo(
        f"{counted(len(read), 'picture')}. Of {trained.judged:,} {which}, {trained.recall:.0%} are among the "
        f"{trained.nearest} pictures nearest to their first text."
    )
    echo(f"Written: {output}")


def _require_room(output: Path, replace: bool) -> None:
    """See that an encoder may be written into a folder, before it is trained."""
    from memgpt_rag.encoders.dual_encoder import SETTINGS

    if output.exists() and not output.is_dir():
        raise click.ClickException(f"{output} is a file; name a folder for the encoder.")
    if not output.exists() or not any(output.iterdir()) or (replace and (output / SETTINGS).is_file()):
        return
    if (output / SETTINGS).is_file():
        raise click.ClickException(f"{output} holds an encoder; name another folder, or replace it with --replace.")
    raise click.ClickException(f"{output} holds something else than an encoder; name another folder.")


@images.command()
@_pairs_argument
@new_memory_option
@click.option(
    "--encoder",
    required=True,
    metavar="NAME",
    help="Folder that images train wrote, or a model of sentence-transformers that embeds pictures, such as CLIP.",
)
@replace_option
def build(pairs: Path, memory: Path, encoder: str, replace: bool) -> None:
    """Build a memory of the pictures in PAIRS, whose keys are of the pictures; or add them to one."""
    from memgpt_rag.tasks.images.pairs import pair_entries, read_pairs

    read = read_pairs(pairs)
    quiet_libraries()
    from memgpt_rag.encoders.load import load_picture_encoder
    from memgpt_rag.memory.pictures import add_pictures

    opened = add_pictures(memory, pair_entries(read), load_picture_encoder(encoder), replace=replace)
    echo(f"{counted(len(opened), 'picture')} in {memory}, version {opened.manifest.commit}.")


@images.command()
@click.argument("text", required=False)
@memory_option
@click.option("--picture", type=click.Path(path_type=Path), help="Search by a picture instead of TEXT.")
@click.option("--words", is_flag=True, help="With --picture: find the memory's words, by what they say.")
@encoder_option
@click.option(
    "-k", default=DEFAULT_PICTURES, show_default=True, type=click.IntRange(1, MOST_ENTRIES), help="How many are shown."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each, instead of a line.")
def search(
    text: str | None, memory: Path, picture: Path | None, words: bool, encoder: str | None, k: int, as_json: bool
) -> None:
    """Find pictures by TEXT or by a picture, or words by a picture."""
    if (text is None) == (picture is None) or (text is not None and not text.strip()):
        raise click.UsageError("Give a TEXT to search by, or --picture FILE, and not both.")
    if words and picture is None:
        raise click.UsageError("--words is for searches by --picture; a TEXT finds pictures.")
    from memgpt_rag.memory import Memory
    from memgpt_rag.tasks.images.search import PictureSearch, require_picture_keys

    opened = Memory.open(memory)
    require_picture_keys(opened)
    seen = None
    if picture is not None:
        from memgpt_rag.io.pictures import read_picture

        seen = read_picture(picture, str(picture))
    quiet_libraries()
    from memgpt_rag.encoders.load import load_picture_encoder, memory_encoder_name

    name = memory_encoder_name(opened.manifest.encoder, encoder, [memory])
    finder = PictureSearch(opened, load_picture_encoder(name))
    if seen is None:
        (found,) = finder.by_texts([str(text)], k)
    else:
        (found,) = finder.words([seen], k) if words else finder.by_pictures([seen], k)
    for one in found:
        echo(printable_json(one.to_dict()) if as_json else _line(one))


def _line(found: FoundPicture) -> str:
    return f"{found.score:.3f}\t{printable(found.passage.source)}\t{printable(found.text)}"
