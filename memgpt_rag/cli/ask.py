"""memgpt-rag ask: a question, or many, answered on the terminal. Heavy imports wait until one is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.choices import MODES, USES_OF_MEMORY, Mode, UseMemory
from memgpt_rag.cli.options import (
    encoder_option,
    k_option,
    max_new_tokens_option,
    model_option,
    preset_option,
    think_option,
)
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.errors import MemgptRagError
from memgpt_rag.io.console import echo, is_terminal, no_cache_option, quiet_libraries, reader_option, take_back
from memgpt_rag.io.printable import counted, printable, printable_json
from memgpt_rag.limits import MOST_NEW_TOKENS

if TYPE_CHECKING:
    from memgpt_rag.answering.answer import Answer
    from memgpt_rag.answering.options import AskOptions
    from memgpt_rag.answering.quote import Quote
    from memgpt_rag.memory import Shards
    from memgpt_rag.rag import RAG


@click.command()
@click.argument("question", required=False)
@click.option(
    "--memory",
    "memories",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder that memgpt-index build wrote; may be given again.",
)
@model_option
@reader_option
@preset_option
@click.option(
    "--mode",
    default="memory",
    show_default=True,
    type=click.Choice(MODES),
    help="Entries in attention, entries pasted into the prompt, or no entries.",
)
@click.option(
    "--picture",
    "pictures",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Picture that the question is about, for a model that reads pictures; may be given again.",
)
@encoder_option
@k_option
@search_options
@click.option(
    "--where", metavar="CONDITION", help="Entries to search, such as 'year >= 2020 and source == \"manual.txt\"'."
)
@click.option(
    "--use-memory",
    default="always",
    show_default=True,
    type=click.Choice(USES_OF_MEMORY),
    help="Read the memory always, never, or unless a question needs none.",
)
@click.option("--abstain", is_flag=True, help='Answer "not in memory" where the memory does not support an answer.')
@max_new_tokens_option
@click.option(
    "--retrieve-every",
    type=click.IntRange(1, MOST_NEW_TOKENS),
    help="Tokens after which entries are searched anew, for the question and what was written last; without it, they stay.",
)
@click.option("--show-passages", is_flag=True, help="Print the text of each cited passage.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per question instead of text.")
@think_option
@no_cache_option
def ask(
    question: str | None,
    memories: tuple[Path, ...],
    model: str,
    reader: str,
    preset: str,
    mode: Mode,
    pictures: tuple[Path, ...],
    encoder: str | None,
    k: int,
    search: SearchOptions,
    where: str | None,
    use_memory: UseMemory,
    abstain: bool,
    max_new_tokens: int,
    retrieve_every: int | None,
    show_passages: bool,
    as_json: bool,
    think: bool,
    no_cache: bool,
) -> None:
    """Answer QUESTION from one or more memories, and cite the entries. Without QUESTION, questions are read from the terminal."""
    if question is not None and not question.strip():
        raise click.UsageError("QUESTION is empty; ask something.")
    _require_memory(mode, use_memory, needs_entries=abstain or retrieve_every is not None)
    opened = _open(memories, where, pictures)
    quiet_libraries()
    loaded = search.load_for(opened)
    from memgpt_rag.answering.options import AskOptions
    from memgpt_rag.rag import RAG

    rag = RAG.open(
        memories,
        model=model,
        config=preset,
        encoder=encoder,
        search=loaded,
        keep_states=not no_cache,
        reader=reader,
        think=think,
        int8_weights=question is None,  # one answer is over before weights in int8 have paid for themselves
    )
    search.add_own_model(rag)
    options = AskOptions(mode, k, where, use_memory, abstain, max_new_tokens, retrieve_every)
    asking = _Asking(rag, options, pictures, show_passages, as_json)
    if question is not None:
        asking.answer(question)
        return
    if not as_json:
        echo(f"{counted(len(rag.retriever.memory), 'entry', 'entries')}. Ask a question; an empty line ends.", err=True)
    answered = [asking.try_to_answer(asked) for asked in _questions()]
    if refused := answered.count(False):
        raise click.ClickException(f"{refused:,} of {len(answered):,} questions were not answered.")


def _require_memory(mode: Mode, use_memory: UseMemory, *, needs_entries: bool) -> None:
    """Raises UsageError: an option judges or exchanges entries in attention, and the memory is not to be read in that way."""
    if (mode != "memory" and (use_memory == "auto" or needs_entries)) or (use_memory == "never" and needs_entries):
        raise click.UsageError(
            "--use-memory auto, --abstain and --retrieve-every need --mode memory, and the latter two a memory that is read."
        )


def _open(memories: Sequence[Path], where: str | None, pictures: Sequence[Path]) -> Shards:
    """Open memories. A wrong folder, condition or picture is reported here, before a model is loaded."""
    from memgpt_rag.io.pictures import read_picture
    from memgpt_rag.memory import Memory, Shards

    opened = Shards([Memory.open(memory) for memory in memories])
    if where is not None:
        opened.rows(where)
    for picture in pictures:
        read_picture(picture, str(picture))
    return opened


class _Asking:
    """Answers questions and prints the answers."""

    def __init__(self, rag: RAG, options: AskOptions, pictures: Sequence[Path], show_passages: bool, as_json: bool):
        self._rag, self._options, self._pictures = rag, options, pictures
        self._show_passages, self._as_json = show_passages, as_json

    def answer(self, question: str) -> None:
        if self._as_json:
            answer = self._rag.answer(question, self._options, pictures=self._pictures)
            echo(printable_json(answer.to_dict()))
            return
        streamer = _terminal_streamer(self._rag) if is_terminal() else None
        answer = self._rag.answer(question, self._options, pictures=self._pictures, streamer=streamer)
        shown = "" if streamer is None else streamer.shown
        if shown and answer.leads == "quote" and take_back(shown):
            shown = ""
        if shown:
            echo()
        for line in _words(answer, shown):
            echo(line)
        for line in _summary(answer, self._show_passages):
            echo(line)

    def try_to_answer(self, question: str | None) -> bool:
        """Answer one of several questions; what is wrong with it is reported, and does not end the others."""
        if question is None:
            return False
        try:
            self.answer(question)
        except (ValueError, MemgptRagError) as error:
            echo(f"Error: {error}", err=True)
            return False
        return True


def _questions() -> Iterator[str | None]:
    """Questions as they are typed or piped, up to an empty line; None for one that is no text."""
    number, shown = 0, sys.stdin.isatty()
    while True:
        number += 1
        try:
            # The bytes of a line: a decoded stream would lose the lines behind one that is no text.
            line = input("> ") if shown else sys.stdin.buffer.readline().decode(sys.stdin.encoding)
        except EOFError:
            return
        except UnicodeDecodeError as error:
            echo(f"Question {number} is not {error.encoding} (byte {error.start}); ask it in that.", err=True)
            yield None
            continue
        if not (question := line.strip()):
            return
        yield question


def _terminal_streamer(rag: RAG) -> Any:
    from transformers import TextStreamer

    class Trimmed(TextStreamer):  # type: ignore[misc]
        """Prints an answer as it comes, without the white space around it; `shown` is what was printed."""

        blank, shown = "", ""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            text = self.blank + text
            new = text.rstrip()
            self.blank = text[len(new) :]
            new = new if self.shown else new.lstrip()
            echo(new, nl=False)
            self.shown += new

    return Trimmed(rag.model.tokenizer, skip_prompt=True, skip_special_tokens=True)


def _words(answer: Answer, shown: str) -> Iterator[str]:
    """The model's words and the quotes, what leads first.

    Args:
        shown: words that stand on the terminal already, and stay there.
    """
    quote = None if answer.quote is None else f"From the memory {_number(answer, answer.quote)}: {answer.quote.text}"
    if quote is None or answer.leads == "answer":
        if not shown:
            yield answer.text
        if quote is not None:
            yield indent(quote, "  ")
        return
    yield quote
    if answer.second_quote is not None:
        yield f"From the memory, too {_number(answer, answer.second_quote)}: {answer.second_quote.text}"
    if answer.text and not shown:
        yield indent(f"The model wrote: {answer.text}", "  ")


def _number(answer: Answer, quote: Quote) -> str:
    """The number of the citation that a quote is from."""
    return next(f"[{number}]" for number, one in enumerate(answer.citations, 1) if one.passage is quote.passage)


def _summary(answer: Answer, show_passages: bool) -> Iterator[str]:
    """Citations, confidence and timings, a line each."""
    for number, citation in enumerate(answer.citations, 1):
        share = "" if citation.share is None else f"{citation.share:>5.0%}  "
        title = f"{citation.passage.short_title} — " if citation.passage.title else ""
        place = printable(f"{title}{citation.passage.place}")
        yield f"  [{number}] {share}{place}  (score {citation.score:.3f})"
        if show_passages:
            yield from (f"      {line}".rstrip() for line in citation.passage.text.splitlines())
    if answer.nothing_found:
        yield "  nothing was found in the memory for this question"
    if answer.confidence is not None:
        yield f"  confidence {answer.confidence:.0%}" + ("" if answer.supported else ": probably not in memory")
    yield f"  first token after {answer.timings.first_token:.2f} s, complete after {answer.timings.complete:.2f} s"
