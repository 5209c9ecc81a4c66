"""How much faster do answers come with int8 weights, and with drafts from the passages that they are read from?

    python benchmarks/drafts.py --questions 50       (20 minutes)

Questions of XQuAD in English and Chinese, Gemma 3 270M with its reader, the preset quality, k = 4, states computed before. Each
question is answered in turn with weights as loaded or in int8, one token a forward pass or with drafts; and with weights in int8 as
the server answers it, alone in a batch that changes ("batch"). "answers" end where they end; "long" ones are the entries themselves,
as far as --tokens: the model reads the beginning of the best one and goes on to its end. Times are those behind the first token; "of
full" is the ratio to one token a pass with weights as loaded, the median over questions with the 10th and 90th percentile. "same" is
the share of answers equal to those of that way. --rows questions at once are decoded in one batch, too, without and with drafts: time by
the tokens of all of them. With the package xllamacpp, llama.cpp answers from a prompt with the same passages,
weights in 4 bits (Q4_K_M), with and without drafts that it looks up in the prompt. Prints a table and one JSON line.
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
from benchmarks.llama_cpp import LlamaCpp
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
LLAMA_CPP = ("llama.cpp", "llama.cpp, drafts")
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


def in_one_batch(rag: RAG, questions: list[Prepared], drafts: bool) -> tuple[float, list[list[int]]]:
    """Return the milliseconds a token of answers that are generated side by side, behind their first tokens, and their tokens."""
    rows = [rag.generator.read(ready if drafts else replace(ready, drafts=None)) for ready in questions]
    batch, tokens = DecodingBatch(rag.model), sum(row.ids.shape[1] for row in rows)
    for row in rows:
        batch.join(row)
    began = time.perf_counter()
    while len(batch):
        batch.step()
    seconds = time.perf_counter() - began
    return 1000 * seconds / max(1, sum(row.ids.shape[1] for row in rows) - tokens), [
        row.ids[0].tolist() for row in rows
    ]


def batches(rags: dict[str, RAG], asked: list[tuple[str, list[Retrieved]]], tokens: int, rows: int) -> dict[str, Any]:
    """Return the milliseconds a token of batches of questions, medians without and with drafts, and of their paired ratios; and the share
    of answers that are the same.
    """
    results: dict[str, Any] = {}
    for kind in ("answers", "long"):
        for weights, rag in rags.items():
            pairs = []
            for start in tqdm(range(0, len(asked) - rows + 1, rows), desc=f"{rows} rows, {kind}", disable=None):
                pair = []
                for drafts in (False, True):  # prepared anew, since a batch takes the memory of its rows
                    ready = [prepared(rag, *one, tokens, kind == "long") for one in asked[start : start + rows]]
                    pair.append(in_one_batch(rag, ready, drafts))
                pairs.append(pair)
            same = [
                one == other for (_, plain), (_, drafted) in pairs for one, other in zip(plain, drafted, strict=True)
            ]
            results[f"{weights}, {kind}"] = {
                "plain": round(statistics.median(plain for (plain, _), _ in pairs), 1),
                "drafts": round(statistics.median(drafted for _, (drafted, _) in pairs), 1),
                "ratio": round(statistics.median(drafted / plain for (plain, _), (drafted, _) in pairs), 3),
                "same": round(sum(same) / len(same), 3),
            }
    return results


def prepared(rag: RAG, question: str, found: list[Retrieved], tokens: int, long: bool) -> Prepared:
    """Return a question as the model reads it; for a long answer, the beginning of the best entry in its place."""
    settings = {"stopping_criteria": []} if long else {}
    ready = rag.generator.prepare([question], [()], [found], max_new_tokens=tokens, **settings)
    if not long:
        return ready
    ids = torch.tensor([rag.prompt.entry_ids(found[0].passage)[:BEGINNING]])
    return replace(ready, ids=ids, mask=torch.ones_like(ids))


def measure(
    rags: dict[str, RAG], asked: list[tuple[str, list[Retrieved]]], tokens: int, llamas: dict[str, LlamaCpp]
) -> dict[str, Any]:
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
            for way, llama in llamas.items():
                ways.setdefault(way, []).append(
                    llama_answer(llama, rags["full"], question, found, tokens, kind == "long")
                )
        results[kind] = {way: figures(answers, ways) for way, answers in ways.items()}
    return results


def llama_answer(llama: LlamaCpp, rag: RAG, question: str, found: list[Retrieved], tokens: int, long: bool) -> Decoded:
    """Return what llama.cpp took for an answer, or for the rest of the best entry, whose passages stand in its prompt."""
    prompt, passages = rag.prompt, [entry.passage for entry in found]
    row = prompt.question_row(question, passages)
    if long:
        read = row[: len(row) - len(prompt.question_ids(question))]
        row = [*read, *prompt.entry_ids(found[0].passage)[:BEGINNING]]
    stop = () if long else ("\n",)  # as an answer of a prompt with worked examples ends
    done = llama.complete([*prompt.prefix_ids, *row], tokens, to_the_end=True, stop=stop)
    return Decoded((0,) * (done.written - 1), done.written - 1 - done.accepted, done.written_ms / 1000)


def figures(answers: list[Decoded], ways: dict[str, list[Decoded]]) -> dict[str, Any]:
    """Return the figures of one way of answering, beside those of the others."""
    full, own = ways["full"], not any(answers is ways.get(way) for way in LLAMA_CPP)
    shown: dict[str, Any] = {
        "ms a token": round(1000 * statistics.median(per_token(one) for one in answers if one.passes), 1),
        "of full": ratio(answers, full),
        "tokens a pass": round(sum(len(one.tokens) for one in answers) / sum(one.passes + 1 for one in answers), 2),
    }
    if own:
        same = [one.tokens == other.tokens for one, other in zip(answers, full, strict=True)]
        shown["same"] = round(sum(same) / len(same), 3)
    return shown | {f"of {way}": ratio(answers, ways[way]) for way in LLAMA_CPP if way in ways}


def per_token(answer: Decoded) -> float:
    """Return the seconds of a token of an answer, without the time of the first one."""
    return answer.seconds / max(1, len(answer.tokens))


def ratio(answers: list[Decoded], others: list[Decoded]) -> list[float]:
    """Return the median of the paired ratios of seconds a token, with the 10th and 90th percentile."""
    pairs = zip(answers, others, strict=True)
    ratios = sorted(per_token(one) / per_token(other) for one, other in pairs if min(one.passes, other.passes))
    return [round(ratios[int(len(ratios) * part)], 3) for part in (0.5, 0.1, 0.9)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=50, help="of each language")
    parser.add_argument("--tokens", type=int, default=48, help="the most of an answer")
    parser.add_argument("--rows", type=int, nargs="*", default=[2, 4], help="questions of a batch")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder()
    models = {weights: MemoryDecoder.from_pretrained(config="quality", reader=AUTO) for weights in ("full", "int8")}
    add_int8_weights(models["int8"].decoder)
    with tempfile.TemporaryDirectory() as scratch:
        results: dict[str, Any] = {"dtype": str(models["full"].decoder.dtype), "threads": torch.get_num_threads()}
        llamas: dict[str, LlamaCpp] = {}
        try:
            llamas = {
                name: LlamaCpp(Path(scratch), torch.get_num_threads(), drafts="drafts" in name) for name in LLAMA_CPP
            }
        except ImportError as error:
            results["llama.cpp"] = f"skipped: {error}"
        for name in SETS:
            records, questions = read_set(arguments.data, name)
            memory = build(name, Path(scratch), encoder, records, words=True)
            rags = {weights: RAG(memory, encoder, model, search=Search("hybrid")) for weights, model in models.items()}
            texts = [question.text for question in sample(questions, REPORTING, arguments.questions)]
            found = rags["full"].retriever.retrieve(texts, K)
            asked = list(zip(texts, found, strict=True))
            for kind, ways in measure(rags, asked, arguments.tokens, llamas).items():
                results[f"{name}, {kind}"] = ways
                print(
                    f"\n{name}, {kind}: ms a token, tokens a pass, same, and of the time of "
                    + "; ".join(("full", *llamas))
                )
                for way, shown in ways.items():
                    same = f"{shown['same']:.0%}" if "same" in shown else "–"
                    ratios = ["{:.2f} [{:.2f}, {:.2f}]".format(*shown[f"of {other}"]) for other in ("full", *llamas)]
                    print(
                        f"  {way:<20}{shown['ms a token']:>8.1f}{shown['tokens a pass']:>7.2f}{same:>6}   {'   '.join(ratios)}"
                    )
            for rows in (rows for rows in arguments.rows if rows <= len(asked)):
                found_batches = batches(rags, asked, arguments.tokens, rows)
                results[f"{name}, {rows} rows"] = found_batches
                print(f"\n{name}, {rows} rows: ms a token without drafts, with drafts, ratio, same")
                for way, shown in found_batches.items():
                    print(
                        f"  {way:<20}{shown['plain']:>8.1f}{shown['drafts']:>8.1f}{shown['ratio']:>8.2f}{shown['same']:>6.0%}"
                    )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
