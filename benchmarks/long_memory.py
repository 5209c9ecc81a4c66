"""What do 60 and 200 entries at once cost, and what do they gain?

    python benchmarks/long_memory.py         (an hour)

A memory of XQuAD English, whose states lie on disk in int8. For each number of entries k: seconds to the first token once entries
are found, and of a further token, of the presets quality and compact beside the same entries in the prompt where they fit into
16,384 tokens (the median of --repeats turns); and for questions of articles that nothing was trained on, the share whose best k
entries hold the answer, and the NLL of the known answer per token, with the change against k = 4 (paired, 95 %). The prompt is read
by the model as it was pretrained, up to 20 entries, the memory with its reader. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import gold_places
from benchmarks.answers import REPORTING, build
from benchmarks.latency import seconds
from benchmarks.question_sets import DATA, Question, read_set, sample
from indexing.jobs.compute_states import compute_states
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.limits import MOST_PROMPT_TOKENS
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved, Search
from memgpt_rag.training.answer_likelihood import Example, answer_losses

KS = (4, 8, 20, 60, 200)
PRESETS = ("quality", "compact")
MOST_READ = 20  # entries in the prompt of a question whose answer is judged


def first_tokens(rags: dict[str, RAG], question: str, found: list[Retrieved], repeats: int) -> dict[str, float]:
    """Return the seconds to the first token of each mode, measured in turns."""
    prompt = rags["prompt"].prompt
    fits = len(prompt.question_row(question, [entry.passage for entry in found])) <= MOST_PROMPT_TOKENS
    turns: dict[str, list[float]] = {mode: [] for mode in rags if mode != "prompt" or fits}
    for turn in range(repeats + 1):
        for mode, times in turns.items():
            entries = ([found], [[]]) if mode == "prompt" else ([[]], [found])
            if turn or mode != "prompt":
                generated = rags[mode].generator.generate_batch([question], *entries, max_new_tokens=1)
                times.append(generated.clock.first_token)
    return {mode: statistics.median(times[-repeats:]) for mode, times in turns.items()}


def further_token(rag: RAG, question: str, found: list[Retrieved], tokens: int = 16) -> float:
    """Return the seconds of a further token."""

    def write(count: int) -> float:
        settings = {"max_new_tokens": count, "min_new_tokens": count, "stopping_criteria": None}
        return seconds(lambda: rag.generator.generate_batch([question], [[]], [found], **settings))

    write(1)
    return (write(tokens + 1) - write(1)) / tokens


def losses(rags: dict[str, RAG], asked: Sequence[Question], found: list[list[Retrieved]]) -> dict[str, list[float]]:
    """Return the NLL of each known answer in each mode, one question after another."""
    by_mode: dict[str, list[float]] = {}
    for question, entries in zip(tqdm(asked, desc=f"k = {len(found[0])}", disable=None), found, strict=True):
        for mode, rag in rags.items():
            if mode == "prompt" and len(entries) > MOST_READ:
                continue
            pasted = [entries] if mode == "prompt" else None
            example = Example(question.text, question.answers[0], [] if mode == "prompt" else entries)
            with torch.inference_mode():
                nll, _ = answer_losses(rag, [example], pasted=pasted)
            by_mode.setdefault(mode, []).append(float(nll[0]))
    return by_mode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, model = load_encoder(), MemoryDecoder.from_pretrained(config="quality")
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "dtype": str(model.decoder.dtype)}
    with tempfile.TemporaryDirectory() as scratch:
        records, questions = read_set(arguments.data, "xquad-en")
        folder = build("xquad-en", Path(scratch), encoder, records, words=True).path
        compute_states(folder, model)
        memory, search = Memory.open(folder), Search("hybrid")
        models = {"quality": model, "compact": MemoryDecoder.from_pretrained(config="compact")}
        rags = {preset: RAG(memory, encoder, models[preset], search=search) for preset in PRESETS}
        rags["prompt"] = RAG(memory, encoder, model.without_reader(), search=search, stored_states=False)
        asked = sample(questions, REPORTING, arguments.questions)
        every = rags["quality"].retriever.retrieve([question.text for question in asked], max(KS))
        least: dict[str, list[float]] = {}
        print(f"{'k':>4} {'mode':<8}{'first token':>12}{'further':>9}   found   NLL, and against k = {KS[0]}")
        for k in KS:
            found = [entries[:k] for entries in every]
            first = first_tokens(rags, asked[0].text, found[0], arguments.repeats)
            further = {preset: further_token(rags[preset], asked[0].text, found[0]) for preset in PRESETS}
            held = [bool(gold_places(question, entries)) for question, entries in zip(asked, found, strict=True)]
            nll = losses(rags, asked, found)
            for mode in rags:
                row = {"first token": first.get(mode), "further": further.get(mode), "found": sum(held) / len(held)}
                if mode in nll:
                    least.setdefault(mode, nll[mode])
                    pairs = zip(nll[mode], least[mode], strict=True)
                    change = interval([mine - other for mine, other in pairs])
                    row |= {"nll": statistics.mean(nll[mode]), "change": change}
                results[f"k={k} {mode}"] = row
                print(f"{k:>4} {mode:<8}{shown(row)}", flush=True)
    print(json.dumps(results))


def shown(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    times = [f"{1000 * row[name]:,.0f} ms" if row[name] else "–" for name in ("first token", "further")]
    nll = "{:.3f}   {:+.3f} [{:+.3f}, {:+.3f}]".format(row["nll"], *row["change"]) if "nll" in row else "–"
    return f"{times[0]:>12}{times[1]:>9}{row['found']:>8.0%}   {nll}"


if __name__ == "__main__":
    main()
