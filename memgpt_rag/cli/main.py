"""The command memgpt-rag. Heavy imports wait until a question is asked, so that --help answers at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memgpt_rag.cli import eval_retrieval, training
from memgpt_rag.cli.options import (
    encoder_option,
    k_option,
    model_option,
    preset_option,
)
from memgpt_rag.cli.search_options import SearchOptions, search_options
from memgpt_rag.errors import MemgptRagError
from memgpt_rag.io.console import SentenceGroup, echo, no_cache_option, quiet_libraries
from memgpt_rag.io.printable import printable, shortened
from memgpt_rag.limits import MOST_NEW_TOKENS

if TYPE_CHECKING:
    from memgpt_rag.answering.answer import Answer
    from memgpt_rag.fingerprint import StatesFingerprint
    from memgpt_rag.memory import Manifest
    from memgpt_rag.rag import RAG


@click.group(cls=SentenceGroup)
def main() -> None:
    """Ask a memory: a language model answers from entries that it attends to, and cites them."""


@main.command()
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
@preset_option
@click.option(
    "--mode",
    default="memory",
    show_default=True,
    type=click.Choice(["memory", "prompt", "closed"]),
    help="Entries in attention, entries pasted into the prompt, or no entries.",
)
@encoder_option
@k_option
@search_options
@click.option(
    "--where", metavar="CONDITION", help="Entries to search among, such as 'year >= 2020 and source == \"manual.txt\"'."
)
@click.option(
    "--query",
    default="always",
    show_default=True,
    type=click.Choice(["always", "never", "auto"]),
    help="Read the memory always, never, or unless an input needs none.",
)
@click.option("--abstain", is_flag=True, help='Say "not in memory" where the memory does not support an answer.')
@click.option(
    "--max-new-tokens",
    default=48,
    show_default=True,
    type=click.IntRange(1, MOST_NEW_TOKENS),
    help="Longest answer, in tokens.",
)
@click.option(
    "--reader", type=click.Path(path_type=Path), help="Folder that memgpt-rag train wrote; without it, none is used."
)
@no_cache_option
def ask(
    question: str | None,
    memories: tuple[Path, ...],
    model: str,
    preset: str,
    mode: str,
    encoder: str | None,
    k: int,
    search: SearchOptions,
    where: str | None,
    query: str,
    abstain: bool,
    max_new_tokens: int,
    reader: Path | None,
    no_cache: bool,
) -> None:
    """Answer QUESTION from a memory, or from several as one, and cite its entries; without QUESTION, ask as many as you like."""
    from memgpt_rag.memory import Memory, Shards

    if question is not None and not question.strip():
        raise click.UsageError("QUESTION is empty; ask something.")
    if (mode != "memory" and (query == "auto" or abstain)) or (query == "never" and abstain):
        raise click.UsageError("--query auto and --abstain need --mode memory, and --abstain a memory that is read.")
    # A wrong folder is told before a model is loaded, and so is a wrong condition.
    opened = Shards([Memory.open(memory) for memory in memories])
    if where is not None and not len(opened.rows(where)):
        raise click.ClickException(
            f"No entry of {', '.join(map(str, memories))} matches {shortened(where)!r}; widen the condition."
        )
    if search.kind != "dense":
        opened.word_statistics([])
    quiet_libraries()
    looking = search.load()
    from memgpt_rag.rag import RAG

    # One answer is over before weights in int8 have paid for themselves.
    several = question is None
    rag = RAG.open(
        memories,
        model=model,
        config=preset,
        encoder=encoder,
        search=looking,
        keep_states=not no_cache,
        adapter=reader,
        int8_weights=several,
    )
    search.add_own_model(rag)
    settings = {"mode": mode, "k": k, "where": where, "query": query, "abstain": abstain}
    settings["max_new_tokens"] = max_new_tokens
    if question is not None:
        _answer(rag, question, settings)
        return
    echo(f"{len(rag.retriever.memory):,} entries. Ask; an empty line ends.", err=True)
    answered = [_answered(rag, asked, settings) for asked in _questions()]
    if refused := answered.count(False):
        raise click.ClickException(f"{refused:,} of {len(answered):,} questions were not answered.")


@main.command()
@click.argument("memory", type=click.Path(path_type=Path))
def info(memory: Path) -> None:
    """Say what the memory in folder MEMORY holds and how it was built."""
    from memgpt_rag.memory import Memory

    opened = Memory.open(memory)
    manifest = opened.manifest
    encoder, splitting, segments = manifest.encoder, manifest.splitting, manifest.segments
    stored = sum(file.bytes for segment in segments for file in segment.files.values())
    deleted, columns = sum(segment.deleted for segment in segments), manifest.metadata.items()
    rows = [
        ("entries", f"{manifest.entries:,}, {stored / 1e6:.1f} MB"),
        ("version", f"{manifest.commit}, in {len(segments)} segments with {deleted:,} deleted rows"),
        ("last job", _job(manifest.job)),
        ("metadata", ", ".join(f"{name}: {kind}" for name, kind in columns) or "none"),
        ("passages", f"at most {splitting['max_tokens']} tokens of {splitting['tokenizer']}"),
        ("encoder", f"{encoder.name}, {encoder.dimension} numbers" + (", unit length" if encoder.normalised else "")),
        ("prompts", f"{encoder.query_prompt!r} before a query, {encoder.passage_prompt!r} before a passage"),
        ("search", f"{_search_of(manifest)}, {manifest.metric}"),
        ("words", manifest.words or "none; find them with: memgpt-index words"),
        ("states", _states_of(manifest.states)),
    ]
    for name, value in rows:
        echo(f"{name:<10}{printable(value)}")


def _job(job: dict[str, Any]) -> str:
    counted = [f"{name.replace('_', ' ')} {value:,}" for name, value in job.items() if isinstance(value, int)]
    return f"{job.get('name')}: {', '.join(counted)}" if counted else str(job.get("name"))


def _search_of(manifest: Manifest) -> str:
    indexes = [segment.index for segment in manifest.segments if segment.index is not None]
    told = {
        f"{of['factory']}, {of['parameters']} (recall at 10 {of.get('recall', 0):.3f}, nDCG loss {of.get('ndcg_loss', 0):.4f}, "
        f"{of.get('milliseconds', 0):.2f} ms against {of.get('exact_milliseconds', 0):.2f})"
        for of in indexes
    }
    return " and ".join(sorted(told)) or "exact"


def _states_of(states: StatesFingerprint | None) -> str:
    if states is None:
        return "none; computed when first asked for"
    return f"{states.dtype}, {len(states.layers)} layers of {states.model}, after a prefix of {len(states.prefix_ids)} tokens"


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


def _answered(rag: RAG, question: str | None, settings: dict[str, Any]) -> bool:
    """Answer one of several questions; what is wrong with it is told, and does not end the others."""
    if question is None:
        return False
    try:
        _answer(rag, question, settings)
    except (ValueError, MemgptRagError) as error:
        echo(f"Error: {error}", err=True)
        return False
    return True


def _answer(rag: RAG, question: str, settings: dict[str, Any]) -> None:
    from transformers import TextStreamer

    class Trimmed(TextStreamer):  # type: ignore[misc]
        """Prints an answer as it comes, without the space before it and the line break behind it."""

        blank, begun = "", False

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            text = self.blank + text
            shown = text.rstrip()
            self.blank = text[len(shown) :]
            echo(shown if self.begun else shown.lstrip(), nl=stream_end)
            self.begun = self.begun or bool(shown)

    streamer = Trimmed(rag.model.tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer = rag.answer(question, streamer=streamer, **settings)
    echo(_citations(answer))


def _citations(answer: Answer) -> str:
    lines = []
    for number, citation in enumerate(answer.citations, 1):
        share = "" if citation.share is None else f"{citation.share:>5.0%}  "
        title = f"{citation.passage.title} — " if citation.passage.title else ""
        place = printable(f"{title}{citation.passage.place}")
        lines.append(f"  [{number}] {share}{place}  (score {citation.score:.3f})")
    if answer.confidence is not None:
        lines.append(f"  confidence {answer.confidence:.0%}" + ("" if answer.supported else ": probably not in memory"))
    timings = answer.timings
    lines.append(f"  first token after {timings.first_token:.2f} s, complete after {timings.complete:.2f} s")
    return "\n".join(lines)


for _command in (*training.COMMANDS, eval_retrieval.evaluation):
    main.add_command(_command)
