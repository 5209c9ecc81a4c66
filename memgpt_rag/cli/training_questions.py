"""The questions that the commands learn from: those of a file, and those that the model makes. Heavy imports wait until they are used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memgpt_rag.io.console import echo, progress_bar
from memgpt_rag.io.printable import counted
from memgpt_rag.io.system_errors import at_path

if TYPE_CHECKING:
    from memgpt_rag.rag import RAG
    from memgpt_rag.training.adapter_examples import AdapterExample


def known_questions(file: Path, memory: Path, preferred: str) -> list[tuple[str, str]]:
    """Questions with their answers, at least 8; what is wrong with them or with the memory is reported before a model is loaded."""
    from memgpt_rag.memory import Memory
    from memgpt_rag.training.questions import read_questions

    pairs = read_questions(file)
    if len(pairs) < 8:
        raise click.ClickException(
            f"{file} holds {counted(len(pairs), 'question')}; expected at least 8, preferably {preferred}."
        )
    Memory.open(memory)
    return pairs


def self_studied(rag: RAG, count: int, output: Path, seed: int) -> list[tuple[str, str]]:
    """Questions that the model makes about the memory, kept in the output folder as they come; those that are there are read."""
    from memgpt_rag.training.questions import read_questions, write_questions
    from memgpt_rag.training.self_study import self_study

    file = output / "questions.jsonl"
    if file.exists():
        echo(f"The questions are those in {file}; remove it to have others made.", err=True)
        return read_questions(file)
    begun = output / "questions.begun.jsonl"
    known = read_questions(begun) if begun.exists() else []
    if known:
        echo(f"Continuing after {counted(len(known), 'question')} in {begun}; remove it to begin anew.", err=True)

    def keep(pairs: Sequence[tuple[str, str]]) -> None:
        with at_path(begun):
            write_questions(begun, pairs)

    with progress_bar(desc="questions", unit="entry") as bar:
        pairs = self_study(rag, count, seed=seed, known=known, on_entries=bar.update, on_pairs=keep)
    with at_path(file):
        write_questions(file, pairs)
        begun.unlink(missing_ok=True)
    echo(f"{counted(len(pairs), 'question')} about the memory, in {file}.", err=True)
    return pairs


def adapter_examples(
    rag: RAG, pairs: list[tuple[str, str]], k: int, unanswerable: float, seed: int
) -> tuple[list[AdapterExample], list[AdapterExample]]:
    """Examples to train on and to hold out; questions whose answer no entry holds are left out, and counted."""
    from memgpt_rag.training.adapter_examples import make_adapter_examples, teach_to_decline
    from memgpt_rag.training.answer_likelihood import find_examples, hold_out

    parts = hold_out(find_examples(rag, pairs, 2 * k + 2))
    fitting, held_out = (make_adapter_examples(part, k, unanswerable=unanswerable, seed=seed) for part in parts)
    if left_out := len(pairs) - len(fitting) - len(held_out):
        echo(f"{left_out} of {len(pairs)} questions are left out: no entry found contains the answer.", err=True)
    if unanswerable and not teach_to_decline(fitting):
        echo(
            'No question is unanswerable, so that the reader does not learn to say "not in memory": the search finds too few other '
            "entries. Give a smaller -k, or a memory with more entries.",
            err=True,
        )
    if not fitting or not held_out:
        raise click.ClickException(
            f"{len(fitting)} questions to train on and {len(held_out)} to hold out have a passage that contains the answer; "
            "give answers in words of the memory."
        )
    return fitting, held_out
