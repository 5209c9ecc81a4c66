"""memgpt-rag eval answers: how right answers are. Heavy imports wait until it runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from memgpt_rag.choices import MODES, Mode
from memgpt_rag.cli.options import (
    encoder_option,
    k_option,
    max_new_tokens_option,
    memory_option,
    model_option,
    preset_option,
)
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.io.console import echo, no_cache_option, progress_bar, quiet_libraries, reader_option
from memgpt_rag.io.printable import printable_json
from memgpt_rag.io.system_errors import at_path


@click.command()
@click.argument("questions", type=click.Path(path_type=Path))
@memory_option
@model_option
@reader_option
@preset_option
@click.option(
    "--mode",
    "modes",
    multiple=True,
    default=("memory",),
    show_default=True,
    type=click.Choice(MODES),
    help="Entries in attention, in the prompt, or none; given again, modes are compared.",
)
@encoder_option
@k_option
@search_options
@max_new_tokens_option
@click.option("--output", type=click.Path(path_type=Path), help="File for all figures and answers, in JSON.")
@no_cache_option
def answers(
    questions: Path,
    memory: Path,
    model: str,
    reader: str,
    preset: str,
    modes: tuple[Mode, ...],
    encoder: str | None,
    k: int,
    search: SearchOptions,
    max_new_tokens: int,
    output: Path | None,
    no_cache: bool,
) -> None:
    """Measure how right the answers to QUESTIONS are.

    QUESTIONS is JSON Lines, each {"id": "…", "question": "…", "golden_answers": ["…"]}, or a .json file in the layout of
    SQuAD. English answers are compared word by word, Chinese ones character by character.
    """
    from memgpt_rag.evaluation.data.answered_questions import read_answered
    from memgpt_rag.memory import Memory

    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise click.UsageError(f"{output} cannot be written; name a file in a folder that is there for --output.")
    asked, modes = read_answered(questions), tuple(dict.fromkeys(modes))
    Memory.open(memory)
    from memgpt_rag.answering.options import AskOptions
    from memgpt_rag.evaluation.answers import answers_report, answers_table, comparisons_table, evaluate_answers
    from memgpt_rag.evaluation.reports.tables import to_plain

    quiet_libraries()
    rag = search.open(
        memory,
        model=model,
        reader=reader,
        config=preset,
        encoder=encoder,
        keep_states=not no_cache,
        int8_weights=True,
    )
    options = AskOptions(k=k, max_new_tokens=max_new_tokens)
    with progress_bar(total=len(asked) * len(modes), unit="answer") as bar:
        judged = evaluate_answers(rag, asked, modes=modes, options=options, on_answers=bar.update)
    about: dict[str, Any] = {"memory": str(memory), "model": model, "reader": reader, "preset": preset, "k": k}
    about["max_new_tokens"] = max_new_tokens
    about["encoder"] = rag.retriever.memory.manifest.encoder.name
    about["search"] = rag.retriever.search.key or "dense"
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report = answers_report(judged, command=command, about=about)
    echo(to_plain(answers_table(report)))
    if report["comparisons"]:
        echo(f"\n{to_plain(comparisons_table(report))}")
    if output is not None:
        with at_path(output):
            output.write_text(printable_json(report, indent=1), encoding="utf-8")
        echo(f"\nWritten: {output}.")
