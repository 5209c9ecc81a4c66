"""The commands of memgpt-rag that learn: presets, confidence, adapters, models. Heavy imports wait until one runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import SCHEDULES, TRAINED, Trained
from memgpt_rag.cli.options import (
    encoder_option,
    k_option,
    memory_option,
    model_option,
    preset_option,
    questions_option,
)
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.cli.training_questions import adapter_examples, known_questions, self_studied
from memgpt_rag.io.console import echo, no_cache_option, progress_bar, quiet_libraries, reader_option
from memgpt_rag.io.printable import counted
from memgpt_rag.io.system_errors import at_path

if TYPE_CHECKING:
    from memgpt_rag.model import MemoryAttentionConfig
    from memgpt_rag.rag import RAG
    from memgpt_rag.training.answer_likelihood import Example


@click.command()
@memory_option
@questions_option
@model_option
@reader_option
@preset_option
@encoder_option
@k_option
@search_options
@click.option(
    "--steps", default=400, show_default=True, type=click.IntRange(min=1), help="Steps of the fit, of 8 questions each."
)
@no_cache_option
def calibrate(
    memory: Path,
    questions: Path,
    model: str,
    reader: str,
    preset: str,
    encoder: str | None,
    k: int,
    search: SearchOptions,
    steps: int,
    no_cache: bool,
) -> None:
    """Fit how the language model reads memory to questions with known answers.

    The configuration that is best on a quarter of the questions, held out, becomes the preset for this model. No weight
    of the model changes. For --preset compact of a model whose layers are all alike, a sweep first finds the layers that
    read memory.
    """
    pairs = known_questions(questions, memory, "a few hundred")
    from memgpt_rag.model.presets import save_calibrated
    from memgpt_rag.training.answer_likelihood import find_examples, hold_out
    from memgpt_rag.training.calibrate import CalibrationOptions, calibrate

    quiet_libraries()
    before, swept = _starting_preset(preset, model, reader)
    config = "quality" if swept else before
    rag = search.open(memory, model=model, reader=reader, config=config, encoder=encoder, keep_states=not no_cache)
    fitting, held_out = hold_out(find_examples(rag, pairs, k))
    if swept:
        _sweep_layers(rag, fitting[:: len(fitting) // 64 + 1])
    with progress_bar(desc="parameters", total=steps, unit="step") as bar:

        def on_step(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        fitted = calibrate(rag, fitting, held_out, CalibrationOptions(steps=steps), on_step=on_step)
    if fitted.config == before:
        echo(f"No configuration was better on the {counted(len(held_out), 'question')} held out; nothing was changed.")
        return
    file = save_calibrated(preset, fitted.config, model, rag.model.reader)
    echo(
        f"Loss on {counted(len(held_out), 'question')} held out: {fitted.before:.3f} before, {fitted.after:.3f} now; kept in {file}."
    )


def _starting_preset(preset: str, model: str, reader: str) -> tuple[MemoryAttentionConfig, bool]:
    """The preset as it is now for a model and its reader, and whether a sweep has to find its layers."""
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.model.presets import calibrated_preset

    decoder = MemoryDecoder.from_pretrained(model, reader=reader)
    before = calibrated_preset(preset, model, decoder.decoder.config, decoder.reader)
    return before, not before.has_layers(decoder.windows)


def _sweep_layers(rag: RAG, examples: Sequence[Example]) -> None:
    from memgpt_rag.training.layer_sweep import sweep_layers

    with progress_bar(desc="layers", unit="set") as bar:

        def on_loss(layers: int, loss: float) -> None:
            bar.set_postfix(layers=layers, loss=f"{loss:.3f}", refresh=False)
            bar.update()

        layers = sweep_layers(rag, examples, on_loss=on_loss).layers
    rag.model.config = rag.model.config.only(layers, rag.model.layers)
    echo(f"Memory is read in {len(layers)} of {len(rag.model.windows)} layers: {', '.join(map(str, layers))}.")


@click.command()
@memory_option
@questions_option
@model_option
@reader_option
@preset_option
@encoder_option
@k_option
@search_options
@no_cache_option
def confidence(
    memory: Path,
    questions: Path,
    model: str,
    reader: str,
    preset: str,
    encoder: str | None,
    k: int,
    search: SearchOptions,
    no_cache: bool,
) -> None:
    """Fit when an answer counts as supported to questions with known answers.

    Each question is answered with the entries that hold its answer and without them. What tells the two apart best is
    kept for this model, embedding model and search.
    """
    from memgpt_rag.memory import Memory
    from memgpt_rag.training.questions import read_questions

    pairs = read_questions(questions)
    Memory.open(memory)
    from memgpt_rag.answering.confidence import save_confidence
    from memgpt_rag.model.presets import confidence_file
    from memgpt_rag.training.fit_confidence import fit_confidence

    quiet_libraries()
    rag = search.open(memory, model=model, reader=reader, config=preset, encoder=encoder, keep_states=not no_cache)
    with progress_bar(total=2 * len(pairs), unit="answer") as bar:
        fitted = fit_confidence(rag, pairs, k=k, on_answers=bar.update)
    file = confidence_file(model)
    save_confidence(file, rag.confidence_key, supported=fitted.decision)
    echo(
        f'Of {fitted.observations} answers, "not in memory" is right in {fitted.precision:.0%} of the cases in which it '
        f"is said, and said in {fitted.recall:.0%} of those in which it is right; kept in {file}."
    )


@click.command()
@memory_option
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    help='JSON Lines, each with a "question" and its "answer", in words of the memory; without it, the model makes some.',
)
@click.option(
    "--self-study",
    default=512,
    show_default=True,
    type=click.IntRange(8, 100_000),
    help="Questions that the model makes where --questions is not given.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the trained reader, its curve and checkpoints.",
)
@model_option
@reader_option
@preset_option
@encoder_option
@k_option
@search_options
@click.option(
    "--what",
    default="adapter",
    show_default=True,
    type=click.Choice(TRAINED),
    help="What is trained: the adapter (LoRA), or the delimiters.",
)
@click.option("--epochs", default=3.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Passes.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(min=1), help="Questions at once.")
@click.option("--accumulate", default=1, show_default=True, type=click.IntRange(min=1), help="Batches of a step.")
@click.option(
    "--learning-rate",
    default=None,
    type=click.FloatRange(min=0, min_open=True),
    help="Peak; 3e-4 for an adapter and 1e-3 for delimiters without it.",
)
@click.option(
    "--schedule",
    default=None,
    type=click.Choice(SCHEDULES),
    help="How the learning rate goes on after its warm-up, the first twentieth of all steps; cosine for an adapter and linear for "
    "delimiters without it.",
)
@click.option(
    "--weight-decay",
    default=None,
    type=click.FloatRange(min=0),
    help="Of AdamW; 0.01 for an adapter and 0 for delimiters without it.",
)
@click.option(
    "--clip", default=1.0, show_default=True, type=click.FloatRange(min=0), help="Largest norm of a gradient."
)
@click.option(
    "--rank",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Rank of a new adapter (LoRA); one to start from keeps its own.",
)
@click.option("--dropout", default=0.05, show_default=True, type=click.FloatRange(0, 0.9), help="Before the adapter.")
@click.option(
    "--distillation", default=1.0, show_default=True, type=click.FloatRange(min=0), help="Weight beside answers."
)
@click.option(
    "--unanswerable",
    default=0.18,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of questions whose passage is taken away.",
)
@click.option(
    "--evaluations", default=8, show_default=True, type=click.IntRange(min=1), help="Looks at what is held out."
)
@click.option(
    "--patience", default=3, show_default=True, type=click.IntRange(min=1), help="Evaluations without progress."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of everything random.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder.")
@no_cache_option
def train(
    memory: Path,
    questions: Path | None,
    self_study: int,
    output: Path,
    model: str,
    reader: str,
    preset: str,
    encoder: str | None,
    k: int,
    search: SearchOptions,
    what: Trained,
    unanswerable: float,
    distillation: float,
    resume: bool,
    no_cache: bool,
    **settings: Any,
) -> None:
    """Train a reader: an adapter (LoRA) or delimiters with which the model reads memory.

    Training starts from --reader. It learns from the answers, and by distillation from a teacher with the gold passage alone. The
    gold passage is the best retrieved one that contains the answer; the next best ones are distractors. A quarter of the
    questions is held out for early stopping and for the choice of the checkpoint. Needs the extra `train`.
    """
    pairs = [] if questions is None else known_questions(questions, memory, "several hundred")
    from memgpt_rag.training.adapter import AdapterOptions, last_checkpoint, require_new, train_adapter
    from memgpt_rag.training.delimiters import train_delimiters

    if resume:
        last_checkpoint(output)
    else:
        require_new(output)
    quiet_libraries()
    rag = search.open(memory, model=model, reader=reader, config=preset, encoder=encoder, keep_states=not no_cache)
    if questions is None:
        pairs = self_studied(rag, self_study, output, settings["seed"])
    fitting, held_out = adapter_examples(rag, pairs, k, unanswerable, settings["seed"])
    names = ("rank", "dropout", "evaluations", "patience", "seed")
    options = AdapterOptions(distillation_weight=distillation, **{name: settings.pop(name) for name in names})
    train = train_adapter if what == "adapter" else train_delimiters
    with at_path(output):
        tuning = train(rag, fitting, held_out, output, options, resume=resume, **_trainer_arguments(settings))
    losses = f"Loss on {counted(len(held_out), 'question')} held out: {tuning.before:.3f} before, {tuning.after:.3f} after {tuning.steps} steps"
    if tuning.after < tuning.before:
        echo(f"{losses}; the reader is in {output}, for memgpt-rag ask --reader.")
    else:
        echo(f"{losses}; no reader was kept.")


def _trainer_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a training as transformers names them; those not given are for what is trained to choose."""
    named = {
        "disable_tqdm": not sys.stderr.isatty(),
        "num_train_epochs": settings["epochs"],
        "per_device_train_batch_size": settings["batch_size"],
        "per_device_eval_batch_size": settings["batch_size"],
        "gradient_accumulation_steps": settings["accumulate"],
        "lr_scheduler_type": settings["schedule"],
        "max_grad_norm": settings["clip"],
        "weight_decay": settings["weight_decay"],
        "learning_rate": settings["learning_rate"],
    }
    return {name: value for name, value in named.items() if value is not None}


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT…", type=click.Path(path_type=Path))
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Folder to write the model to.")
@click.option(
    "--encoder", metavar="NAME", help="Embedding model that retrieves earlier chunks; without one, by their tokens."
)
@click.option("-k", default=2, show_default=True, type=click.IntRange(min=0), help="Chunks retrieved for each chunk.")
@click.option(
    "--word-vectors", type=click.Path(path_type=Path), help="Text file of word2vec or GloVe that embeddings start from."
)
@click.option("--vocab-size", default=4096, show_default=True, type=click.IntRange(min=256), help="Tokens to know.")
@click.option("--d-model", default=128, show_default=True, type=click.IntRange(min=4), help="Numbers per token.")
@click.option("--heads", default=4, show_default=True, type=click.IntRange(min=1), help="Heads of attention.")
@click.option("--layers", default=2, show_default=True, type=click.IntRange(min=1), help="Layers of the model.")
@click.option("--steps", default=500, show_default=True, type=click.IntRange(min=1), help="Steps of 16 windows each.")
def pretrain(
    texts: tuple[Path, ...],
    model: Path,
    encoder: str | None,
    k: int,
    word_vectors: Path | None,
    vocab_size: int,
    d_model: int,
    heads: int,
    layers: int,
    steps: int,
) -> None:
    """Train a small model from scratch on the text files TEXT; it learns to read earlier text like the present one.

    The last tenth of the text is held out, and measures the model.
    """
    if (model / "config.json").exists():
        raise click.ClickException(f"{model} already holds a model; name another folder.")
    from memgpt_rag.encoders.load import load_encoder
    from memgpt_rag.model import MemGPT
    from memgpt_rag.model.from_scratch.config import MemGPTConfig
    from memgpt_rag.model.tokenizer import bpe_tokenizer
    from memgpt_rag.training.pretrain import PretrainOptions, pretrain, read_text

    quiet_libraries()
    text = "\n\n".join(map(read_text, texts))
    tokenizer = bpe_tokenizer([text], vocab_size)
    new = MemGPT(
        MemGPTConfig(vocab_size, d_model, heads, layers, 4 * d_model, max_tokens=128, chunk_tokens=32),
        tokenizer=tokenizer,
    )
    if word_vectors is not None:
        echo(f"{new.embed_words(word_vectors):,} of {len(tokenizer):,} tokens start from a word's vector.")
    with progress_bar(total=steps, unit="step") as bar:

        def on_step(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update(step - bar.n)

        options = PretrainOptions(k=k, steps=steps)
        done = pretrain(new, text, options, encoder=load_encoder(encoder) if encoder else None, on_step=on_step)
    with at_path(model):
        new.save_pretrained(model)
    echo(f"Perplexity {done.perplexity:.1f} per token on the last tenth of the text, held out; kept in {model}.")


COMMANDS = (calibrate, confidence, train, pretrain)
