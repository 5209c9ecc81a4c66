"""memgpt-rag translate: sentences are translated by the sentence pairs in a memory. Heavy imports wait until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.choices import DEFAULT_PAIRS
from memgpt_rag.cli.options import encoder_option, memory_option, model_option, new_memory_option, replace_option
from memgpt_rag.cli.texts import given_texts, input_option
from memgpt_rag.io.console import SentenceGroup, echo, quiet_libraries
from memgpt_rag.io.printable import counted, printable, printable_json
from memgpt_rag.limits import MOST_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from memgpt_rag.tasks.translation.exact_hits import ExactHits
    from memgpt_rag.tasks.translation.glossary import Glossary
    from memgpt_rag.tasks.translation.translation import Translation
    from memgpt_rag.tasks.translation.translator import Translator

_BLOCK = 8  # texts whose translations are printed together
_SHOWN = 3  # pairs that are printed with a translation
_languages_option = click.option(
    "--languages",
    nargs=2,
    default=("en", "zh"),
    show_default=True,
    metavar="ONE OTHER",
    help="Languages of the pairs: names of columns or fields, or languages of TMX.",
)
_to_option = click.option(
    "--to", metavar="LANGUAGE", help="Language to translate to; by default English for a Chinese text, else Chinese."
)
_glossary_option = click.option(
    "--glossary", type=click.Path(path_type=Path), help="File of terms and their translations, as a file of pairs."
)
_k_option = click.option(
    "-k", default=DEFAULT_PAIRS, show_default=True, type=click.IntRange(1, MOST_ENTRIES), help="Pairs per text."
)


@click.group(cls=SentenceGroup)
def translate() -> None:
    """Translate sentences by the sentence pairs in a memory."""


@translate.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@new_memory_option
@_languages_option
@encoder_option
@replace_option
def build(
    files: tuple[Path, ...], memory: Path, languages: tuple[str, str], encoder: str | None, replace: bool
) -> None:
    """Make a memory of the sentence pairs in FILES.

    A file is TMX (.tmx), a table whose first line names the languages (.tsv, .csv), or JSON Lines. Each pair becomes two entries, so
    that the memory translates both ways.
    """
    from memgpt_rag.memory.memory import require_new
    from memgpt_rag.tasks.translation.pairs import create_memory, distinct, read_pairs

    require_new(memory, replace=replace)
    read = [pair for file in files for pair in read_pairs(file, languages)]
    pairs = distinct(read)
    quiet_libraries()
    from memgpt_rag.encoders.load import load_encoder

    create_memory(memory, pairs, load_encoder() if encoder is None else load_encoder(encoder), replace=replace)
    twice = len(read) - len(pairs)
    said = f"; {counted(twice, 'pair that was', 'pairs that were')} there already left out" if twice else ""
    echo(f"{counted(len(pairs), 'pair', 'pairs')}, {2 * len(pairs):,} entries{said}.")


@translate.command()
@click.argument("texts", nargs=-1)
@memory_option
@input_option
@_to_option
@_glossary_option
@_languages_option
@_k_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per text.")
@model_option
@encoder_option
def text(
    texts: tuple[str, ...],
    memory: Path,
    source: Path | None,
    to: str | None,
    glossary: Path | None,
    languages: tuple[str, str],
    k: int,
    as_json: bool,
    model: str,
    encoder: str | None,
) -> None:
    """Translate TEXTS, the lines of a file, or those of standard input: a sentence each.

    Below each translation stand the pairs that it leaned on most, each with its share of the attention and its similarity. --languages are
    those of the glossary.
    """
    asked, terms = given_texts(texts, source, "translate"), _read_glossary(glossary, languages)
    done = _translated(asked, to, terms, _exact_hits(memory, k, to), lambda: _open(memory, model, encoder, k))
    for given, one in zip(asked, done, strict=True):
        if as_json:
            echo(printable_json({"text": given, **one.to_dict()}))
        else:
            _print(one)
        for term in one.missing_terms:
            said = " or ".join(term.translations)
            echo(printable(f"The translation of {given!r} lacks {said!r} for the term {term.term!r}."), err=True)


@translate.command()
@click.argument("file", type=click.Path(path_type=Path))
@memory_option
@click.option("--to", metavar="LANGUAGE", help="Language to translate to; without it, each of the two.")
@_languages_option
@_k_option
@model_option
@encoder_option
def score(
    file: Path, memory: Path, to: str | None, languages: tuple[str, str], k: int, model: str, encoder: str | None
) -> None:
    """Measure translations of the sentence pairs in FILE, which are not in the memory: chrF and BLEU by sacrebleu.

    Beside them stand those of the best hit, the translation of the most similar pair.
    """
    from memgpt_rag.evaluation.metrics.translation_measures import corpus_scores, translation_measures
    from memgpt_rag.tasks.translation.pairs import read_pairs

    pairs, targets = read_pairs(file, languages), languages if to is None else (to,)
    if to is not None and to not in languages:
        raise click.UsageError(f"--to is {to}, and the pairs are in {' and '.join(languages)}; name one of these.")
    translation_measures(targets[0])  # a missing package is reported before a model is loaded
    translator = _open(memory, model, encoder, k)
    for target in targets:
        origin = next(one for one in languages if one != target)
        done = translator.translate([pair.texts[origin] for pair in pairs], target)
        references = [[pair.texts[target]] for pair in pairs]
        exact = sum(one.is_exact for one in done)
        echo(f"{origin} to {target}: {counted(len(done), 'text')}, {exact:,} of them in the memory")
        for name, translations in (
            ("memory", [one.translation for one in done]),
            ("best hit", [one.pairs[0].translation for one in done]),
        ):
            figures = corpus_scores(translations, references, target)
            echo(
                f"  {name:<10}"
                + "".join(f"{measure} {whole:5.1f}  " for measure, (whole, _) in figures.items()).rstrip()
            )


def _translated(
    asked: list[str], to: str | None, glossary: Glossary, hits: ExactHits, open_translator: Callable[[], Translator]
) -> Iterator[Translation]:
    """Translations of texts; models are loaded for the first one that the memory does not hold."""
    from memgpt_rag.tasks.translation.exact_hits import checked

    translator = None
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        exact = [one for text in block if (one := hits.find(checked(text), to, glossary)) is not None]
        if len(exact) == len(block):
            yield from exact
            continue
        translator = translator or open_translator()
        yield from translator.translate(block, to, glossary)


def _print(one: Translation) -> None:
    echo(printable(one.translation))
    if one.is_exact:
        echo(f"  in the memory  {printable(one.pairs[0].found.passage.place)}")
        return
    for pair in sorted(one.pairs, key=lambda pair: -pair.share)[:_SHOWN]:
        passage = pair.found.passage
        echo(
            printable(
                f"  {pair.share:4.0%}  {pair.found.score:.3f}  {passage.text} → {pair.translation} — {passage.place}"
            )
        )


def _read_glossary(path: Path | None, languages: tuple[str, str]) -> Glossary:
    from memgpt_rag.tasks.translation.glossary import Glossary, read_glossary

    return Glossary() if path is None else read_glossary(path, languages)


def _exact_hits(memory: Path, k: int, to: str | None) -> ExactHits:
    from memgpt_rag.memory import Memory
    from memgpt_rag.tasks.translation.exact_hits import ExactHits

    quiet_libraries()
    hits = ExactHits(Memory.open(memory), k=k)
    if to is not None:
        hits.source_language(to)  # a wrong one is reported before a model is loaded
    return hits


def _open(memory: Path, model: str, encoder: str | None, k: int) -> Translator:
    from memgpt_rag.memory import Memory

    Memory.open(memory)  # a wrong folder is reported before a model is loaded
    quiet_libraries()
    from memgpt_rag.tasks.translation.translator import Translator

    return Translator.open(memory, model=model, encoder=encoder, k=k)
