"""The command memgpt-rag. Heavy imports wait until a question is asked, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.bundled import GEMMA
from memgpt_rag.command_line import SentenceGroup, quiet_libraries

if TYPE_CHECKING:
    from memgpt_rag.answer import RAG, Answer
    from memgpt_rag.fingerprint import StatesFingerprint


_model = click.option(
    "--model",
    default=GEMMA,
    show_default=True,
    metavar="NAME",
    help="Language model: a Hugging Face name or folder, or one that comes as a package.",
)
_preset = click.option(
    "--preset",
    default="quality",
    show_default=True,
    type=click.Choice(["quality", "compact"]),
    help="Memory in all layers, or in the global layers only.",
)
_encoder = click.option("--encoder", metavar="NAME", help="The memory's embedding model, where it has moved since.")
_k = click.option("-k", default=4, show_default=True, type=click.IntRange(min=1), help="Entries per question.")


@click.group(cls=SentenceGroup)
def main() -> None:
    """Ask a memory: a language model answers from entries that it attends to, and cites them."""


@main.command()
@click.argument("question", required=False)
@click.option("--memory", required=True, type=click.Path(path_type=Path), help="Folder that memgpt-index build wrote.")
@_model
@_preset
@click.option(
    "--mode",
    default="memory",
    show_default=True,
    type=click.Choice(["memory", "prompt", "closed"]),
    help="Entries in attention, entries pasted into the prompt, or no entries.",
)
@_encoder
@_k
@click.option(
    "--max-new-tokens", default=48, show_default=True, type=click.IntRange(min=1), help="Longest answer, in tokens."
)
def ask(
    question: str | None,
    memory: Path,
    model: str,
    preset: str,
    mode: str,
    encoder: str | None,
    k: int,
    max_new_tokens: int,
) -> None:
    """Answer QUESTION from a memory and cite its entries; without QUESTION, ask as many as you like."""
    from memgpt_rag.memory import Memory

    if question is not None and not question.strip():
        raise click.UsageError("QUESTION is empty; ask something.")
    Memory.open(memory)  # a wrong folder is told before a model is loaded
    from memgpt_rag.answer import RAG

    quiet_libraries()
    rag = RAG.open(memory, model=model, config=preset, encoder=encoder)
    if question is not None:
        _answer(rag, question, mode, k, max_new_tokens)
        return
    click.echo(f"{len(rag.retriever.memory):,} entries. Ask; an empty line ends.", err=True)
    while asked := _next_question():
        _answer(rag, asked, mode, k, max_new_tokens)


@main.command()
@click.option("--memory", required=True, type=click.Path(path_type=Path), help="Folder that memgpt-index build wrote.")
@click.option(
    "--questions",
    required=True,
    type=click.Path(path_type=Path),
    help='JSON Lines, each with a "question" and its "answer".',
)
@_model
@_preset
@_encoder
@_k
@click.option(
    "--steps", default=400, show_default=True, type=click.IntRange(min=1), help="Steps of the fit, of 8 questions each."
)
def calibrate(memory: Path, questions: Path, model: str, preset: str, encoder: str | None, k: int, steps: int) -> None:
    """Fit how the language model reads memory to questions with known answers.

    The best numbers on a quarter of the questions, held out, become what the preset means for this model. No weight of
    the model changes. For --preset compact of a model whose layers are all alike, a sweep says first which of them read
    memory.
    """
    from memgpt_rag.memory import Memory
    from memgpt_rag.questions import read_questions

    pairs = read_questions(questions)
    if len(pairs) < 8:
        raise click.ClickException(
            f"{questions} holds {len(pairs)} questions; expected at least 8, a few hundred if they are to be had."
        )
    Memory.open(memory)
    from tqdm import tqdm

    from memgpt_rag.answer import RAG
    from memgpt_rag.calibrate import calibrate
    from memgpt_rag.known_answers import Example, hold_out
    from memgpt_rag.layer_sweep import sweep_layers
    from memgpt_rag.model import MemoryDecoder
    from memgpt_rag.model.presets import calibrated_preset, save_calibrated

    quiet_libraries()
    decoder = MemoryDecoder.from_pretrained(model)
    before = calibrated_preset(preset, model, decoder.decoder.config)
    swept = not before.has_layers(decoder.windows)
    del decoder  # what it is like was the question
    rag = RAG.open(memory, model=model, config="quality" if swept else before, encoder=encoder)
    found = rag.retriever.retrieve([question for question, _ in pairs], k)
    fitting, held_out = hold_out([Example(*pair, of) for pair, of in zip(pairs, found, strict=True)])
    if swept:
        with tqdm(desc="layers", unit="set", disable=None) as bar:

            def on_loss(layers: int, loss: float) -> None:
                bar.set_postfix(layers=layers, loss=f"{loss:.3f}", refresh=False)
                bar.update()

            layers = sweep_layers(rag, fitting[:: len(fitting) // 64 + 1], on_loss=on_loss).layers
        rag.model.config = rag.model.config.only(layers, rag.model.layers)
        click.echo(
            f"Memory is read in {len(layers)} of {len(rag.model.windows)} layers: {', '.join(map(str, layers))}."
        )
    with tqdm(desc="numbers", total=steps, unit="step", disable=None) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        fitted = calibrate(rag, fitting, held_out, steps=steps, on_step=on_step)
    if fitted.config == before:
        click.echo(f"No numbers were better on the {len(held_out)} questions held out; nothing was changed.")
        return
    file = save_calibrated(preset, fitted.config, model)
    click.echo(
        f"Loss on {len(held_out)} questions held out: {fitted.before:.3f} before, {fitted.after:.3f} now; kept in {file}."
    )


@main.command()
@click.argument("memory", type=click.Path(path_type=Path))
def info(memory: Path) -> None:
    """Say what the memory in folder MEMORY holds and how it was built."""
    from memgpt_rag.memory import Memory

    opened = Memory.open(memory)
    manifest = opened.manifest
    encoder, splitting, sources = manifest.encoder, manifest.splitting, manifest.sources
    stored = sum(file.bytes for segment in manifest.segments for file in segment.files.values())
    rows = [
        ("entries", f"{manifest.entries:,}, {stored / 1e6:.1f} MB"),
        ("passages", f"at most {splitting['max_tokens']} tokens of {splitting['tokenizer']}"),
        ("read", f"{sources['documents']:,} documents, {sources['passages']:,} passages"),
        ("dropped", f"{sources['exact_duplicates']:,} exact and {sources['near_duplicates']:,} near duplicates"),
        ("encoder", f"{encoder.name}, {encoder.dimension} numbers" + (", unit length" if encoder.normalised else "")),
        ("prompts", f"{encoder.query_prompt!r} before a query, {encoder.passage_prompt!r} before a passage"),
        ("search", f"exact, {manifest.metric}"),
        ("states", _states_of(manifest.states)),
    ]
    for name, value in rows:
        click.echo(f"{name:<10}{value}")


def _states_of(states: StatesFingerprint | None) -> str:
    if states is None:
        return "none; computed when first asked for"
    return f"{states.dtype}, {len(states.layers)} layers of {states.model}, after a prefix of {len(states.prefix_ids)} tokens"


def _next_question() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(rag: RAG, question: str, mode: str, k: int, max_new_tokens: int) -> None:
    from transformers import TextStreamer

    class Trimmed(TextStreamer):  # type: ignore[misc]
        """Prints an answer as it comes, without the space before it and the line break behind it."""

        blank, begun = "", False

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            text = self.blank + text
            shown = text.rstrip()
            self.blank = text[len(shown) :]
            click.echo(shown if self.begun else shown.lstrip(), nl=stream_end)
            self.begun = self.begun or bool(shown)

    streamer = Trimmed(rag.model.tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer = rag.answer(question, mode=mode, k=k, max_new_tokens=max_new_tokens, streamer=streamer)
    click.echo(_citations(answer))


def _citations(answer: Answer) -> str:
    lines = []
    for number, citation in enumerate(answer.citations, 1):
        share = "" if citation.share is None else f"{citation.share:>5.0%}  "
        title = f"{citation.passage.title} — " if citation.passage.title else ""
        lines.append(f"  [{number}] {share}{title}{citation.passage.place}  (score {citation.score:.3f})")
    timings = answer.timings
    lines.append(f"  first token after {timings.first_token:.2f} s, complete after {timings.complete:.2f} s")
    return "\n".join(lines)
