"""How much faster do answers come with int8 weights, and with drafts from the passages that they are read from?

    python benchmarks/drafts.py --questions 50       (20 minutes)

Questions of XQuAD in English and Chinese, Gemma 3 270M with its reader, the preset quality, k = 4, states computed before. Each
question is answered in turn with weights as loaded or in int8, one token a forward pass or with drafts; and with weights in int8 as
the server answers it, alone in a batch that changes ("batch"). "answers" end where they end; "long" ones are the entries themselves,
as far as --tokens: the model reads the beginning of the best one and goes on to its end. Times are those behind the first token; "of
full" is the ratio to one token a pass with weights as loaded, the median over questions with the 10th and 90th percentile. "same" is
the share of answers equal to those of that way. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.answers import REPORTING, build
from benchmarks.question_sets import DATA, read_set, sample
from memgpt_rag.answering.generator import Generated, Prepared
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.decoding import DecodingBatch
from memgpt_rag.model.int8_weights import add_int8_weights
from memgpt_rag.model.reader import AUTO
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved, Search

SETS = ("xquad-en", "xquad-zh")
# Weights, whether there are drafts, and whether the answer is generated step by step in a batch.
WAYS = [("full", False, False), ("full", True, False), *(("int8", d, b) for b in (False, True) for d in (False, True))]
BEGINNING = 8  # tokens of an entry that a long answer begins with


@dataclass(frozen=True)
class Decoded:
    """An answer, and what it took behind its first token."""

    tokens: tuple[int, ...]
    passes: int
    seconds: float


def decoded(rag: RAG, prepared: Prepared, in_batch: bool) -> Decoded:
    """Return the answer to a prepared question, generated at once or step by step in a batch that changes."""
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    hook = rag.model.decoder.register_forward_pre_hook(count)
    try:
        began = time.perf_counter()
        generated = generated_in_batch(rag, prepared) if in_batch else rag.generator.generate(prepared)
    finally:
        hook.remove()
    seconds = time.perf_counter() - began - (generated.clock.first_token - generated.clock.states_ready)
    return Decoded(tuple(generated.tokens[0]), passes - 1, seconds)


def generated_in_batch(rag: RAG, prepared: Prepared) -> Generated:
    """Return the answer to a prepared question as the server generates it that has no other one."""
    row, batch = rag.generator.read(prepared), DecodingBatch(rag.model)
    batch.join(row)
    while len(batch):
        batch.step()
    return rag.generator.generated(prepared, row)


def prepared(rag: RAG, question: str, found: list[Retrieved], tokens: int, long: bool) -> Prepared:
    """Return a question as the model reads it; for a long answer, the beginning of the best entry in its place."""
    settings = {"stopping_criteria": []} if long else {}
    ready = rag.generator.prepare([question], [()], [found], max_new_tokens=tokens, **settings)
    if not long:
        return ready
    ids = torch.tensor([rag.prompt.entry_ids(found[0].passage)[:BEGINNING]])
    return replace(ready, ids=ids, mask=torch.ones_like(ids))


def measure(rags: dict[str, RAG], asked: list[tuple[str, list[Retrieved]]], tokens: int) -> dict[str, Any]:
    """Return the figures of each way, for answers and for long ones."""
    results: dict[str, Any] = {}
    for kind in ("answers", "long"):
        ways: dict[str, list[Decoded]] = {}
        for question, found in tqdm(asked, desc=kind, disable=None):
            for weights, drafts, in_batch in WAYS:
                rag = rags[weights]
                ready = prepared(rag, question, found, tokens, kind == "long")
                answer = decoded(rag, ready if drafts else replace(ready, drafts=None), in_batch)
                way = ", ".join([weights, *["batch"] * in_batch, *["drafts"] * drafts])
                ways.setdefault(way, []).append(answer)
        results[kind] = {way: figures(answers, ways["full"]) for way, answers in ways.items()}
    return results


def figures(answers: list[Decoded], full: list[Decoded]) -> dict[str, Any]:
    pairs = [(one, other) for one, other in zip(answers, full, strict=True) if min(one.passes, other.passes)]
    per_token = [one.seconds / max(1, len(one.tokens)) for one, _ in pairs]
    ratios = sorted(
        (one.seconds / len(one.tokens or "1")) / (other.seconds / len(other.tokens or "1")) for one, other in pairs
    )
    return {
        "ms a token": round(1000 * statistics.median(per_token), 1),
        "of full": [round(ratios[int(len(ratios) * part)], 3) for part in (0.5, 0.1, 0.9)],
        "tokens a pass": round(sum(len(one.tokens) for one in answers) / sum(one.passes + 1 for one in answers), 2),
        "same": round(sum(one.tokens == other.tokens for one, other in zip(answers, full, strict=True)) / len(full), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=50, help="of each language")
    parser.add_argument("--tokens", type=int, default=48, help="the most of an answer")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder()
    models = {weights: MemoryDecoder.from_pretrained(config="quality", reader=AUTO) for weights in ("full", "int8")}
    add_int8_weights(models["int8"].decoder)
    with tempfile.TemporaryDirectory() as scratch:
        results: dict[str, Any] = {"dtype": str(models["full"].decoder.dtype), "threads": torch.get_num_threads()}
        for name in SETS:
            records, questions = read_set(arguments.data, name)
            memory = build(name, Path(scratch), encoder, records, words=True)
            rags = {weights: RAG(memory, encoder, model, search=Search("hybrid")) for weights, model in models.items()}
            texts = [question.text for question in sample(questions, REPORTING, arguments.questions)]
            found = rags["full"].retriever.retrieve(texts, K)
            for kind, ways in measure(rags, list(zip(texts, found, strict=True)), arguments.tokens).items():
                results[f"{name}, {kind}"] = ways
                print(f"\n{name}, {kind}: ms a token, of full (10 %–90 %), tokens a pass, same")
                for way, shown in ways.items():
                    median, low, high = shown["of full"]
                    print(
                        f"  {way:<20}{shown['ms a token']:>8.1f}   {median:.2f} [{low:.2f}, {high:.2f}]"
                        f"{shown['tokens a pass']:>7.2f}{shown['same']:>7.0%}"
                    )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
