"""memgpt-rag classify: texts are classified by labelled examples in a memory. Heavy imports wait until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import DEFAULT_FIT_ON, DEFAULT_NEIGHBORS, DEFAULT_TEXT_TOKENS
from memgpt_rag.cli.options import encoder_option, memory_option, model_option, replace_option
from memgpt_rag.cli.texts import given_texts, input_option
from memgpt_rag.io.console import SentenceGroup, echo, quiet_libraries
from memgpt_rag.io.printable import counted, printable, printable_json
from memgpt_rag.limits import MOST_ENTRIES, MOST_MEMORY_TOKENS

if TYPE_CHECKING:
    from memgpt_rag.tasks.classification.classifier import MemoryClassifier

_BLOCK = 32  # texts whose results are printed together
_text_option = click.option("--text", default="text", show_default=True, metavar="NAME", help="Column of the texts.")
_label_option = click.option(
    "--label", default="label", show_default=True, metavar="NAME", help="Column of the labels."
)


@click.group(cls=SentenceGroup)
def classify() -> None:
    """Classify texts by labelled examples in a memory."""


@classify.command()
@click.argument("examples", required=False, type=click.Path(path_type=Path))
@memory_option
@_text_option
@_label_option
@click.option(
    "--words", multiple=True, metavar="LABEL=WORDS", help="What the model reads for a label; may be given again."
)
@click.option(
    "-k", default=DEFAULT_NEIGHBORS, show_default=True, type=click.IntRange(1, MOST_ENTRIES), help="Examples per text."
)
@click.option(
    "--max-tokens",
    default=DEFAULT_TEXT_TOKENS,
    show_default=True,
    type=click.IntRange(1, MOST_MEMORY_TOKENS),
    help="Tokens of a text that the model reads.",
)
@click.option(
    "--fit-on",
    default=DEFAULT_FIT_ON,
    show_default=True,
    type=click.IntRange(0),
    help="Examples that weights and temperature are fitted to, each with the others as its memory.",
)
@model_option
@encoder_option
@replace_option
def fit(
    examples: Path | None,
    memory: Path,
    text: str,
    label: str,
    words: tuple[str, ...],
    k: int,
    max_tokens: int,
    fit_on: int,
    model: str,
    encoder: str | None,
    replace: bool,
) -> None:
    """Make a classifier of EXAMPLES, or of a memory whose entries are labelled.

    EXAMPLES is a .csv or .tsv file whose first line names its columns, or JSON Lines. They become the memory; without EXAMPLES,
    --memory is one that is there. What is fitted is kept beside its folder.
    """
    from memgpt_rag.memory.memory import require_new
    from memgpt_rag.tasks.classification.examples import read_examples

    if examples is not None:
        require_new(memory, replace=replace)
    elif replace:
        raise click.UsageError(
            "--replace is for EXAMPLES, which become a memory; without them, one that is there is used."
        )
    read = None if examples is None else read_examples(examples, text=text, label=label)
    settings: dict[str, Any] = {
        "words": _words(words),
        "k": k,
        "max_tokens": max_tokens,
        "fit_on": fit_on,
        "model": model,
    }
    quiet_libraries()
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.tasks.classification.classifier import MemoryClassifier
    from memgpt_rag.tasks.classification.saved import save_classifier

    settings["encoder"] = None if encoder is None else load_encoder(encoder)
    if read is not None:
        classifier = MemoryClassifier(folder=memory, **settings).fit_examples(read, replace=replace)
    else:
        classifier = MemoryClassifier.from_memory(memory, label=label, **settings).refit()
    path, mixture = save_classifier(classifier), classifier.mixture_
    echo(f"{counted(len(classifier.memory_), 'example', 'examples')} of {len(classifier.classes_)} labels.")
    echo(
        f"Weight of the language model {mixture.language_weight:.2f}, of the examples' vote {mixture.vote_weight:.2f} at temperature "
        f"{mixture.temperature:.2f}."
    )
    echo(f"Written: {path.name}, beside the memory.")


@classify.command()
@click.argument("texts", nargs=-1)
@memory_option
@input_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per text instead of a line.")
@model_option
@encoder_option
def predict(
    texts: tuple[str, ...], memory: Path, source: Path | None, as_json: bool, model: str, encoder: str | None
) -> None:
    """Classify TEXTS, the lines of a file, or those of standard input."""
    asked = given_texts(texts, source, "classify")
    classifier = _load(memory, model, encoder)
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        for text, result in zip(block, classifier.classify(block), strict=True):
            if as_json:
                echo(printable_json({"text": text, **result.to_dict()}))
            else:
                echo(f"{printable(str(result.choice))}\t{result.confidence:.0%}\t{printable(text)}")


@classify.command()
@click.argument("examples", type=click.Path(path_type=Path))
@memory_option
@_text_option
@_label_option
@model_option
@encoder_option
def score(examples: Path, memory: Path, text: str, label: str, model: str, encoder: str | None) -> None:
    """Measure how often labelled EXAMPLES, which are not in the memory, are classified right."""
    from memgpt_rag.tasks.classification.examples import read_examples

    read = read_examples(examples, text=text, label=label)
    classifier = _load(memory, model, encoder)
    if unknown := sorted({one.label for one in read} - set(map(str, classifier.classes_))):
        raise click.ClickException(
            f"There is no label {unknown[0]!r} in the memory; expected {', '.join(map(str, classifier.classes_))}."
        )
    from scipy.stats import binomtest

    from memgpt_rag.evaluation.metrics.calibration import calibration_error

    results = classifier.classify([one.text for one in read])
    right = [result.choice == one.label for result, one in zip(results, read, strict=True)]
    low, high = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    error = calibration_error([result.confidence for result in results], right)
    number = counted(len(read), "example", "examples")
    echo(f"accuracy           {sum(right) / len(right):.3f}  (95 %: {low:.3f} to {high:.3f}, {number})")
    echo(f"calibration error  {error:.3f}")


def _load(memory: Path, model: str, encoder: str | None) -> MemoryClassifier:
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.memory import Memory

    Memory.open(memory)  # a wrong folder is reported before a model is loaded
    quiet_libraries()
    from memgpt_rag.tasks.classification.saved import load_classifier

    return load_classifier(memory, model=model, encoder=None if encoder is None else load_encoder(encoder))


def _words(given: tuple[str, ...]) -> dict[str, str] | None:
    """Return the words of labels from options such as 1=positive; None where there are none."""
    pairs = [one.partition("=") for one in given]
    for label, equals, words in pairs:
        if not (equals and label and words.strip()):
            raise click.UsageError(f"--words {label}{equals}{words} names no words for a label; expected LABEL=WORDS.")
    if len({label for label, _, _ in pairs}) < len(pairs):
        raise click.UsageError("--words names a label twice; give each label's words once.")
    return {label: words for label, _, words in pairs} or None
